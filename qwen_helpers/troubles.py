"""What is this error and how is it mended? `explain()` after a failed cell, or `python -m qwen_helpers explain TEXT`.

The catalogue is data: `known_troubles/*.json`, an object for each trouble, a file for each of GROUPS, and two that
`explain()` leaves out: what stops `fetch_model` and what stops the set-up by `course.py`, each with cures of its own.
It is read when it is first needed. Everything here needs the standard library only, since an installation that failed
is what people ask about first.

Which of several entries is the most specific: the one whose pattern has the most letters in the error's text; between
equals, the one nearest to the cause of a chain.
"""

import functools
import json
import re
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from qwen_helpers.raised import Raised, last_error, read_error, read_text

LESSON = "11_troubleshooting.ipynb"
GROUPS = {
    "I": "install", "D": "download", "L": "load", "C": "chat", "S": "streaming", "G": "memory", "P": "paddle",
    "J": "jupyter", "W": "windows", "V": "serving", "T": "training",
}  # fmt: skip
TRACKERS = {  # where a library's maintainers read questions, by the name of its folder
    "accelerate": "huggingface/accelerate", "huggingface_hub": "huggingface/huggingface_hub",
    "modelscope": "modelscope/modelscope", "modelscope_hub": "modelscope/modelscope", "openai": "openai/openai-python",
    "paddle": "PaddlePaddle/Paddle", "paddlenlp": "PaddlePaddle/PaddleNLP", "peft": "huggingface/peft",
    "safetensors": "huggingface/safetensors", "swift": "modelscope/ms-swift", "tokenizers": "huggingface/tokenizers",
    "torch": "pytorch/pytorch", "transformers": "huggingface/transformers",
}  # fmt: skip


@dataclass(frozen=True)
class Trouble:
    """What a reader sees, why, and what to do.

    A pattern is a piece of the text "TypeOfError: message", in which `*` stands for anything within a line and a line
    break for the end of one. Patterns instead of regular expressions: they can be read, and need no compiling.
    """

    id: str  # its first letter is a key of GROUPS; a word where `explain()` does not use the entry
    patterns: tuple[str, ...]  # none: no error is raised, and doctor(model_dir) or the eye finds it
    cause: str
    cure: str  # a sentence
    symptom: str = ""  # the heading in lesson 11 is "ID symptom"
    code: str = ""  # lines to copy
    lesson: int = 0  # the lesson that treats the matter
    older: tuple[str, ...] = ()  # patterns of other versions' spellings
    inside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # {package: patterns} of texts that say too little alone: they count in a traceback that goes through the package
    threads: tuple[str, ...] = ()  # where people report it, as owner/repository#number
    since: str = ""  # the version that it begins with
    until: str = ""  # the version that ended it
    today: str = "yes"  # raised with the versions in constraints.txt; "changed": with another text; "gone"; "old only":
    # with the older version named; "not raised here": it needs Windows, a Mac, a GPU, the internet or a full disk

    @property
    def anchor(self) -> str:
        """The heading in lesson 11, as JupyterLab writes it into a link."""
        return f"{self.id} {self.symptom}".replace(" ", "-")


@functools.cache
def catalogue(*files: str) -> tuple[Trouble, ...]:
    """The entries of these files of `known_troubles`, in their order; left out, all those that `explain()` knows."""
    found = []
    for name in files or GROUPS.values():
        text = Path(__file__).with_name("known_troubles").joinpath(f"{name}.json").read_text(encoding="utf-8")
        for entry in json.loads(text):
            lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
            inside = {package: tuple(patterns) for package, patterns in entry.get("inside", {}).items()}
            found.append(Trouble(**{**entry, **lists, "inside": inside, "code": "\n".join(entry.get("code", []))}))
    return tuple(found)


def first_that_fits(file: str, text: str) -> Trouble | None:
    """The first entry of a file of `known_troubles` with a pattern that stands in `text`; None if there is none."""
    return next((t for t in catalogue(file) if any(_letters(pattern, text) for pattern in t.patterns)), None)


