"""The Chinese lessons beside the English ones: `python tests/chinese.py` brings `notebooks/zh` up to date.

A Chinese lesson has the same code cells as the English one, with the same ids and tags, and a Markdown cell for each
Markdown cell, whose metadata hold the fingerprint of the English text that it was translated from. Code comes over from
the English lesson; a Markdown cell whose English has changed, or is new, is named, and test_chinese.py stays red until
it is translated:

    python tests/chinese.py                 bring code over, list what is to be translated
    python tests/chinese.py 03 cell-012 ... these cells of lesson 3 are now translations of today's English

Then `python tests/refresh.py zh/03` stores its outputs.
"""

import hashlib
import sys
from pathlib import Path

import nbformat
from lessons import LESSONS, ZH, read

# One folder deeper, so a recipe's way to the tiny models is one step longer: the only difference in the code.
PATHS = ('"../qwen_helpers/tiny/', '"../../qwen_helpers/tiny/')


def fingerprint(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def source_in_zh(cell) -> str:
    """The source of an English code cell as it stands in the Chinese lesson."""
    return cell.source.replace(*PATHS)


def stale(english, chinese) -> list[str]:
    """The ids of the Markdown cells whose Chinese does not belong to today's English."""
    of = {cell.id: cell.metadata.get("english") for cell in chinese.cells}
    pairs = [(cell.id, fingerprint(cell.source)) for cell in english.cells if cell.cell_type == "markdown"]
    return [name for name, mark in pairs if of.get(name) != mark]


def bring_over(english, chinese):
    """The Chinese lesson with the cells of the English one. A Markdown cell is found by its English, else by its id."""
    texts = [cell for cell in chinese.cells if cell.cell_type == "markdown"]
    by_english = {cell.metadata.get("english"): cell for cell in texts}
    marks = {fingerprint(cell.source) for cell in english.cells}
    by_id = {cell.id: cell for cell in texts if cell.metadata.get("english") not in marks}
    outputs: dict[str, list] = {}  # of cells with the same source in their order
    for cell in chinese.cells:
        if cell.cell_type == "code":
            outputs.setdefault(cell.source, []).append(cell.outputs)
    cells = []
    for cell in english.cells:
        new = nbformat.from_dict(cell)
        if cell.cell_type == "code":
            new.source = source_in_zh(cell)
            if found := outputs.get(new.source):
                new.outputs = found.pop(0)
            else:
                print(f"{cell.id} has English output: run tests/refresh.py for this lesson")
        else:
            known = by_english.get(fingerprint(cell.source)) or by_id.get(cell.id)
            new.source, new.metadata = (known.source, known.metadata) if known else (cell.source, {})
        cells.append(new)
    return nbformat.from_dict({**english, "cells": cells})


def main(lesson: str = "", *translated: str):
    for path in LESSONS:
        english, file = read(path), ZH / path.name
        chinese = bring_over(english, read(file) if file.exists() else nbformat.from_dict({**english, "cells": []}))
        if lesson and path.name.startswith(lesson):
            for old, new in zip(english.cells, chinese.cells, strict=True):
                if new.id in translated:
                    new.metadata["english"] = fingerprint(old.source)
        nbformat.write(chinese, file)
        if names := stale(english, chinese):
            print(f"{Path('zh', path.name)}: to be translated: {' '.join(names)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
