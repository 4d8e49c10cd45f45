"""The website: what Sphinx is given, and, marked slow, the whole site, its links and its searches in a browser."""

import functools
import html
import http.server
import importlib.util
import json
import os
import re
import shutil
import sys
import threading
from urllib.parse import quote, unquote, urljoin, urlsplit

import nbformat
import pytest
from lessons import ROOT, read

from qwen_helpers.tools import site
from qwen_helpers.tools.site.sources import CHINESE, ENGLISH, Pages, editions
from qwen_helpers.troubles import catalogue

ADDRESS = "https://example.org/course/"
REPOSITORY = "https://example.org/repository"
LESSON = [
    nbformat.v4.new_markdown_cell("# Lesson 1: One\n\nAfter it you *can* [do](02_two.md) `it`.\n\n**Time:** none."),
    nbformat.v4.new_markdown_cell("[D7](../TROUBLES.md#D7), [all](../TROUBLES.md), [code](../course.py), `[a](b.md)`"),
    nbformat.v4.new_markdown_cell("![A room](../images/room.png)\n\n```python\nx[0](../course.py)\n```"),
    nbformat.v4.new_markdown_cell("```mermaid\nflowchart LR\n    accDescr: From a to b.\n    a --> b\n```"),
    nbformat.v4.new_code_cell("1 + 1", metadata={"tags": ["solution"]}),
]
TROUBLES = """# Troubles

Two troubles.

- [D7](#D7) `header "too" large`

## Download

<a id="D7"></a>

### `header "too" large`

**D7: no file.** It is a page.

**Cure:** See [lesson 1](notebooks/01_one.ipynb).

## Chat

<a id="C1"></a>

### It is slow

**C1.** Why.

**Cure:** How.
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A course of two lessons in English and one in Chinese, and an empty folder for sources."""
    monkeypatch.setattr(
        Pages, "picture", lambda self, diagram, page: "![a](../images/d.svg)"
    )  # Mermaid comes with the builder
    root = tmp_path / "course"
    (root / "notebooks/zh").mkdir(parents=True)
    (root / "images").mkdir()
    (root / "images/room.png").write_bytes(b"")
    for name in ("TROUBLES.md", "TROUBLES.zh-CN.md"):
        (root / name).write_text(TROUBLES)
    (root / "README.md").write_text("# A course\n\n[中文](README.zh-CN.md)\n\nIt [begins](notebooks/01_one.ipynb).\n")
    (root / "README.zh-CN.md").write_text(
        "# 课程\n\n[English](README.md)\n\n从[这里](notebooks/zh/01_one.ipynb)开始。\n"
    )
    nbformat.write(nbformat.v4.new_notebook(cells=LESSON), root / "notebooks/01_one.ipynb")
    (root / "notebooks/02_two.md").write_text("# Two\n\nAn appendix to [lesson 1](01_one.ipynb).\n")
    chinese = nbformat.v4.new_markdown_cell(
        "# 第 1 课\n\n学会它。\n\n[D7](../../TROUBLES.zh-CN.md#D7), [its English](../../TROUBLES.md#D7)"
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[chinese]), root / "notebooks/zh/01_one.ipynb")
    (tmp_path / "out").mkdir()
    return root


def write(root, edition=ENGLISH, repository=""):
    out = root.parent / "out"
    edition = next(known for known in editions(root) if known.language == edition.language)
    Pages(root, edition, out, repository).write()
    return out


def head_of(page):
    return json.loads(page.read_text(encoding="utf-8").split("\n")[1])


def test_links_lead_to_pages_or_to_the_repository(small):
    texts = [cell.source for cell in read(write(small, repository=REPOSITORY) / "lessons/01_one.ipynb").cells]
    assert texts[0].startswith("# Lesson 1: One\n\nAfter it you *can* [do](02_two.md) `it`.")
    code = f"[code]({REPOSITORY}/blob/main/course.py)"
    assert texts[1] == f"[D7](../troubles/D7.md), [all](../troubles/index.md), {code}, `[a](b.md)`"
    assert texts[2] == "![A room](../images/room.png)\n\n```python\nx[0](../course.py)\n```"
    assert texts[3] == "![a](../images/d.svg)"


def test_without_a_repository_a_file_is_plain_text(small):
    assert ", code, " in read(write(small) / "lessons/01_one.ipynb").cells[1].source


def test_solutions_are_folded_and_outputs_are_those_that_were_stored(small):
    lesson = read(write(small) / "lessons/01_one.ipynb")
    assert lesson.cells[4].metadata.tags == ["solution", "hide-cell"] and lesson.cells[4].outputs == []


