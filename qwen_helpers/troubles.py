"""What is this error and how is it mended? `explain()` after a failed cell, or `python -m qwen_helpers explain TEXT`.

It looks the error up in the catalogue of `known_troubles`. Which of several entries is the most specific: the one whose
pattern has the most letters in the error's text; between equals, the one nearest to the cause of a chain.
"""

import re
import sys
import textwrap
from dataclasses import dataclass

from qwen_helpers import explain_hook
from qwen_helpers.known_troubles import TROUBLES
from qwen_helpers.known_troubles.trouble import Trouble
from qwen_helpers.raised import Raised, last_error, read_error, read_text

LESSON = "10_troubleshooting.ipynb"
TRACKERS = {  # where a library's maintainers read questions, by the name of its folder
    "accelerate": "huggingface/accelerate", "huggingface_hub": "huggingface/huggingface_hub",
    "modelscope": "modelscope/modelscope", "modelscope_hub": "modelscope/modelscope", "openai": "openai/openai-python",
    "paddle": "PaddlePaddle/Paddle", "paddlenlp": "PaddlePaddle/PaddleNLP", "peft": "huggingface/peft",
    "safetensors": "huggingface/safetensors", "swift": "modelscope/ms-swift", "tokenizers": "huggingface/tokenizers",
    "torch": "pytorch/pytorch", "transformers": "huggingface/transformers",
}  # fmt: skip


def find(what: BaseException | str) -> list[Trouble]:
    """The catalogue's entries for an exception (with its chain) or a text, the most specific first; often none."""
    raised = read_text(what) if isinstance(what, str) else read_error(what)
    return _search(raised)


def _search(raised: list[Raised]) -> list[Trouble]:
    found = []
    for depth, error in enumerate(raised):
        for trouble in TROUBLES:
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
        lines.append(", ".join([f"More: [lesson 10]({LESSON}#{best.anchor})", *_facts(best), *threads]))
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
    tracker = f" https://github.com/{TRACKERS[package]}/issues" if package in TRACKERS else ""
    place = f"It was raised in {package}, whose maintainers are the ones to ask:{tracker}" if package else ""
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
    """
    if isinstance(what, str):
        id = what.strip().upper()
        entry = [trouble for trouble in TROUBLES if trouble.id == id]
        if entry:
            return Explanation(None, entry)
        raised = read_text(what)
    else:
        error = last_error() if what is None else what
        raised = [] if error is None else read_error(error)
    return Explanation(raised[-1] if raised else None, _search(raised))


explain.on, explain.off = explain_hook.on, explain_hook.off


USAGE = """Give it the error:
  python -m qwen_helpers explain "TypeError: ..."
or save the text in a file:
  python -m qwen_helpers explain < error.log
  Get-Content error.log | python -m qwen_helpers explain   (PowerShell)"""


def for_terminal(text: str) -> str:
    """`text` without the signs that only notebooks know: %pip, an exclamation mark, {sys.executable}."""
    text = text.replace("%pip", "python -m pip").replace('"{sys.executable}"', "python")
    return re.sub(r"(?m)^    !", "    ", text)


def main() -> None:
    """Explain the words of the command line, or what is piped in. Exit code 1 if the catalogue does not know it."""
    if not sys.argv[1:] and sys.stdin.isatty():
        sys.exit(USAGE)
    explanation = explain(" ".join(sys.argv[1:]) or sys.stdin.read())
    print(for_terminal(str(explanation)))
    sys.exit(not explanation.troubles)


if __name__ == "__main__":
    main()
