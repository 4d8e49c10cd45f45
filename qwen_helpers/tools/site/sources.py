"""What Sphinx reads: for one edition, each lesson, the start page, and a page for each trouble, with links that fit.

The pages are those of the repository. What changes: links (a file that is no page is a link to the repository, or plain
text if nobody has said where that is), Mermaid diagrams, which become pictures, solutions, which are folded, and a
description for search engines.
"""

import json
import posixpath
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import nbformat

SYMPTOM = re.compile(r"(?m)^\*\*([A-Z]\d+)(?:: |：)(.+?)\.?\*\*[。 ]")
DIAGRAM = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
# Code is matched first, and without groups: a link in it is none.
LINK = re.compile(r"(?ms)^```.*?^```$|``.+?``|`[^`\n]+`|(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


class Edition(NamedTuple):
    """The course in one language: where it is in the repository, and in which folder of the site."""

    language: str
    folder: str
    name: str
    start: str
    lessons: str
    troubles: str
    folded: str  # what a folded solution says

    def pages(self, root: Path) -> dict[str, str]:
        """{file of the repository: the same among the sources}."""
        lessons = [file for file in (root / self.lessons).glob("[0-9][0-9]_*.*") if file.suffix in (".ipynb", ".md")]
        names = [
            file.name for file in sorted(lessons, key=lambda file: (file.name[:2], file.suffix))
        ]  # then its appendix
        pages = {f"{self.lessons}/{name}": f"lessons/{name}" for name in names}
        return {self.start: "index.md", **pages, self.troubles: "troubles/index.md"}


ENGLISH = Edition("en", "", "English", "README.md", "notebooks", "TROUBLES.md", "Solution")
CHINESE = Edition("zh_CN", "zh/", "简体中文", "README.zh-CN.md", "notebooks/zh", "TROUBLES.zh-CN.md", "答案")


def editions(root: Path) -> list[Edition]:
    """Those that have lessons."""
    return [edition for edition in (ENGLISH, CHINESE) if any((root / edition.lessons).glob("*.ipynb"))]


class Pages:
    """Writes the sources of one edition into the folder `out`. `repository`: its address, or "" if nobody knows it."""

    def __init__(self, root: Path, edition: Edition, out: Path, repository: str = ""):
        self.root, self.edition, self.out, self.repository = root, edition, out, repository
        images = {f"images/{file.name}": f"images/{file.name}" for file in (root / "images").iterdir()}
        self.own = edition.pages(root) | images
        self.others = {
            path: "../" * bool(edition.folder) + other.folder + re.sub(r"\.\w+$", ".html", page)
            for other in editions(root)
            for path, page in other.pages(root).items()
        }

    def write(self) -> None:
        shutil.copytree(self.root / "images", self.out / "images")
        for folder in ("lessons", "troubles"):
            (self.out / folder).mkdir()
        (start, *lessons, troubles) = self.edition.pages(self.root).items()
        for path, page in (start, *lessons):
            text = (self.root / path).read_text(encoding="utf-8")
            text = self.notebook(text, path, page) if path.endswith(".ipynb") else self.with_head(text, path, page)
            (self.out / page).write_text(text, encoding="utf-8")
        self.write_troubles()
        contents = [page for _, page in (*lessons, troubles)]
        with (self.out / "index.md").open("a", encoding="utf-8") as file:
            file.write("\n".join(["", "```{toctree}", ":hidden:", ":titlesonly:", *contents, "```", ""]))

    def notebook(self, text: str, path: str, page: str) -> str:
        """The lesson as it is stored; nothing is executed."""
        notebook = nbformat.reads(text, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.turn(cell.source, path, page)
            if "solution" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("hide-cell")
            for output in cell.get("outputs", []):
                if "text/markdown" in output.get("data", {}):  # explain()'s, with links
                    output.data["text/markdown"] = self.turn(output.data["text/markdown"], path, page)
        notebook.metadata.update(facts(paragraphs(notebook.cells[0].source)[1]))
        return nbformat.writes(notebook)

    def with_head(self, text: str, path: str, page: str, **more) -> str:
        prose = [part for part in paragraphs(text)[1:] if not part.startswith(("[", "!", "<", "**English**"))]
        return head(prose[0], **more) + self.turn(text, path, page)

    def write_troubles(self) -> None:
        """A page for each entry of the page of troubles, headed by the text that people see, and an index by group."""
        path = self.edition.troubles
        start, *groups = re.split(r"(?m)^## ", (self.root / path).read_text(encoding="utf-8"))
        index = [start]
        for group in groups:
            title, *entries = re.split(r'<a id="(\w+)"></a>\n\n### ', group)
            index.append(f"## {title}")
            for name, entry in zip(entries[::2], entries[1::2], strict=True):
                heading, symptom, cure, *_ = paragraphs(entry)
                index.append(f"- [{name}](#{name}) {heading}\n")
                entry = SYMPTOM.sub(r"## \1: \2\n\n", entry)  # a heading counts more in a search
                text = head(f"{symptom} {cure}", orphan=True) + "# " + self.turn(entry, path, f"troubles/{name}.md")
                (self.out / f"troubles/{name}.md").write_text(text, encoding="utf-8")
        text = self.with_head("\n".join(index), path, "troubles/index.md", nosearch=True)  # it holds every word
        (self.out / "troubles/index.md").write_text(text, encoding="utf-8")

    def turn(self, text: str, path: str, page: str) -> str:
        """TEXT of the repository's file PATH as it must stand in the source PAGE."""
        text = LINK.sub(lambda found: self.link(*found.groups(), path, page) if found[3] else found[0], text)
        return DIAGRAM.sub(lambda found: self.picture(found[1], page), text)

    def link(self, mark: str, text: str, target: str, path: str, page: str) -> str:
        if re.match(r"\w+:", target):
            return f"{mark}[{text}]({target})"
        file, _, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
        place = self.own.get(file) or self.others.get(file)
        if place is None:
            return f"[{text}]({self.repository}/blob/main/{file})" if self.repository else text
        if "troubles/index" in place and re.fullmatch(r"[A-Z]\d+", anchor):
            place, anchor = place.replace("index", anchor), ""
        url = posixpath.relpath(place, posixpath.dirname(page) or ".") + "#" * bool(anchor) + anchor
        return f"{mark}[{text}]({url})" if file in self.own else f'<a href="{url}">{text}</a>'

    def picture(self, diagram: str, page: str) -> str:
        """A Mermaid diagram as a file, with what it says to those who cannot see it."""
        from qwen_helpers.tools.site.diagrams import draw  # needs what only the extra `site` has

        file = f"images/diagram-{sha256(diagram.encode()).hexdigest()[:8]}.svg"
        (self.out / file).write_text(draw(diagram), encoding="utf-8")
        alt = re.search(r"accDescr: (.*)", diagram)[1]
        return f"![{alt}]({posixpath.relpath(file, posixpath.dirname(page) or '.')})"


def title(page: Path) -> str:
    return paragraphs(page.read_text(encoding="utf-8"))[0].removeprefix("# ")


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def facts(description: str, **more) -> dict:
    """What MyST reads from a page's head: a description for search engines, as plain text."""
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", description).replace("\n", " ")
    return {"myst": {"html_meta": {"description": plain[:300]}}, **more}


def head(description: str, **more) -> str:
    return f"---\n{json.dumps(facts(description, **more), ensure_ascii=False)}\n---\n\n"  # JSON is YAML
