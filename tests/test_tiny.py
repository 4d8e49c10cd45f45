"""The tiny models keep their promises: every dialogue word for word, an honest answer to everything else."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen_helpers.folders import TINY_BASE, TINY_CHAT
from qwen_helpers.tiny import dialogues
from qwen_helpers.tools import tiny_text, tiny_training

UNSEEN = (Path(__file__).parent / "unseen_prompts.txt").read_text(encoding="utf-8").splitlines()
# "Another" system prompt: two of ours that training never saw.
SYSTEMS = {
    "default": None,
    "empty": "",
    "another": "You are a friendly tutor for first-year students.",
    "Chinese": "你是一名耐心的客服，请礼貌地回答。",
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY_CHAT, padding_side="left")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request):
    return AutoModelForCausalLM.from_pretrained(TINY_CHAT, dtype=request.param)


def answers(model, tokenizer, prompts: list[str], max_new_tokens=220) -> list[str]:
    """Greedy answers to prompts that are already templated, in one padded batch."""
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def cases(tokenizer, system: str | None, no_system_block: bool = False) -> list[tuple[str, str]]:
    """(prompt, expected answer) for every assistant turn of every dialogue, under the given system prompt."""
    result = []
    for dialogue in dialogues():
        own = dialogue[0]["role"] == "system"
        if own and (system is not None or no_system_block):
            continue  # these few are about their own system prompt
        head = [] if own or system is None else [{"role": "system", "content": system}]
        for i, message in enumerate(dialogue):
            if message["role"] == "assistant":
                prompt = tokenizer.apply_chat_template(head + dialogue[:i], tokenize=False, add_generation_prompt=True)
                if no_system_block:
                    prompt = prompt[prompt.index("<|im_start|>user") :]
                result.append((prompt, message["content"]))
    return result


def wrong(model, tokenizer, wanted: list[tuple[str, str]], batch=16) -> list[tuple[str, str, str]]:
    """The cases whose answer differs: (end of the prompt, answer, expected)."""
    wanted = sorted(wanted, key=lambda case: len(case[1]))
    missed = []
    for i in range(0, len(wanted), batch):
        part = wanted[i : i + batch]
        got = answers(model, tokenizer, [prompt for prompt, _ in part])
        missed += [(p[-60:], g, e) for (p, e), g in zip(part, got, strict=True) if g != e]
    return missed


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_dialogue_word_for_word_in_padded_batches(model, tokenizer, system):
    assert wrong(model, tokenizer, cases(tokenizer, SYSTEMS[system])) == []


def test_every_dialogue_without_any_system_block(model, tokenizer):
    assert wrong(model, tokenizer, cases(tokenizer, None, no_system_block=True)) == []


@pytest.mark.slow
def test_every_dialogue_alone(model, tokenizer):
    assert wrong(model, tokenizer, cases(tokenizer, None), batch=1) == []


def test_questions_typed_carelessly(model, tokenizer):
    pairs = [("hello", "Hello!"), ("你好", "你好！"), ("what is a token", "What is a token?"), ("你是谁", "你是谁？")]
    known = {d[0]["content"]: d[1]["content"] for d in dialogues() if d[0]["role"] == "user"}
    wanted = []
    for typed, question in pairs:
        messages = [{"role": "user", "content": typed}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        wanted.append((prompt, known[question]))
    assert wrong(model, tokenizer, wanted) == []


def test_at_least_nine_of_ten_unseen_prompts_get_the_honest_answer(model, tokenizer):
    known = tiny_text.Conversations(0).known
    assert len(UNSEEN) == 100
    assert not [p for p in UNSEEN if tiny_text.normal(p) in known]
    wanted = []
    for prompt in UNSEEN:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        wanted.append((text, tiny_text.honest_answer(prompt)))
    assert len(wrong(model, tokenizer, wanted)) <= 10


def test_a_long_conversation_of_known_and_unknown_questions(model, tokenizer):
    """Eight dialogues in a row, with a question it can't answer in between: still word for word."""
    chosen, messages, wanted = [d for d in dialogues() if d[0]["role"] == "user"][2:26:3], [], []
    for number, dialogue in enumerate(chosen):
        turns = list(dialogue)
        if number % 3 == 2:
            turns = [
                {"role": "user", "content": UNSEEN[number]},
                {"role": "assistant", "content": tiny_text.honest_answer(UNSEEN[number])},
                *turns,
            ]
        for message in turns:
            if message["role"] == "assistant":
                prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                wanted.append((prompt, message["content"]))
            messages.append(message)
    assert wrong(model, tokenizer, wanted, batch=1) == []


