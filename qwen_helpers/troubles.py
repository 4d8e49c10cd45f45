"""What is this error and how is it mended? `explain()` after a failed cell, or `python -m qwen_helpers explain TEXT`.

The catalogue is data: `known_troubles/*.json`, an object for each trouble, a file for each of GROUPS, and two that
`explain()` leaves out: what stops `fetch_model` and what stops the set-up by `course.py`, each with cures of its own.
It is read when it is first needed. Everything here needs the standard library only, since an installation that failed
is what people ask about first.

Which of several entries comes first is decided as a person reads a traceback: what says why before what says only that
it failed; an exception before the log around it, and a warning never beside an error; an exception of a type that says
something before a RuntimeError; the last exception before those that it came from; in one text the first place, and of
two patterns at one place the one that takes in the other.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import re
import sys
import textwrap
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from qwen_helpers.columns import wrap
from qwen_helpers.language import N_, _
from qwen_helpers.raised import FAILED, Raised, last_error, plain, read, whole_text

PAGE = N_("TROUBLES.md")  # the catalogue as a page; an anchor for each entry
LINK = N_("../TROUBLES.md")  # to it, from a lesson
GROUPS = {
    "I": "install", "D": "download", "L": "load", "C": "chat", "S": "streaming", "G": "memory", "P": "paddle",
    "J": "jupyter", "W": "windows", "V": "serving", "T": "training", "Q": "quantized", "O": "other_programs",
}  # fmt: skip
TRACKERS = {  # where a library's maintainers read questions, by the name of its folder
    "accelerate": "huggingface/accelerate", "huggingface_hub": "huggingface/huggingface_hub",
    "modelscope": "modelscope/modelscope", "modelscope_hub": "modelscope/modelscope", "openai": "openai/openai-python",
    "paddle": "PaddlePaddle/Paddle", "paddlenlp": "PaddlePaddle/PaddleNLP", "peft": "huggingface/peft",
    "safetensors": "huggingface/safetensors", "swift": "modelscope/ms-swift", "tokenizers": "huggingface/tokenizers",
    "torch": "pytorch/pytorch", "transformers": "huggingface/transformers",
}  # fmt: skip
COURSE = (  # the libraries of the course, as a regular expression
    r"transformers|torch|qwen[\w.]*|modelscope\w*|huggingface\w*|ms-swift|swift|safetensors\w*|tokenizers|accelerate|peft|trl"
    r"|vllm|paddlenlp|paddle|bitsandbytes|auto_?gptq|gptqmodel|autoawq|awq|unsloth|diffusers|sentence_transformers|llama"
    r"|ollama|gguf|onnxruntime\w*|flash_attn|triton|deepspeed|xformers|qwen_helpers"
)
OWN = N_("This sentence is the course's own: it says what is wrong and what to do.")
RESTART = re.compile(r"# (then )?restart the kernel( again)?(, (do not import torch, )?then:)?")  # none in a terminal
LOOK = re.compile(r"(import|from) [^;]+; (print|doctor|preflight)\((?!model_dir)")
REACH = 160  # letters that a star stands for, at most


@dataclass(frozen=True, eq=False)
class Trouble:
    """What a reader sees, why, and what to do.

    A pattern is a piece of the text "TypeOfError: message", in which `*` stands for up to REACH letters. Letters' case,
    the kind of quotes, spaces and line breaks make no difference. One between two line breaks is the whole first line.
    Patterns instead of regular expressions: they can be read.
    """

    id: str  # its first letter is a key of GROUPS; a word where `explain()` does not use the entry
    patterns: tuple[str, ...]  # none: no error is raised, and doctor(model_dir) or the eye finds it
    cause: str
    cure: str  # a sentence
    symptom: str = ""  # as people say it
    code: str = ""  # lines to copy
    lesson: int = 0  # the lesson that treats the matter
    text: str = ""  # the error as people see it, a line; the heading in TROUBLES.md
    older: tuple[str, ...] = ()  # patterns of other versions' spellings
    general: tuple[str, ...] = ()  # patterns that say that something failed and not why: they count last
    warnings: tuple[str, ...] = ()  # patterns of warnings: where there is an error, too, they are not its cause
    near: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # {"word|word": patterns} of texts that many programs share: they count where one of the words stands, too, be it in
    # a message, a file's path or a line of code; "course" stands for the libraries of the course
    general_near: dict[str, tuple[str, ...]] = field(default_factory=dict)  # both
    threads: tuple[str, ...] = ()  # where people report it, as owner/repository#number
    since: str = ""  # the version that it begins with
    until: str = ""  # the version that ended it
    today: str = "yes"  # raised with the versions in constraints.txt; "changed": with another text; "gone"; "old only":
    # with the older version named; "not raised here": it needs Windows, a Mac, a GPU, the internet or a full disk

    @property
    def everything(self) -> tuple[str, ...]:
        """All its patterns, of whatever kind; none if nothing is raised or printed."""
        near = (pattern for patterns in (*self.near.values(), *self.general_near.values()) for pattern in patterns)
        return (*self.patterns, *self.older, *self.general, *self.warnings, *near)


@functools.cache
def catalogue(*files: str) -> tuple[Trouble, ...]:
    """The entries of these files of `known_troubles`, in their order; left out, all those that `explain()` knows."""
    found = []
    for file in files or GROUPS.values():
        text = Path(__file__).with_name("known_troubles").joinpath(f"{file}.json").read_text(encoding="utf-8")
        for entry in json.loads(text):
            lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
            for name in ("near", "general_near"):
                lists[name] = {k.replace("course", COURSE): tuple(v) for k, v in entry.get(name, {}).items()}
            found.append(Trouble(**{**entry, **lists, "code": "\n".join(entry.get("code", []))}))
    return tuple(found)


def first_that_fits(file: str, text: str) -> Trouble | None:
    """The first entry of a file of `known_troubles` with a pattern that stands in `text`; None if there is none."""
    return next((t for t in catalogue(file) if any(_span(pattern.split("*"), text) for pattern in t.patterns)), None)


def find(what: BaseException | str) -> list[Trouble]:
    """The catalogue's entries for an exception (with its chain) or a text, the likeliest first; often none."""
    return _search(read(what), what)[0]


