"""Lesson 3's exercises. They hold for any model, so the right answers are worked out and not written down."""

from transformers import AutoTokenizer

from qwen_helpers.exercises import call
from qwen_helpers.folders import model_folder

SENTENCE = "Small models run on small machines."


def tokenizer():
    return AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)


def exercise_1(answer):
    right = len(tokenizer()(SENTENCE)["input_ids"])
    if answer == right:
        return None
    if answer == len(SENTENCE.split()):
        return "that is the number of words; a word can be several tokens, and the full stop is one too."
    if answer == len(SENTENCE):
        return "that is the number of characters; call tokenizer(...) first and count the ids."
    return 'count the ids in tokenizer(sentence)["input_ids"].'


def exercise_2(answer):
    if not isinstance(answer, list) or not all(isinstance(message, dict) for message in answer):
        return "messages is a list of dicts, each with the keys role and content."
    if any(set(message) != {"role", "content"} for message in answer):
        return "each message has exactly two keys, role and content."
    roles = [message["role"] for message in answer]
    if roles != ["system", "user", "assistant", "user"]:
        return f"the roles must be system, user, assistant, user; yours are {', '.join(map(str, roles))}."
    if any(not isinstance(message["content"], str) or not message["content"].strip() for message in answer):
        return "each content is text, and none may be empty."
    return None


def exercise_3(function):
    """The function must send the whole history, and add the turn to it."""
    seen = []

    def answer(messages):
        seen.append([dict(message) for message in messages])
        return f"answer {len(seen)}"

    history = []
    returned = [call(function, question, history, answer) for question in ("first", "second")]
    if not all(isinstance(message, dict) and set(message) == {"role", "content"} for message in history):
        return "each entry of history must be a dict with the keys role and content."
    if [message["content"] for message in history] != ["first", "answer 1", "second", "answer 2"]:
        return "after two turns the history must hold four messages: question, answer, question, answer."
    if [message["role"] for message in history] != ["user", "assistant"] * 2:
        return "the roles take turns: user, assistant, user, assistant."
    if [message["content"] for message in seen[1]] != ["first", "answer 1", "second"]:
        return "in the second turn the model must see the first question, its answer and the second question."
    return None if returned == ["answer 1", "answer 2"] else "the function must return the answer."
