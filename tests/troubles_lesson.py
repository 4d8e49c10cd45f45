"""Lesson 11 as its tests read it: the file, and which entry's heading each of its cells stands under."""

import re

from lessons import ROOT

LESSON_11 = ROOT / "notebooks" / "11_troubleshooting.ipynb"


def sections(notebook):
    """Pairs of an entry's id and its code cells, in the order of the lesson. Cells outside entries have the id None."""
    name, cells = None, []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if found := re.match(r"#{2,3} (?:([A-Z]\d+) )?", line):
                    yield name, cells
                    name, cells = found[1], []
        else:
            cells.append(cell)
    yield name, cells
