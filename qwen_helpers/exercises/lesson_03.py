"""Lesson 3's exercises. They hold for any model, so the right answers are worked out and not written down."""

from transformers import AutoTokenizer

from qwen_helpers.exercises import call
from qwen_helpers.folders import model_folder
from qwen_helpers.language import _

SENTENCE = "Small models run on small machines."


def tokenizer():
    return AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)


def exercise_1(answer):
    encoded = tokenizer()(SENTENCE)
    if isinstance(answer, int) and answer == len(encoded["input_ids"]):
        return None
    if answer == encoded["input_ids"]:
        return _("these are the ids; the answer is how many there are: len(...) of the list.")
    if answer == len(encoded):
        keys = _(" and ").join(encoded)
        return _(
            'the tokenizer returns a dict, and len(...) counts its keys, {keys}: count the list under "input_ids".'
        ).format(keys=keys)
    if answer == len(SENTENCE.split()):
        return _("that is the number of words; a word can be several tokens, and the full stop is one too.")
    if answer == len(SENTENCE):
        return _("that is the number of characters; call tokenizer(...) first and count the ids.")
    return _('count the ids in tokenizer(sentence)["input_ids"].')


def exercise_2(answer):
    if not isinstance(answer, list) or not all(isinstance(message, dict) for message in answer):
        return _("messages is a list of dicts, each with the keys role and content.")
    if any(set(message) != {"role", "content"} for message in answer):
        return _("each message has exactly two keys, role and content.")
    roles = [message["role"] for message in answer]
    if roles != ["system", "user", "assistant", "user"]:
        return _("the roles must be system, user, assistant, user; yours are {roles}.").format(
            roles=_(", ").join(map(str, roles))
        )
    if any(not isinstance(message["content"], str) or not message["content"].strip() for message in answer):
        return _("each content is text, and none may be empty.")
    return None


def exercise_3(function):
    """The function must send the whole history, and add the turn to it."""
    seen = []

    def answer(messages):
        # A plain text is a sequence of letters: kept as it came, for the hint below.
        seen.append([dict(message) if isinstance(message, dict) else message for message in messages])
        return f"answer {len(seen)}"

    history = []
    returned = [call(function, question, history, answer) for question in ("first", "second")]
    if any(not isinstance(message, dict) for messages in seen for message in messages):
        return _('answer gets messages, each a dict: {"role": "user", "content": question}, and not the plain text.')
    if not history and len(seen) == 2:
        return _(
            "after two turns history must hold four messages, and it is still empty. Change the list in "
            "place, with history.append(...): `history = history + [...]` makes a new list, which ends with "
            "the function."
        )
    if not all(isinstance(message, dict) and set(message) == {"role", "content"} for message in history):
        return _("each entry of history must be a dict with the keys role and content.")
    contents = [message["content"] for message in history]
    if contents == ["first", "second"]:
        return _("the history holds the questions only: append each answer, too, as the assistant's message.")
    if contents != ["first", "answer 1", "second", "answer 2"]:
        return _("after two turns the history must hold four messages: question, answer, question, answer.")
    if [message["role"] for message in history] != ["user", "assistant"] * 2:
        return _("the roles take turns: user, assistant, user, assistant.")
    if [message["content"] for message in seen[1]] != ["first", "answer 1", "second"]:
        return _("in the second turn the model must see the first question, its answer and the second question.")
    return None if returned == ["answer 1", "answer 2"] else _("the function must return the answer.")