def test_links_in_what_a_cell_has_shown_are_turned(small):
    shown = nbformat.v4.new_output("execute_result", {"text/markdown": "[TROUBLES.md](../TROUBLES.md#C1)"})
    cells = [LESSON[0], nbformat.v4.new_code_cell("explain()", outputs=[shown])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), small / "notebooks/01_one.ipynb")
    output = read(write(small) / "lessons/01_one.ipynb").cells[1].outputs[0]
    assert output.data["text/markdown"] == "[TROUBLES.md](../troubles/C1.md)"


def test_a_page_says_what_it_is_about(small):
    out = write(small)
    lesson = read(out / "lessons/01_one.ipynb").metadata.myst.html_meta
    assert lesson == {"description": "After it you can do it."}
    assert head_of(out / "lessons/02_two.md")["myst"]["html_meta"]["description"] == "An appendix to lesson 1."
    assert head_of(out / "index.md")["myst"]["html_meta"]["description"] == "It begins."


def test_each_trouble_has_a_page_and_a_line_in_the_index(small):
    out = write(small)
    page, index = (out / "troubles/D7.md").read_text(), (out / "troubles/index.md").read_text()
    assert head_of(out / "troubles/D7.md") == {
        "myst": {"html_meta": {"description": "D7: no file. It is a page. Cure: See lesson 1."}},
        "orphan": True,
    }
    assert '\n# `header "too" large`\n\n## D7: no file\n\n' in page and "(../lessons/01_one.ipynb)" in page
    assert "## Download\n\n\n- [D7](D7.md) `header" in index and "## Chat\n\n\n- [C1](C1.md) It is slow" in index
    assert sorted(file.name for file in (out / "troubles").iterdir()) == ["C1.md", "D7.md", "index.md"]


def test_the_chinese_edition_links_to_its_own_pages_and_to_english_ones_by_name(small):
    out = write(small, CHINESE)
    text = read(out / "lessons/01_one.ipynb").cells[0].source
    assert text.endswith('[D7](../troubles/D7.md), <a href="../../troubles/D7.html">its English</a>')
    start = (out / "index.md").read_text(encoding="utf-8")
    assert '<a href="../index.html">English</a>' in start and "从[这里](lessons/01_one.ipynb)开始。" in start
    assert ":titlesonly:\nlessons/01_one.ipynb\ntroubles/index.md" in start and "02_two" not in start


def test_a_language_without_lessons_is_left_out(small):
    assert [edition.language for edition in editions(small)] == ["en", "zh_CN"]
    shutil.rmtree(small / "notebooks/zh")
    assert [edition.language for edition in editions(small)] == ["en"]


def test_the_trouble_page_is_taken_apart_without_loss():
    text = (ROOT / "TROUBLES.md").read_text(encoding="utf-8")
    assert {*re.findall(r'<a id="(\w+)"></a>\n\n### ', text)} == {trouble.id for trouble in catalogue()}


