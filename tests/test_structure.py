"""Every notebook is built as the README promises. These tests read the files and run nothing."""

import ast
import json
import re
import subprocess
import sys

import nbformat
import pytest
from lessons import KERNEL, KERNELS, LESSONS, NAMES, ROOT, read, tagged, tags

from qwen_helpers.__main__ import COMMANDS

KNOWN_TAGS = {"nbval-ignore-output", "raises-exception", "recipe", "exercise", "solution"}
SECTIONS = ["Before you start", "Coming from an older tutorial?", "Exercises", "The whole lesson in one cell"]


@pytest.fixture(params=LESSONS, ids=NAMES)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return read(path)


def markdown(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_lessons_are_numbered_without_a_gap():
    assert [name[:2] for name in NAMES] == [f"{number:02}" for number in range(1, len(NAMES) + 1)]


def test_valid_and_normalised(path, notebook):
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata["kernelspec"] == KERNELS.get(path.stem, KERNEL)
    assert notebook.metadata["language_info"] == {"name": "python"}
    for cell in notebook.cells:
        folded = {"jupyter"} if "solution" in tags(cell) else set()
        assert set(cell.metadata) <= {"tags"} | folded, "run tests/refresh.py, which stores lessons without extras"


def test_every_cell_was_run_in_order(notebook):
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))


def test_title_promise_time_and_sections(notebook):
    text = markdown(notebook)
    assert re.match(r"# Lesson \d+: ", notebook.cells[0].source)
    for fact in ("**Time:**", "**Download:**", "**Memory:**", "**You need:**"):
        assert fact in notebook.cells[0].source
    positions = [text.index(section) for section in SECTIONS]
    assert positions == sorted(positions)


def test_goals_equal_the_summary(notebook):
    goals = re.findall(r"^- (.+)$", notebook.cells[0].source, re.M)
    ticked = re.findall(r"^- \[x\] (.+)$", notebook.cells[-1].source, re.M)
    assert 3 <= len(goals) <= 4
    assert goals == ticked


def test_the_last_cell_leads_on(notebook):
    assert re.search(r"\*\*Next:\*\* \[", notebook.cells[-1].source)


def test_tags_are_known_and_comments_are_not_used_for_them(notebook):
    for cell in notebook.cells:
        assert tags(cell) <= KNOWN_TAGS
        assert not re.search(r"#\s*(NBVAL|nbval)", cell.source)


def test_one_recipe_with_public_libraries_only(notebook):
    (recipe,) = tagged(notebook, "recipe")
    assert re.match(r'model_dir = "[^"]+"', recipe.source)
    assert "qwen_helpers" not in re.sub(r'"../qwen_helpers/tiny/\w+"', "", recipe.source), "only the folders of models"
    assert not re.search(r"^\s*[%!]", recipe.source, re.M), "a recipe must be plain Python"
    after = notebook.cells[notebook.cells.index(recipe) + 1 :]
    assert not [cell for cell in after if cell.cell_type == "code"], "they would see the recipe's model and tokenizer"


def test_every_exercise_has_a_folded_solution(notebook):
    exercises, solutions = tagged(notebook, "exercise"), tagged(notebook, "solution")
    assert 2 <= len(exercises) <= 3
    names = [re.search(r'check\("(\d+\.\d+)"', cell.source)[1] for cell in exercises]
    assert names == [re.search(r'check\("(\d+\.\d+)"', cell.source)[1] for cell in solutions]
    assert all(cell.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True} for cell in solutions)
    assert names == re.findall(r"^\*\*(\d+\.\d+)\*\* ", markdown(notebook), re.M)


def test_seven_of_ten_outputs_are_compared(notebook):
    ignored = tagged(notebook, "nbval-ignore-output")
    assert len(ignored) <= 0.3 * len(code(notebook)), f"{len(ignored)} of {len(code(notebook))} are ignored"


def test_ignored_outputs_really_differ_by_machine(notebook):
    """An ignored cell must print a measurement, a path or a device; else it should be compared."""
    for cell in tagged(notebook, "nbval-ignore-output"):
        assert cell.outputs or "device" in cell.source, f"nothing to ignore in {cell.source!r}"
        assert "raises-exception" not in tags(cell)


def test_cells_are_short(notebook):
    for cell in code(notebook):
        if not tags(cell) & {"recipe", "solution", "exercise"}:
            assert len([line for line in cell.source.splitlines() if line.strip()]) <= 12


def test_nothing_blocks_and_nothing_pretends(notebook):
    for cell in code(notebook):
        assert "input(" not in cell.source
        assert not re.search(r"^\s*!\s*(export|set|source)\b", cell.source, re.M), "does nothing for the kernel"
        assert not re.search(r"except[^\n]*:\s*pass", cell.source)


def test_no_local_path_or_time_stamp_in_outputs(notebook):
    stored = json.dumps([cell.outputs for cell in code(notebook)])
    assert not re.search(r"/(root|home|tmp|Users|work)/|[A-Z]:\\\\Users", stored)
    assert not re.search(r"20\d\d-\d\d-\d\d[ T]\d\d:\d\d", stored)
    assert "Traceback" not in json.dumps([c.outputs for c in code(notebook) if "raises-exception" not in tags(c)])
    assert len(stored) < 300_000


def test_errors_are_tagged_and_tags_have_errors(notebook):
    for cell in code(notebook):
        failed = any(output["output_type"] == "error" for output in cell.outputs)
        assert failed == ("raises-exception" in tags(cell)), cell.source


