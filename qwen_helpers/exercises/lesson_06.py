"""Lesson 6's exercises."""

from qwen_helpers.exercises import call as called
from qwen_helpers.language import _


def exercise_1(split):
    """Thoughts opened by the model, by the template, and none."""
    cases = [
        ("<think>\nOne, two.\n</think>\n\nThree.", ("One, two.", "Three."), _("here the model has opened the thought")),
        ("One, two.\n</think>\n\nThree.", ("One, two.", "Three."), _("here the template has opened the thought")),
        ("Three.", ("", "Three."), _("here is no thought")),
        ("<think>\n\n</think>\n\nThree.", ("", "Three."), _("an empty thought is no text")),
        (
            "think first.\n</think>\n\nOk.",
            ("think first.", "Ok."),
            _("take the mark away, and not each of its letters"),
        ),
        ("<think>\nOne, tw", ("One, tw", ""), _("here the thought was cut, and there is no answer")),
    ]
    for text, right, why in cases:
        answer = called(split, text, asked=_("for {text!r} ").format(text=text))
        if not isinstance(answer, tuple) or len(answer) != 2 or not all(isinstance(part, str) for part in answer):
            return _("return two texts, (thought, answer).")
        if answer != right:
            return _("for {text!r} the result is {right}, and not {answer}: {why}.").format(
                text=text, right=right, answer=answer, why=why
            )
    return None


def exercise_2(run):
    """A run that never stops the program: an unknown function, one that raises, missing arguments."""

    def divide(a, b):
        return a / b

    functions = {"divide": divide}
    asked = [
        ({"name": "divide", "arguments": {"a": 6, "b": 3}}, _("a good call")),
        ({"name": "shout", "arguments": {}}, _("an unknown function")),
        ({"name": "divide", "arguments": {"a": 6, "b": 0}}, _("a function that raises")),
        ({"name": "divide", "arguments": {"a": 6}}, _("an argument that is missing")),
    ]
    texts = []
    for call, what in asked:
        texts.append(called(run, call, functions, asked=_("for {what} ").format(what=what)))
        if not isinstance(texts[-1], str):
            return _("for {what} it returns {answer!r}: a result for the model is text.").format(
                what=what, answer=texts[-1]
            )
    if texts[0] != "2.0":
        return _(
            "for 6 divided by 3 the result is '2.0', and not {answer!r}: run the function that the call names."
        ).format(answer=texts[0])
    if "shout" not in texts[1] or len(texts[1].split()) < 3:
        return _("for an unknown function the text should name it and say so: the model must see what was wrong.")
    if "division" not in texts[2]:
        return _("when a function raises, the model needs to know why: put the error into the text.")
    return None


def exercise_3(seconds):
    if not isinstance(seconds, (int, float)):
        return _("give a number of seconds.")
    if abs(seconds - 55) < 0.1:
        return None
    if abs(seconds - 75) < 0.1:
        return _("that is the wait without a budget; with one it still thinks 240 tokens.")
    if abs(seconds - 20) < 0.1:
        return _("that is the wait with the budget; how much earlier is that than without one?")
    if abs(seconds - 60) < 0.1 or abs(seconds - 80) < 0.1:
        return _("the 60 tokens of the answer come after its beginning, with a budget and without: leave them out.")
    return _("subtract the two thoughts, and divide by the tokens per second.")
