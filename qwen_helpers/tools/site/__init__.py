"""`python course.py site [OUT]`: the lessons and the troubles as a website that a search finds, in each language.

Sphinx with myst-nb makes the pages, in the theme Furo; `sources.py` writes what it reads, `conf.py` is its
configuration. The English edition is the site's root, the Chinese one its folder `zh`. The pages need no server with a
program, and load nothing from anywhere else: `python -m http.server -d _site` shows them, and so does GitHub Pages,
under a path too.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin
from xml.sax.saxutils import escape

from qwen_helpers.folders import course_root
from qwen_helpers.tools.site.sources import Edition, Pages, editions, title


def build(root: Path, out: Path, address: str = "", repository: str = "") -> None:
    """Write the site of the course in `root` to the folder `out`, new or in place of an older site.

    `address`: where it will be seen, for the sitemap and for search engines; `repository`: where the files are that are
    no pages. Both may be unknown. Raises ValueError if `out` is something else, or if Sphinx warns of anything.
    """
    if out.exists() and any(out.iterdir()) and not (out / ".buildinfo").exists():  # Sphinx's own mark
        raise ValueError(f"{out} is there and is no site: choose another folder, or rename that one.")
    with tempfile.TemporaryDirectory() as folder:
        work, found = Path(folder), editions(root)
        for edition in found:
            Pages(root, edition, work / "sources" / edition.language, repository).write()
        for edition in found:
            others = [other for other in found if other != edition]
            run_sphinx(edition, others, title(root / edition.start), work, address)
        if address:
            write_sitemap(work / "site", address)
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(work / "site", out)


def run_sphinx(edition: Edition, others: list[Edition], name: str, work: Path, address: str) -> None:
    """One edition: Sphinx knows one language at a time."""
    settings = {"language": edition.language, "html_title": name}
    settings.update({"nb_code_prompt_show": edition.folded, "nb_code_prompt_hide": edition.folded})
    settings["html_baseurl"] = address and urljoin(address, edition.folder)
    for other in others:  # one at most
        settings.update({"html_context.other": other.language, "html_context.other_name": other.name})
        settings["html_context.other_way"] = "../" * bool(edition.folder) + other.folder
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--jobs", "2"]
    command += ["-c", str(Path(__file__).parent), "-d", str(work / "doctrees" / edition.language)]
    command += [word for key, value in settings.items() for word in ("-D", f"{key}={value}")]
    command += [str(work / "sources" / edition.language), str(work / "site" / edition.folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise ValueError(f"Sphinx did not make the site in {edition.name}:\n{done.stderr.strip()[-3000:]}")


def write_sitemap(site: Path, address: str) -> None:
    """One for both editions, of which Sphinx and its plugin know one at a time."""
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html") if page.stem != "search")
    lines = [f"<url><loc>{escape(urljoin(address, page))}</loc></url>" for page in pages]
    head = '<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    (site / "sitemap.xml").write_text("\n".join([head, *lines, "</urlset>\n"]), encoding="utf-8")


def repository_of(root: Path) -> str:
    """The repository's address in pyproject.toml; "" if it names none."""
    found = re.search(r'(?m)^Repository *= *"(.+?)/?"', (root / "pyproject.toml").read_text(encoding="utf-8"))
    return found[1] if found else ""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="course.py site", description="Make the course's website.")
    parser.add_argument("out", nargs="?", default="_site", type=Path, help="the folder for it (default: _site)")
    out = parser.parse_args(arguments).out.resolve()
    if sys.version_info < (3, 11):
        raise ValueError("The site's builder needs Python 3.11 or 3.12; this is 3.10.")
    root, address = course_root(), os.environ.get("SITE_URL", "")
    build(root, out, address and address.rstrip("/") + "/", repository_of(root))
    print(f"The site is in {out}. To see it: python -m http.server -d {out}")
    if not address:
        print("It has no sitemap: for one, set SITE_URL to the address at which others will see it.")
