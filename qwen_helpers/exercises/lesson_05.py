"""Lesson 5's exercises."""

from qwen_helpers.exercises import call
from qwen_helpers.language import _


def exercise_1(function):
    """The function must look at the last token only, and take one stop token or a list of them."""
    if not callable(function):
        return _('pass the function itself, without brackets behind it: check("5.1", reason).')
    cases = [
        ([5, 6, 2], [2, 0], "stop", _("the last token is one of the stop tokens")),
        ([5, 6, 0], [2, 0], "stop", _("the second stop token in the list counts as well")),
        ([5, 6, 7], [2, 0], "length", _("the last token is no stop token")),
        ([5, 2, 7], [2, 0], "length", _("only the last token counts")),
        ([5, 6, 2], 2, "stop", _("stops may be one number instead of a list")),
        ([5, 6, 7], 2, "length", _("the last token is not the stop token")),
    ]
    for tokens, stops, right, why in cases:
        asked = _("for tokens {tokens} and stops {stops} ").format(tokens=tokens, stops=stops)
        answer = call(function, tokens, stops, asked=asked)
        if answer is None:
            return _("your function returns nothing: put return in front of the answer.")
        if not isinstance(answer, str):
            return _("your function returns {answer!r}: return the string 'stop' or 'length'.").format(answer=answer)
        if answer != right:
            return _("for tokens {tokens} and stops {stops} the answer is {right!r}: {why}.").format(
                tokens=tokens, stops=stops, right=right, why=why
            )
    return None


def exercise_2(function):
    """Top-p over a list: the token that crosses p stays, and what is left adds up to 1."""
    if not callable(function):
        return _('pass the function itself, without brackets behind it: check("5.2", top_p).')
    given = [0.5, 0.2, 0.15, 0.1, 0.05]
    for p, kept in ((0.8, 3), (0.4, 1), (0.6, 2), (1.0, 5)):
        for_this = _("for p={p} ").format(p=p)
        answer = call(function, list(given), p, asked=for_this)
        if not isinstance(answer, (list, tuple)) or not all(isinstance(value, (int, float)) for value in answer):
            return _("return a list of numbers, and not {answer!r}.").format(answer=answer)
        if len(answer) != len(given):
            return _("{for_this}the list has {count} numbers: leave 0 in the place of a token that is cut off.").format(
                for_this=for_this, count=len(answer)
            )
        left = sum(value > 0 for value in answer)
        if left != kept and left == sum(sum(given[: n + 1]) <= p for n in range(len(given))):
            return _("{for_this}{kept} stay, not {left}: the token with which the sum crosses p is kept, too.").format(
                for_this=for_this, kept=kept, left=left
            )
        if left != kept:
            return _("{for_this}{kept} stay, not {left}: add from the left until the sum has reached p.").format(
                for_this=for_this, kept=kept, left=left
            )
        if abs(sum(answer) - 1) > 1e-6:
            return _("{for_this}they add up to {total:.2f}: divide each by the sum of those that stay.").format(
                for_this=for_this, total=sum(answer)
            )
        if abs(answer[0] * sum(given[:kept]) - given[0]) > 1e-6:
            return _("{for_this}the first is {first:.2f}: divide each of those that stay by their sum.").format(
                for_this=for_this, first=answer[0]
            )
    return None


def exercise_3(seconds):
    """The time follows the tokens that are written: 12.8 s / 128 is 0.1 s, and 320 of these are 32 s."""
    if not isinstance(seconds, (int, float)):
        return _("give a number of seconds.")
    hints = {
        0.1: _("that is the time per token; multiply it by the tokens of the second answer."),
        12.8: _("that was the first answer; the second is longer, and each token takes a step."),
        19.2: _("that is the rest only; the second call begins again with the first token."),
        44.8: _("the first answer is not written again before the second: 320 tokens in all."),
        51.2: _("that is the limit, 512; the model stops by itself after 320, and a limit costs nothing."),
    }
    for wrong, hint in hints.items():
        if abs(seconds - wrong) < 0.005:
            return hint
    if abs(seconds - 32) < 0.05:
        return None
    return _("divide 12.8 s by 128 tokens, then multiply by the tokens that the second answer has.")
