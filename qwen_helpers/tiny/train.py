"""Train both tiny models from the text in this folder: `python -m qwen_helpers.tiny.train`.

The base model reads prose; the chat model starts from it and reads conversations, with the loss on the answers only.
The plain PyTorch loop is all there is: lesson 8 does the same with ms-swift and LoRA.
"""

import argparse
import itertools
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from qwen_helpers.tiny import data, folder

BASE_STEPS, CHAT_STEPS = 150, 1500
IGNORE = -100  # the label that the loss skips, as everywhere in transformers


def encode(tokenizer: Tokenizer, messages: data.Messages) -> tuple[list[int], list[int]]:
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
    chance, paragraphs = random.Random(seed), data.prose()
    while True:
        samples = []
        for _ in range(size):
            chance.shuffle(paragraphs)
            ids = tokenizer.encode("\n\n".join(paragraphs)).ids[:length]
            samples.append((ids, ids))
        yield batch(samples, pad=0)


def chat_batches(tokenizer: Tokenizer, seed: int, tokens: int = 2400, longest: int = 1024):
    """Endless batches of about `tokens` tokens, of conversations of similar length, so that little is padding."""
    supply = iter(data.Conversations(seed))
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
    tokenizer = folder.train_tokenizer()
    model = Qwen2ForCausalLM(folder.config(tokenizer))
    say(f"Tiny base: {model.num_parameters():,} parameters")
    base = fit(model, prose_batches(tokenizer, seed=1), base_steps, peak=3e-3, say=say)
    folder.save(model, tokenizer, out / "base", "base")
    say("Tiny chat, from tiny base")
    chat = fit(model.float(), chat_batches(tokenizer, seed=2), chat_steps, peak=3e-3, say=say)
    folder.save(model, tokenizer, out / "chat", "chat")
    return {"base": base, "chat": chat}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the course's two tiny models.")
    parser.add_argument("--out", type=Path, default=data.HERE, help="folder for base/ and chat/ (default: in place)")
    parser.add_argument("--base-steps", type=int, default=BASE_STEPS)
    parser.add_argument("--chat-steps", type=int, default=CHAT_STEPS)
    args = parser.parse_args()
    train(args.out, args.base_steps, args.chat_steps)


if __name__ == "__main__":
    main()