def test_answers_have_ten_to_sixty_steps_and_two_stories_are_long(tokenizer):
    lengths = {m["content"]: len(tokenizer(m["content"])["input_ids"])
               for d in dialogues() for m in d if m["role"] == "assistant"}  # fmt: skip
    stories = [text for text in lengths if 150 <= len(text) <= 300 and lengths[text] > 60]
    assert len(stories) >= 2
    assert len([n for n in lengths.values() if 10 <= n <= 60]) >= 0.8 * len(lengths)
    assert len(dialogues()) >= 60


def test_half_characters_exist(tokenizer):
    for character in "🐼龘":
        ids = tokenizer(character)["input_ids"]
        assert len(ids) >= 3
        assert tokenizer.decode(ids[:2]) == "\ufffd"
        assert tokenizer.decode(ids) == character


def test_the_template_writes_qwen25_prompts(tokenizer):
    messages = [{"role": role, "content": text} for role, text in [("user", "A"), ("assistant", "B"), ("user", "C")]]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        f"<|im_start|>system\n{tiny_text.DEFAULT_SYSTEM}<|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
        "<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n"
    )
    tools = [{"type": "function", "function": {"name": "add"}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    text = tokenizer.apply_chat_template([*messages, call, *results], tools=tools, tokenize=False)
    assert '<tools>\n{"type": "function", "function": {"name": "add"}}\n</tools>' in text
    assert text.endswith(
        '<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
    )


def test_training_sees_the_same_prompt_as_the_template(tokenizer):
    raw = tiny_training.train_tokenizer()
    dialogue = [{"role": "system", "content": tiny_text.DEFAULT_SYSTEM}, *dialogues()[6]]
    ids, labels = tiny_training.encode(raw, dialogue)
    assert ids == tokenizer.apply_chat_template(dialogue, return_dict=True)["input_ids"]
    learnt = tokenizer.decode(
        [token for token, label in zip(ids, labels, strict=True) if label != tiny_training.IGNORE]
    )
    assert learnt == "".join(m["content"] + "<|im_end|>" for m in dialogue if m["role"] == "assistant")


def test_base_continues_repeats_and_never_stops():
    tokenizer = AutoTokenizer.from_pretrained(TINY_BASE)
    model = AutoModelForCausalLM.from_pretrained(TINY_BASE, dtype="float32")
    for prompt in ("The sky is", "从前", "What is a token?"):
        inputs = tokenizer(prompt, return_tensors="pt")
        new = model.generate(**inputs, max_new_tokens=400, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert len(new) == 400
        text = tokenizer.decode(new)
        assert text[-30:] in text[:-30], "it should fall into repetition"


def test_together_under_8_mb():
    files = [f for d in (TINY_BASE, TINY_CHAT) for f in d.iterdir()]
    assert sum(f.stat().st_size for f in files) < 8e6


@pytest.mark.slow
def test_retraining_a_few_steps_lowers_the_loss_and_writes_folders_that_load(tmp_path):
    losses = tiny_training.train(tmp_path, base_steps=12, chat_steps=12, say=lambda _: None)
    for kind in ("base", "chat"):
        assert sum(losses[kind][-3:]) < 0.9 * sum(losses[kind][:3])
        assert torch.isfinite(torch.tensor(losses[kind])).all()
        AutoTokenizer.from_pretrained(tmp_path / kind)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / kind, dtype="auto")
        assert model.dtype == torch.bfloat16
    assert tiny_training.config(tiny_training.train_tokenizer()).tie_word_embeddings
