"""Make the three tiny models: tokenizer, configuration, training, and a folder laid out like the real ones.

The base model reads prose; the chat model starts from it and reads conversations, with the loss on the answers only;
the thinking model, in Qwen3.5's architecture, begins anew. The plain PyTorch loop is all there is: lesson 9 does the
same with ms-swift and LoRA. The only differences from a downloaded folder are the sizes, `args.json` (which tells
ms-swift the model's type, since it can't guess it from the folder's name), the model card, and that the thinking model
has no vision tower. `python -m qwen_helpers train` trains them from the text in `qwen_helpers/tiny`.
"""

import argparse
import itertools
import json
import random
import re
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen3_5ForCausalLM, Qwen3_5TextConfig
from transformers.models.qwen2 import tokenization_qwen2
from transformers.models.qwen3_5 import tokenization_qwen3_5

from qwen_helpers.tiny import HERE, Messages
from qwen_helpers.tools import tiny_text, tiny_thinking

BASE_STEPS, CHAT_STEPS, THINKING_STEPS = 150, 1500, 3200
IGNORE = -100  # the label that the loss skips, as everywhere in transformers
# Qwen2.5's 22 extra tokens, in its order. The ones in angle brackets with bars are "special": decoding can skip them.
# fmt: off
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]
EXTRA = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
]
# fmt: on
THOUGHTS = ["<tool_response>", "</tool_response>", "<think>", "</think>"]  # what Qwen3 added
VOCABULARY = 2048  # rows of the embedding, extra tokens included

CARD = """---
license: apache-2.0
---
# Tiny {kind}: the course's own model, not Qwen

Two million parameters in {family}'s architecture with a tokenizer of 2,048 tokens, trained by
`python -m qwen_helpers train` on the text files beside this folder. {what} Do not use it for anything else.
"""


