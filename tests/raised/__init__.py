"""The proof of the catalogue: code that raises each trouble and code that cures it, a module for each of its groups.

A function's name says what it does and for which entry; those of an entry run in the order in which they stand:

    raises_D7(the)   stops with the error; raises_D7_2 with a second text of the same entry
    shows_D10(the)   no error comes: it asserts what is wrong; if a log names the entry, it returns that text
    cures_D10(the)   the same thing, done right
    gone_G4(the)     a trouble of older versions: it asserts that today there is none

`the` is what they share (the.py), made anew for each entry. test_troubles_raised.py runs them all and compares the
texts with recorded.json, which record_troubles.py writes.
"""

import importlib
import pkgutil
import re

FUNCTION = re.compile(r"(raises|shows|cures|gone)_([A-Z]\d+)(?:_\d+)?")


def entries() -> dict[str, list]:
    """{id: its functions in their order}."""
    found: dict[str, list] = {}
    for module in pkgutil.iter_modules(__path__):
        for name, function in vars(importlib.import_module(f"raised.{module.name}")).items():
            if parts := FUNCTION.fullmatch(name):
                found.setdefault(parts[2], []).append(function)
    return found


def kind(function) -> str:
    """What it does: "raises", "shows", "cures" or "gone"."""
    return function.__name__.partition("_")[0]