def find(what: BaseException | str) -> list[Trouble]:
    """The catalogue's entries for an exception (with its chain) or a text, the most specific first; often none."""
    raised = read_text(what) if isinstance(what, str) else read_error(what)
    return _search(raised)


def _search(raised: list[Raised]) -> list[Trouble]:
    found = []
    for depth, error in enumerate(raised):
        for trouble in catalogue():
            patterns = [*trouble.patterns, *trouble.older]
            for package, more in trouble.inside.items():
                patterns += more if f"/{package}/" in error.files else ()
            letters = max((_letters(pattern, error.text) for pattern in patterns), default=0)
            if letters:
                found.append((-letters, depth, trouble))
    found.sort(key=lambda match: match[:2])
    return list({trouble.id: trouble for *_, trouble in found}.values())


def _letters(pattern: str, text: str) -> int:
    """How many letters of `pattern` stand in `text`: all but its stars, or 0 if it does not fit."""
    first, *rest = pattern.split("*")
    start = text.find(first)
    while start >= 0:
        end = start + len(first)
        for piece in rest:
            here = text.find(piece, end)
            if here < 0 or "\n" in text[end:here]:  # a star stays within its line
                break
            end = here + len(piece)
        else:
            return len(first) + sum(map(len, rest))
        start = text.find(first, start + 1)
    return 0


@dataclass(frozen=True, repr=False)
class Explanation:
    """What `explain()` found; a notebook shows it as Markdown, a terminal as text."""

    about: Raised | None  # the error in question: the last of the chain, or the last of a text
    troubles: list[Trouble]  # the most specific first; empty if the catalogue does not know it

    def __repr__(self) -> str:
        if not self.troubles:
            return _unknown(self.about)
        best, *others = self.troubles[:3]
        lines = [f"{best.id}  {best.symptom}", textwrap.fill(best.cause, 100), textwrap.fill(f"Cure: {best.cure}", 100)]
        lines += ["", textwrap.indent(best.code, "    "), "", _more(best)]
        lines += [f'Also possible: {other.id} {other.symptom}. See explain("{other.id}").' for other in others]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        if not self.troubles:
            return f"```\n{_unknown(self.about)}\n```"
        best, *others = self.troubles[:3]
        lines = [f"**{best.id} {best.symptom}**", f"{best.cause}", f"**Cure:** {best.cure}", f"```\n{best.code}\n```"]
        threads = [f"[{thread}](https://github.com/{thread.replace('#', '/issues/')})" for thread in best.threads[:3]]
        lines.append(", ".join([f"More: [lesson 11]({LESSON}#{best.anchor})", *_facts(best), *threads]))
        lines += [f'Also possible: {other.id} {other.symptom}. See `explain("{other.id}")`.' for other in others]
        return "\n\n".join(lines)


def _more(trouble: Trouble) -> str:
    places = [f"More: notebooks/{LESSON}#{trouble.anchor}", *_facts(trouble), *trouble.threads[:3]]
    return textwrap.fill(", ".join(places), 100, break_long_words=False, break_on_hyphens=False)


def _facts(trouble: Trouble) -> list[str]:
    versions = [f"since {trouble.since}"] * bool(trouble.since) + [f"until {trouble.until}"] * bool(trouble.until)
    return [f"lesson {trouble.lesson}", *versions, *["gone with the tested versions"] * (trouble.today == "gone")]


def _unknown(about: Raised | None) -> str:
    if about is None:
        return "No error has been raised here. For wrong results without an error: doctor(model_dir) checks a folder."
    if about.own:
        return f"{about.title}\nThis sentence is the course's own: it says what is wrong and what to do."
    package = (re.findall(r"site-packages/(?!IPython|ipykernel)(\w+)", about.bottom) or [""])[0]
    tracker = f": https://github.com/{TRACKERS[package]}/issues" if package in TRACKERS else "."
    place = f"It was raised in {package}, whose maintainers are the ones to ask{tracker}" if package else ""
    lines = [
        f"The course's catalogue does not know this one: {about.title}",
        "Read it from its last line upwards to the first line that is yours, and search for the last line without "
        "names and paths of your own.",
        f"To ask, show the whole traceback and what doctor() prints. {place}",
    ]
    if not about.files:
        lines.append("One line says little: explain() takes a whole traceback, too.")
    return "\n".join(textwrap.fill(line.strip(), 100, break_long_words=False) for line in lines)


