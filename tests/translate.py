"""Collect the texts that the course says and bring its translations up to date: `python tests/translate.py`.

It reads the texts marked with `_` and `N_` and those of known_troubles/*.json, writes helpers.po and troubles.po
anew (a text that is no longer said goes, a new one waits for its translation), compiles them to the .mo files
that Python reads, and names what has no translation yet. `--take FILE.json` first takes translations from
{"English text": "translation"}. Babel reads and writes; no dates in the files, so the same texts give the same bytes.
"""

import argparse
import io
import json
import re
from pathlib import Path

from babel.messages import extract, mofile, pofile
from babel.messages.catalog import Catalog

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "qwen_helpers"
FOLDER = PACKAGE / "locale" / "zh" / "LC_MESSAGES"
MARKS = {"_": None, "N_": None}
JINJA = [PACKAGE / "labs" / "teacher_page.html"]
COMMENT = re.compile(r"(^|\s)# ?\w")


class Undated(Catalog):
    """A catalogue whose header says only what Python's gettext needs to know."""

    mime_headers = [("Content-Type", "text/plain; charset=utf-8"), ("Language", "zh")]


def helpers() -> dict[str, list]:
    """{text: files} of all that is marked in the package and course.py."""
    from jinja2.ext import babel_extract

    found = {}
    for file in [ROOT / "course.py", *sorted(PACKAGE.rglob("*.py")), *JINJA]:
        how = babel_extract if file in JINJA else "python"
        for _line, text, *_rest in extract.extract(how, io.BytesIO(file.read_bytes()), keywords=MARKS):
            found.setdefault(text, []).append(file.relative_to(ROOT).as_posix())
    return found


def troubles() -> dict[str, list]:
    """The same of the catalogue of troubles: what its entries say, and the lines of code with a comment."""
    found = {}
    for file in sorted((PACKAGE / "known_troubles").glob("*.json")):
        for entry in json.loads(file.read_text(encoding="utf-8")):
            lines = [line for line in entry.get("code", []) if COMMENT.search(line) and not line.startswith(("{", '"'))]
            for text in filter(None, [*(entry.get(key) for key in ("symptom", "cause", "cure")), *lines]):
                found.setdefault(text, []).append(f"{file.stem}.json:{entry['id']}")
    return found


def read(name: str) -> dict[str, str]:
    """{text: translation} of a .po file; {} if there is none yet."""
    file = FOLDER / f"{name}.po"
    if not file.is_file():
        return {}
    with file.open("rb") as stream:
        return {message.id: message.string for message in pofile.read_po(stream) if message.id}


def made(texts: dict[str, list], translations: dict[str, str]) -> tuple[bytes, bytes]:
    """The .po and the .mo file of these texts."""
    catalogue = Undated(locale="zh", charset="utf-8", fuzzy=False, header_comment="# Written by tests/translate.py.")
    for text, places in texts.items():
        catalogue.add(text, translations.get(text, ""), [(place, None) for place in dict.fromkeys(places)])
    po, mo = io.BytesIO(), io.BytesIO()
    pofile.write_po(po, catalogue, width=120, include_lineno=False)
    mofile.write_mo(mo, catalogue)
    return po.getvalue(), mo.getvalue()


CATALOGUES = {"helpers": helpers, "troubles": troubles}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--take", nargs="+", type=Path, metavar="FILE.json", default=[], help="take translations")
    taken = {}
    for file in parser.parse_args().take:
        taken |= json.loads(file.read_text(encoding="utf-8"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, collect in CATALOGUES.items():
        texts, translations = collect(), {**read(name), **taken}
        po, mo = made(texts, translations)
        (FOLDER / f"{name}.po").write_bytes(po)
        (FOLDER / f"{name}.mo").write_bytes(mo)
        waiting = [text for text in texts if not translations.get(text)]
        print(f"{name}: {len(texts)} texts, {len(waiting)} without a translation")
        print(json.dumps(dict.fromkeys(waiting, ""), ensure_ascii=False, indent=1) if waiting else "")
        taken = {text: translation for text, translation in taken.items() if text not in texts}
    if taken:
        print("Not said anywhere:", *taken, sep="\n  ")


if __name__ == "__main__":
    main()
