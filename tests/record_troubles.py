"""Write the records of the troubles: `python tests/record_troubles.py [--environments FOLDER]`.

Two sources: the functions of tests/raised, which run here; and, where a folder is named, packages of other versions,
which are downloaded into it (0.6 GB). What is not asked for keeps its record. Paths of this machine are replaced. A
record's field "notebook_traceback" is how IPython showed the same error; it was recorded once and is kept.
"""

import json
import os
import re
import subprocess
import sys
import traceback
from importlib.metadata import version
from pathlib import Path

import pytest
from lessons import ROOT
from raised import entries, kind
from raised.the import The
from refresh import without_paths
from troubles_elsewhere import environments

from qwen_helpers.labs.other_python import fresh

FILE = ROOT / "tests" / "raised" / "recorded.json"
COLOURS = re.compile(r"\x1b\[[\d;]*m")


def versions(*names) -> str:
    return ", ".join(f"{name} {version(name).split('+')[0]}" for name in names or ("transformers", "torch", "ms-swift"))


def text_of(what: Exception | str) -> str:
    """An error as "TypeName: text"; a text that stood in a log as it is."""
    return tidy(what if isinstance(what, str) else f"{type(what).__name__}: {what}")


def tidy(text: str) -> str:
    """`text` without paths and ports of this machine, and with / between the folders of those that are left."""
    text = re.sub(r"('127\.0\.0\.1', (?:port=)?)\d+", r"\g<1>8000", without_paths(text))
    text = re.sub(r"\b(?:practice|qwen_helpers)\\[\w.\\-]+", lambda path: re.sub(r"\\+", "/", path[0]), text)
    return re.sub(r"/\S*/(_no_deps\w+)/", ".venv/site-packages/", text).rstrip()


def record(error: Exception | str, frames) -> dict:
    """{"text", "traceback"}; the traceback of an error in another Python is the one over there."""
    there = getattr(error, "traceback", "")
    if not isinstance(error, str) and not there:
        there = "".join(traceback.format_exception(type(error), error, frames))
    return {"text": text_of(error), "traceback": tidy(COLOURS.sub("", there))}


def happened(function, the: The) -> dict | None:
    """What an entry's function stops with, or which text it shows; None for the others."""
    try:
        text = the.call(function)
    except Exception as error:
        if kind(function) != "raises":
            raise
        return record(error, error.__traceback__.tb_next.tb_next)  # from the entry's function on
    if kind(function) == "raises":
        raise AssertionError(f"{function.__name__} has raised nothing")
    return record(text, None) if text else None


def from_here() -> dict:
    """The entries of tests/raised with an error or a text. Those whose packages are missing are named and left out."""
    found = {}
    for name, functions in entries().items():
        try:
            with The() as the:
                records = [each for each in (happened(function, the) for function in functions) if each]
        except pytest.skip.Exception as why:
            print(f"{name} keeps its record: {why}")
            continue
        if records:
            first, *others = records
            found[name] = {**first, "versions": versions(), "today": "tests/raised"}
            found[name] |= {"others": [other["text"] for other in others]} if others else {}
    return found


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
            try:
                fresh(each.raises, python=each.python, PYTHONPATH=path)
            except Exception as error:
                found.setdefault(name, []).append({**record(error, None), "versions": each.versions})
            else:
                raise AssertionError(f"{name}: nothing was raised by\n{each.raises}")
    return found


def main(arguments: list[str]) -> None:
    records = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name, new in from_here().items():
        old = records.get(name, {})
        records[name] = {**new, "older": old.get("older", [])}
        if "notebook_traceback" in old:
            records[name]["notebook_traceback"] = old["notebook_traceback"]
    if "--environments" in arguments:
        folder = Path(arguments[arguments.index("--environments") + 1])
        for name, (first, *others) in from_environments(folder).items():
            older = [each["text"] for each in others]
            if "today" in records.get(name, {}):  # raised with today's versions as well
                records[name]["older"] = [first["text"], *older]
            else:
                records[name] = {**first, "older": older}
    ordered = dict(sorted(records.items(), key=lambda pair: (pair[0][0], int(pair[0][1:]))))
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
