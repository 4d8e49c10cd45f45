"""Lesson 4's exercises: two waits, half characters, and a stream that is really stopped."""

from qwen_helpers.exercises import call
from qwen_helpers.language import _


def exercise_1(first, rate):
    if not all(isinstance(number, (int, float)) for number in (first, rate)):
        return _("give two numbers, seconds and tokens per second.")
    if abs(first - 0.8) > 0.001:
        return _("the time to first token is the first of the moments.")
    if abs(rate - 20) < 0.1:
        return None
    if abs(rate - 5) < 0.1:
        return _("5 tokens in 1.0 s counts the wait for the first token too; leave that wait out.")
    if abs(rate - 25) < 0.1:
        return _("after the first token only four more arrive: there are four steps between five moments.")
    return _("count the tokens after the first, and divide by the seconds between the first and the last.")


def exercise_2(function):
    texts = ["a", "a ", "a \ufffd", "a \ufffd", "a 🐼", "a 🐼 b"]
    pieces = call(function, texts)
    if pieces is None:
        return _("your function returns nothing: hand each piece over with `yield`; print shows it, and it is gone.")
    if isinstance(pieces, str):
        return _("your function returns one text and ends: `yield` each piece, then the loop goes on.")
    pieces = call(list, pieces)
    if not all(isinstance(piece, str) for piece in pieces):
        return _("each piece is text, what is new since the last one.")
    whole = "".join(pieces)
    if pieces == [text for text in texts if not text.endswith("\ufffd")]:
        return _("you yield the whole text so far each time: only what comes after `shown` is new.")
    if whole in ("a  b", "a "):
        return _(
            "the panda is lost: a text that ends in half a character is no place to stop reading, and must "
            "not be kept in `shown`, else its end counts as shown. Change `shown` only when you have yielded."
        )
    if "\ufffd" in whole:
        return _('a piece still holds half a character: wait while the text ends with "\\ufffd".')
    if whole != texts[-1]:
        return _("put together, your pieces are not the whole text: change `shown` only when you have yielded.")
    return None if len(pieces) >= 4 else _("yield each piece as soon as it is whole, not all at the end.")


STREAMS = [
    (["Small ", "models ", "run. ", "Large ", "ones ", "walk."], "Small models run."),
    (["小", "模型", "会", "跑", "。", "大", "模型", "走", "。"], "小模型会跑。"),
]


def exercise_3(function):
    for pieces, sentence in STREAMS:
        if hint := stops_after(function, pieces, sentence):
            return hint
    return None


def stops_after(function, pieces, first):
    """The hint, if `function` does not read `first` from a stream of `pieces`, and no more, and then closes it."""
    taken, closed = [], []

    def stream():
        try:
            for piece in pieces:
                taken.append(piece)
                yield piece
        finally:
            closed.append(len(taken))

    given = stream()
    sentence = call(function, given)
    chinese = _(" A Chinese sentence ends with 。, which is not the full stop of English.") if "。" in first else ""
    if not isinstance(sentence, str):
        return _("return the sentence as text.")
    if "".join(taken).strip() == first and closed and sentence.strip() == first:
        return None
    if len("".join(taken).strip()) > len(first):
        return _(
            "you read on after the first sentence: leave the loop at its full stop; a space may follow it.{chinese}"
        ).format(chinese=chinese)
    if sentence.strip() != first:
        return _("the first sentence is {first!r}, and yours is {sentence!r}.{chinese}").format(
            first=first, sentence=sentence, chinese=chinese
        )
    return _("the model is still waiting to go on: end the stream with pieces.close().")
