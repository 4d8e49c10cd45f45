"""The numbers in a lesson's prose are numbers that the lesson shows: in a cell above the text, or right below it.

Looked at is each number of two digits or more, or with a decimal point. Left out is what claims nothing seen: code,
tables, headings, links (their page is the source), exercises, the first cell, dates, and names such as "lesson 10" or
"Python 3.12". A number is shown if a cell's output or code has it, or has one that rounds to it. Numbers from elsewhere
stand in figures.json, by lesson, with the place they come from.

It is a net and no proof: the number may stand in an output by chance, and "forty" or "half as much" passes.
"""

import json
import re
from itertools import takewhile

import pytest
from lessons import LESSONS, NAMES, ROOT, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

FROM_ELSEWHERE = json.loads((ROOT / "tests" / "figures.json").read_text(encoding="utf-8"))
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
NAMES_OF = "lessons?|sections?|exercises?|python|transformers|ms-swift|CUDA|GTX|RTX|arXiv:"
CLAIMS_NOTHING = re.compile(
    rf"(?P<ticks>`+).+?(?P=ticks)|\[[^\]]*\]\([^)]*\)|\b({NAMES_OF})\s?\d[\d.]*|(\d+ )?({MONTHS}) \d+|\b20[12]\d\b",
    re.IGNORECASE,
)
NUMBER = r"\d{1,3}(?:[,_]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e-?\d\d?)?"
IN_PROSE = re.compile(rf"(?<![\w.,/#])(?<!\w-)(?:{NUMBER})(?![\w]|-\w|[.,]\d)")  # not a part of a word: 7B, Qwen2.5


def value(number: str) -> float:
    return float(re.sub("[,_]", "", number))


def shown_by(cell) -> set[float]:
    """Every number in a code cell and in its outputs."""
    texts = [cell.source]
    for output in cell.outputs:
        texts += [output.get("text", ""), output.get("evalue", "")]
        texts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return {value(number) for number in re.findall(NUMBER, "\n".join(texts))}


def claims(notebook):
    """For each Markdown cell its place and its prose, without what claims nothing."""
    exercises = False
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            prose = []
            for line in re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL).splitlines():
                if line.startswith("## "):
                    exercises = line == "## Exercises"
                if place and not exercises and not line.startswith(("#", "|")):
                    prose.append(line)
            yield place, CLAIMS_NOTHING.sub(" ", "\n".join(prose))


def unfounded(notebook) -> list[tuple[str, str]]:
    """(the cell's id, the number as it is written) for each number that no cell up to there shows."""
    shown, found = set(), []
    for place, prose in claims(notebook):
        for below in takewhile(lambda cell: cell.cell_type == "code", notebook.cells[place + 1 :]):
            shown |= shown_by(below)
        for number in IN_PROSE.findall(prose):
            half = 0.5 * 10.0 ** -len(number.partition(".")[2]) + 1e-9  # of the last digit that is written
            if len(number) > 1 and not any(abs(value(number) - seen) <= half for seen in shown):
                found.append((notebook.cells[place].id, number))
    return found


@pytest.mark.parametrize("path", LESSONS, ids=NAMES)
def test_every_number_is_shown_or_has_a_source(path):
    found, sources = unfounded(read(path)), FROM_ELSEWHERE.get(path.stem, {})
    missing = [f"{id}: {number}" for id, number in found if number not in sources]
    assert not missing, f"no cell shows {', '.join(missing)}: compute, correct, or give a source in tests/figures.json"
    unneeded = sources.keys() - {number for _, number in found}
    assert not unneeded, f"take {', '.join(unneeded)} out of figures.json: the lesson shows or says it no more"
    assert all(len(source) > 15 for source in sources.values())


def test_a_number_that_nothing_shows_is_found():
    cell = new_code_cell("longest = 60", outputs=[new_output("stream", text="7.07 ms, 128 tokens\n")])
    shown = "7.1 ms, 128 of 60 tokens. `33`, lesson 12, Qwen2.5-7B, [44 s](x.md), 1 May 2026.\n| 55 |\n"
    prose = new_markdown_cell(shown + "6.97 ms at 2,048 tokens\n## Exercises\n66")
    notebook = new_notebook(cells=[new_markdown_cell("# 99"), cell, prose])
    assert [number for _, number in unfounded(notebook)] == ["6.97", "2,048"]


def test_figures_are_of_lessons():
    assert FROM_ELSEWHERE.keys() <= set(NAMES)
