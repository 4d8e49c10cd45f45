"""C: what goes wrong between a loaded model and its answer. Most of it raises nothing."""

import json

import pytest

from qwen_helpers import TINY_BASE, TINY_CHAT, TINY_THINKING
from qwen_helpers.diagnosis import folder_findings
from raised.the import HELLO

TOKEN = [{"role": "user", "content": "What is a token?"}]


def raises_C1(the):
    the.model.chat(the.tokenizer, "Hello!", history=None)


def cures_C1(the):
    assert the.answer() == HELLO


def raises_C2(the):
    the.model.generate(the.tokenizer.apply_chat_template(the.messages, add_generation_prompt=True, return_tensors="pt"))


def shows_C2(the):
    """The error has no text; the one before it says which. And `len` counts the dict's entries, not the tokens."""
    with pytest.raises(AttributeError) as caught:
        raises_C2(the)
    assert str(caught.value) == "" and repr(caught.value.__context__) == "KeyError('shape')"
    inputs = the.tokenizer.apply_chat_template(the.messages)
    assert (len(inputs), len(inputs["input_ids"])) == (2, 28)


def cures_C2(the):
    assert the.model.generate(**the.prompt, max_new_tokens=5, do_sample=False).shape == (1, 38)


def shows_C3(the):
    """A base model runs to the limit, in circles. Its folder says that it is one."""
    base = the.load(TINY_BASE, dtype="auto")
    text = the.answer(base, max_new_tokens=60)
    assert text == (
        "The sky is blue in the morning and grey in the afternoon. When the clouds come over the hill, the fishermen "
        "pull their boats onto the sand and wait. The rain falls a mountain.\n\nThe sky is blue in the morning and "
        "grey in the afternoon. When the clouds"
    )
    assert folder_findings(TINY_BASE) == [
        "C3: <|im_end|> is no stop token of this model, so it is a base model, which continues text: take the "
        "-Instruct model for answers, or give generate its eos_token_id."
    ]
    stops = {}
    for folder in (TINY_BASE, TINY_CHAT):
        settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        ids = settings["eos_token_id"]
        stops[folder.name] = [the.tokenizer.decode([i]) for i in (ids if isinstance(ids, list) else [ids])]
    assert stops == {"base": ["<|endoftext|>"], "chat": ["<|im_end|>", "<|endoftext|>"]}


def cures_C3(the):
    assert the.answer(max_new_tokens=60) == HELLO and folder_findings(TINY_CHAT) == []


def new_tokens(the, **settings):
    prompt = the.prompt
    return the.model.generate(**prompt, do_sample=False, **settings)[0][prompt["input_ids"].shape[1] :]


def shows_C4(the):
    assert the.tokenizer.decode(new_tokens(the, max_new_tokens=40)) == HELLO + "<|im_end|>"


def cures_C4(the):
    assert the.tokenizer.decode(new_tokens(the, max_new_tokens=40), skip_special_tokens=True) == HELLO


def shows_C5(the):
    """Twenty tokens without max_new_tokens; a warning says so, and the last token is not the end of a turn."""
    with pytest.warns(UserWarning, match=r"Using the model-agnostic default `max_length` \(=53\) to control the"):
        cut = new_tokens(the)
    assert len(cut) == 20 and cut[-1] not in the.model.generation_config.eos_token_id
    assert the.tokenizer.decode(cut) == "Hello! I am the tiny model of this course. Ask me what a token is, or"


def cures_C5(the):
    assert new_tokens(the, max_new_tokens=40)[-1] in the.model.generation_config.eos_token_id


def raises_C6(the):
    the.answer(do_sample=True, temperature=0.0)


def cures_C6(the):
    assert the.answer(do_sample=False) == HELLO


WILD = {"do_sample": True, "temperature": 9.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 12}


def shows_C7(the):
    """One seed for two calls: the second one goes on where the first one stopped."""
    import torch

    torch.manual_seed(1)
    assert the.answer(**WILD) != the.answer(**WILD)


def cures_C7(the):
    import torch

    answers = []
    for _ in range(2):
        torch.manual_seed(1)
        answers.append(the.answer(**WILD))
    assert answers[0] == answers[1] and the.answer() == the.answer()


