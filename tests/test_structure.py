"""Every notebook is built as the README promises. These tests read the files and run nothing."""

import json
import re

import nbformat
import pytest
from lessons import KERNEL, KERNELS, LESSONS, NAMES, ROOT, read, tagged, tags

KNOWN_TAGS = {"nbval-ignore-output", "raises-exception", "recipe", "exercise", "solution"}
SECTIONS = ["Before you start", "Coming from an older tutorial?", "The whole lesson in one cell", "Exercises"]


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


def test_there_are_lessons():
    assert len(LESSONS) >= 2


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


def test_every_exercise_has_a_folded_solution(notebook):
    exercises, solutions = tagged(notebook, "exercise"), tagged(notebook, "solution")
    assert 2 <= len(exercises) <= 3
    names = [re.search(r'check\("(\d+\.\d+)"', cell.source)[1] for cell in exercises]
    assert names == [re.search(r'check\("(\d+\.\d+)"', cell.source)[1] for cell in solutions]
    assert all(cell.metadata["jupyter"] == {"source_hidden": True} for cell in solutions)


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
    titles = re.findall(r"^#+ (.+)$", text, re.M)
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


def test_links_of_the_readme_resolve():
    readme = ROOT / "README.md"
    check_links(readme, readme.read_text(encoding="utf-8"))


def test_the_readme_lists_every_lesson_with_its_minutes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in LESSONS:
        minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", read(path).cells[0].source)[1]
        title = re.match(r"# Lesson (\d+): (.+)", read(path).cells[0].source)
        row = next(line for line in readme.splitlines() if f"notebooks/{path.name}" in line)
        assert row.startswith(f"| {title[1]} |") and f"| {minutes} |" in row


def test_every_picture_is_used():
    text = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *LESSONS])
    for picture in (ROOT / "images").iterdir():
        assert f"images/{picture.name}" in text, f"{picture.name} is shown nowhere"


def test_helpers_stay_small():
    for file in (ROOT / "qwen_helpers").rglob("*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 200, f"{file.name} has grown past 200 lines"