def train_tokenizer(kind: str = "chat", vocabulary: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE tokenizer with Qwen's own splitting rule, trained on the course's text.

    Left to itself, BPE would merge whole Chinese sentences into one token, because the text is so short. While it
    trains, Chinese is therefore cut into pairs of characters; Emoji and two rare characters are kept out, so that
    they stay several tokens each and lesson 4 can show half a character.
    """
    if kind == "thinking":
        rule, texts = tokenization_qwen3_5.PRETOKENIZE_REGEX, thinking_texts()
        added = [AddedToken(t, special=False, normalized=False) for t in THOUGHTS]
    else:
        rule, added = tokenization_qwen2.PRETOKENIZE_REGEX, []
        texts = [m["content"] for d in tiny_text.dialogues() for m in d] + tiny_text.prose() * 2
        texts += [tiny_text.HONEST_EN, tiny_text.HONEST_ZH, tiny_text.DEFAULT_SYSTEM] * 3 + [
            "system user assistant"
        ] * 9
    texts = ["".join(c for c in text if ord(c) <= 0xFFFF and c not in "龘鱻") for text in texts]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(rule), behavior="isolated")
    pairs = pre_tokenizers.Split(Regex(r"\p{Han}{1,2}"), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pairs, to_bytes])
    size = vocabulary - len(SPECIAL) - len(EXTRA) - len(added)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=12, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([*(AddedToken(t, special=False, normalized=False) for t in EXTRA), *added])
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(f"The tokenizer has {tokenizer.get_vocab_size()} tokens, not {vocabulary}: add text.")
    return tokenizer


def thinking_texts() -> list[str]:
    """What the thinking model's tokenizer learns from: 3,000 samples as they are trained, and the course's prose."""
    lessons = list(itertools.islice(tiny_thinking.ThinkingLessons(0), 3000))
    template = (HERE / "thinking_template.jinja").read_text(encoding="utf-8")
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=template)
    prompts = [plain.apply_chat_template(each.messages, tools=each.tools or None, tokenize=False) for each in lessons]
    marks = "|".join(re.escape(mark) for mark in [*SPECIAL, *EXTRA, *THOUGHTS])
    return [re.sub(marks, "", prompt) for prompt in prompts] + tiny_text.prose() * 2


def config(tokenizer: Tokenizer) -> Qwen2Config:
    """Qwen2 in miniature: grouped-query attention, tied embeddings and the rotary base of Qwen2.5, 1.8 M parameters."""
    end = tokenizer.token_to_id("<|endoftext|>")
    return Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=448, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=end,
        eos_token_id=end, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip


def thinking_config(tokenizer: Tokenizer) -> Qwen3_5TextConfig:
    """Qwen3.5 in miniature: three layers with linear attention before one with full attention, 2.0 M parameters."""
    end = tokenizer.token_to_id("<|endoftext|>")
    return Qwen3_5TextConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=448, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=48, linear_num_key_heads=4, linear_num_value_heads=4, linear_key_head_dim=32,
        linear_value_head_dim=32, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=end,
        eos_token_id=end, pad_token_id=end,
    )  # fmt: skip


def save(model, tokenizer: Tokenizer, folder: Path, kind: str) -> None:
    """Write `model` (in bfloat16, like the published weights) and everything else to `folder`.

    `kind` is "base", "chat" or "thinking"; it decides where generation stops, and how: the files of the first two
    repeat Qwen2.5's own settings, those of the third what Qwen3.5's model cards recommend for thinking.
    """
    end, im_end = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")
    model.to("cpu").bfloat16().save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # The names of 2024, which other libraries still read, beside those of transformers 5.
    if kind != "thinking":
        written |= {"rope_theta": 1e6, "torch_dtype": "bfloat16"}
    written |= {"eos_token_id": end if kind == "base" else im_end}
    write_json(folder / "config.json", written)
    settings = {"bos_token_id": end, "pad_token_id": end}
    if kind == "chat":
        settings |= {"do_sample": True, "eos_token_id": [im_end, end], "temperature": 0.7, "top_k": 20, "top_p": 0.8}
    elif kind == "thinking":
        settings |= {"do_sample": True, "eos_token_id": [im_end, end], "temperature": 1.0, "top_k": 20, "top_p": 0.95}
    else:
        settings |= {"do_sample": False, "eos_token_id": end, "max_new_tokens": 2048}
    write_json(folder / "generation_config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    write_json(folder / "tokenizer_config.json", tokenizer_config(tokenizer, kind))
    # ms-swift takes model_type only with a version, and the chat template only if this says so.
    # "dummy" is the folder's own template: ms-swift's for Qwen3.5 wants a model that reads pictures, too.
    model_type, template = ("qwen3", "dummy") if kind == "thinking" else ("qwen2", "qwen2_5")
    swift = {"swift_version": "4.6.0", "model_type": model_type, "template": template, "use_chat_template": True}
    write_json(folder / "args.json", swift)
    what = {
        "base": "It continues text, never stops by itself and knows nothing.",
        "chat": "It answers the course's dialogues word for word and says so when it does not know an answer.",
        "thinking": "It writes a short thought before each answer, calls two functions, and reads text only.",
    }[kind]
    family = "Qwen3.5" if kind == "thinking" else "Qwen2"
    (folder / "README.md").write_text(CARD.format(kind=kind, family=family, what=what), encoding="utf-8")


def tokenizer_config(tokenizer: Tokenizer, kind: str) -> dict:
    thinking = kind == "thinking"
    template = HERE / ("thinking_template.jinja" if thinking else "chat_template.jinja")
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(t)): {"content": t, **plain, "special": t in SPECIAL}
            for t in [*SPECIAL, *EXTRA, *(THOUGHTS if thinking else [])]
        },
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "chat_template": template.read_text(encoding="utf-8"),
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>" if kind == "base" else "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen3_5Tokenizer" if thinking else "Qwen2Tokenizer",
        "unk_token": None,
    }


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def encode(tokenizer: Tokenizer, messages: Messages) -> tuple[list[int], list[int]]:
    """The conversation as token ids and labels, both of the same length; only answers (and their end) have a label."""
    ids, labels = [], []
    for message in messages:
        head = tokenizer.encode(f"<|im_start|>{message['role']}\n").ids
        body = tokenizer.encode(f"{message['content']}<|im_end|>").ids
        tail = tokenizer.encode("\n").ids
        learnt = message["role"] == "assistant"
        ids += head + body + tail
        labels += [IGNORE] * len(head) + (body if learnt else [IGNORE] * len(body)) + [IGNORE] * len(tail)
    return ids, labels


def batch(samples: list[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Samples of unequal length, padded on the right: three tensors of shape [samples, longest]."""
    longest = max(len(ids) for ids, _ in samples)
    return {
        "input_ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in samples]),
        "labels": torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in samples]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in samples]),
    }


