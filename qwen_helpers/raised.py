"""What was raised: an exception with its chain, a pasted traceback or a line of a log, in one form for `troubles.py`.

It knows nothing of the catalogue.
"""

import re
import sys
import traceback
from dataclasses import dataclass

# Between two exceptions of a chain, in Python and in IPython; and before each traceback of a log.
CHAINED = re.compile(
    r"\n(?:During handling of the above exception, another exception occurred:"
    r"|The above exception was the direct cause of the following exception:)\s*\n"
    r"|\n(?=Traceback \(most recent call last\):)"
)
# What stands above the message: frames in Python's form, IPython's (7 and later) and rules. The rest is indented code.
FRAME = re.compile(
    r"\s|File |Cell In|Input In|-|Traceback|$|\[\.\.\. skipping|\S+ in \S|\w+(?:Error|Exception)? +Traceback"
)
TAIL = 200_000  # letters of a long log that are read, its end: 0.15 s
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Raised:
    """One exception of a chain, or what may be one in a text."""

    text: str  # "TypeOfError: message" with a line break before and after it, which patterns can hold on to
    files: str  # the files of its traceback, the one that raised it last, with / between folders; empty if not known

    @property
    def title(self) -> str:
        """The line with the type and the message, cut to a line's length. Before it a SyntaxError shows its code."""
        lines = self.text.strip().splitlines()
        line = lines[-1] if lines[0].startswith("File ") else lines[0]
        return line if len(line) <= 100 else line[:97] + "..."

    @property
    def bottom(self) -> str:
        """The file that raised it."""
        return self.files.rpartition("\n")[2]

    @property
    def own(self) -> bool:
        """True for an error of the course's helpers, whose message says what to do."""
        return "/qwen_helpers/" in self.bottom


def last_error() -> BaseException | None:
    """The exception that is being handled, else the last one that nobody caught, which Python notes in `sys`."""
    return sys.exc_info()[1] or getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def read_error(error: BaseException) -> list[Raised]:
    """The exception and its chain, the innermost cause first: as Python prints it, without `raise ... from None`."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [raised for error in reversed(chain) for raised in _read_one(error)]


def _read_one(error: BaseException) -> list[Raised]:
    other = getattr(error, "traceback", None)
    if isinstance(other, str) and other.strip():  # an error of another process brings that one's traceback as text
        return read_text(other)
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    message = "".join(traceback.format_exception_only(error))
    return [Raised(_between_line_breaks(message), _with_slashes("\n".join(files)))]


def read_text(text: str) -> list[Raised]:
    """The exceptions of a pasted text, in its order: Python, too, prints the innermost cause first.

    Lines of code in a traceback are left out, since they often hold the texts of other errors.
    """
    return [_read_part(part) for part in CHAINED.split("\n" + COLOURS.sub("", text[-TAIL:])) if part.strip()]


def _read_part(part: str) -> Raised:
    lines = part.splitlines()
    start = next((number for number, line in enumerate(lines) if not FRAME.match(line)), len(lines))
    above = [re.sub(r"^\s*File |^\s+\d.*|^-.*", "", line) for line in lines[:start]]
    files = "\n".join(line for line in above if re.search(r"\.py\b", line))
    return Raised(_between_line_breaks("\n".join(lines[start:]) or part), _with_slashes(files))


def _between_line_breaks(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if lines and re.fullmatch(r"[\w.]+:", lines[0]):  # IPython's "AttributeError: ", where Python has no colon
        lines[0] = lines[0].removesuffix(":")
    return "\n".join(["", *lines, ""])


def _with_slashes(files: str) -> str:
    return files.replace("\\", "/")
