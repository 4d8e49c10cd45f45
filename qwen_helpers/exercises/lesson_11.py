"""Lesson 11's exercises: read a chain of errors, mend a function, check that a question reaches the model."""

import functools
import traceback

from qwen_helpers.exercises import Stopped, call
from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.language import N_, _

CHAIN = {"why": (4,), "own code": (9, 10), "line of data.jsonl": (2,)}
HINTS = {
    ("why", 13): N_("line 13 says that it failed, and not why: go up, to the error that was its direct cause."),
    ("why", 12): N_("line 12 is code that raises the last error: go up, to the error that was its direct cause."),
    ("why", 6): N_("line 6 stands between the two errors: the cause is the last line of the upper traceback."),
    ("why", 2): N_("line 2 says where in the library, and not why: the reason is a line with a type and a text."),
    ("why", 3): N_("line 3 is code of a library: the reason is the line with the type and the text."),
    ("why", 10): N_("line 10 is the call that failed: it says where, and not why."),
    ("own code", 12): N_("line 12 lies in datasets/builder.py, which is a library's: look for a file of the reader's."),
    ("own code", 11): N_("line 11 names a file of the library datasets: look for one of the reader's."),
    ("own code", 2): N_("line 2 names a file of the library datasets: look for one of the reader's."),
    ("own code", 3): N_("line 3 lies in a library's file: look for one of the reader's."),
    ("own code", 4): N_("line 4 is the error's text: look for a file of the reader's."),
    ("own code", 5): N_("that is the line of train.py; which of the 13 lines above shows it?"),
    ("line of data.jsonl", 1): N_("row 1 is the second one, since the library counts from 0."),
    ("line of data.jsonl", 0): N_("row 0 would be the first line, and the text says row 1."),
    ("line of data.jsonl", 4): N_("line 4 of the traceback is where it says so; take the row that it names."),
    ("line of data.jsonl", 5): N_("line 5 is one of train.py, which is sound; line 4 names the row of the data."),
    ("line of data.jsonl", 212): N_("212 is a line of the library's json.py; line 4 names the row of the data."),
}


def exercise_1(given):
    if not isinstance(given, dict) or set(given) != set(CHAIN):
        return _("keep the dict and its three names, and put a number after each.")
    for name, right in CHAIN.items():
        if not isinstance(given[name], int):
            return _("put a number after {name!r}: one, and without quotes.").format(name=name)
        if given[name] not in right:
            where = _("look for the line with a type and a text that names something of the reader's.")
            where = _("look for a file that the reader wrote.") if name == "own code" else where
            other = _("not {number!r}: {where}").format(number=given[name], where=where)
            return f"{name}: " + _(HINTS.get((name, given[name]), other))
    return None


QUESTION, ANSWER = "What is a token?", "A token is a piece of text"


@functools.cache
def _tiny_chat():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(TINY_CHAT), AutoTokenizer.from_pretrained(TINY_CHAT)


class Listening:
    """The model, which also notes the prompts that it gets."""

    def __init__(self, model):
        self.model, self.prompts = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def generate(self, *arguments, **settings):
        output = self.model.generate(*arguments, **settings)
        self.prompts.append(arguments[0] if arguments else settings.get("input_ids", settings.get("inputs")))
        return output


