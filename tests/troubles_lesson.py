"""Lesson 11 as a catalogue: which entry each of its cells belongs to, and the texts that it shows for it."""

import re

from lessons import ROOT, tags

LESSON_10 = ROOT / "notebooks" / "11_troubleshooting.ipynb"
COLOURS = re.compile(r"\x1b\[[\d;]*m")


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


def texts_of(cells) -> list[tuple[str, str]]:
    """(text, traceback) of each error in `cells`, and of each last printed line that the next cell explains."""
    found = []
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        for output in cell.outputs:
            if output["output_type"] == "error" and "raises-exception" in tags(cell):
                traceback = COLOURS.sub("", "\n".join(output["traceback"]))
                found.append((f"{output['ename']}: {output['evalue']}", traceback))
        if following and re.match(r"explain\((?!['\"])\w", following.source):
            printed = "".join(output.get("text", "") for output in cell.outputs)
            found.append((printed.strip().splitlines()[-1], ""))
    return found


def entries(notebook) -> dict[str, list[tuple[str, str]]]:
    """{id: texts that the lesson raises for it}; an empty list for an entry that raises nothing."""
    found: dict = {}
    for name, cells in sections(notebook):
        if name:
            found.setdefault(name, []).extend(texts_of(cells))
    return found
