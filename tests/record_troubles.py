"""Write the records of the troubles: `python tests/record_troubles.py [--lesson] [--environments FOLDER]`.

Three sources: the snippets of troubles_elsewhere.py; lesson 11's cells, run here with whole tracebacks; and packages of
other versions, which are downloaded into FOLDER (0.6 GB). What is not asked for keeps its record. The texts are for
explain()'s tests and for lesson 11, which shows those that it cannot raise. Paths of this machine are replaced.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from lessons import ROOT, read, run
from refresh import without_paths
from troubles_elsewhere import HERE, environments
from troubles_lesson import COLOURS, LESSON_10, entries

from qwen_helpers.labs.other_python import fresh

FILE = ROOT / "qwen_helpers" / "known_troubles" / "recorded.json"  # the lesson reads it, and a class has no tests


def versions(*names) -> str:
    return ", ".join(f"{name} {version(name).split('+')[0]}" for name in names or ("transformers", "torch", "ms-swift"))


def raised(code: str, **how) -> dict:
    """The error of `code` in a fresh Python: {"text": "TypeName: text", "traceback"}."""
    try:
        fresh(code, **how)
    except Exception as error:
        traceback = COLOURS.sub("", getattr(error, "traceback", ""))
        return {"text": text_of(error), "traceback": tidy(traceback)}
    raise AssertionError(f"nothing was raised by\n{code}")


def text_of(error: Exception) -> str:
    said = str(error)
    return tidy(said if said.startswith("ERROR") else f"{type(error).__name__}: {said}")  # a line of pip's has no type


def tidy(text: str) -> str:
    """`text` without paths and ports of this machine."""
    text = re.sub(r"('127\.0\.0\.1', (?:port=)?)\d+", r"\g<1>8000", without_paths(text))
    return re.sub(r"/\S*/(_no_deps\w+)/", ".venv/site-packages/", text).rstrip()


def from_lesson() -> dict:
    """The entries that lesson 11 raises. It is run with whole tracebacks; the stored lesson has one line each."""
    notebook = read(LESSON_10)
    for cell in notebook.cells:
        cell.source = cell.source.replace("%xmode Minimal", "%xmode Plain")
    found = {}
    for name, texts in entries(run(notebook, LESSON_10)).items():
        if texts:
            (text, traceback), *more = texts
            record = {"text": tidy(text), "traceback": tidy(traceback), "versions": versions(), "today": "lesson 11"}
            found[name] = record | ({"others": [tidy(other) for other, _ in more]} if more else {})
    return found


def from_here() -> dict:
    today = {"versions": versions(), "today": "tests/troubles_elsewhere.py"}
    return {name: raised(each.raises, hide=each.hide) | today for name, each in HERE.items()}


def from_environments(folder: Path) -> dict:
    """{id: [record, ...]}; packages that are in `folder` already are not installed again."""
    found: dict = {}
    for name, tried in environments().items():
        for each in tried:
            target = folder / re.sub(r"\W+", "_", "".join(each.packages))
            if not target.exists():
                pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(target), *each.packages]
                subprocess.run(pip, check=True)
            path = os.pathsep.join([str(target), str(ROOT)])
            record = raised(each.raises, python=each.python, PYTHONPATH=path)
            found.setdefault(name, []).append({**record, "versions": each.versions})
    return found


def main(arguments: list[str]) -> None:
    records = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name, record in (from_here() | (from_lesson() if "--lesson" in arguments else {})).items():
        records[name] = {**record, "older": records.get(name, {}).get("older", [])}
    if "--environments" in arguments:
        folder = Path(arguments[arguments.index("--environments") + 1])
        for name, (first, *others) in from_environments(folder).items():
            older = [record["text"] for record in others]
            if "today" in records.get(name, {}):  # raised with today's versions as well
                records[name]["older"] = [first["text"], *older]
            else:
                records[name] = {**first, "older": older}
    ordered = dict(sorted(records.items(), key=lambda pair: (pair[0][0], int(pair[0][1:]))))
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
