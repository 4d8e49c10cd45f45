"""In which language the course speaks to its reader: Chinese or English.

`_("A text")` is the text in the reader's language, looked up when it is said, so that the language can change while a
program runs. The texts in the code are English; `locale/zh` holds the Chinese ones, and a text without one stays
English. A text with values in it is translated before they are filled in: `_("{size} MB free").format(size=12)`. Where
a text stands in a table that is made at import, `N_("A text")` marks it there, and `_` translates it when it is shown.

course.py needs this before anything is installed: standard library only, any Python from 3.6 on.
"""

import functools
import gettext
import locale
import os
from pathlib import Path

LOCALE = Path(__file__).resolve().parent / "locale"
VARIABLES = ("QWEN_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # ours, then those that gettext reads


def reader_language():
    """ "zh" or "en": as QWEN_LANG says, else as the system's settings do, else English."""
    wanted = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None) or windows_language()
    for name in wanted.lower().split(":"):  # LANGUAGE may name several, the one most liked first
        if name.startswith(("zh", "chinese")):
            return "zh"
        if name.startswith("en"):
            return "en"
    return "en"


def windows_language():
    """What Windows, which sets none of the variables, calls the language: zh_CN, or Chinese (Simplified)_China."""
    try:
        return locale.getlocale()[0] or ""
    except ValueError:  # a name that this Python does not know
        return ""


@functools.lru_cache(maxsize=None)  # noqa: UP033, Python 3.6 has no functools.cache
def translations(language):
    """The texts of `helpers.mo` and `troubles.mo` in this language. A file that is missing or broken holds none."""
    found = gettext.NullTranslations()
    for name in ("troubles.mo", "helpers.mo"):
        try:
            with (LOCALE / language / "LC_MESSAGES" / name).open("rb") as file:
                catalogue = gettext.GNUTranslations(file)
        except Exception:  # noqa: S112, English is better than an error about a language
            continue
        catalogue.add_fallback(found)
        found = catalogue
    return found


def _(text):
    """`text` in the reader's language."""
    return translations(reader_language()).gettext(text) if text else text  # gettext keeps its notes under ""


def N_(text):
    """`text` as it is: a mark for tests/translate.py, where `_` comes later."""
    return text