def test_a_folder_that_is_no_site_is_left_alone(small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there and is no site"):
        site.build(small, tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").exists()


def test_where_the_repository_is_stands_in_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert site.repository_of(tmp_path) == ""
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nRepository = "{REPOSITORY}/"\n')
    assert site.repository_of(tmp_path) == REPOSITORY


# ---- the whole site --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site of this course, in a folder of another site."""
    if sys.version_info < (3, 11):
        pytest.skip("The site's builder needs Python 3.11.")
    if importlib.util.find_spec("sphinx") is None:
        reason = "The site was not built: its builder is missing. `python course.py site` installs it."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    out = tmp_path_factory.mktemp("site") / "course"
    site.build(ROOT, out, ADDRESS, REPOSITORY)
    return out


@pytest.fixture(scope="module")
def pages(built):
    """{path: text} of all pages."""
    return {file.relative_to(built).as_posix(): file.read_text(encoding="utf-8") for file in built.rglob("*.html")}


@pytest.fixture(scope="module")
def served(built):
    """The address of the site below another one, as on GitHub Pages."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(built.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{built.name}/"
        server.shutdown()


def values(text, *names):
    return [html.unescape(value) for value in re.findall(rf'(?<=[\s"])(?:{"|".join(names)})="([^"]*)"', text)]


@pytest.mark.slow
def test_every_internal_link_and_anchor_lives(built, pages):
    ids = {path: {*values(text, "id")} for path, text in pages.items()}
    dead = []
    for path, text in pages.items():
        for target in {*values(text, "href", "src")}:
            url = urlsplit(urljoin("http://here/" + path, target))
            if url.hostname != "here":
                continue
            file = unquote(url.path[1:]) or "index.html"
            anchor = unquote(url.fragment)
            if not (built / file).is_file() or anchor and file in ids and anchor not in ids[file]:
                dead.append(f"{path}: {target}")
    assert dead == []


@pytest.mark.slow
def test_each_page_has_title_description_and_language(pages):
    for path, text in pages.items():
        language = "zh-CN" if path.startswith("zh/") else "en"
        assert f' lang="{language}"' in text[:200], path
        assert re.search(r"<title>[^<]*\w[^<]*</title>", text), path
        assert len(re.findall(r'<meta [^>]*name="description"', text)) == 1, path
        assert re.search(
            r'<meta [^>]*content="[^"]{7,}"[^>]*name="description"|name="description" content="\w', text
        ), path
        assert all(re.search(r'\salt="[^"]+"', tag) for tag in re.findall(r"<img [^>]*>", text)), path


@pytest.mark.slow
def test_each_page_leads_to_its_sister(pages):
    for path, text in pages.items():
        here, other = ("zh-CN", "en") if path.startswith("zh/") else ("en", "zh-CN")
        sister = path.removeprefix("zh/") if here == "zh-CN" else "zh/" + path
        links = dict(re.findall(r'<link rel="alternate" hreflang="([\w-]+)" href="([^"]+)"', text))
        assert sister in pages and links == {here: ADDRESS + path, other: ADDRESS + sister}, path
        assert "sidebar-languages" in text, path


@pytest.mark.slow
def test_nothing_is_loaded_from_another_host(built, pages):
    for path, text in pages.items():
        loads = re.findall(r"<(?:script|img|iframe|source|video|audio|object|embed)\b[^>]*>", text)
        loads += [tag for tag in re.findall(r"<link [^>]*>", text) if not re.search('rel="(alternate|canonical)"', tag)]
        assert [tag for tag in loads if re.search(r'(?:src|href|data)="(?:https?:)?//', tag)] == [], path
    for file in built.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", file.read_text(encoding="utf-8")), file


@pytest.mark.slow
def test_each_trouble_is_called_as_people_see_it(pages):
    for trouble in catalogue():
        title = html.unescape(re.search("<title>(.*?)</title>", pages[f"troubles/{trouble.id}.html"])[1])
        seen = trouble.text or trouble.symptom[0].upper() + trouble.symptom[1:]
        assert title.split() == seen.split()  # Sphinx makes one of two spaces a space that does not break


@pytest.mark.slow
def test_the_sitemap_names_every_page(built, pages):
    found = re.findall("<loc>(.*?)</loc>", (built / "sitemap.xml").read_text())
    assert found == [ADDRESS + path for path in sorted(pages) if not path.endswith("search.html")]


@pytest.fixture
def page(browser, served):
    """A tab that may load nothing from elsewhere."""
    page = browser.new_page()
    foreign = []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(served[:20]) else None)
    yield page
    page.close()
    assert [url for url in foreign if not url.startswith("data:")] == []


SEARCHES = [
    ("zh/", "页面文件太小", "troubles/W1"),
    ("zh/", "磁盘满了", "troubles/D11"),
    ("zh/", "下载模型断点续传", "lessons/02_download"),
    ("zh/", "连不上 Hugging Face 怎么办", "troubles/D5"),
    ("zh/", "回答停不下来", "troubles/C3"),
    ("zh/", "首字延迟是什么", "lessons/04_streaming"),
    ("zh/", "微调基座模型", "lessons/09_finetune"),
    ("", "KeyError: 'qwen3'", "troubles/I4"),
    ("", "No module named 'swift.llm'", "troubles/I2"),
    ("", "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge", "troubles/D7"),
    (
        "",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 5.79"
        " GiB of which 25.12 MiB is free. Process 4711 has 5.60 GiB memory in use.",
        "troubles/G3",
    ),
    (
        "",
        "ImportError: cannot import name 'DisjunctiveConstraint' from 'transformers'"
        " (/home/lee/miniconda3/lib/python3.10/site-packages/transformers/__init__.py)",
        "troubles/I3",
    ),
    ("", "张量并行", "lessons/10_more_than_one_gpu"),
    ("", "fine-tune the base model", "lessons/09_finetune"),
]


@pytest.mark.slow
@pytest.mark.parametrize("edition, words, expected", SEARCHES, ids=[words[:20] for _, words, _ in SEARCHES])
def test_a_search_finds(page, served, edition, words, expected):
    page.goto(f"{served}{edition}search.html?q={quote(words)}")
    first = page.locator("#search-results li a").first
    assert re.search(expected, first.get_attribute("href"))
    first.click()
    page.wait_for_selector("article h1")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "lessons/07_paddlenlp.html", "troubles/index.html", "troubles/D13.html", "zh/"])
def test_a_telephone_shows_the_whole_width(page, served, name):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(served + name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