def exercise_2(ask):
    model, tokenizer = _tiny_chat()
    model = Listening(model)
    try:
        text = call(ask, model, tokenizer, QUESTION)
    except Stopped as stop:
        return _why_it_stopped(stop.__cause__) or str(stop)
    if text is None:
        return _("your function returns nothing: print shows a text, and return hands it over.")
    if isinstance(text, list):
        return _("that is a list of answers: decode the only one, output[0].")
    if not isinstance(text, str):
        return _("return the answer as text: decode its tokens.")
    prompt = tokenizer.decode(model.prompts[-1][0]) if model.prompts else ""
    if QUESTION not in prompt:
        return _("no error, but the prompt does not hold the question: see the keys of the message, or its list (C11).")
    if f"<|im_start|>user\n{QUESTION}" not in prompt:
        return _("no error, but the question is not the user's: look at the role of the message (C11).")
    if not prompt.endswith("<|im_start|>assistant\n"):
        return _("no error, but the prompt does not open the assistant's turn: add_generation_prompt (C12).")
    if QUESTION in text:
        return _(
            'the prompt is still in what you return: cut it off by its tokens, inputs["input_ids"].shape[1] of them.'
        )
    if "<|im_end|>" in text:
        return _("the answer ends in <|im_end|>: decode without the special tokens (C4).")
    if not text:
        return _("nothing is left: cut the tokens of the answer, output[0][n:], and not the batch, output[n:].")
    if not text.startswith(ANSWER):
        return _("the answer should begin with {right!r}, and is {text!r}.").format(right=ANSWER, text=text[:40])
    return None if text.endswith(".") else _("the answer stops in the middle: give max_new_tokens (C5).")


def _why_it_stopped(error):
    if isinstance(error, AttributeError) and isinstance(error.__context__, KeyError):
        if "generate" not in [frame.name for frame in traceback.extract_tb(error.__traceback__)]:
            return _("the template's dict has no {key}: its tensor input_ids has a shape (C2).").format(
                key=error.__context__
            )
        return _("an AttributeError without a text: generate gets a dict whole, spread it with two stars (C2).")
    if "no element 0" in str(error):
        return _("the template wants a list, even of one message: put square brackets around it.")
    if "'list' object has no attribute 'shape'" in str(error):
        return _('generate wants tensors and gets lists: return_tensors="pt" belongs to apply_chat_template.')
    if "model_kwargs" in str(error):
        return _("{error}. The name in the list is another one here (C13).").format(
            error=str(error).splitlines()[0].rstrip(".")
        )
    return None


class Tokenizer:
    """Stands for one: `size` tokens, and a template that knows the roles of Qwen2.5 in lower case."""

    def __init__(self, size):
        self.size = self.vocab_size = size
        self.gave_ids = False

    def __len__(self):
        return self.size

    def apply_chat_template(self, messages, tokenize=True, add_generation_prompt=False, **more):
        known = [m for m in messages if isinstance(m, dict) and m.get("role") in ("system", "user", "assistant")]
        text = "".join(f"<|im_start|>{m['role']}\n{m.get('content', '')}<|im_end|>\n" for m in known)
        self.gave_ids |= tokenize
        return text if not tokenize else {"input_ids": [0] * len(text)}


def exercise_3(function):
    good = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Good morning!"}]
    cases = [
        (2048, good, True, _("a sound tokenizer and sound messages must pass.")),
        (22, good, False, _("a tokenizer of 22 tokens is empty: ask for len(tokenizer).")),
        (
            2048,
            [{"role": "User", "content": "Hello!"}],
            False,
            _("the role 'User' is lost: look for the content in the text."),
        ),
        (2048, [*good, {"role": "User", "content": "And now?"}], False, _("look for every content, not only for one.")),
        (
            2048,
            [{"role": "User", "content": "One?"}, *good],
            False,
            _("look for every content, not only for the last."),
        ),
        (2048, [{"user": "Hello!"}], False, _("a message with other keys has no content and never arrives.")),
    ]
    for size, messages, right, hint in cases:
        tokenizer = Tokenizer(size)
        try:
            found = call(function, tokenizer, messages)
        except Stopped as stop:
            if isinstance(stop.__cause__, KeyError):
                return _("your function stopped with KeyError: {key}: a wrong message may lack that key.").format(
                    key=stop.__cause__
                )
            raise
        if not isinstance(found, bool):
            return _("return True or False, and not {found!r}.").format(found=found)
        if right and not found and tokenizer.gave_ids:
            return _("the template gives ids of tokens, which hold no words: ask it for the text, tokenize=False.")
        if found is not right:
            return hint
    return None
