"""The Chinese edition says what the English one says, of the same code, in the same words everywhere."""

import re

import nbformat
import pytest
from chinese import bring_over, fingerprint, source_in_zh, stale
from lessons import LESSONS, NAMES, ROOT, ZH, read
from test_structure import check_links, markdown

from qwen_helpers.language import translations

HAN = "[\u4e00-\u9fff]"
PAGES = [ROOT / "README.zh-CN.md", ROOT / "TROUBLES.zh-CN.md", ZH / "10_more_than_one_gpu.md", ZH / "TERMINOLOGY.md"]


@pytest.fixture(params=LESSONS, ids=NAMES)
def pair(request):
    """The English lesson and the Chinese one."""
    return read(request.param), read(ZH / request.param.name)


def texts(notebook) -> dict:
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "markdown"}


def prose(text: str) -> str:
    """Markdown without code, addresses and signs, so that only what is read is left."""
    text = re.sub(r"```.*?```|<!--.*?-->|\]\([^)]*\)|<(?!\|)[^>]+>", "", text, flags=re.DOTALL)
    text = re.sub(r"(?<=[：？！])\*\* ", "", text)  # Markdown ends bold letters only before a space there
    return re.sub(r"`[^`\n]+`", "x", text).replace("**", "").replace("[", "").replace("]", "")


def test_the_same_cells_with_the_same_code(pair):
    english, chinese = pair
    for old, new in zip(english.cells, chinese.cells, strict=True):
        assert (old.id, old.cell_type, old.metadata.get("tags")) == (new.id, new.cell_type, new.metadata.get("tags"))
        if old.cell_type == "code":
            assert new.source == source_in_zh(old), f"{old.id}: run tests/chinese.py, then tests/refresh.py zh/"


