"""Lesson 6's exercises."""

from qwen_helpers.exercises import call as called


def exercise_1(split):
    """Thoughts opened by the model, by the template, and none."""
    cases = [
        ("<think>\nOne, two.\n</think>\n\nThree.", ("One, two.", "Three."), "here the model has opened the thought"),
        ("One, two.\n</think>\n\nThree.", ("One, two.", "Three."), "here the template has opened the thought"),
        ("Three.", ("", "Three."), "here is no thought"),
        ("<think>\n\n</think>\n\nThree.", ("", "Three."), "an empty thought is no text"),
        ("think first.\n</think>\n\nOk.", ("think first.", "Ok."), "take the mark away, and not each of its letters"),
        ("<think>\nOne, tw", ("One, tw", ""), "here the thought was cut, and there is no answer"),
    ]
    for text, right, why in cases:
        answer = called(split, text, asked=f"for {text!r} ")
        if not isinstance(answer, tuple) or len(answer) != 2 or not all(isinstance(part, str) for part in answer):
            return "return two texts, (thought, answer)."
        if answer != right:
            return f"for {text!r} the result is {right}, and not {answer}: {why}."
    return None


def exercise_2(run):
    """A run that never stops the program: an unknown function, one that raises, missing arguments."""

    def divide(a, b):
        return a / b

    functions = {"divide": divide}
    asked = [
        ({"name": "divide", "arguments": {"a": 6, "b": 3}}, "a good call"),
        ({"name": "shout", "arguments": {}}, "an unknown function"),
        ({"name": "divide", "arguments": {"a": 6, "b": 0}}, "a function that raises"),
        ({"name": "divide", "arguments": {"a": 6}}, "an argument that is missing"),
    ]
    texts = []
    for call, what in asked:
        texts.append(called(run, call, functions, asked=f"for {what} "))
        if not isinstance(texts[-1], str):
            return f"for {what} it returns {texts[-1]!r}: a result for the model is text."
    if texts[0] != "2.0":
        return f"for 6 divided by 3 the result is '2.0', and not {texts[0]!r}: run the function that the call names."
    if "shout" not in texts[1] or len(texts[1].split()) < 3:
        return "for an unknown function the text should name it and say so: the model must see what was wrong."
    if "division" not in texts[2]:
        return "when a function raises, the model needs to know why: put the error into the text."
    return None


def exercise_3(seconds):
    if not isinstance(seconds, (int, float)):
        return "give a number of seconds."
    if abs(seconds - 55) < 0.1:
        return None
    if abs(seconds - 75) < 0.1:
        return "that is the wait without a budget; with one it still thinks 240 tokens."
    if abs(seconds - 20) < 0.1:
        return "that is the wait with the budget; how much earlier is that than without one?"
    if abs(seconds - 60) < 0.1 or abs(seconds - 80) < 0.1:
        return "the 60 tokens of the answer come after its beginning, with a budget and without: leave them out."
    return "subtract the two thoughts, and divide by the tokens per second."
