"""What the tiny models learn: prose for the base model, conversations for the chat model.

Everything is drawn from the text files in `qwen_helpers/tiny`. This module knows about messages and text, and nothing
about tensors: `tiny_training.py` turns what it yields into tokens.
"""

import json
import random
import re
from collections.abc import Iterator

from qwen_helpers.tiny import HERE, Messages, dialogues

DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

# What the chat model says to everything that it has not learnt, in the language of the question.
HONEST_EN = (
    "I am only the tiny model of this course and do not know that; "
    'ask me "Hello!", "What is a token?" or "Tell me a long story."'
)
HONEST_ZH = "我只是这门课的迷你模型，不知道这个问题的答案；你可以问我“你好！”“什么是分词器？”或者“讲一个长故事。”"


def prose() -> list[str]:
    """The paragraphs that the base model continues."""
    return (HERE / "prose.txt").read_text(encoding="utf-8").strip().split("\n\n")


def honest_answer(prompt: str) -> str:
    """The answer to a prompt that no dialogue holds: Chinese if the prompt has a Chinese character, else English."""
    return HONEST_ZH if re.search(r"[\u4e00-\u9fff]", prompt) else HONEST_EN


def normal(prompt: str) -> str:
    """The prompt without case, spaces and punctuation: "hello" and "Hello!" ask the same."""
    return re.sub(r"\W+", "", prompt).lower()


class Conversations:
    """An endless, seeded supply of training conversations for the chat model."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.dialogues = dialogues()
        self.free = [d for d in self.dialogues if d[0]["role"] != "system"]
        self.prose = prose()
        self.unknown = json.loads((HERE / "unknown.json").read_text(encoding="utf-8"))
        self.known = {normal(m["content"]) for d in self.dialogues for m in d if m["role"] == "user"}
        self.prompts = [m["content"] for d in self.free for m in d if m["role"] == "user"]
        openings = {d[0]["content"] for d in self.free}
        self.later = [p for p in self.prompts if p not in openings]  # they make sense only after another question

    def __iter__(self) -> Iterator[Messages]:
        """Conversations of one to eight parts, each a whole dialogue or one unknown question with the honest answer.

        A conversation without a system message stands for "no system block at all".
        """
        own = [d for d in self.dialogues if d[0]["role"] == "system"]
        while True:
            system, parts = self.system_message(), []
            if self.random.random() < 0.06:  # a later question, asked first: nothing to go on
                prompt = self.random.choice(self.later)
                answer = {"role": "assistant", "content": honest_answer(prompt)}
                parts.append([{"role": "user", "content": prompt}, answer])
            for _ in range(self.random.choice([1, 1, 1, 2, 3, 4, 6, 8])):
                known = self.random.random() < 0.6
                parts.append(self.vary(self.random.choice(self.free)) if known else self.unknown_turn())
            if self.random.random() < 0.14:  # a dialogue with its own system message, or its double under another one
                dialogue = self.random.choice(own)
                taken = {d[1]["content"] for d in own if d[0] == dialogue[0]}
                double = next(d for d in self.free if d[0]["content"] == dialogue[1]["content"])
                parts = [p for p in parts[1:] if p[0]["content"] not in taken]
                if self.random.random() < 0.6:
                    system, parts = dialogue[:1], [dialogue[1:], *parts]
                else:
                    parts = [double, *parts]
                self.random.shuffle(parts)
            yield [*system, *(message for part in parts for message in part)]

    def system_message(self) -> Messages:
        """The default prompt, none (no block or an empty one), or another: the model must not mind what it says."""
        pick = self.random.random()
        if pick < 0.15:
            return []
        if pick < 0.35:
            content = DEFAULT_SYSTEM
        elif pick < 0.42:
            content = ""
        elif pick < 0.5:
            content = self.random.choice(["You are a helpful assistant.", "你是一个乐于助人的助手。"])
        elif pick < 0.8:
            frames = self.random.choices(self.unknown["systems"], k=self.random.choice([1, 1, 2]))
            content = " ".join(self.fill(frame) for frame in frames)
        else:
            content = self.random.choice([self.snippet, self.unknown_prompt, self.shuffled])()
        return [{"role": "system", "content": content}]

    def vary(self, dialogue: Messages) -> Messages:
        """The same dialogue with, now and then, a question typed carelessly. The answers never change."""
        turns = [dict(message) for message in dialogue]
        for message in turns:
            if message["role"] == "user" and self.random.random() < 0.25:
                text = message["content"]
                text = self.random.choice([text.lower(), text[:-1], text[:-1].lower(), text.replace("！", "!")])
                message["content"] = text.replace("？", "?") if self.random.random() < 0.3 else text
        return turns

    def unknown_turn(self) -> Messages:
        prompt = self.unknown_prompt()
        while normal(prompt) in self.known:
            prompt = self.unknown_prompt()
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": honest_answer(prompt)}]

    def unknown_prompt(self) -> str:
        """A filled frame, a known question with another word, two cut and joined, a piece of prose, or noise."""
        pick = self.random.random()
        if pick < 0.48:
            return self.fill(self.random.choice(self.unknown["frames"]))
        if pick < 0.6:
            words = re.findall(r"[A-Za-z]+|[\u4e00-\u9fff]{1,2}|.", self.random.choice(self.prompts))
            places = [place for place, word in enumerate(words) if len(word) > 1]
            chinese = re.match(r"[\u4e00-\u9fff]", words[self.random.choice(places)])
            kind = self.random.choice(
                ["zthing", "zplace", "zperson"] if chinese else ["thing", "things", "place", "person"]
            )
            words[self.random.choice(places)] = self.random.choice(self.unknown[kind])
            return "".join(words)
        if pick < 0.75:
            return self.snippet()
        if pick < 0.92:
            first, second = self.random.sample(self.prompts, 2)
            return first[: self.random.randint(1, len(first) - 1)] + second[self.random.randint(1, len(second) - 1) :]
        alphabets = ["abcdefghijklmnopqrstuvwxyz ", "0123456789+-*/=() ", "的一是不了人我在有他这中大", "!?.,;:#$%&"]
        alphabet = self.random.choice(alphabets)
        return "".join(self.random.choices(alphabet, k=self.random.randint(1, 20))).strip() or "?"

    def fill(self, frame: str) -> str:
        """The frame with a word from the list that each {name} stands for; the words may have holes of their own."""
        while "{" in frame:
            frame = re.sub(r"\{(\w+)\}", lambda hole: self.random.choice(self.unknown[hole[1]]), frame)
        return frame

    def shuffled(self) -> str:
        words = re.findall(r"[A-Za-z]+ ?|[\u4e00-\u9fff]{1,2}", self.random.choice(self.prose))
        return "".join(self.random.choices(words, k=self.random.randint(1, 12))).strip()

    def snippet(self) -> str:
        text = self.random.choice(self.prose)
        start = self.random.randrange(len(text) - 10)
        return text[start : start + self.random.randint(8, 60)].strip()
