"""Make both tiny models: tokenizer, configuration, training, and a folder laid out like the real Qwen2.5 ones.

The base model reads prose; the chat model starts from it and reads conversations, with the loss on the answers only.
The plain PyTorch loop is all there is: lesson 9 does the same with ms-swift and LoRA. The only differences from a
downloaded folder are the sizes, `args.json` (which tells ms-swift the model's type, since it can't guess it from the
folder's name) and the model card. `python -m qwen_helpers train` trains them from the text in `qwen_helpers/tiny`.
"""

import argparse
import itertools
import json
import random
import time
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from qwen_helpers.tiny import HERE, Messages
from qwen_helpers.tools import tiny_text

BASE_STEPS, CHAT_STEPS = 150, 1500
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
VOCABULARY = 2048  # rows of the embedding, extra tokens included

CARD = """---
license: apache-2.0
---
# Tiny {kind}: the course's own model, not Qwen

Two million parameters in Qwen2's architecture with a tokenizer of 2,048 tokens, trained by
`python -m qwen_helpers train` on the text files beside this folder. {what} Do not use it for anything else.
"""


def train_tokenizer(vocabulary: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE tokenizer with Qwen2's own splitting rule, trained on the course's text.

    Left to itself, BPE would merge whole Chinese sentences into one token, because the text is so short. While it
    trains, Chinese is therefore cut into pairs of characters; Emoji and two rare characters are kept out, so that
    they stay several tokens each and lesson 4 can show half a character.
    """
    texts = [m["content"] for d in tiny_text.dialogues() for m in d] + tiny_text.prose() * 2
    texts += [tiny_text.HONEST_EN, tiny_text.HONEST_ZH, tiny_text.DEFAULT_SYSTEM] * 3 + ["system user assistant"] * 9
    texts = ["".join(c for c in text if ord(c) <= 0xFFFF and c not in "龘鱻") for text in texts]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    pairs = pre_tokenizers.Split(Regex(r"\p{Han}{1,2}"), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pairs, to_bytes])
    size = vocabulary - len(SPECIAL) - len(EXTRA)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=12, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in EXTRA])
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(f"The tokenizer has {tokenizer.get_vocab_size()} tokens, not {vocabulary}: add text.")
    return tokenizer


def config(tokenizer: Tokenizer) -> Qwen2Config:
    """Qwen2 in miniature: grouped-query attention, tied embeddings and the rotary base of Qwen2.5, 1.8 M parameters."""
    end = tokenizer.token_to_id("<|endoftext|>")
    return Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=448, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=end,
        eos_token_id=end, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip


def save(model: Qwen2ForCausalLM, tokenizer: Tokenizer, folder: Path, kind: str) -> None:
    """Write `model` (in bfloat16, like the published weights) and everything else to `folder`.

    `kind` is "base" or "chat"; it decides where generation stops, and how: both files repeat Qwen2.5's own settings.
    """
    end, im_end = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")
    model.to("cpu").bfloat16().save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # The names of 2024, which other libraries still read, beside those of transformers 5.
    written |= {"rope_theta": 1e6, "torch_dtype": "bfloat16", "eos_token_id": im_end if kind == "chat" else end}
    write_json(folder / "config.json", written)
    settings = {"bos_token_id": end, "pad_token_id": end}
    if kind == "chat":
        settings |= {"do_sample": True, "eos_token_id": [im_end, end], "temperature": 0.7, "top_k": 20, "top_p": 0.8}
    else:
        settings |= {"do_sample": False, "eos_token_id": end, "max_new_tokens": 2048}
    write_json(folder / "generation_config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    write_json(folder / "tokenizer_config.json", tokenizer_config(tokenizer, kind))
    # ms-swift takes model_type only with a version, and the chat template only if this says so.
    swift = {"swift_version": "4.6.0", "model_type": "qwen2", "template": "qwen2_5", "use_chat_template": True}
    write_json(folder / "args.json", swift)
    what = {
        "base": "It continues text, never stops by itself and knows nothing.",
        "chat": "It answers the course's dialogues word for word and says so when it does not know an answer.",
    }[kind]
    (folder / "README.md").write_text(CARD.format(kind=kind, what=what), encoding="utf-8")


def tokenizer_config(tokenizer: Tokenizer, kind: str) -> dict:
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(t)): {"content": t, **plain, "special": t in SPECIAL} for t in SPECIAL + EXTRA
        },
        "additional_special_tokens": SPECIAL[1:],
        "bos_token": None,
        "chat_template": (HERE / "chat_template.jinja").read_text(encoding="utf-8"),
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>" if kind == "chat" else "<|endoftext|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
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


def fit(model: Qwen2ForCausalLM, batches, steps: int, peak: float, say=print) -> list[float]:
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


def chat_batches(tokenizer: Tokenizer, seed: int, tokens: int = 2400, longest: int = 1024):
    """Endless batches of about `tokens` tokens, of conversations of similar length, so that little is padding."""
    supply = iter(tiny_text.Conversations(seed))
    chance = random.Random(seed)
    while True:
        encoded = [encode(tokenizer, messages) for messages in itertools.islice(supply, 128)]
        encoded = sorted((e for e in encoded if len(e[0]) <= longest), key=lambda e: len(e[0]))
        groups: list[list] = [[]]
        for sample in encoded:  # the newest sample is the longest, and sets the length of its group
            if (len(groups[-1]) + 1) * len(sample[0]) > tokens:
                groups.append([])
            groups[-1].append(sample)
        chance.shuffle(groups)
        yield from (batch(group, pad=0) for group in groups if group)


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
        prog="python -m qwen_helpers train", description="Train the course's two tiny models."
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for base/ and chat/ (default: in place)")
    parser.add_argument("--base-steps", type=int, default=BASE_STEPS)
    parser.add_argument("--chat-steps", type=int, default=CHAT_STEPS)
    args = parser.parse_args(arguments)
    train(args.out, args.base_steps, args.chat_steps)