@dataclass(frozen=True)
class Rule:
    """A pattern made ready, and whose it is."""

    trouble: Trouble
    pieces: tuple[str, ...]  # in `plain` form; between two of them stand up to REACH letters
    whole_line: bool = False
    general: bool = False
    warning: bool = False
    near: str = ""

    def span(self, text: str, line: str) -> tuple[int, int] | None:
        """Where it fits in `text`, whose first line is `line`; None if it does not."""
        if self.whole_line:
            return (0, len(line)) if line == self.pieces[0] else None
        return _span(self.pieces, text)


def _span(pieces: Sequence[str], text: str) -> tuple[int, int] | None:
    """Where these pieces stand one after another in `text`, at most REACH letters apart; None if they do not."""
    if pieces[0] not in text:  # quick, and so for nearly every pattern
        return None
    found = re.search(f"[^\\n]{{0,{REACH}}}?".join(map(re.escape, pieces)), text)
    return found.span() if found else None


@functools.cache
def _rules() -> list[Rule]:
    found = []
    for trouble in catalogue():
        kinds = [({}, trouble.patterns + trouble.older), ({"general": True}, trouble.general)]
        kinds += [({"warning": True}, trouble.warnings)]
        kinds += [({"near": words}, patterns) for words, patterns in trouble.near.items()]
        kinds += [({"near": words, "general": True}, patterns) for words, patterns in trouble.general_near.items()]
        for kind, patterns in kinds:
            for pattern in patterns:
                line = pattern.startswith("\n")
                found.append(Rule(trouble, tuple(map(plain, pattern.split("*"))), whole_line=line, **kind))
    return found


class Match(NamedTuple):
    """A rule that fits one of the exceptions, or what stands around them."""

    rule: Rule
    number: int  # the rule's place in the catalogue
    raised: Raised
    depth: int  # 0 for the last exception, 1 for the one that it came from
    start: int  # where in the text, in `plain` form
    end: int
    place: int = 0  # of a warning: where in all that was pasted

    @property
    def order(self) -> tuple:
        """The smallest comes first; the docstring of this module says it in words."""
        kind = (self.rule.warning, self.rule.general, not self.raised.error, self.raised.vague)
        place = (self.depth, self.start)
        if self.rule.warning:  # of several the last
            place = (-self.place, 0)
        return (*kind, *place, -self.end, not self.rule.near, self.number)


def _matches(raised: list[Raised], near: str) -> list[Match]:
    found, everything = [], plain(near)
    for depth, one in enumerate(raised):
        text, line = plain(one.text), plain(one.text.strip().partition("\n")[0]).removesuffix(":")
        for number, rule in enumerate(_rules()):
            if (span := rule.span(text, line)) and _is_near(rule, near):
                place = everything.find(text[slice(*span)]) if rule.warning else 0
                found.append(Match(rule, number, one, depth, *span, place))
    return found


