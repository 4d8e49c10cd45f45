"""Lesson 7's exercises: PaddleNLP's output as text, the first difference, and the lost rotary base."""

from qwen_helpers.exercises import call

GREETING = "Hello! I am the tiny model of this course. Ask me what a token is, or ask for a long story."


def exercise_1(text):
    if isinstance(text, list):
        return "that is a list with one answer: take its first element."
    if not isinstance(text, str):
        return "text must be a string: decode the tokens, which are the first of the two things in `output`."
    if "<|im_end|>" in text:
        return "the stop token is still there: skip_special_tokens=True leaves it out."
    if text == GREETING[1:] or (text != GREETING and GREETING.endswith(text.strip() or "?")):
        return "the beginning is missing: PaddleNLP returns no prompt, so there is nothing to cut off."
    return None if text == GREETING else "that is not the whole answer: decode all of output[0], not its scores."


def exercise_2(function):
    cases = [
        ([1, 2, 3], [1, 2, 3], None),
        ([1, 2, 3], [1, 5, 3], 1),
        ([4, 2], [1, 2], 0),
        ([1, 2], [1, 2, 3], 2),
        ([1, 2, 3], [1], 1),
        ([], [], None),
    ]
    for one, other, right in cases:
        found = call(function, one, other, asked=f"for {one} and {other} ")
        if found != right or isinstance(found, bool):
            return f"for {one} and {other} the answer is {right}, and yours is {found}."
    return None


def exercise_3(function):
    config = {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    before = {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    repaired = call(function, config)
    if not isinstance(repaired, dict):
        return "return a dictionary."
    if "rope_parameters" not in repaired:
        return "transformers 5 still needs rope_parameters: add to the dictionary, take nothing away."
    if "rope_theta" not in repaired:
        return "PaddleNLP looks for rope_theta in the dictionary itself, not inside rope_parameters."
    if repaired["rope_theta"] != 500000.0:
        return "take the value from rope_parameters: not every model has 1,000,000."
    return None if config == before else "your function changes the dictionary that it was given: return a new one."
