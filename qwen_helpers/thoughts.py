"""What a thinking model writes before its answer, told apart from the answer while both are still being written.

It knows text and the marks `<think>` and `</think>`, and nothing of models. Lesson 6 shows where the marks come from.
"""

import contextlib
import re
from collections.abc import Generator

OPEN, CLOSE = "<think>", "</think>"


class Thought(str):
    """A piece of a thought. It is a str: `isinstance(piece, Thought)` tells it from a piece of the answer."""


def opening(tokenizer, ids: list[int]) -> str:
    """The `<think>` with which a prompt ends, "" if it ends otherwise: of the thought the model then writes the rest.

    The templates of Qwen3-Thinking-2507, Qwen3.5 and later end so; with Qwen3's the model opens its thought itself.
    """
    found = re.search(rf"{OPEN}\s*\Z", tokenizer.decode(ids[-20:]))
    return found[0] if found else ""


def tell_apart(pieces: Generator[str, None, object], begun: str) -> Generator[str, None, tuple[str, str, object]]:
    """Yield what `pieces` yields, without the marks: first each `Thought`, then the answer.

    Returns (all thoughts, all of the answer, what `pieces` returned).

    `begun` is what the prompt holds of the answer, `opening(...)`. Spaces around the thought go, and after its last
    piece comes an empty line, `Thought("\\n\\n")`, so that text printed as it comes can be read. Only a thought with
    which the text begins is one: an answer may speak of `<think>`.
    """
    state, held, thoughts, answer, result, last = "start", begun, [], [], None, False
    with contextlib.closing(pieces):
        while not last:
            try:
                held += next(pieces)
            except StopIteration as end:
                result, last = end.value, True
            if state == "start":
                text = held.lstrip()
                if not last and OPEN.startswith(text):
                    continue  # it may still become the mark
                state, held = ("thought", text[len(OPEN) :]) if text.startswith(OPEN) else ("answer", held)
            if state == "thought":
                text, mark, rest = held.partition(CLOSE)
                text = text if thoughts else text.lstrip()
                # Spaces and a part of the mark wait for what follows.
                ready = text.rstrip() if mark or last else without_end(text)
                if ready:
                    thoughts.append(ready)
                    yield Thought(ready)
                held = text[len(ready) :]
                if mark:
                    if thoughts:
                        yield Thought("\n\n")
                    state, held = "after", rest
            if state == "after":
                held = held.lstrip()
                state = "answer" if held else "after"
            if state == "answer" and held:
                answer.append(held)
                yield held
                held = ""
    return "".join(thoughts), "".join(answer), result


def without_end(text: str) -> str:
    """The text without a beginning of the closing mark at its end, and the spaces before that."""
    length = max(n for n in range(len(CLOSE)) if text.endswith(CLOSE[:n]))
    return text[: len(text) - length].rstrip()


def without_thoughts(answer: str) -> str:
    """A whole answer without the thought that it begins with, whoever opened it, the model or the prompt.

    It is for text from a server, of which nobody here knows how its prompt ended. Only a mark that begins a line ends
    such a thought, as Qwen writes it: an answer may speak of the mark. Of an answer that was cut in mid-thought only a
    thought that the model has opened itself can be seen.
    """
    if OPEN not in answer.partition(CLOSE)[0]:
        return re.sub(rf"\A(.*?\n)?{CLOSE}\s*", "", answer, flags=re.DOTALL)
    return re.sub(rf"^\s*{OPEN}.*?({CLOSE}\s*|\Z)", "", answer, flags=re.DOTALL)
