"""What was raised: an exception with its chain, a pasted traceback or a log, in one form for `troubles.py`.

It knows nothing of the catalogue. The standard library's `traceback` prints exceptions and cannot read them back, and
the parsers on the package index want a traceback that is whole and as Python printed it. People paste others:
IPython's, lines broken at 80 columns, a log's time or `[rank0]:` before each line, a box around it, warnings above it.
"""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from dataclasses import dataclass

TAIL = 60_000  # letters of a long log that are read, its end: 10 ms
MANY = 40  # exceptions of a log that are read, the last ones
FLAGS = re.MULTILINE | re.IGNORECASE | re.VERBOSE
DECORATION = re.compile(
    r"""
    \x1b\[ [0-9;]* [A-Za-z]            # colours
    | ^[│┃]\ ? | [│┃]\s*$ | [╭╮╰╯─┌┐└┘━╷╵]+\ ?   # a box
    | \ufeff | \r
    """,
    FLAGS,
)
PREFIX = re.compile(  # what programs that write logs put before a line
    r"""
    ^ (?: \s* (?:
        \[ (?:rank)? \d+ \]:                              # [rank0]:
        | \( \w+ \ (?:pid|rank)=\d+ (?:,\ ip=[\d.]+)? \)   # (EngineCore_0 pid=123)
        | \w+-\d+ \s+ \|                                 # server-1  |
        | (?:\d{4}-)? \d\d-\d\d [ T] [\d:.,]+ Z?          # 2025-09-17 02:10:28,123
        | \[ \w+ \.py:\d+ \] | \[ \d\d:\d\d:\d\d \]        # [core.py:700] [02:10:28]
        | (?:ERROR|CRITICAL) (?=\s+ (?:\d\d-\d\d | \[\w+\.py))   # the level, where a time or a file follows
        | >
    ) \s? )+
    (?: (?:ERROR|CRITICAL) \b (?!:) \s? )?
    (?: \[ \w+ \.py:\d+ \] \s? )?
    """,
    FLAGS,
)
# Between two exceptions of a chain, in Python and in IPython; and before each traceback of a log.
CHAINED = re.compile(
    r"During\s+handling\s+of\s+the\s+above\s+exception,\s+another\s+exception\s+occurred:"
    r"|The\s+above\s+exception\s+was\s+the\s+direct\s+cause\s+of\s+the\s+following\s+exception:",
    re.I,
)
TRACEBACK = re.compile(
    r"(?: ^ \w+ (?:Error|Exception) \s{2,} )? Traceback \s+ \(most \s+ recent \s+ call \s+ last\) :?", FLAGS
)
FRAME = re.compile(
    r"""
    File \s+ "[^"\n]+ (?:\n[^"\n]+)? ", \s+ line \s+ \d+ (?:, \s+ in \s+ \S+)?   # Python's: File "x.py", line 1, in f
    | ^ (?:File\ )? \S+ \. \w+ :\d+ ,\ in\ \S+ .*                               # IPython's: File x.py:1, in f
    | ^ File \ + \S+ (?: :\d+ | \.py\ in\ ) .*
    | ^ (?:Cell\ In|Input\ In|<ipython) .*
    | ^ -+> \ * \d+ \  .* | ^ \ + \d+ \  .*                                       # ----> 1 code
    | ^ \[\.\.\.\ skipping .*
    """,
    FLAGS,
)
# The type of an exception, at the beginning of a line; in a text whose lines were joined, anywhere.
NAME = r"""(?: [a-z_]\w* \. )* \w*
    (?:Error|Exception|Failure|Timeout|Empty|Exit|Interrupt|NotFound|NoSuchKernel|StopIteration)"""
AT_LINE = re.compile(rf"^ {NAME} (?= : | [ \t]*$ )", FLAGS)
ANYWHERE = re.compile(
    rf"(?<! [\w.'\"(] ) (?<! except\  ) (?<! raise\  ) (?!(?:error|exception):) {NAME} (?= :\s )", FLAGS
)
WARNING = re.compile(r"\b(?:\w*Warning|WARN|INFO|DEBUG)\b|deprecated", re.I)
FAILED = re.compile(
    r"error|fail|fatal|illegal|denied|refused|notfound|nosuch|unable|exception(?!s)|abort|killed"
    "|错误|失败|不是内部|拒绝|无法",
    re.I,
)
# A line of a log after the message of an exception, and the line that this course adds under a traceback.
AFTERWARDS = re.compile(
    r"^ (?: \d{4}-\d\d-\d\d\  | \[? (?:INFO|WARNING|DEBUG|WARN) \b | .* \w+Warning:\  | [A-Z]\d+:\  .* explain\(\) )",
    FLAGS,
)
VAGUE = ("exception:", "runtimeerror:", "oserror:", "error:")
QUOTES = re.compile('["`\u2018\u2019\u201c\u201d\u00b4\u2032]')


def plain(text: str) -> str:
    """`text` as patterns and errors are compared: small letters, one kind of quotes, no spaces and line breaks.

    Without spaces it makes no difference where a terminal or a mail has broken the lines.
    """
    return re.sub(r"\s+", "", QUOTES.sub("'", text)).lower()