def test_pictures_have_alt_text(notebook):
    text = markdown(notebook)
    assert not re.search(r"!\[\s*\]\(", text)
    assert not re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", text)
    for diagram in re.findall(r"```mermaid\n(.*?)```", text, re.S):
        assert "accTitle:" in diagram and "accDescr:" in diagram


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def headings(path) -> set[str]:
    text = markdown(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.M) + re.findall(r'<a id="(\w+)"></a>', text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def check_links(origin, text):
    for link in links(text):
        file, _, anchor = link.partition("#")
        target = (origin.parent / file).resolve() if file else origin
        assert target.exists(), f"{origin.name} links to {link}, which does not exist"
        # JupyterLab keeps the capitals of a heading in its anchor, GitHub does not.
        assert not anchor or anchor.lower() in headings(target), f"{origin.name} links to {link}: no such heading"


def test_relative_links_resolve(path, notebook):
    check_links(path, markdown(notebook))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "TROUBLES.md"])  # the others: test_chinese.py
def test_links_of_the_pages_resolve(name):
    check_links(ROOT / name, (ROOT / name).read_text(encoding="utf-8"))


def test_the_readme_lists_every_lesson_with_its_minutes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in LESSONS:
        minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", read(path).cells[0].source)[1]
        title = re.match(r"# Lesson (\d+): (.+)", read(path).cells[0].source)
        row = next(line for line in readme.splitlines() if f"notebooks/{path.name}" in line)
        assert row.startswith(f"| {title[1]} |") and f"| {minutes} |" in row


def test_every_picture_is_used():
    pages = [*ROOT.glob("README*.md"), *LESSONS, *(ROOT / "notebooks" / "zh").glob("*.ipynb")]
    text = "".join(path.read_text(encoding="utf-8") for path in pages)
    for picture in (ROOT / "images").iterdir():
        assert f"images/{picture.name}" in text, f"{picture.name} is shown nowhere"


PACKAGE = ROOT / "qwen_helpers"
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(file.read_text("utf-8"))
    for file in PACKAGE.rglob("*.py")
}


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qwen_helpers"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & set(MODULES) or {node.module}
    return found


def room(name: str) -> str:
    parts = name.split(".")
    return (
        parts[1] if len(parts) > 1 and f"qwen_helpers.{parts[1]}" in MODULES and (PACKAGE / parts[1]).is_dir() else ""
    )


def test_no_helper_imports_what_stands_above_it():
    above = {"": {"labs", "tools", "exercises"}, "engines": {"labs", "tools", "exercises"}, "tiny": {"labs", "tools"}}
    above |= {"exercises": {"labs", "tools"}, "labs": {"tools", "exercises"}}
    for name in set(MODULES) - {"qwen_helpers", "qwen_helpers.__main__"}:
        for other in imports(name):
            assert room(other) not in above.get(room(name), set()), f"{name} imports {other}"


def test_no_helper_needs_itself():
    def reached(name, path):
        for other in imports(name) - {"qwen_helpers"}:
            assert other not in path, " needs ".join([*path, other])
            reached(other, [*path, other])

    for name in set(MODULES) - {"qwen_helpers"}:
        reached(name, [name])


def test_no_name_stands_for_a_module_and_a_function():
    modules = {name.split(".")[-1] for name in MODULES}
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert node.name not in modules, f"{node.name} in {name}"


def test_every_helper_is_in_the_plan_of_the_rooms():
    plan = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in MODULES:
        place, file = room(name), name.split(".")[-1]
        if place not in ("exercises", "tools", "tiny") and file not in ("qwen_helpers", place):
            assert f"{file}.py" in plan or f"{file}/" in plan, f"{name} is missing in CONTRIBUTING.md"


def test_what_a_lesson_imports_is_there():
    """An import in a cell or a command in a text that no test runs would be noticed by a reader only."""
    texts = [markdown(read(path)) for path in LESSONS] + [(ROOT / "README.md").read_text(encoding="utf-8")]
    for text in texts:
        for module in re.findall(r"from (qwen_helpers[\w.]*) import", text):
            assert module in MODULES, module
        for command in re.findall(r"-m qwen_helpers (\w+)", text):
            assert command in COMMANDS, command
        assert not re.search(r"-m qwen_helpers\.(?!labs\.serve_process)", text)


def told() -> dict[str, set]:
    """Every command of the course that a page, a lesson or a helper tells people to type, with all its options."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/*.md"), *PACKAGE.rglob("*.md"), *PACKAGE.rglob("*.json")]
    texts = [markdown(read(path)) for path in LESSONS] + [page.read_text(encoding="utf-8") for page in pages]
    found = {}
    for line in re.findall(r"(?:course\.py|-m qwen_helpers) [^`\n\"]*", "\n".join(texts)):
        name = re.match(r"course\.py|-m qwen_helpers (?:measure )?[\w-]+", line)
        if name and name[0] != "-m qwen_helpers COMMAND":
            found.setdefault(name[0], set()).update(re.findall(r"(?<!\S)--[\w-]+", line))
    return found


@pytest.mark.parametrize("command", sorted(told()))
def test_options_that_people_are_told_to_type_are_there(command):
    shown = subprocess.run([sys.executable, *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert told()[command] <= set(re.findall(r"--[\w-]+", shown.stdout))