def _search(raised: list[Raised], what: BaseException | str) -> tuple[list[Trouble], list[Trouble]]:
    """The entries that fit, the likeliest first; and those of warnings that stand beside an error."""
    near = whole_text(what).lower()
    matches = _matches(raised, near + near.replace("\n", ""))  # the second where a terminal has cut a word
    errors = any(one.error for one in raised)
    failed = errors or any(_speaks_of_failure(one, matches) for one in raised)
    known = any(match.raised.error for match in matches)
    found, beside = {}, {}  # dicts, so that each trouble comes once, in this order
    for match in sorted(matches, key=lambda match: match.order):
        warns = failed and not match.raised.error and (match.rule.warning or match.raised.warning)
        around_unknown = errors and not known  # what stands around an error that is not known is not its cause
        (beside if warns or around_unknown else found)[match.rule.trouble] = None
    return list(found), [trouble for trouble in beside if trouble not in found]


def _speaks_of_failure(one: Raised, matches: list[Match]) -> bool:
    """Whether a text says that something failed, beside the warnings in it that the catalogue knows."""
    text = plain(one.text)
    for match in matches:
        if match.raised is one and match.rule.warning:
            text = text[: match.start] + " " * (match.end - match.start) + text[match.end :]
    return not one.warning and FAILED.search(text) is not None


def _is_near(rule: Rule, text: str) -> bool:
    """Whether one of the words that a rule wants stands in `text`; True if it wants none."""
    return not rule.near or re.search(rf"(?<![a-z0-9])(?:{rule.near})(?![a-z0-9])", text) is not None


@dataclass(frozen=True, repr=False)
class Explanation:
    """What `explain()` found; a notebook shows it as Markdown, a terminal as text."""

    about: Raised | None  # the error in question: the last one
    troubles: list[Trouble]  # the likeliest first; empty if the catalogue does not know it
    beside: list[Trouble] = field(default_factory=list)  # of warnings and other lines around the error

    def __repr__(self) -> str:
        if not self.troubles:
            return "\n".join([_unknown(self.about), *map(_also, self.beside[:2])])
        best, *others = self.troubles[:3]
        cure = _("Cure: {cure}").format(cure=_(best.cure))
        lines = [f"{best.id}  {_(best.symptom)}", wrap(_(best.cause)), wrap(cure)]
        places = [_("More: {page}").format(page=f"{_(PAGE)}#{best.id}"), *_facts(best), *best.threads[:3]]
        more = wrap(_(", ").join(places), break_long_words=False, break_on_hyphens=False)
        lines += ["", textwrap.indent(code_to_copy(best), "    "), "", more]
        possible = _('Also possible: {id} {symptom}. See explain("{id}").')
        lines += [possible.format(id=other.id, symptom=_(other.symptom)) for other in others]
        return "\n".join([*lines, *map(_also, self.beside[:2])])

    def _repr_markdown_(self) -> str:
        if not self.troubles:
            return f"```\n{self}\n```"
        best, *others = self.troubles[:3]
        cure = _("**Cure:** {cure}").format(cure=_(best.cure))
        lines = [f"**{best.id} {_(best.symptom)}**", _(best.cause), cure, f"```\n{code_to_copy(best)}\n```"]
        threads = [f"[{thread}](https://github.com/{thread.replace('#', '/issues/')})" for thread in best.threads[:3]]
        more = _("More: {page}").format(page=f"[{_(PAGE)}]({_(LINK)}#{best.id})")
        lines.append(_(", ").join([more, *_facts(best), *threads]))
        possible = _('Also possible: {id} {symptom}. See `explain("{id}")`.')
        lines += [possible.format(id=other.id, symptom=_(other.symptom)) for other in others]
        return "\n\n".join([*lines, *map(_also, self.beside[:2])])


def code_to_copy(trouble: Trouble) -> str:
    """The lines to copy, with their comments in the reader's language."""
    return "\n".join(map(_, trouble.code.split("\n")))


def _also(trouble: Trouble) -> str:
    also = _('Also in the text, and not the cause: {id} {symptom}. See explain("{id}").')
    return also.format(id=trouble.id, symptom=_(trouble.symptom))


def _facts(trouble: Trouble) -> list[str]:
    facts = [_("lesson {number}").format(number=trouble.lesson)]
    facts += [_("since {version}").format(version=trouble.since)] * bool(trouble.since)
    facts += [_("until {version}").format(version=trouble.until)] * bool(trouble.until)
    return facts + [_("gone with the tested versions")] * (trouble.today == "gone")


