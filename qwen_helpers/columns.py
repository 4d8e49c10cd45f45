"""Text in columns and in lines, Chinese too: a Chinese letter is as wide as two others, and lines break between them.

Python's own `len`, format and `textwrap` count letters, so that a table with Chinese in it would not line up.
"""

import re
import textwrap
import unicodedata

HAN, OPENING, CLOSING = r"\u3400-\u9fff", "（《“", "，。、；：？！）》”"
# What a line may be broken between: spaces, words of other letters, and single Chinese letters with their marks.
WORDS = re.compile(rf"\s+|[{OPENING}]*(?:[{HAN}]|[^\s{HAN}{OPENING}{CLOSING}]+)[{CLOSING}]*|[{OPENING}{CLOSING}]")


def width(text: str) -> int:
    """Columns that `text` takes in a terminal or a notebook."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def left(text: str, columns: int) -> str:
    """`text`, and spaces after it up to so many columns."""
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """`text`, and spaces before it up to so many columns."""
    return " " * (columns - width(text)) + text


def wrap(text: str, columns: int = 100, **settings) -> str:
    """`text` in lines of at most so many columns. `settings` are those of `textwrap.fill`, which breaks English."""
    if width(text) == len(text):
        return textwrap.fill(text, columns, **settings)
    lines = [""]
    for word in WORDS.findall(text):
        if width(lines[-1] + word) > columns:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += word if lines[-1] else word.lstrip()
    return "\n".join(lines).rstrip()
