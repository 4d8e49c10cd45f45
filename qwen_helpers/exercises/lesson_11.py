"""Lesson 11's exercises: find the entry, follow a chain of causes, check that a question reaches the model."""

from qwen_helpers.exercises import Stopped, call

ASKED = {
    "SafetensorError: Error while deserializing header: HeaderTooLarge": "D7",
    "AttributeError: 'Qwen2ForCausalLM' object has no attribute 'chat_stream'": "C1",
    "no error, but the answers have nothing to do with my questions, and len(tokenizer) is 22": "D10",
}


def exercise_1(asked):
    if not isinstance(asked, dict) or set(asked) != set(ASKED):
        return "keep the dict and its three texts, and fill in the entry of each."
    for text, right in ASKED.items():
        given = asked[text]
        if given is ...:
            return f"fill in {text[:40]!r}: the letter and number of an entry, as text."
        if str(given).strip().upper() != right:
            how = "look through section 3, the silent ones" if right == "D10" else "ask explain(...) with that text"
            return f"{given} is not the entry for {text[:40]!r}: {how}."
    return None


def exercise_2(function):
    first, second, third = KeyError("shape"), ValueError("second"), RuntimeError("third")
    second.__context__, third.__cause__ = first, second
    if call(function, first) is not first:
        return "an error without a cause is its own beginning."
    found = call(function, third)
    if found is first:
        return None
    if found is third:
        return "that is the last error: go to its __cause__, or if there is none to its __context__."
    if found is second:
        return "one step is not enough: go on until neither __cause__ nor __context__ is left."
    return "return the exception itself."


class Tokenizer:
    """Stands for one: `size` tokens, and a template that knows the roles of Qwen2.5 in lower case."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def apply_chat_template(self, messages, tokenize=True, add_generation_prompt=False, **more):
        known = [m for m in messages if isinstance(m, dict) and m.get("role") in ("system", "user", "assistant")]
        text = "".join(f"<|im_start|>{m['role']}\n{m.get('content', '')}<|im_end|>\n" for m in known)
        return text if not tokenize else {"input_ids": [0] * len(text)}


def exercise_3(function):
    good = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Good morning!"}]
    cases = [
        (2048, good, True, "a sound tokenizer and sound messages must pass."),
        (22, good, False, "a tokenizer of 22 tokens is empty: ask for len(tokenizer)."),
        (
            2048,
            [{"role": "User", "content": "Hello!"}],
            False,
            "the role 'User' is lost: look for the content in the text.",
        ),
        (2048, [*good, {"role": "User", "content": "And now?"}], False, "look for every content, not only for one."),
        (2048, [{"user": "Hello!"}], False, "a message with other keys has no content and never arrives."),
    ]
    for size, messages, right, hint in cases:
        try:
            found = call(function, Tokenizer(size), messages)
        except Stopped as stop:
            if isinstance(stop.__cause__, KeyError):
                return f"your function stopped with KeyError: {stop.__cause__}: a wrong message may lack that key."
            raise
        if found is not right:
            return hint
    return None