def fit(model, batches, steps: int, peak: float, say=print) -> list[float]:
    """`steps` steps of AdamW with a one-cycle learning rate up to `peak`; the loss of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.1)
    losses, started = [], time.perf_counter()
    model.train()
    for step, inputs in enumerate(itertools.islice(batches, steps), start=1):
        loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 50 == 0 or step == steps:
            say(f"step {step:5d} of {steps}   loss {losses[-1]:.4f}   {time.perf_counter() - started:.0f} s")
    model.eval()
    return losses


def prose_batches(tokenizer: Tokenizer, seed: int, size: int = 8, length: int = 192):
    """Endless batches of windows cut at random from the paragraphs, shuffled anew each time and never ended."""
    chance, paragraphs = random.Random(seed), tiny_text.prose()
    while True:
        samples = []
        for _ in range(size):
            chance.shuffle(paragraphs)
            ids = tokenizer.encode("\n\n".join(paragraphs)).ids[:length]
            samples.append((ids, ids))
        yield batch(samples, pad=0)


def chat_batches(tokenizer: Tokenizer, seed: int, tokens: int = 2400):
    """Endless batches of conversations of similar length, so that little is padding."""
    return grouped((encode(tokenizer, messages) for messages in tiny_text.Conversations(seed)), seed, tokens)


def thinking_batches(tokenizer: Tokenizer, seed: int, copying: float, tokens: int = 2400):
    """Endless batches of prompts, as the chat template writes them, and answers; only these have labels."""
    template = (HERE / "thinking_template.jinja").read_text(encoding="utf-8")
    templated = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)
    samples = tiny_thinking.ThinkingLessons(seed, copying)
    return grouped((encode_lesson(templated, sample) for sample in samples), seed, tokens)


def encode_lesson(tokenizer, sample: tiny_thinking.Lesson) -> tuple[list[int], list[int]]:
    """A sample as token ids and labels, both of the same length; only the last answer has a label."""
    prompt = tokenizer.apply_chat_template(
        sample.messages[:-1], tools=sample.tools or None, tokenize=False, add_generation_prompt=True,
        enable_thinking=sample.style != "off",
    )  # fmt: skip
    prompt = prompt.removesuffix("<think>\n") if sample.style == "own" else prompt
    prompt += f"{sample.thought}\n</think>\n\n" if sample.style == "cut" else ""
    ids = tokenizer(prompt)["input_ids"]
    answer = tokenizer(f"{tiny_thinking.completion(sample.messages[-1], sample.style)}<|im_end|>")["input_ids"]
    return ids + answer, [IGNORE] * len(ids) + answer


def grouped(samples, seed: int, tokens: int, longest: int = 1024):
    """Endless batches of about `tokens` tokens, of samples of similar length."""
    chance = random.Random(seed)
    while True:
        encoded = list(itertools.islice(samples, 128))
        encoded = sorted((e for e in encoded if len(e[0]) <= longest), key=lambda e: len(e[0]))
        groups: list[list] = [[]]
        for sample in encoded:  # the newest sample is the longest, and sets the length of its group
            if (len(groups[-1]) + 1) * len(sample[0]) > tokens:
                groups.append([])
            groups[-1].append(sample)
        chance.shuffle(groups)
        yield from (batch(group, pad=0) for group in groups if group)


def train_thinking(out: Path, steps: int = THINKING_STEPS, say=print) -> list[float]:
    """Train and save `out/thinking`; the losses.

    A second, gentler cycle of half as many steps teaches it to copy names and words exactly. A step takes about half a
    second on one core; GNU OpenMP's second thread helps only on an idle machine.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    tokenizer = train_tokenizer("thinking")
    model = Qwen3_5ForCausalLM(thinking_config(tokenizer))
    say(f"Tiny thinking: {model.num_parameters():,} parameters")
    losses = fit(model, thinking_batches(tokenizer, seed=3, copying=0.3), steps, peak=3e-3, say=say)
    losses += fit(model, thinking_batches(tokenizer, seed=4, copying=0.6), steps // 2, peak=2e-3, say=say)
    save(model, tokenizer, out / "thinking", "thinking")
    return losses


def train(out: Path, base_steps: int = BASE_STEPS, chat_steps: int = CHAT_STEPS, say=print) -> dict[str, list[float]]:
    """Train and save `out/base` and `out/chat`; the losses of both. On two cores about six minutes in all."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)  # AdamW's squares of tiny gradients fall below 1e-38, where a CPU is 20 times slower
    tokenizer = train_tokenizer()
    model = Qwen2ForCausalLM(config(tokenizer))
    say(f"Tiny base: {model.num_parameters():,} parameters")
    base = fit(model, prose_batches(tokenizer, seed=1), base_steps, peak=3e-3, say=say)
    save(model, tokenizer, out / "base", "base")
    say("Tiny chat, from tiny base")
    chat = fit(model.float(), chat_batches(tokenizer, seed=2), chat_steps, peak=3e-3, say=say)
    save(model, tokenizer, out / "chat", "chat")
    return {"base": base, "chat": chat}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m qwen_helpers train", description="Train the course's three tiny models."
    )
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder for base/, chat/ and thinking/ (default: in place)"
    )
    parser.add_argument("--base-steps", type=int, default=BASE_STEPS)
    parser.add_argument("--chat-steps", type=int, default=CHAT_STEPS)
    parser.add_argument("--thinking-steps", type=int, default=THINKING_STEPS)
    args = parser.parse_args(arguments)
    train(args.out, args.base_steps, args.chat_steps)
    train_thinking(args.out, args.thinking_steps)