def test_the_outputs_are_its_own(pair):
    """Each cell was run in the Chinese lesson, in order; what the exercises say shows that it was."""
    code = [cell for cell in pair[1].cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        counts = {output["execution_count"] for output in cell.outputs if "execution_count" in output}
        assert counts <= {cell.execution_count}, f"{cell.id} has the output of another cell: run tests/refresh.py zh/"
        said = "".join(output.get("text", "") for output in cell.outputs)
        assert not re.search(r"^(Solution: )?Exercise \d", said, re.MULTILINE), f"{cell.id}: run tests/refresh.py zh/"


def test_each_text_is_a_translation_of_todays_english(pair):
    assert not stale(*pair), "translate these cells, then name them to tests/chinese.py"


def test_a_changed_english_cell_is_named():
    english, chinese = read(LESSONS[2]), read(ZH / LESSONS[2].name)
    cell = next(cell for cell in english.cells[5:] if cell.cell_type == "markdown")
    cell.source += " One sentence more."
    assert stale(english, chinese) == [cell.id]


def test_a_text_is_found_again_after_its_cell_has_moved():
    english, chinese = read(LESSONS[2]), read(ZH / LESSONS[2].name)
    english.cells.insert(3, nbformat.v4.new_markdown_cell("A new text.", id="new"))
    for number, cell in enumerate(english.cells):
        cell.id = f"cell-{number:03}"
    moved = bring_over(english, chinese)
    assert stale(english, moved) == ["cell-003"]
    assert [cell.source for cell in moved.cells if cell.metadata.get("english")] == list(texts(chinese).values())


SIGNS = {"headings": r"^#+ ", "rows of tables": r"^\|", "code blocks": r"^```\w*", "exercises": r"^\*\*\d+\.\d+\*\*"}


def code_in(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def printed(code: str) -> str:
    """A word of the helpers' output as a Chinese reader sees it; all other code stays as it is."""
    return translations("zh").gettext(code)


def test_the_same_headings_code_and_tables(pair):
    english, chinese = texts(pair[0]), texts(pair[1])
    for name, text in english.items():
        for what, sign in SIGNS.items():
            found, wanted = (re.findall(sign, one, re.MULTILINE) for one in (chinese[name], text))
            assert found == wanted, f"{name}: other {what}"
        found, wanted = ({printed(code) for code in code_in(one)} for one in (chinese[name], text))
        assert found == wanted, f"{name}: other code in the text"


def test_goals_equal_the_summary(pair):
    goals = re.findall(r"^- (.+)$", pair[1].cells[0].source, re.MULTILINE)
    assert goals == re.findall(r"^- \[x\] (.+)$", pair[1].cells[-1].source, re.MULTILINE)
    assert len(goals) == len(re.findall(r"^- (.+)$", pair[0].cells[0].source, re.MULTILINE))


def test_the_readme_lists_every_lesson_with_its_minutes(pair):
    minutes = re.search(r"\*\*时间\*\*\D*?(\d+) 分钟", pair[1].cells[0].source)[1]
    assert minutes == re.search(r"\*\*Time:\*\* (\d+) minutes", pair[0].cells[0].source)[1]
    number, title = re.match(r"# 第 (\d+) 课：(.+)", pair[1].cells[0].source).groups()
    rows = [line for line in PAGES[0].read_text(encoding="utf-8").splitlines() if line.startswith(f"| {number} | [")]
    assert (
        len(rows) == 1 and rows[0].startswith(f"| {number} | [{title}](notebooks/zh/") and f"| {minutes} |" in rows[0]
    )


@pytest.mark.parametrize("path", [*(ZH / path.name for path in LESSONS), *PAGES], ids=lambda path: path.stem)
def test_links_lead_to_chinese_pages(path):
    text = markdown(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    check_links(path, text)
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        target = (path.parent / link).resolve()
        sister = ZH / target.name if target.parent == ROOT / "notebooks" else target.with_suffix(".zh-CN.md")
        if target.suffix == ".png":
            sister = target.with_suffix(".zh.png") if ".zh" not in target.name else target
        switch = link == path.name.replace(".zh-CN", "")  # the way to the other language
        assert switch or "://" in link or not sister.exists() or target == sister, f"{link}: there is a Chinese page"


WRONG = re.compile(
    f"{HAN}[A-Za-z0-9]|[A-Za-z0-9]{HAN}|{HAN} ?[,;:?!](?=[ \n]|{HAN})|{HAN}\\.(?!\\w)|{HAN}\\(|\\({HAN}"
    "|[，。；：！？（）、“”] (?![-|>])|(?<![-|>]) [，。；：！？（）、]|您"
)


@pytest.mark.parametrize("path", [*(ZH / path.name for path in LESSONS), *PAGES], ids=lambda path: path.stem)
def test_set_as_the_terminology_says(path):
    """Spaces between Han and Latin letters, none beside full-width signs, no half-width signs after Han."""
    text = markdown(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    posted = {"无法将...jupyter...项识别为", "页面文件太小,无法完成操作"}  # as Windows writes them
    assert not [line for line in prose(text).splitlines() if WRONG.search(line) and line not in posted]


TERMS = {
    term.strip().lower(): chinese.strip()
    for line in (ZH / "TERMINOLOGY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "English" not in line
    for english, chinese in [re.split(r"\s*\|\s*", line.strip("| "))]
    if len(english.split(",")) == len(chinese.split("，"))
    for term, chinese in zip(english.split(","), chinese.split("，"), strict=True)
}


def test_each_term_has_one_translation():
    """Where a lesson introduces a term, `**词元**（token）`, it is the one of the terminology."""
    assert len(TERMS) > 100
    for path in LESSONS:
        for chinese, english in re.findall(r"\*\*([^*（）]+)\*\*（([A-Za-z][\w -]*)）", markdown(read(ZH / path.name))):
            assert english.lower() in TERMS, f"{path.stem}: {english} is not in TERMINOLOGY.md"
            assert TERMS[english.lower()] == chinese, f"{path.stem}: {english}"


def test_fingerprints_differ():
    assert fingerprint("a") != fingerprint("b")
