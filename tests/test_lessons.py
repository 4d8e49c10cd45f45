"""What nbval can't see: recipes as scripts, exercises solved and blank, lessons with another model."""

import re
import subprocess
import sys

import nbformat
import pytest
from lessons import LESSONS, NAMES, printed, python_of, read, run, tagged, tags
from refresh import without_paths

from qwen_helpers import TINY_BASE, TINY_CHAT, TINY_THINKING
from qwen_helpers.tools.teach import write_pack

# What the recipes that read the keyboard are typed, and what must come back.
TYPED = {"03_basic_chat": "My name is Lin.\nWhat is my name?\n你是谁？\n\nnever read\n"}
EXPECTED = {
    "01_environment": ["You will set up Python", "It all runs on your own machine."],
    "02_download": ["50 tensors, 2048 tokens, incomplete files: []"],
    "04_streaming": ["Nice to meet you, Lin!\nYour name is Lin. I can see it in the history of our chat.\n" * 2],
    "03_basic_chat": ["Nice to meet you, Lin!", "Your name is Lin.", "我是一个只有大约两百万参数", "Goodbye."],
    "07_paddlenlp": ["Nice to meet you, Lin!\nYour name is Lin. I can see it in the history of our chat.\n"],
    "09_finetune": [f"-> {text}\n" for text in ("The train leaves the station at seven.", "The plums are blue.")],
    "05_base_and_instruct": ["base: length, 60 tokens", "chat: stop, ", "A token is a piece of text"],
    "06_thinking_and_tools": ["call: multiply {'a': 37, 'b': 43}", "answer: 37 times 43 is 1591."],
    "10_serving_a_class": ["Nice to meet you, Lin!\nA token is a piece of text"],
    "11_troubleshooting": ["ok  the tokenizer has 2048 tokens (D10, L8)", "ok  no NaN in torch.bfloat16 (G5)"],
    "08_speed_and_memory": ["weights: 3.6 MB", "A token is a piece of text", "the same answer: True"],
}

# Their exercises have the same solutions with any model, so one run shows both: the solutions, and another model.
ANY_MODEL = set(NAMES) - {"09_finetune"}  # how long to train depends on the model
OTHERS = [path for path in LESSONS if path.stem not in ANY_MODEL]
# The one with a case of its own for a model without linear attention that is not Qwen2: ms-swift's type and template.
QWEN3 = [path for path in LESSONS if path.stem == "04_streaming"]
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=NAMES)


def recipe(path, tmp_path) -> str:
    (cell,) = tagged(read(path), "recipe")
    own = {"02_download": tmp_path / "Qwen2.5-0.5B-Instruct", "09_finetune": TINY_BASE}
    own["06_thinking_and_tools"] = TINY_THINKING
    model_dir = own.get(path.stem, TINY_CHAT)
    source = re.sub(r"^model_dir = .*", lambda _: f"model_dir = {str(model_dir)!r}", cell.source)
    return re.sub(r"^base_dir = .*", lambda _: f"base_dir = {str(TINY_BASE)!r}", source, flags=re.MULTILINE)