def gone_C8(the):
    """One prompt is silent today, even as ids alone and without a pad token."""
    with the.log("transformers") as log:
        the.model.generate(the.prompt["input_ids"], pad_token_id=None, max_new_tokens=3, do_sample=False)
    assert log.getvalue() == ""


def shows_C8(the):
    """Two prompts of different length still warn, in other words than before."""
    texts = ["What is a token?", "Hello!"]
    two = the.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    with the.log("transformers") as log:
        the.model.generate(two["input_ids"], pad_token_id=None, max_new_tokens=3, do_sample=False)
    return log.getvalue()


def cures_C8(the):
    texts = ["What is a token?", "Hello!"]
    two = the.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    with the.log("transformers") as log:
        the.model.generate(**two, max_new_tokens=3, do_sample=False)
    assert log.getvalue() == ""


def prompts_with(the, tokenizer, **settings):
    values = [{**settings, "enable_thinking": value} for value in (True, False)]
    return [tokenizer.apply_chat_template(the.messages, tokenize=False, **each) for each in values]


def shows_C9(the):
    """A template ignores a name that it does not know."""
    assert len(set(prompts_with(the, the.tokenizer))) == 1
    assert "enable_thinking" not in the.tokenizer.chat_template


def cures_C9(the):
    """Ask the template whether it knows the name."""
    thinking = the.load_tokenizer(TINY_THINKING)
    assert "enable_thinking" in thinking.chat_template
    settings = {"add_generation_prompt": True}
    assert len(set(prompts_with(the, thinking, **settings))) == 2


def history(the):
    return [{"role": role, "content": "Hello! " * 5} for role in ("user", "assistant") * 4] + the.messages


def tokens_of(the, messages):
    return len(the.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def shows_C10(the):
    """A prompt three times as long as the context is answered all the same, with one line in the log."""
    folder = the.copy("short_context")
    the.edit(folder / "config.json", max_position_embeddings=64)
    small = the.load(folder, dtype="auto")
    assert tokens_of(the, history(the)) == 205
    with the.log("transformers") as log:
        assert the.answer(small, history(the), max_new_tokens=5)
    assert "has exceeded the model's predefined maximum length (64)" in log.getvalue()
    return log.getvalue()


def cures_C10(the):
    """Count, and drop the oldest turns in pairs."""
    messages = history(the)
    assert len(messages) == 9
    while tokens_of(the, messages) + 30 > 100 and len(messages) > 1:
        messages = messages[2:]
    assert messages == the.messages


def shows_C11(the):
    """The template asks each message for its `role`, gets none that it knows, and prints nothing."""
    for wrong in ([{"user": "Hello!"}], "Hello!", [{"role": "User", "content": "Hello!"}]):
        assert "Hello" not in the.tokenizer.apply_chat_template(wrong, tokenize=False, add_generation_prompt=True)


def cures_C11(the):
    text = the.tokenizer.apply_chat_template(the.messages, tokenize=False, add_generation_prompt=True)
    assert "Hello!" in text and text.count("<|im_start|>") == 3


def shows_C12(the):
    plain = the.tokenizer("What is a token?", return_tensors="pt")
    output = the.model.generate(**plain, max_new_tokens=12, do_sample=False)
    text = the.tokenizer.decode(output[0][plain["input_ids"].shape[1] :])
    assert text == " Be. It can been\nA token is the model"


def cures_C12(the):
    assert the.answer(messages=TOKEN) == (
        "A token is a piece of text that the model reads or writes in one step. It can be a word, a part of a word, or "
        "a single character."
    )


def raises_C13(the):
    the.model.generate(**the.prompt, max_tokens=40)


def cures_C13(the):
    assert the.model.generate(**the.prompt, max_new_tokens=5, do_sample=False).shape == (1, 38)


def raises_C14(the):
    the.model.generate("Hello!")


def cures_C14(the):
    ids = the.tokenizer("Hello!", return_tensors="pt")
    assert the.model.generate(**ids, max_new_tokens=5, do_sample=False).shape == (1, 3)
