"""Lesson 5's exercises."""

from qwen_helpers.exercises import call


def exercise_1(function):
    """The function must look at the last token only, and take one stop token or a list of them."""
    cases = [
        ([5, 6, 2], [2, 0], "stop", "the last token is one of the stop tokens"),
        ([5, 6, 0], [2, 0], "stop", "the second stop token in the list counts as well"),
        ([5, 6, 7], [2, 0], "length", "the last token is no stop token"),
        ([5, 2, 7], [2, 0], "length", "only the last token counts"),
        ([5, 6, 2], 2, "stop", "stops may be one number instead of a list"),
    ]
    for tokens, stops, right, why in cases:
        answer = call(function, tokens, stops, asked=f"for tokens {tokens} and stops {stops} ")
        if answer != right:
            return f"for tokens {tokens} and stops {stops} the answer is {right!r}: {why}."
    return None


def exercise_2(answer):
    """0.50 + 0.20 = 0.70 is less than 0.8; with 0.15 it is 0.85."""
    if answer == 3:
        return None
    if answer == 2:
        return "two tokens have 0.70 together, which is less than 0.8: the one that crosses the line is kept too."
    if answer == 5:
        return "that is all of them; stop adding as soon as the sum reaches 0.8."
    return "add the probabilities from the largest down until the sum reaches 0.8, and count them."


def exercise_3(seconds):
    if not isinstance(seconds, (int, float)):
        return "give a number of seconds."
    if abs(seconds - 2.56) < 0.01:
        return None
    if abs(seconds - 0.005) < 0.0001:
        return "that is the time per token; multiply it by 512."
    if abs(seconds - 0.64) < 0.01:
        return "512 tokens are four times as many, and each takes a step of its own."
    return "divide 0.64 s by 128 tokens, then multiply by 512."