@each_lesson
def test_recipe_runs_as_a_script_without_the_helpers(path, tmp_path):
    script = tmp_path / "recipe.py"
    # A meta path hook stands for a machine where qwen_helpers is not installed.
    guard = (
        "import sys\nclass NoHelpers:\n    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] == 'qwen_helpers': raise ImportError('a recipe must not need qwen_helpers')\n"
        "sys.meta_path.insert(0, NoHelpers())\n"
    )
    script.write_text(guard + recipe(path, tmp_path), encoding="utf-8")
    result = subprocess.run(
        [python_of(path.stem), "-I", "-X", "utf8", script], input=TYPED.get(path.stem, ""), cwd=tmp_path,
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for text in EXPECTED[path.stem]:
        assert text in result.stdout
    assert "never read" not in result.stdout
    if path.stem != "02_download":  # the client logs, and draws its bars, there
        assert result.stderr == ""


@pytest.fixture(scope="session")
def students(tmp_path_factory):
    """What the class gets from the teacher's pack: the folder of the course, its notebooks without solutions."""
    pack = write_pack(tmp_path_factory.mktemp("class room") / "pack", wheels=False, say=lambda text: None)
    return pack / "students" / "course"


@each_lesson
def test_solutions_pass_and_blanks_do_not(path, students, monkeypatch, qwen3_5_folder):
    """The stored outputs show it for the tiny model. Then each student's notebook runs, with the solutions in it.

    It runs where the pack has it, so that its paths must be right there, too. (The helpers are this checkout's, since
    they look for .venv beside them.) For most lessons the model is a random Qwen3.5, which must do from the first cell
    to the last. Only the errors that the lesson provokes may occur, and they must; and no warning may.
    """
    python_of(path.stem)
    if path.stem in ANY_MODEL:
        monkeypatch.setenv("QWEN_MODEL", str(qwen3_5_folder))
    exercises, solutions = tagged(read(path), "exercise"), tagged(read(path), "solution")
    for blank, solution in zip(exercises, solutions, strict=True):
        assert ": not yet. Hint: " in printed(blank)
        assert printed(solution).strip().endswith(": right!")
    here = students / "notebooks" / path.name
    notebook = read(here)
    for cell in tagged(notebook, "exercise"):  # the solution pasted over the blank, as a reader would
        name = re.search(r'check\("(\d+\.\d+)"', cell.source)[1]
        pasted = next(s for s in solutions if f'check("{name}"' in s.source)
        imports = [line for line in cell.source.splitlines() if line.startswith("from qwen_helpers")]
        given = [line for line in cell.source.splitlines() if re.match(r'sentence = "', line)]
        cell.source = "\n".join([*imports, *given, pasted.source])
    check_outputs(run(notebook, here), read(path))
    assert len(tagged(notebook, "exercise")) == len(solutions)
    for cell in tagged(notebook, "exercise"):
        assert printed(cell).strip().endswith(": right!")


WARNING = re.compile(r"warning|deprecated|falling back|\[W\d", re.IGNORECASE)


def lines(notebook) -> set[str]:
    """What the cells print and show, without what differs by machine and by model: paths, quoted names, numbers."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return {re.sub(r"'.*?'|\d+", "", without_paths(line)) for line in "\n".join(shown).splitlines()}


def check_outputs(notebook, stored):
    """Only the errors that the lesson provokes may occur (others stop the run), and they must.

    The same for warnings: those that the stored lesson shows with the tiny model are its subject.
    """
    for cell in notebook.cells:
        if "raises-exception" in tags(cell):
            assert any(output["output_type"] == "error" for output in cell.outputs), cell.source
    warnings = {line for line in lines(notebook) - lines(stored) if WARNING.search(line)}
    assert not warnings, "find the cause of each, and mend that"


@pytest.mark.slow
@pytest.mark.parametrize("path", OTHERS, ids=[path.stem for path in OTHERS])
def test_lesson_runs_with_a_random_qwen3_5(path, monkeypatch, qwen3_5_folder, students):
    """From the first cell to the last."""
    python_of(path.stem)
    monkeypatch.setenv("QWEN_MODEL", str(qwen3_5_folder))
    check_outputs(run(read(path), students / "notebooks" / path.name), read(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", QWEN3, ids=[path.stem for path in QWEN3])
def test_lesson_runs_with_a_random_qwen3(path, monkeypatch, qwen3_folder, students):
    monkeypatch.setenv("QWEN_MODEL", str(qwen3_folder))
    check_outputs(run(read(path), students / "notebooks" / path.name), read(path))


@pytest.mark.slow
def test_lesson_6_runs_with_other_ways_to_think(monkeypatch, thinking_folder, students):
    """The random Qwen3.5 has no template with thoughts, so with it lesson 6 takes tiny thinking."""
    monkeypatch.setenv("QWEN_MODEL", str(thinking_folder))
    path = next(path for path in LESSONS if path.stem == "06_thinking_and_tools")
    notebook, stored = run(read(path), students / "notebooks" / path.name), read(path)
    check_outputs(notebook, stored)
    spelt = "I spell it: s, t, r, a, w"
    assert "model: model" in all_printed(notebook)
    assert all_printed(notebook).count(spelt) == all_printed(stored).count(spelt)


def all_printed(notebook) -> str:
    return "".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.slow
def test_lesson_7_runs_with_a_random_qwen2(monkeypatch, rotated_folder, students):
    """PaddleNLP knows nothing newer, so the test above has lesson 7 take the tiny model."""
    python_of("07_paddlenlp")
    monkeypatch.setenv("QWEN_MODEL", str(rotated_folder))
    path = next(path for path in LESSONS if path.stem == "07_paddlenlp")
    notebook = run(read(path), students / "notebooks" / path.name)
    text = all_printed(notebook)
    assert "paddlenlp   prompt: True  answer: True" in text and "equal to the dynamic graph's: True" in text


def test_a_wrong_output_in_a_lesson_is_noticed(tmp_path):
    """nbval, as course.py calls it, is red for a lesson whose stored output is not what the cell prints."""
    notebook = read(LESSONS[0])
    cell = next(c for c in notebook.cells if "SpecifierSet(" in c.source)  # needs no other cell
    right = printed(cell)
    notebook.cells = [cell]
    for stored, passes in ((right, True), (right.replace("True", "False", 1), False)):
        cell.outputs[0]["text"] = stored
        nbformat.write(notebook, tmp_path / "lesson.ipynb")
        command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "lesson.ipynb"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (result.returncode == 0) is passes, result.stdout
