"""Lesson 7's exercises: PaddleNLP's output as text, the lost line breaks, and the lost rotary base."""

from numbers import Number

from qwen_helpers.exercises import call
from qwen_helpers.language import N_, _

GREETING = "Hello! I am the tiny model of this course. Ask me what a token is, or ask for a long story."
LOST = 6  # one line break after each of the six messages of exercise 7.2

LOST_HINTS = {
    0: N_("section 8 counts more tokens with one tokenizer than with the other: the template is the same for both."),
    1: N_("it is not only the last line break: see which token of the template each of them follows."),
    3: N_("that counts one role only: every message ends with <|im_end|> and a line break."),
    4: N_("that is section 8's conversation; this one has more messages."),
    5: N_("the system message ends with <|im_end|> and a line break, too."),
    7: N_("the template adds a system message only where there is none: count each <|im_end|> of the prompt."),
    12: N_("the line break after one <|im_end|> and the one before the next message are the same: count it once."),
}


def exercise_1(text):
    if isinstance(text, list):
        return _("that is a list with one answer: take its first element.")
    if not isinstance(text, str):
        return _("text must be a string: decode the tokens, which are the first of the two things in `output`.")
    if "<|im_end|>" in text:
        return _("the stop token is still there: skip_special_tokens=True leaves it out.")
    if text == GREETING[1:] or (text != GREETING and GREETING.endswith(text.strip())):
        return _("the beginning is missing: PaddleNLP returns only the new tokens, so there is nothing to cut off.")
    return None if text == GREETING else _("that is not the whole answer: decode all of output[0][0], not its scores.")


def exercise_2(lost):
    if not isinstance(lost, Number) or isinstance(lost, bool):
        return _("give a number of tokens, such as 4 for the conversation of section 8.")
    if lost < 0:
        return _("give the number of tokens that are lost, without a sign.")
    return None if lost == LOST else LOST_HINTS.get(lost, _("section 8 says after which token a line break is lost."))


def exercise_3(function):
    config = {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    before = {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    repaired = call(function, config)
    if repaired is None:
        return _("your function returns nothing: return a dictionary.")
    if not isinstance(repaired, dict):
        return _("return a dictionary.")
    if "rope_parameters" not in repaired:
        return _("transformers 5 still needs rope_parameters: add to the dictionary, take nothing away.")
    if "rope_theta" not in repaired:
        return _("PaddleNLP looks for rope_theta in the dictionary itself, not inside rope_parameters.")
    if isinstance(repaired["rope_theta"], dict):
        return _("that is all of rope_parameters: take the number under its key rope_theta.")
    if repaired["rope_theta"] != 500000.0:
        return _("take the value from rope_parameters: not every model has 1,000,000.")
    if config != before:
        return _("your function changes the dictionary that it was given: return a new one.")
    lost = sorted(set(before) - set(repaired))
    forgetful = _("your dictionary has lost {names}: keep what was there.").format(names=", ".join(lost))
    return forgetful if lost else None
