"""Every trouble that can be raised here is raised or shown, found by explain() under its id, and cured.

The code is in tests/raised, a function for each step; this file runs it. Then the helpers that it needs, and what the
lesson shows of it.
"""

import configparser
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from lessons import ROOT, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from raised import entries, kind
from raised.the import HELLO, The
from record_troubles import FILE, text_of
from second_kernel import SecondKernel
from troubles_elsewhere import environments
from troubles_lesson import LESSON_11, sections

from qwen_helpers.labs.other_python import arrived, fresh
from qwen_helpers.troubles import GROUPS, catalogue, find

TROUBLES = {trouble.id: trouble for trouble in catalogue()}
ENTRIES = entries()
RECORDS = json.loads(FILE.read_text(encoding="utf-8"))
# One text, two troubles: what the text says comes first. And an error of a package that the catalogue can't know.
FOUND_AS = {"I1": "I23", "J6": None}
LOCAL = ("G8", "V1", "P3", "P4")  # the operating system or the build has a part in the text


def named(*kinds) -> list[str]:
    return [name for name, functions in ENTRIES.items() if {kind(function) for function in functions} & set(kinds)]


def comparable(text: str) -> str:
    """`text` without what differs by machine and system, as in the outputs of the lessons (nbval_sanitize.cfg)."""
    rules = configparser.RawConfigParser()
    rules.read(ROOT / "tests" / "nbval_sanitize.cfg", encoding="utf-8")
    for rule in rules.sections():
        text = re.sub(rules[rule]["regex"], rules[rule]["replace"], text)
    return text


def compare(name: str, what: Exception | str, recorded: str) -> None:
    text = text_of(what)
    if name in LOCAL and sys.platform != "linux":
        text, recorded = text.partition(":")[0], recorded.partition(":")[0]
    changed = f"entry {name}: the text has changed; look at its patterns, then: python tests/record_troubles.py"
    assert comparable(text) == comparable(recorded), changed
    found = [trouble.id for trouble in find(what)]
    assert (found or [None])[0] == FOUND_AS.get(name, name), f"explain() finds {found} for {text}"


@pytest.mark.parametrize("name", ENTRIES)
def test_it_happens_and_is_cured(name):
    record = RECORDS.get(name, {})
    recorded = [record["text"], *record.get("others", [])] if "today" in record else []  # else of another version
    happened = []
    with The() as the:
        for function in ENTRIES[name]:
            if kind(function) == "raises":
                with pytest.raises(Exception) as caught:  # noqa: PT011
                    the.call(function)
                happened.append(caught.value)
            elif text := the.call(function):
                happened.append(text)
    assert len(happened) == len(recorded), f"entry {name} has other texts: python tests/record_troubles.py"
    for what, text in zip(happened, recorded, strict=True):
        compare(name, what, text)


def test_at_least_ninety_happen_here():
    assert len(named("raises", "shows")) >= 90
    assert len([name for name in named("raises") if name[0] != "P"]) >= 50, "loudly, without PaddleNLP's"


def test_each_that_happens_is_cured():
    assert named("raises", "shows") == named("cures")


def test_each_is_an_entry_and_stands_in_its_group():
    for name, functions in ENTRIES.items():
        assert name in TROUBLES
        assert {function.__module__ for function in functions} == {f"raised.{GROUPS[name[0]]}"}


def test_an_entry_is_raised_as_often_as_it_is_written_down():
    """A second function of one name would take the first one's place without a word."""
    for file in (ROOT / "tests" / "raised").glob("*.py"):
        written = re.findall(r"^def ((?:raises|shows|cures|gone)_\w+)\(the\):", file.read_text(encoding="utf-8"), re.M)
        functions = [function for functions in ENTRIES.values() for function in functions]
        found = [function.__name__ for function in functions if function.__module__ == f"raised.{file.stem}"]
        assert sorted(written) == sorted(found)


def test_the_shared_model_is_still_sound():
    """Last of those that ask it: none of the functions has changed it."""
    assert The().answer() == HELLO


def test_records_are_of_what_happens_here_or_in_an_environment_of_its_own():
    assert set(RECORDS) <= {*named("raises", "shows"), *environments()}