@dataclass(frozen=True)
class Raised:
    """One exception of a chain; or, with `error` False, what stands in a text outside of its exceptions."""

    text: str  # "TypeOfError: message"
    files: str = ""  # its traceback's files, the one that raised it last, with / between folders; empty if not known
    error: bool = True
    statement: str = ""  # the line of code that raised it; empty if not known
    warning: bool = False  # lines of a log that say of themselves that they are no errors

    @property
    def title(self) -> str:
        """The line with the type and the message, cut to a line's length. Before it a SyntaxError shows its code."""
        lines = self.text.strip().splitlines() or [""]
        line = lines[-1] if lines[0].startswith("File ") else lines[0]
        return line if len(line) <= 100 else line[:97] + "..."

    @property
    def bottom(self) -> str:
        """The file that raised it."""
        return self.files.rpartition("\n")[2]

    @property
    def vague(self) -> bool:
        """True for a type that says little."""
        return self.text.lower().startswith(VAGUE)

    @property
    def own(self) -> bool:
        """True for an error that the course's helpers raise themselves, whose message says what to do."""
        return "/qwen_helpers/" in self.bottom and self.statement.startswith("raise ")


def last_error() -> BaseException | None:
    """The exception that is being handled, else the last one that nobody caught, which Python notes in `sys`."""
    return sys.exc_info()[1] or getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def read(what: BaseException | str) -> list[Raised]:
    """The exceptions of an error or of a pasted text, the last one first, and what else a text says."""
    return read_text(what) if isinstance(what, str) else read_error(what)


def read_error(error: BaseException) -> list[Raised]:
    """The exception, then what it came from: the chain that Python prints, without `raise ... from None`."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [raised for error in chain for raised in _read_one(error)]


def _read_one(error: BaseException) -> list[Raised]:
    other = getattr(error, "traceback", None)
    if isinstance(other, str) and other.strip():  # an error of another process brings that one's traceback as text
        return read_text(other)
    frames = list(traceback.walk_tb(error.__traceback__))
    files = "\n".join(frame.f_code.co_filename for frame, _ in frames).replace("\\", "/")
    statement = linecache.getline(frames[-1][0].f_code.co_filename, frames[-1][1]).strip() if frames else ""
    message = "".join(traceback.format_exception_only(error)).strip()
    return [Raised(message, files, not isinstance(error, Warning), statement, isinstance(error, Warning))]


def whole_text(what: BaseException | str) -> str:
    """The pasted text; or the exception with its chain and the code of its frames, as Python prints it."""
    if isinstance(what, str):
        return what[-TAIL:]
    return "".join([*traceback.format_exception(what), str(getattr(what, "traceback", ""))])


def read_text(text: str) -> list[Raised]:
    """The exceptions of a pasted text, the last one first; then, with `error` False, what else it says.

    Lines of code in a traceback are left out, since they often hold the texts of other errors.
    """
    text = PREFIX.sub("", DECORATION.sub("", text[-TAIL:]))
    errors, rest = [], []
    for chained in CHAINED.split(text):
        before, *tracebacks = TRACEBACK.split(chained)
        for number, part in enumerate([before, *tracebacks]):
            error, outside = _read_part(part, frames=number > 0)
            if number == 0 and tracebacks and error and not error[0].files:  # a log's line above a traceback
                error, outside = [], part
            errors += error
            rest.append(outside)
    lines = [line for piece in rest for line in piece.splitlines() if line.strip()]
    warnings = [line for line in lines if WARNING.search(line)]
    others = [line for line in lines if not WARNING.search(line)]
    around = [Raised("\n".join(others), error=False), Raised("\n".join(warnings), error=False, warning=True)]
    return [*reversed(errors[-MANY:]), *(one for one in around if one.text)]


def _read_part(part: str, frames: bool) -> tuple[list[Raised], str]:
    """The exception of a part that holds one at most, and what else stands there."""
    end = max((found.end() for found in FRAME.finditer(part)), default=0)
    head = AT_LINE.search(part, end) or (ANYWHERE.search(part, end) if frames or end else None)
    if head is not None:
        start = head.start()
    elif end:  # an exception of another name: the first line below the frames that is not indented code
        below = re.compile(r"^(?=[^\s-])", re.M).search(part, part.find("\n", end) + 1 or end)
        start = below.start() if below else end
    else:
        return [], part
    if not part[start:].strip():  # the message stands above its frames, as in some editors
        return [], part
    after = AFTERWARDS.search(part, start + 1)
    stop = after.start() if after else len(part)
    above = part[:start]
    files = "\n".join(re.findall(r"[^\s\"']+\.py\b|Cell In|<ipython", above.replace("\\", "/")))
    code = re.findall(r"^-+> *\d+ +(.*)", above, re.M) or above[end:].split("\n")[1:]  # at the arrow, or below
    outside = ("" if end else above) + part[stop:]
    return [Raised(part[start:stop].strip(), files, True, code[-1].strip() if code else "")], outside
