"""The people of a class: who they are and by which key one knows them, and what `check` said to them.

`python -m qwen_helpers keys NAMES.txt class.csv` makes the keys, one name to a line.
"""

import argparse
import csv
import os
import secrets
import sqlite3
import time
from pathlib import Path

from qwen_helpers.language import _

TEACHER = "teacher"  # the name whose key opens the teacher's page


def make_keys(names, file) -> dict[str, str]:
    """Write a new key for the teacher and for each of `names` to the CSV file `file`; return {name: key}.

    Only this user may read the file. Raises ValueError for a name that is empty, comes twice or is longer than 60
    characters, and FileExistsError if the file is there: the keys in it may be in use.
    """
    names = [str(name).strip() for name in names]
    for name in names:
        if not name or len(name) > 60 or names.count(name) > 1 or name == TEACHER:
            raise ValueError(
                _("Each student needs a name of 1 to 60 characters that is no one else's, and not {name!r}.").format(
                    name=name
                )
            )
    if not names:
        raise ValueError(_("A class has at least one student."))
    keys = {name: "sk-" + secrets.token_urlsafe(24) for name in (TEACHER, *names)}
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(
            _("{file} is there already, and its keys may be in use: take another name.").format(file=file)
        ) from None
    with open(handle, "w", newline="", encoding="utf-8-sig") as out:  # with the mark that Excel needs for UTF-8
        csv.writer(out).writerows([("name", "key"), *keys.items()])
    return keys


def read_keys(file) -> dict[str, str]:
    """{name: key} of a file from `make_keys`. Raises ValueError for another file."""
    with open(file, newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    keys = {row.get("name"): row.get("key") for row in rows}
    if TEACHER not in keys or not all(keys.values()) or len(set(keys.values())) < len(rows):
        raise ValueError(
            _("{file} is no list of keys: make one with `python -m qwen_helpers keys NAMES.txt {file}`.").format(
                file=file
            )
        )
    return keys


class Results:
    """What `check` said, a row for each student and exercise, in a SQLite file."""

    HEAD = ("student", "exercise", "tries", "passed", "last")

    def __init__(self, file):
        self.book = sqlite3.connect(file)
        self.book.execute(
            "CREATE TABLE IF NOT EXISTS results (student TEXT, exercise TEXT, tries INTEGER, passed INTEGER, last TEXT,"
            " PRIMARY KEY (student, exercise))"
        )

    def add(self, student: str, exercise: str, passed: bool) -> None:
        """Count one try. What has passed stays so, and its tries are no longer counted."""
        self.book.execute(
            "INSERT INTO results VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET tries = tries + 1 - passed,"
            " passed = max(passed, excluded.passed), last = excluded.last",
            (student, exercise, passed, time.strftime("%Y-%m-%d %H:%M:%S")),
        )
        self.book.commit()

    def rows(self) -> list[tuple]:
        """All rows under HEAD, by student and exercise."""
        return self.book.execute("SELECT * FROM results ORDER BY student, exercise").fetchall()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers keys", description=_("Make a key for each student."))
    parser.add_argument("names", type=Path, help=_("a text file with one name to a line"))
    parser.add_argument("out", type=Path, help=_("the file of keys to make, such as class.csv"))
    options = parser.parse_args(arguments)
    try:
        names = [line for line in options.names.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        keys = make_keys(names, options.out)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(
        _("{file}: keys for {count} students, and yours in the line {teacher!r}. Give each one his own.").format(
            file=options.out, count=len(keys) - 1, teacher=TEACHER
        )
    )