def test_records_hold_no_path_of_a_machine():
    assert not re.search(r"/(root|home|tmp|Users|work)/", FILE.read_text(encoding="utf-8"))


REPORTED = json.loads(FILE.with_name("reported.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", REPORTED)
def test_what_people_report_and_nobody_can_raise_here_is_found(name):
    assert name not in ENTRIES
    assert [trouble.id for trouble in find(REPORTED[name])][:1] == [name]


IN_A_NOTEBOOK = [name for name, record in RECORDS.items() if "notebook_traceback" in record]


@pytest.mark.parametrize("name", IN_A_NOTEBOOK)
def test_the_traceback_of_a_notebook_leads_to_the_same_entry(name):
    assert [trouble.id for trouble in find(RECORDS[name]["notebook_traceback"])][:1] == [name]


# What the lesson shows

SECTIONS = [(name, cells) for name, cells in sections(read(LESSON_11)) if name]


@pytest.mark.parametrize(("name", "cells"), SECTIONS, ids=[name for name, _ in SECTIONS])
def test_explain_names_the_entry_first(name, cells):
    """What the lesson shows under the heading of an entry; nbval makes sure that it is what a reader gets."""
    for cell in cells:
        if cell.source.startswith("explain("):
            (shown,) = [output["data"]["text/plain"] for output in cell.outputs if "data" in output]
            assert shown.startswith(f"{name} "), f"entry {name} is not the first that explain() names"


def test_a_changed_text_turns_a_cell_red_that_names_its_entry(tmp_path):
    """The repository's own conftest.py beside a lesson of two cells; the second's stored text is not what it raises."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    stored = new_output("error", ename="KeyError", evalue="'qwen'", traceback=[])
    failing = new_code_cell("raise KeyError('qwen2')", outputs=[stored], execution_count=2)
    failing.metadata["tags"] = ["raises-exception"]
    first = new_code_cell("x = 1", execution_count=1)
    notebook = new_notebook(cells=[first, new_markdown_cell("### I4 transformers is too old"), failing])
    nbformat.write(notebook, tmp_path / "11_troubleshooting.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "11_troubleshooting.ipynb"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout
    assert "FAILED 11_troubleshooting.ipynb::Cell 1, entry I4" in said and "1 failed, 1 passed" in said


# The helper that runs a few lines in another Python


def test_fresh_prints_and_raises_under_the_same_name(capsys, tmp_path):
    (tmp_path / "own.py").write_text("name = '你好'", encoding="utf-8")
    fresh("import os, own; print(own.name, os.environ['HERE'])", folder=tmp_path, HERE="yes")
    assert capsys.readouterr().out == "你好 yes\n"
    with pytest.raises(Exception, match="^no such thing$") as caught:
        fresh("class Own(ValueError): pass\nraise Own('no such thing')")
    assert type(caught.value).__name__ == "Own" and "no such thing" in caught.value.traceback


def test_fresh_hides_packages():
    with pytest.raises(Exception, match="No module named 'numpy'") as caught:
        fresh("import numpy", hide=["numpy"])
    assert type(caught.value).__name__ == "ModuleNotFoundError"
    fresh("import importlib.util as u; assert u.find_spec('numpy') is None and u.find_spec('json')", hide=["numpy"])


def test_fresh_ends_without_a_traceback():
    with pytest.raises(RuntimeError, match="Python stopped with the code 3: the last words"):
        fresh("import os, sys; sys.stderr.write('the last words'); sys.stderr.flush(); os._exit(3)")


def test_a_second_kernel(capsys):
    kernel = SecondKernel("python3")
    kernel.run("x = 40\nprint('here')")
    kernel.run("x + 2")
    with pytest.raises(Exception, match="division by zero") as caught:
        kernel.run("1 / 0")
    assert type(caught.value).__name__ == "ZeroDivisionError" and "most recent" in caught.value.traceback
    assert capsys.readouterr().out == "here\n42\n"
    kernel.close()
    kernel.close()


def test_an_arrived_error_is_found_like_the_original():
    assert find(arrived("KeyError", "'qwen2'", ""))[0].id == find(KeyError("qwen2"))[0].id == "I4"
