"""Every trouble that can be raised here is raised, cured, and found by explain(), each under the id of its entry.

nbval runs lesson 11, whose cells raise and cure most of them ("Cell 42, entry D7"). Here: that the lesson is complete
and its stored explanations are right, the troubles that are no cells of it, and the helper that runs the others.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lessons import ROOT, read, tags
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from record_troubles import FILE, raised, text_of, tidy
from troubles_elsewhere import HERE
from troubles_lesson import LESSON_10, entries, sections

from qwen_helpers.labs.other_python import SecondKernel, arrived, fresh
from qwen_helpers.troubles import catalogue, find

TROUBLES = catalogue()
NOTEBOOK = read(LESSON_10)
CELLS = {name: cells for name, cells in sections(NOTEBOOK) if name}
RECORDS = json.loads(FILE.read_text(encoding="utf-8"))
EXPLAINED = [name for name, cells in CELLS.items() if any(re.match(r"explain\(|recorded\(", c.source) for c in cells)]


def markdown():
    return "\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")


def test_every_entry_of_the_catalogue_has_its_heading():
    assert sorted(re.findall(r"^### ([A-Z]\d+ .+)$", markdown(), re.M)) == sorted(
        f"{t.id} {t.symptom}" for t in TROUBLES
    )


def test_the_table_of_contents_names_every_entry():
    for trouble in TROUBLES:
        assert f"[{trouble.id}](#{trouble.anchor})" in markdown()


@pytest.mark.parametrize("name", EXPLAINED)
def test_explain_names_the_entry_first(name):
    """What the lesson shows under the entry; nbval makes sure that it is what a reader gets."""
    for cell in CELLS[name]:
        if re.match(r"explain\(|recorded\(", cell.source):
            (shown,) = [output["data"]["text/plain"] for output in cell.outputs if "data" in output]
            assert shown.startswith(f"{name} "), f"entry {name} is not the first that explain() names"


def shows(cell) -> bool:
    """False for a cell that only looks up a text."""
    return not re.match(r"(explain|recorded)\(", cell.source)


LOUD = [name for name, cells in CELLS.items() if any("raises-exception" in tags(cell) for cell in cells)]
SILENT = [name for name, cells in CELLS.items() if name not in LOUD and sum(map(shows, cells)) >= 2]


@pytest.mark.parametrize("name", LOUD)
def test_an_error_is_followed_by_a_cell_that_works(name):
    failed = ["raises-exception" in tags(cell) for cell in CELLS[name]]
    after = CELLS[name][failed.index(True) + 1 :]
    assert any(shows(cell) and "raises-exception" not in tags(cell) for cell in after), f"entry {name} is not cured"


def test_at_least_sixty_are_raised_and_cured():
    assert len({*LOUD, *SILENT, *HERE}) >= 60
    assert len({*LOUD, *HERE} - {name for name in LOUD if name.startswith("P")}) >= 50, "without PaddleNLP"


def test_the_records_are_what_the_lesson_shows():
    for name, texts in entries(NOTEBOOK).items():
        if texts:
            assert RECORDS[name]["text"] == tidy(texts[0][0]), f"entry {name}: python tests/record_troubles.py --lesson"
            assert RECORDS[name].get("others", []) == [tidy(text) for text, _ in texts[1:]]


@pytest.mark.parametrize("name", HERE)
def test_raised_elsewhere(name):
    import torch

    if name == "G1" and torch.version.cuda:
        pytest.skip("this torch is built for CUDA")
    if name == "T6":
        pytest.importorskip("onnxruntime_genai")
    if HERE[name].hide:
        text = raised(HERE[name].raises, hide=HERE[name].hide)["text"]
    else:  # here, where torch is loaded already
        with pytest.raises(Exception) as caught:  # noqa: PT011
            exec(compile(HERE[name].raises, f"the trouble {name}", "exec"), {})
        text = text_of(caught.value)
    assert find(text)[0].id == name
    if not HERE[name].local or sys.platform == "linux":
        assert text == RECORDS[name]["text"], (
            f"entry {name}: the text has changed; look at its patterns, then record it"
        )


@pytest.mark.parametrize("name", HERE)
def test_cured_elsewhere(name, monkeypatch):
    exec(compile(HERE[name].cure, f"the cure of {name}", "exec"), {})


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


def test_a_cell_for_paddle_without_its_kernel(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    from qwen_helpers.labs import other_python

    shell = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr(
        other_python, "SecondKernel", lambda name: (_ for _ in ()).throw(other_python.NoSuchKernel(name))
    )
    assert other_python.start_paddle() is None
    with pytest.raises(RuntimeError, match="type `python course.py` without --no-paddle"):
        shell.run_cell_magic("paddle", "", "1 + 1")


def test_an_arrived_error_is_found_like_the_original():
    assert find(arrived("KeyError", "'qwen2'", ""))[0].id == find(KeyError("qwen2"))[0].id == "I4"


def test_records_hold_no_path_of_a_machine():
    assert not re.search(r"/(root|home|tmp|Users|work)/", Path(FILE).read_text(encoding="utf-8"))