def explain(what: BaseException | str | None = None) -> Explanation:
    """What an error is, why it happens and what to copy to mend it.

    Without an argument: the last exception, with the chain of its causes. Else an exception, a pasted traceback, a line
    of a log, or the id of an entry such as "D10". `explain.off()` ends the line under each traceback of a notebook.
    Raises ValueError for an id that no entry has.
    """
    if isinstance(what, str):
        id = what.strip().upper()
        entry = [trouble for trouble in catalogue() if trouble.id == id]
        if entry:
            return Explanation(None, entry)
        if re.fullmatch(r"[A-Z]\d{1,2}", id):
            raise ValueError(f"There is no entry {id} in the catalogue: give explain() the error's text.")
        raised = read_text(what)
    else:
        error = last_error() if what is None else what
        raised = [] if error is None else read_error(error)
    return Explanation(raised[-1] if raised else None, _search(raised))


def _add_line_under_tracebacks() -> None:
    """Begin to add what `explain()` knows of an error. `import qwen_helpers` does it in a notebook.

    IPython shows a traceback with the shell's method `_showtraceback`, which it leaves to its frontends to replace. The
    line is added to what that method gets, so the traceback stays as it is, and one output of the cell holds both.
    """
    shell = _shell()
    if shell is None or hasattr(shell._showtraceback, "shown_by"):
        return
    show = shell._showtraceback

    def with_line(etype, evalue, stb):
        if isinstance(stb, list) and isinstance(evalue, Exception):  # not Ctrl-C, which the reader wanted
            stb = [*stb, line_under(evalue, shell.user_ns)]
        show(etype, evalue, stb)

    with_line.shown_by = show
    shell._showtraceback = with_line


def _leave_tracebacks_alone() -> None:
    """End it. `explain()` itself still works."""
    shell = _shell()
    if shell is not None and hasattr(shell._showtraceback, "shown_by"):
        shell._showtraceback = shell._showtraceback.shown_by


def line_under(error: BaseException, names: dict) -> str:
    """The line for an error; `names` are the notebook's. If it cannot be made, it says so, and the traceback stays."""
    try:
        call = "explain()" if names.get("explain") is explain else "from qwen_helpers import explain; explain()"
        found = explain(error)
        if found.troubles:
            return f"\n{found.troubles[0].id}: {found.troubles[0].symptom}. The cure: {call}"
        if found.about.own:
            return "\nThis sentence is the course's own: it says what is wrong and what to do."
        return f"\nThe course's catalogue does not know this error. What to do: {call}"
    except Exception as failure:
        return f"\nexplain() has failed on this error ({type(failure).__name__}: {failure})."


def _shell():
    """IPython's shell, if this Python runs in one. IPython is never imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


explain.on, explain.off = _add_line_under_tracebacks, _leave_tracebacks_alone


USAGE = """Give it the error:
  python -m qwen_helpers explain "TypeError: ..."
or save the text in a file:
  python -m qwen_helpers explain < error.log
  Get-Content error.log | python -m qwen_helpers explain   (PowerShell)"""


def for_terminal(text: str) -> str:
    """`text` without the signs that only notebooks know: %pip, an exclamation mark, {sys.executable}."""
    text = text.replace("%pip", "python -m pip").replace('"{sys.executable}"', "python")
    return re.sub(r"(?m)^    !", "    ", text)


def main(arguments: list[str]) -> None:
    """Explain the words of the command line, or what is piped in. Exit code 1 if the catalogue does not know it."""
    if not arguments and sys.stdin.isatty():
        sys.exit(USAGE)
    explanation = explain(" ".join(arguments) or sys.stdin.read())
    print(for_terminal(str(explanation)))
    sys.exit(not explanation.troubles)