def _unknown(about: Raised | None) -> str:
    if about is None:
        return _(
            "No error has been raised here. For wrong results without an error: doctor(model_dir) checks a folder."
        )
    if about.own:
        return f"{about.title}\n{_(OWN)}"
    package = (re.findall(r"site-packages/(?!IPython|ipykernel)(\w+)", about.bottom) or [""])[0]
    tracker = f": https://github.com/{TRACKERS[package]}/issues" if package in TRACKERS else "."
    place = _("It was raised in {package}, whose maintainers are the ones to ask{tracker}")
    place = place.format(package=package, tracker=tracker) if package else ""
    lines = [
        _("The course's catalogue does not know this one: {title}").format(title=about.title),
        _(
            "Read it from its last line upwards to the first line that is yours, and search for the last "
            "line without names and paths of your own."
        ),
        _("To ask, show the whole traceback and what doctor() prints. {place}").format(place=place),
    ]
    if not about.files:
        lines.append(_("One line says little: explain() takes a whole traceback, too."))
    return "\n".join(wrap(line.strip(), break_long_words=False) for line in lines)


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
            unknown = _("There is no entry {id} in the catalogue: give explain() the error's text.")
            raise ValueError(unknown.format(id=id))
    what = last_error() if what is None else what
    raised = [] if what is None else read(what)
    return Explanation(raised[0], *_search(raised, what)) if raised else Explanation(None, [])


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
            best, line = found.troubles[0], _("{id}: {symptom}. The cure: {call}")
            return "\n" + line.format(id=best.id, symptom=_(best.symptom), call=call)
        if found.about.own:
            return f"\n{_(OWN)}"
        return "\n" + _("The course's catalogue does not know this error. What to do: {call}").format(call=call)
    except Exception as failure:
        failed = _("explain() has failed on this error ({kind}: {failure}).")
        return "\n" + failed.format(kind=type(failure).__name__, failure=failure)


def _shell():
    """IPython's shell, if this Python runs in one. IPython is never imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


explain.on, explain.off = _add_line_under_tracebacks, _leave_tracebacks_alone


def for_terminal(code: str) -> str:
    """A cure's lines as they are typed in a terminal: they are written for a notebook, where a kernel runs them.

    pip and Python are those of the course's `.venv`, if it is there. A line of Python that looks at something becomes
    `python -c "..."`; other Python belongs into the reader's own program and stays as it is.
    """
    venv = Path(".venv", "Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = str(venv) if Path(__file__).parents[1].joinpath(venv).exists() else "python"
    lines = []
    for line in code.splitlines():
        if "{sys.executable}" in code and line == "import sys" or RESTART.fullmatch(line):
            continue
        line = _(line)  # its comment
        line = line.removeprefix("!").replace('"{sys.executable}"', python)
        line = line.replace("%pip", f"{python} -m pip")
        if LOOK.match(line):
            program, *comment = line.split("  #")
            line = "  #".join([f'{python} -c "{program.replace(chr(34), chr(39))}"', *comment])
        lines.append(line)
    return "\n".join(lines)


def _pasted() -> str:
    """What is pasted into the terminal, up to an empty line after which nothing follows at once."""
    print(_("Paste the error here, then press Enter on an empty line:"), file=sys.stderr)
    lines: queue.Queue = queue.Queue()

    def read():
        for line in sys.stdin:
            lines.put(line)
        lines.put("")  # Ctrl-D, on Windows Ctrl-Z

    threading.Thread(target=read, daemon=True).start()
    text = ""
    while True:
        try:  # a traceback holds empty lines, too, and a paste arrives at once
            line = lines.get(timeout=0.5 if re.search(r"\S\s*\n\n$", text) else None)
        except queue.Empty:
            return text
        if not line:
            return text
        text += line


def main(arguments: list[str]) -> None:
    """Explain the words of the command line, what is piped in, or what is pasted. Exit code 1 if it is not known."""
    for stream in (sys.stdin, sys.stdout):  # a log, and a name in it, may hold any letter
        stream.reconfigure(errors="replace")
    text = " ".join(arguments) or (_pasted() if sys.stdin.isatty() else sys.stdin.read())
    found = explain(text)
    print(replace(found, troubles=[replace(trouble, code=for_terminal(trouble.code)) for trouble in found.troubles]))
    sys.exit(not found.troubles)


if __name__ == "__main__":
    main(sys.argv[1:])
