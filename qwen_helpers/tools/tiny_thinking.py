"""What tiny thinking learns: short thoughts before an answer, tool calls, and JSON.

The dialogues of `tiny/thinking.jsonl` it must know by heart. Beside them stand the same kinds of questions with other
numbers, cities and names, so that it copies what the prompt says and does not recite. Like `tiny_text.py` this module
knows messages and text, and nothing about tensors.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from qwen_helpers.tiny import Messages, thinking_dialogues
from qwen_helpers.tools.tiny_text import Conversations, normal

HONEST_EN = 'I am only a tiny model and do not know that; ask me "Hello!" or "How many r are in strawberry?"'
HONEST_ZH = "我只是一个迷你模型，不知道这个问题的答案；你可以问我“你好！”或者“9.11 和 9.9 哪个大？”"
HONEST_THOUGHTS = {
    HONEST_EN: "I have not learnt this. A guess would help nobody.",
    HONEST_ZH: "这个我没学过，不能乱猜。",
}

# What the schemas of a reader's own functions may say, beside those of the lesson: tools are known by their names.
DESCRIPTIONS = {
    "multiply": ("Multiply two whole numbers.", "The product of two numbers.", "Multiplies a by b.", "两个整数相乘。"),
    "get_weather": ("The temperature in a city.", "Get the weather of a city.", "Current weather.", "查询天气。"),
    "get_time": ("The time of day.", "What time is it in a city?"),
    "send_mail": ("Send a mail.", "Writes a mail to a friend."),
}
PARAMETERS = {
    "multiply": {"a": ("integer", ("the first number", "first factor", "一个整数")),
                 "b": ("integer", ("the second number", "second factor", "另一个整数"))},
    "get_weather": {"city": ("string", ("name of the city", "the city", "such as Beijing", "城市"))},
    "get_time": {"city": ("string", ("name of the city", "the city"))},
    "send_mail": {"to": ("string", ("an address", "the reader")), "text": ("string", ("what to say",))},
}  # fmt: skip
CITIES = ["Beijing", "Paris", "London", "Berlin", "Tokyo", "Madrid", "Shanghai", "Hangzhou"]
ZH_CITIES = ["北京", "上海", "杭州", "西安", "成都", "广州"]
NO_CITIES = ("Atlantis", "Narnia", "Gotham")
NAMES = [
    "Lin", "Mei", "Wang", "Anna", "Tom", "Ben", "Emma", "Jun", "Wei", "Sara", "Paul", "Nora",
    "Lei", "Ming", "Yan", "Max", "Eva", "Hao",
]  # fmt: skip
WORDS = {"ten": 10, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80}
AMOUNTS = {"a dozen": ("dozen", 12), "a score": ("score", 20), "a hundred": ("hundred", 100), "a pair": ("pair", 2)}
FAULTS = ("KeyError: {!r}", "ValueError: no such city", "ValueError: {}", "TimeoutError: timed out")


@dataclass
class Lesson:
    """One sample: everything up to an answer, and that answer, the last of `messages`."""

    messages: Messages
    tools: list[dict] = field(default_factory=list)
    # "on": the prompt opens the thought; "off": it holds an empty one; "own": the model opens it; "cut": a budget has
    # ended the thought, and the prompt holds as much of it as was written.
    style: str = "on"
    thought: str = ""  # with "cut", what was written


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def answer(thought: str, text: str) -> dict:
    return {"role": "assistant", "reasoning_content": thought, "content": text}


def call(thought: str, name: str, **arguments) -> dict:
    function = {"name": name, "arguments": arguments}
    return {**answer(thought, ""), "tool_calls": [{"type": "function", "function": function}]}


def result(text) -> dict:
    return {"role": "tool", "content": text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)}


def completion(message: dict, style: str) -> str:
    """What the model writes of an answer, after the prompt that the chat template has made."""
    text = message["content"]
    for function in (made["function"] for made in message.get("tool_calls", [])):
        values = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in function["arguments"].items())
        text += f"<tool_call>\n<function={function['name']}>\n{values}</function>\n</tool_call>"
    if style in ("off", "cut"):
        return text
    return f"{'<think>' + chr(10) if style == 'own' else ''}{message['reasoning_content']}\n</think>\n\n{text}"


class ThinkingLessons:
    """An endless, seeded supply of samples."""

    def __init__(self, seed: int, copying: float = 0.0):
        """`copying` is the share of short samples in which a word of the question must come back in a call."""
        self.copying = copying
        self.other = Conversations(seed)  # questions that it cannot answer, and system prompts
        self.random = self.other.random
        self.known = [(d["messages"], d.get("tools", [])) for d in thinking_dialogues()]
        self.asked = {normal(m["content"]) for messages, _ in self.known for m in messages if m["role"] == "user"}

    def __iter__(self) -> Iterator[Lesson]:
        """A question after up to three older turns, under any system prompt, with and without tools."""
        while True:
            parts, wanted, without = [], set(), set()
            short = self.random.random() < self.copying
            for _ in range(1 if short else self.random.choice([1, 1, 1, 1, 1, 2, 2, 3])):
                messages, tools, never = self.copied() if short else self.part()
                if not (set(tools) & without or never & wanted):  # a question that needs a tool to be there, or away
                    parts, wanted, without = [*parts, messages], wanted | set(tools), without | never
            last = parts.pop()
            ends = [place for place, message in enumerate(last, 1) if message["role"] == "assistant"]
            messages = [*itertools.chain(*parts), *last[: self.random.choice(ends)]]
            often = 0.4 if short else 0.12  # else a second tool would mean that a dialogue is to be recited
            more = {name for name in DESCRIPTIONS if name not in without and self.random.random() < often}
            names = sorted(wanted | more, key=lambda _: self.random.random())
            system = self.other.system_message() if self.random.random() < 0.3 else []
            style = self.random.choices(["on", "off", "own", "cut"], [45, 35, 12, 8])[0]
            words = messages[-1]["reasoning_content"]
            thought = words[: self.random.randint(1, len(words))] if style == "cut" else ""
            if style == "off":
                messages = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in messages]
            yield Lesson([*system, *messages], [self.schema(name) for name in names], style, thought)

    def copied(self):
        return self.random.choice([self.weather, self.weather, self.amount, lambda: (self.person(), [], set())])()

    def part(self) -> tuple[Messages, list[str], set[str]]:
        """(messages, tools that it needs, tools that must not be there) of one topic."""
        pick = self.random.random()
        if pick < 0.34:
            messages, tools = self.random.choice(self.known)
            text = messages[0]["content"]
            never = {"multiply"} if "times" in text and not tools else set()
            never |= {"get_weather"} if "warm" in text and not tools else set()
            return self.careless(messages), tools, never
        if pick < 0.49:
            return self.product()
        if pick < 0.76:
            return self.weather()
        if pick < 0.88:
            return self.person(), [], set()
        return self.unknown(), [], set()

    def careless(self, messages: Messages) -> Messages:
        """Now and then the first question in small letters or without its last mark."""
        text = messages[0]["content"]
        if self.random.random() < 0.8:
            return messages
        return [user(self.random.choice([text[:-1], text[0].lower() + text[1:]])), *messages[1:]]

    def product(self):
        low, high = self.random.choice([(2, 9), (10, 99), (10, 99), (10, 99), (100, 999)]), (10, 99)
        a, b = self.random.randint(*low), self.random.randint(*high)
        if self.random.random() < 0.3:
            question = user(f"{a} 乘以 {b} 是多少？")
            first = call("这样的乘法要用工具。", "multiply", a=a, b=b)
            last = answer(f"工具的结果是 {a * b}。", f"{a} 乘以 {b} 等于 {a * b}。")
            return [question, first, result(str(a * b)), last], ["multiply"], set()
        thought = "Such a product is work for the tool."
        pick = self.random.random()
        if pick < 0.2:
            guess = "I have no tool for that, and in my head I would only guess."
            cannot = "I cannot multiply such numbers in my head. Give me a tool."
            return [user(f"What is {a} times {b}?"), answer(guess, cannot)], [], {"multiply"}
        if pick < 0.6:
            return self.amount()
        first = call(thought, "multiply", a=a, b=b)
        last = answer(f"The tool says {a * b}.", f"{a} times {b} is {a * b}.")
        return [user(f"What is {a} times {b}?"), first, result(str(a * b)), last], ["multiply"], set()

    def amount(self):
        """A call with a word for a number, the error of the tool, and a call that is right."""
        a, (words, (word, b)) = self.random.randint(2, 99), self.random.choice(list(AMOUNTS.items()))
        first = call("Such a product is work for the tool.", "multiply", a=a, b=word)
        failed = result(f"Error: TypeError: b must be a whole number, not {word!r}")
        again = call(f"The tool wants a whole number. {words.capitalize()} is {b}.", "multiply", a=a, b=b)
        last = answer(f"The tool says {a * b}.", f"{a} times {words} is {a * b}.")
        question = user(f"What is {a} times {words}?")
        return [question, first, failed, again, result(str(a * b)), last], ["multiply"], set()

    def weather(self):
        degrees, pick = self.random.randint(-9, 39), self.random.random()
        if pick < 0.3:
            city = self.random.choice(ZH_CITIES)
            told = result({"city": city, "celsius": degrees})
            last = answer(f"工具的结果是 {degrees}。", f"{city}现在 {degrees} 度。")
            asked = call("天气要问工具。", "get_weather", city=city)
            return [user(f"{city}现在多少度？"), asked, told, last], ["get_weather"], set()
        city = self.random.choice(CITIES)
        if pick < 0.4:
            thought = "I have no tool for the weather, and I cannot look outside."
            cannot = answer(thought, "I cannot know the weather. Give me a tool that does.")
            return [user(f"How warm is it in {city}?"), cannot], [], {"get_weather"}
        failed = pick < 0.55
        city = self.random.choice([*NO_CITIES, city]) if failed else city
        asked = call("The tool knows the weather, I do not.", "get_weather", city=city)
        told = result({"city": city, "celsius": degrees})
        last = answer(f"The tool says {degrees}.", f"It is {degrees} degrees in {city}.")
        if failed:
            told = result(f"Error: {self.random.choice(FAULTS).format(city)}")
            unknown = f"The tool failed, so I do not know how warm it is in {city}."
            last = answer("The tool failed. I must not make up a number.", unknown)
        return [user(f"How warm is it in {city}?"), asked, told, last], ["get_weather"], set()

    def person(self) -> Messages:
        name, age = self.random.choice(NAMES), self.random.randint(1, 99)
        if self.random.random() < 0.5:
            thought = f"The name is {name}, the age is {age}."
            written = answer(thought, json.dumps({"name": name, "age": age}))
            return [user(f"Write name and age as JSON: {name} is {age} years old."), written]
        word, age = self.random.choice(list(WORDS.items()))
        first = answer(f"The name is {name}, the age is {word}.", json.dumps({"name": name, "age": word}))
        complaint = user(f"{word!r} is not of type 'integer'. Write it again.")
        thought = f"The age must be a number. {word.capitalize()} is {age}."
        again = answer(thought, json.dumps({"name": name, "age": age}))
        return [user(f"Write name and age as JSON: {name} is {word}."), first, complaint, again]

    def unknown(self) -> Messages:
        prompt = self.other.unknown_prompt()
        while normal(prompt) in self.asked or re.search(r"times|乘|warm|度|JSON|not of type", prompt):
            prompt = self.other.unknown_prompt()  # not one that stands for a tool
        text = honest_answer(prompt)
        return [user(prompt), answer(HONEST_THOUGHTS[text], text)]

    def schema(self, name: str) -> dict:
        """The schema of a function with this name, as transformers' get_json_schema writes it."""
        pick = self.random.choice
        given = {key: {"type": kind, "description": pick(texts)} for key, (kind, texts) in PARAMETERS[name].items()}
        parameters = {"type": "object", "properties": given, "required": list(given)}
        function = {"name": name, "description": pick(DESCRIPTIONS[name]), "parameters": parameters}
        return {"type": "function", "function": function}


def honest_answer(prompt: str) -> str:
    """The answer to a prompt that no dialogue holds, in the language of the question."""
    return HONEST_ZH if any("\u4e00" <= character <= "\u9fff" for character in prompt) else HONEST_EN
