"""`check` says right only to right answers, and gives each wrong one a hint, never a traceback."""

import asyncio
import gc
import shutil
import sys
import threading
import time
from functools import partial
from importlib.metadata import version
from statistics import mean, median

import pytest

from qwen_helpers import TINY_CHAT, check
from qwen_helpers.engines.server import ServerError
from qwen_helpers.exercises import (
    Stopped,
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
    lesson_07,
    lesson_08,
    lesson_09,
    lesson_10,
    lesson_11,
)
from qwen_helpers.models import CATALOGUE


def polite(chat, question):
    try:
        return chat.ask(question)
    except ServerError as error:
        return str(error)


def too_polite(chat, question):
    try:
        return chat.ask(question)
    except ServerError as error:
        return error


async def together(ask, questions):
    return await asyncio.gather(*map(ask, questions))


async def one_by_one(ask, questions):
    return [await ask(question) for question in questions]


async def as_they_come(ask, questions):
    return [await answer for answer in asyncio.as_completed([ask(question) for question in questions])]


async def no_await(ask, questions):
    return asyncio.gather(*map(ask, questions))


async def no_await_in_a_list(ask, questions):
    return list(asyncio.gather(*map(ask, questions)))


async def never_awaited(ask, questions):
    return [ask(question) for question in questions]


async def no_star(ask, questions):
    return await asyncio.gather([ask(question) for question in questions])


async def no_star_generator(ask, questions):
    return await asyncio.gather(ask(question) for question in questions)


async def no_star_map(ask, questions):
    return await asyncio.gather(map(ask, questions))


async def awaits_inside(ask, questions):
    return await asyncio.gather(*[await ask(question) for question in questions])


async def runs_a_loop(ask, questions):
    return asyncio.run(asyncio.gather(*map(ask, questions)))


async def yields(ask, questions):
    for question in questions:
        yield await ask(question)


async def with_tasks(ask, questions):
    tasks = [asyncio.create_task(ask(question)) for question in questions]
    return tuple([await task for task in tasks])


def no_async(ask, questions):
    return asyncio.gather(*map(ask, questions))


async def all_in_one(ask, questions):
    return await asyncio.gather(ask(questions))


async def misspelt_together(ask, questions):
    return await asyncio.gather(*map(aks, questions))  # noqa: F821


async def untried(ask, questions):
    return ...


def nucleus(probabilities, p):
    kept = [value if sum(probabilities[:n]) < p else 0 for n, value in enumerate(probabilities)]
    return [value / sum(kept) for value in kept]


def split(text):
    before, mark, after = text.partition("</think>")
    thinks = mark or "<think>" in text
    return (before.replace("<think>", "").strip(), after.strip()) if thinks else ("", text)


def run(call, functions):
    try:
        return str(functions[call["name"]](**call["arguments"]))
    except Exception as error:
        return f"Error: {type(error).__name__}: {error}"


def says_nothing(call, functions):
    try:
        return str(functions[call["name"]](**call["arguments"]))
    except Exception:
        return "Error"


def run_trusting(call, functions):
    return str(functions[call["name"]](**call["arguments"]))


def turn(question, history, answer):
    history.append({"role": "user", "content": question})
    history.append({"role": "assistant", "content": answer(history)})
    return history[-1]["content"]


def silent(question, history, answer):
    turn(question, history, answer)


def forgets(question, history, answer):
    return answer([{"role": "user", "content": question}])


def pairs(question, history, answer):
    history.append((question, answer([{"role": "user", "content": question}])))


def makes_a_new_list(question, history, answer):
    history = [*history, {"role": "user", "content": question}]
    return answer(history)


def only_questions(question, history, answer):
    history.append({"role": "user", "content": question})
    return answer(history)


def misspelt(question, history, answer):
    return anwser(history)  # noqa: F821


def hold_back(texts):
    shown = ""
    for text in texts:
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text


def half(texts):
    yield from texts


def counts_what_is_held(texts):
    shown = ""
    for text in texts:
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
        shown = text


def whole_texts(texts):
    yield from (text for text in texts if not text.endswith("\ufffd"))


def all_at_the_end(texts):
    yield list(texts)[-1]


def first_sentence(pieces, ends=(".", "。")):
    text = ""
    for piece in pieces:
        text += piece
        if text.rstrip().endswith(ends):
            break
    pieces.close()
    return text


only_english = partial(first_sentence, ends=".")


def reads_on(pieces):
    return "".join(pieces).split(".")[0] + "."


def leaves_the_model_waiting(pieces):
    return "".join(next(pieces) for _ in range(3))


def closes_too_early(pieces):
    text = next(pieces)
    pieces.close()
    return text


def finish_reason(tokens, stops):
    return "stop" if tokens[-1] in (stops if isinstance(stops, list) else [stops]) else "length"


def repair(config):
    return {**config, "rope_theta": config["rope_parameters"]["rope_theta"]}


def repair_in_place(config):
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    return config


def tokens_per_second(parameters, bits, gb_per_s):
    return gb_per_s * 1e9 / (parameters * bits / 8)


def honest_rate(seconds, tokens):
    return tokens / median(seconds[1:])


LINES = {"why": 4, "own code": 10, "line of data.jsonl": 2}
MENDED = """
def ask(model, tokenizer, question):
    messages = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", add_generation_prompt=True)
    output = model.generate(**inputs, max_new_tokens=60, do_sample=False)
    begin = inputs["input_ids"].shape[1]
    return tokenizer.decode(output[0][begin:], skip_special_tokens=True)
"""


def asking(right="", wrong=""):
    """The mended function, or with one piece of it replaced."""
    assert not right or MENDED.count(right) == 1
    names = {}
    exec(MENDED.replace(right, wrong) if right else MENDED, names)
    return names["ask"]


def reaches_the_model(tokenizer, messages):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return len(tokenizer) >= 1000 and all(m.get("content") and m["content"] in text for m in messages)


DEVICES = {
    "laptop without NVIDIA card, Windows": "cpu",
    "MacBook with an M3": "mps",
    "Linux server with an NVIDIA H200": "cuda",
}
CHAT = [{"role": role, "content": "x"} for role in ("system", "user", "assistant", "user")]
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
RIGHT = [
    (lesson_01.exercise_1, version("tokenizers")),
    (lesson_01.exercise_2, DEVICES),
    (lesson_01.exercise_3, "2.2"),
    (lesson_02.exercise_1, "Qwen/Qwen3.5-4B"),
    (lesson_02.exercise_2, [FIRST, SECOND]),
    (lesson_03.exercise_1, len(lesson_03.tokenizer()(lesson_03.SENTENCE)["input_ids"])),
    (lesson_03.exercise_2, CHAT),
    (lesson_03.exercise_3, turn),
    (lesson_04.exercise_2, hold_back),
    (lesson_04.exercise_3, first_sentence),
    (lesson_05.exercise_1, finish_reason),
    (lesson_05.exercise_2, nucleus),
    (lesson_05.exercise_3, 32),
    (lesson_06.exercise_1, split),
    (lesson_06.exercise_2, run),
    (lesson_06.exercise_3, 55),
    (lesson_07.exercise_1, lesson_07.GREETING),
    (lesson_07.exercise_2, 6),
    (lesson_07.exercise_3, repair),
    (lesson_08.exercise_1, 469_762_048),
    (lesson_08.exercise_2, tokens_per_second),
    (lesson_08.exercise_3, honest_rate),
    (lesson_08.exercise_3, lambda seconds, tokens: median(tokens / x for x in seconds[1:])),
    (lesson_09.exercise_1, lambda ids, learn: [i if keep else -100 for i, keep in zip(ids, learn, strict=True)]),
    (lesson_09.exercise_3, 92160),
    (lesson_10.exercise_1, polite),
    (lesson_10.exercise_2, together),
    (lesson_10.exercise_2, with_tasks),
    (lesson_10.exercise_3, 1008),
    (lesson_10.exercise_3, 0.7 * 2400 / (300 / 180)),
    (lesson_11.exercise_1, LINES),
    (lesson_11.exercise_1, {**LINES, "own code": 9}),
    (lesson_11.exercise_2, asking()),
    (lesson_11.exercise_3, reaches_the_model),
]

WRONG = [
    (lesson_01.exercise_1, "0.1", "not the one that is installed"),
    (lesson_01.exercise_1, "tokenizers", "version("),
    (lesson_01.exercise_2, "cpu", "keep the dict"),
    (lesson_01.exercise_2, {}, "fill in"),
    (lesson_01.exercise_2, {**DEVICES, "MacBook with an M3": "CPU"}, "fill in 'MacBook"),
    (lesson_01.exercise_2, {**DEVICES, "MacBook with an M3": "cuda"}, "Apple"),
    (lesson_01.exercise_3, "abc", "text with dots"),
    (lesson_01.exercise_3, "numpy==2.2", "text with dots"),
    (lesson_01.exercise_3, "2.3", "must satisfy both"),
    (lesson_01.exercise_3, "1.26", "must satisfy both"),
    (lesson_02.exercise_1, "Qwen/Qwen3-4B", "a larger one"),
    (lesson_02.exercise_1, "Qwen/Qwen3.5-9B", "12 GB or more"),
    (lesson_02.exercise_1, "Qwen/Qwen3.5-4B-Base", "a base model"),
    (lesson_02.exercise_1, "7B", "give the id"),
    (lesson_02.exercise_2, FIRST, "a list"),
    (lesson_02.exercise_2, [SECOND], "never that small"),
    (lesson_02.exercise_2, [FIRST], "only a part"),
    (lesson_02.exercise_2, [FIRST, SECOND + ".incomplete"], "leave .incomplete out"),
    (lesson_02.exercise_2, [FIRST, SECOND, "config.json"], "is whole"),
    (lesson_01.exercise_1, f"tokenizers {version('tokenizers')}", "the version alone"),
    (lesson_01.exercise_1, [version("tokenizers")], "the version alone"),
    (lesson_01.exercise_1, version("transformers"), "the version of transformers"),
    (lesson_01.exercise_1, version, "call it"),
    (lesson_01.exercise_2, {**DEVICES, "laptop without NVIDIA card, Windows": "CPU"}, "in lower case"),
    (lesson_01.exercise_2, {**DEVICES, "Linux server with an NVIDIA H200": "cuda:0"}, "without a number"),
    (lesson_01.exercise_2, {**DEVICES, "MacBook with an M3": "metal"}, "it is one of"),
    (lesson_01.exercise_3, 2.2, "in quotes"),
    (lesson_01.exercise_3, "2.2.77", "there is no such numpy"),
    (lesson_01.exercise_3, "2.3", "B excludes exactly 2.3"),
    (lesson_01.exercise_3, "2.3.0", "B excludes exactly 2.3"),
    (lesson_01.exercise_3, "2.3.1", "A allows nothing above 2.3"),
    (lesson_01.exercise_3, "1.26.4", "B begins at 2.0"),
    (lesson_02.exercise_1, max(CATALOGUE, key=lambda model: model.parameters), "with .id"),
    (lesson_02.exercise_1, "Qwen/Qwen2.5-7B", "is a base model"),
    (lesson_02.exercise_1, "Qwen/Qwen2.5-7B-Instruct", "take 15.2 GB"),
    (lesson_02.exercise_1, "Qwen3.5-4B", "write the owner"),
    (lesson_02.exercise_2, f"{FIRST} {SECOND}", "as a list"),
    (lesson_02.exercise_2, [FIRST, SECOND, "tokenizer.json"], "tokenizer.json is whole"),
    (lesson_02.exercise_3, "weights", "the folder of the copy"),
    (lesson_02.exercise_3, TINY_CHAT, "damage the copy"),
    (lesson_03.exercise_1, 6, "number of words"),
    (lesson_03.exercise_1, len(lesson_03.SENTENCE), "number of characters"),
    (lesson_03.exercise_1, "seven", "count the ids"),
    (lesson_03.exercise_1, len(lesson_03.tokenizer()(lesson_03.SENTENCE)), "counts its keys, input_ids and"),
    (lesson_03.exercise_1, lesson_03.tokenizer()(lesson_03.SENTENCE)["input_ids"], "these are the ids"),
    (lesson_03.exercise_2, "Hello", "a list of dicts"),
    (lesson_03.exercise_2, [{"user": "Hello"}], "exactly two keys"),
    (lesson_03.exercise_2, CHAT[:3], "the roles must be"),
    (lesson_03.exercise_2, [*CHAT[:3], {"role": "user", "content": " "}], "none may be empty"),
    (lesson_03.exercise_2, [*CHAT[:3], {"role": "user", "content": None}], "each content is text"),
    (lesson_03.exercise_3, forgets, "four messages"),
    (lesson_03.exercise_3, makes_a_new_list, "in place"),
    (lesson_03.exercise_3, only_questions, "the questions only"),
    (lesson_03.exercise_3, lambda question, history, answer: answer(question), "not the plain text"),
    (lesson_03.exercise_3, lambda question, history, answer: answer([question]), "not the plain text"),
    (lesson_03.exercise_3, silent, "must return the answer"),
    (lesson_03.exercise_3, pairs, "must be a dict"),
    (lesson_03.exercise_3, misspelt, "NameError"),
    (lesson_04.exercise_2, half, "half a character"),
    (lesson_04.exercise_2, lambda texts: ["a"], "not the whole text"),
    (lesson_04.exercise_2, all_at_the_end, "not all at the end"),
    (lesson_04.exercise_2, len, "TypeError"),
    (lesson_04.exercise_2, print, "hand each piece over with `yield`"),
    (lesson_04.exercise_2, lambda texts: texts[0], "returns one text"),
    (lesson_04.exercise_2, counts_what_is_held, "the panda is lost"),
    (lesson_04.exercise_2, whole_texts, "the whole text so far"),
    (lesson_04.exercise_3, reads_on, "you read on"),
    (lesson_04.exercise_3, only_english, "ends with 。"),
    (lesson_04.exercise_3, leaves_the_model_waiting, "pieces.close()"),
    (lesson_04.exercise_3, closes_too_early, "yours is 'Small '"),
    (lesson_04.exercise_3, lambda pieces: None, "as text"),
    (lesson_05.exercise_1, lambda tokens, stops: "length", "one of the stop tokens"),
    (lesson_05.exercise_1, lambda tokens, stops: "stop" if tokens[-1] == stops[0] else "length", "second stop token"),
    (lesson_05.exercise_1, lambda tokens, stops: "stop", "no stop token"),
    (lesson_05.exercise_1, lambda tokens, stops: "stop" if {*tokens} & {*stops} else "length", "only the last"),
    (lesson_05.exercise_1, lambda tokens, stops: "stop" if tokens[-1] in stops else "length", "TypeError"),
    (lesson_05.exercise_1, lambda tokens, stops: tokens[-1] in stops, "return the string"),
    (lesson_05.exercise_1, lambda tokens, stops: None, "put return in front"),
    (lesson_05.exercise_1, lambda tokens, stops: "stop" if tokens[-1] == stops else "length", "one of the stop tokens"),
    (lesson_05.exercise_1, "stop", "the function itself"),
    (lesson_05.exercise_2, lambda probabilities, p: ..., "replace the three dots"),
    (lesson_05.exercise_2, 3, "the function itself"),
    (lesson_05.exercise_2, lambda probabilities, p: 3, "a list of numbers"),
    (lesson_05.exercise_2, lambda probabilities, p: None, "a list of numbers"),
    (lesson_05.exercise_2, lambda probabilities, p: nucleus(probabilities, p)[:3], "in the place of a token"),
    (lesson_05.exercise_2, lambda probabilities, p: nucleus(probabilities, p - 0.15), "crosses p is kept"),
    (lesson_05.exercise_2, lambda probabilities, p: probabilities, "3 stay, not 5"),
    (lesson_05.exercise_2, lambda probabilities, p: [*probabilities[:3], 0, 0], "add up to 0.85"),
    (lesson_05.exercise_2, lambda probabilities, p: [1 / 3, 1 / 3, 1 / 3, 0, 0], "the first is 0.33"),
    (lesson_05.exercise_2, lambda probabilities: probabilities, "TypeError"),
    (lesson_05.exercise_3, "32", "a number of seconds"),
    (lesson_05.exercise_3, 0.1, "the time per token"),
    (lesson_05.exercise_3, 12.8, "the second is longer"),
    (lesson_05.exercise_3, 19.2, "begins again"),
    (lesson_05.exercise_3, 44.8, "not written again"),
    (lesson_05.exercise_3, 51.2, "a limit costs nothing"),
    (lesson_05.exercise_3, 320, "divide 12.8 s"),
    (lesson_06.exercise_1, lambda text: text, "two texts"),
    (lesson_06.exercise_1, lambda text: (None, text), "two texts"),
    (lesson_06.exercise_1, lambda text: ("", text), "the model has opened"),
    (lesson_06.exercise_1, lambda text: split(text) if "<think>" in text else ("", text), "template has opened"),
    (lesson_06.exercise_1, lambda text: tuple(map(str.strip, text.partition("</think>")[::2])), "<think>"),
    (lesson_06.exercise_1, lambda text: tuple(part.strip("<think>\n/") for part in split(text)), "not each of its"),
    (lesson_06.exercise_1, lambda text: split(text) if "</think>" in text else ("", text), "was cut"),
    (lesson_06.exercise_2, run_trusting, "an unknown function your function stopped with KeyError"),
    (lesson_06.exercise_2, says_nothing, "should name it"),
    (lesson_06.exercise_2, lambda call, functions: run(call, functions) if call["name"] in functions else 0, "is text"),
    (lesson_06.exercise_2, lambda call, functions: f"Error: {call['name']}", "run the function"),
    (lesson_06.exercise_2, lambda call, functions: run(call, functions).split(":")[0] + call["name"], "run the func"),
    (lesson_06.exercise_3, "55", "a number of seconds"),
    (lesson_06.exercise_3, 75, "still thinks 240"),
    (lesson_06.exercise_3, 20, "how much earlier"),
    (lesson_06.exercise_3, 80, "leave them out"),
    (lesson_06.exercise_3, 660, "subtract"),
    (lesson_07.exercise_1, [lesson_07.GREETING], "take its first element"),
    (lesson_07.exercise_1, 23.8, "must be a string"),
    (lesson_07.exercise_1, lesson_07.GREETING + "<|im_end|>", "skip_special_tokens=True"),
    (lesson_07.exercise_1, "ask for a long story.", "nothing to cut off"),
    (lesson_07.exercise_1, "", "nothing to cut off"),
    (lesson_07.exercise_1, lesson_07.GREETING[1:], "nothing to cut off"),
    (lesson_07.exercise_1, "Hello!", "not the whole answer"),
    (lesson_07.exercise_2, "6", "a number of tokens"),
    (lesson_07.exercise_2, True, "a number of tokens"),
    (lesson_07.exercise_2, -6, "without a sign"),
    (lesson_07.exercise_2, 0, "the same for both"),
    (lesson_07.exercise_2, 1, "not only the last"),
    (lesson_07.exercise_2, 3, "one role only"),
    (lesson_07.exercise_2, 4, "more messages"),
    (lesson_07.exercise_2, 5, "the system message ends"),
    (lesson_07.exercise_2, 7, "only where there is none"),
    (lesson_07.exercise_2, 12, "count it once"),
    (lesson_07.exercise_2, 40, "after which token"),
    (lesson_07.exercise_3, lambda config: config, "not inside rope_parameters"),
    (lesson_07.exercise_3, lambda config: {"rope_theta": 500000.0}, "take nothing away"),
    (lesson_07.exercise_3, lambda config: {**config, "rope_theta": 1e6}, "not every model"),
    (lesson_07.exercise_3, repair_in_place, "return a new one"),
    (lesson_07.exercise_3, lambda config: None, "returns nothing"),
    (lesson_07.exercise_3, str, "return a dictionary"),
    (lesson_07.exercise_3, lambda config: {**config, "rope_theta": config["rope_parameters"]}, "take the number"),
    (lesson_07.exercise_3, lambda c: {"rope_parameters": c["rope_parameters"], "rope_theta": 5e5}, "has lost"),
    (lesson_07.exercise_3, lambda config: config["theta"], "KeyError"),
    (lesson_08.exercise_1, "470 MB", "a number of bytes"),
    (lesson_08.exercise_1, True, "a number of bytes"),
    (lesson_08.exercise_1, 234_881_024, "a 2 for keys and values, and another 2 for the bytes"),
    (lesson_08.exercise_1, 117_440_512, "two factors of 2"),
    (lesson_08.exercise_1, 939_524_096, "bfloat16 has 2 bytes"),
    (lesson_08.exercise_1, 3_288_334_336, "not the 28 attention heads"),
    (lesson_08.exercise_1, 57_344, "that is for one token"),
    (lesson_08.exercise_1, 16_777_216, "that is one layer"),
    (lesson_08.exercise_1, 3_670_016, "each head keeps head_dim numbers"),
    (lesson_08.exercise_1, 3_758_096_384, "that is bits"),
    (lesson_08.exercise_1, 0.47, "the unit is not"),
    (lesson_08.exercise_1, 448, "the unit is not"),
    (lesson_08.exercise_1, 1, "multiply 2, layers"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: speed * 1e9 / (parameters * 2), "a quarter of that"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: speed / (parameters * bits / 8), "multiply the GB"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: speed / (parameters * bits), "multiply by 1e9, and divide"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: speed * 1e9 / (parameters * bits), "divide the bits by 8"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: parameters * bits / 8 / speed / 1e9, "turn the fraction"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: 50, "8 bits are a byte"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: ..., "replace the three dots"),
    (lesson_08.exercise_2, lambda parameters, bits: 1, "TypeError"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: "fast", "is there a `return`?"),
    (lesson_08.exercise_2, lambda parameters, bits, speed: None, "is there a `return`?"),
    (lesson_08.exercise_3, lambda seconds, tokens: tokens / mean(seconds), "warms up"),
    (lesson_08.exercise_3, lambda seconds, tokens: tokens / median(seconds), "the median is that of 2 and 4"),
    (lesson_08.exercise_3, lambda seconds, tokens: tokens / mean(seconds[1:]), "not the mean"),
    (lesson_08.exercise_3, lambda seconds, tokens: tokens / min(seconds), "not the best"),
    (lesson_08.exercise_3, lambda seconds, tokens: tokens / median(sorted(seconds)[:-1]), "slow or not"),
    (lesson_08.exercise_3, lambda seconds, tokens: median(seconds[1:]) / tokens, "turn the fraction over"),
    (lesson_08.exercise_3, lambda seconds, tokens: print(tokens / median(seconds[1:])), "is there a `return`?"),
    (lesson_08.exercise_3, lambda seconds: 1, "TypeError"),
    (lesson_09.exercise_1, lambda ids, learn: [i for i, keep in zip(ids, learn, strict=True) if keep], "one label for"),
    (lesson_09.exercise_1, lambda ids, learn: None, "return a list"),
    (lesson_09.exercise_1, lambda ids, learn: [-100 if k else i for i, k in zip(ids, learn, strict=True)], "wrong way"),
    (lesson_09.exercise_1, lambda ids, learn: [i if k else 0 for i, k in zip(ids, learn, strict=True)], "-100 only"),
    (lesson_09.exercise_1, lambda ids, learn: [1 if k else -100 for k in learn], "the token itself"),
    (lesson_09.exercise_1, lambda ids: ids, "TypeError"),
    (lesson_08.exercise_1, 470_000_000, "nearly"),
    (lesson_08.exercise_1, 28 * 28 * 128 * 2 * 8192, "not all 28"),
    (lesson_08.exercise_2, lambda weights, bits, speed: speed * 2**30 / (weights * bits / 8), "not 2**30"),
    (lesson_08.exercise_3, lambda seconds, tokens: median(seconds[1:]), "divide the 64 tokens"),
    (lesson_08.exercise_3, lambda seconds, tokens: 5, "32.0 tokens/s"),
    (lesson_09.exercise_3, 4358144, "the matrix itself"),
    (lesson_09.exercise_3, 14336, "A alone"),
    (lesson_09.exercise_3, 46080, "rank 8"),
    (lesson_09.exercise_3, "92160", "add the two"),
    (lesson_10.exercise_1, lambda chat, question: ..., "replace the three dots"),
    (lesson_10.exercise_1, lambda chat, question: chat.ask(question), "still stops with a ServerError"),
    (lesson_10.exercise_1, too_polite, "str(error)"),
    (lesson_10.exercise_1, lambda chat: chat, "TypeError"),
    (lesson_10.exercise_2, untried, "three dots"),
    (lesson_10.exercise_2, one_by_one, "asyncio.gather"),
    (lesson_10.exercise_2, as_they_come, "in the order of the questions"),
    (lesson_10.exercise_2, no_await, "write await before asyncio.gather"),
    (lesson_10.exercise_2, no_await_in_a_list, "write await before asyncio.gather"),
    (lesson_10.exercise_2, never_awaited, "write await before asyncio.gather"),
    (lesson_10.exercise_2, no_star, "put a star"),
    (lesson_10.exercise_2, no_star_generator, "put a star"),
    (lesson_10.exercise_2, no_star_map, "put a star"),
    (lesson_10.exercise_2, all_in_one, "call it once for each"),
    (lesson_10.exercise_2, awaits_inside, "without await"),
    (lesson_10.exercise_2, runs_a_loop, "leave asyncio.run out"),
    (lesson_10.exercise_2, no_async, "begin with async def"),
    (lesson_10.exercise_2, lambda ask, questions: questions, "begin with async def"),
    (lesson_10.exercise_2, yields, "as one list"),
    (lesson_10.exercise_2, ["FIRST", "SECOND", "THIRD"], "the function itself"),
    (lesson_10.exercise_2, misspelt_together, "stopped with NameError"),
    (lesson_10.exercise_3, 1440, "70 %"),
    (lesson_10.exercise_3, 2057, "0.7 times"),
    (lesson_10.exercise_3, 2400 / 0.7 / (300 / 180), "0.7 times"),
    (lesson_10.exercise_3, 432, "stays free"),
    (lesson_10.exercise_3, 24, "180 seconds"),
    (lesson_10.exercise_3, 16.8, "180 seconds"),
    (lesson_10.exercise_3, 5.6, "answers per second"),
    (lesson_10.exercise_3, 8.0, "70 % is allowed"),
    (lesson_10.exercise_3, 700, "how often"),
    (lesson_10.exercise_3, "1008", "a number"),
    (lesson_11.exercise_1, 4, "keep the dict"),
    (lesson_11.exercise_1, {**LINES, "own code": ...}, "a number after 'own code'"),
    (lesson_11.exercise_1, {**LINES, "why": 13}, "that it failed, and not why"),
    (lesson_11.exercise_1, {**LINES, "why": 1}, "a type and a text"),
    (lesson_11.exercise_1, {**LINES, "own code": 12}, "datasets/builder.py"),
    (lesson_11.exercise_1, {**LINES, "own code": "train.py"}, "without quotes"),
    (lesson_11.exercise_1, {**LINES, "own code": [9, 10]}, "one, and without quotes"),
    (lesson_11.exercise_1, {**LINES, "why": 2}, "where in the library"),
    (lesson_11.exercise_1, {**LINES, "why": 10}, "where, and not why"),
    (lesson_11.exercise_1, {**LINES, "own code": 1}, "a file that the reader wrote"),
    (lesson_11.exercise_1, {**LINES, "line of data.jsonl": 5}, "one of train.py"),
    (lesson_11.exercise_1, {**LINES, "line of data.jsonl": 212}, "json.py"),
    (lesson_11.exercise_1, {**LINES, "line of data.jsonl": 1}, "counts from 0"),
    (lesson_11.exercise_2, asking("max_new_tokens=60", "max_tokens=60"), "['max_tokens'] (note"),
    (lesson_11.exercise_2, asking("**inputs", "inputs"), "two stars"),
    (lesson_11.exercise_2, asking('"role": "user", "content"', '"user"'), "the keys of the message"),
    (lesson_11.exercise_2, asking('"user"', '"User"'), "the keys of the message"),
    (lesson_11.exercise_2, asking('[{"role": "user", "content": question}]', "question"), "does not hold the question"),
    (lesson_11.exercise_2, asking('[{"role": "user", "content": question}]', '{"role": "user"}'), "square brackets"),
    (lesson_11.exercise_2, asking('return_tensors="pt", ', ""), 'return_tensors="pt" belongs'),
    (lesson_11.exercise_2, asking('"role": "user"', '"role": "system"'), "not the user's"),
    (lesson_11.exercise_2, asking("add_generation_prompt=True", "return_dict=True"), "add_generation_prompt"),
    (lesson_11.exercise_2, asking("[begin:]", ""), "the prompt is still in"),
    (lesson_11.exercise_2, asking(", skip_special_tokens=True", ""), "without the special tokens"),
    (lesson_11.exercise_2, asking("max_new_tokens=60, ", ""), "in the middle"),
    (lesson_11.exercise_2, asking("[begin:]", "[begin + 1 :]"), "should begin with 'A token is"),
    (lesson_11.exercise_2, asking("[begin:]", "[len(inputs) :]"), "the prompt is still in"),
    (lesson_11.exercise_2, asking("output[0][begin:]", "output[begin:]"), "the tokens of the answer, output[0]"),
    (lesson_11.exercise_2, asking("output[0][begin:]", "output[:, begin:]"), "a list of answers"),
    (lesson_11.exercise_2, asking('inputs["input_ids"].shape', "inputs.shape"), "its tensor input_ids has a shape"),
    (lesson_11.exercise_2, asking("return tokenizer", "tokenizer"), "print shows a text"),
    (lesson_11.exercise_2, lambda model, tokenizer, question: None, "returns nothing"),
    (lesson_11.exercise_2, lambda model, tokenizer, question: 7, "as text"),
    (lesson_11.exercise_2, lambda model, tokenizer, question: question, "does not hold the question"),
    (lesson_11.exercise_2, lambda question: question, "TypeError"),
    (lesson_11.exercise_3, lambda tokenizer, messages: True, "22 tokens is empty"),
    (lesson_11.exercise_3, lambda tokenizer, messages: False, "must pass"),
    (lesson_11.exercise_3, lambda tokenizer, messages: len(tokenizer) > 1000, "the role 'User' is lost"),
    (
        lesson_11.exercise_3,
        lambda t, m: len(t) > 1000 and m[0]["content"] in t.apply_chat_template(m, tokenize=False),
        "every content",
    ),
    (
        lesson_11.exercise_3,
        lambda t, m: len(t) > 1000 and all(x["content"] in t.apply_chat_template(m, tokenize=False) for x in m),
        "KeyError: 'content'",
    ),
    (
        lesson_11.exercise_3,
        lambda t, m: len(t) > 1000 and all(x["content"] in t.apply_chat_template(m) for x in m),
        "tokenize=False",
    ),
    (lesson_11.exercise_3, lambda tokenizer, messages: None, "True or False, and not None"),
    (lesson_11.exercise_3, len, "TypeError"),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right(exercise, answer):
    assert exercise(answer) is None


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_their_own_hint(exercise, answer, hint):
    assert hint in hint_of(exercise, answer)


@pytest.mark.parametrize("answer", ["2.0", "2.0.2", "2.1", "2.2", "2.2.6"])
def test_every_numpy_that_fits_is_right(answer):
    assert lesson_01.exercise_3(answer) is None


def test_damage_that_only_a_fingerprint_shows(tmp_path):
    copy = shutil.copytree(TINY_CHAT, tmp_path / "copy")
    assert "fingerprint of model.safetensors is still" in lesson_02.exercise_3(copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"oops")
    assert lesson_02.exercise_3(copy) is None and lesson_02.exercise_3(str(copy)) is None
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b"oops")
    assert "leave their number" in lesson_02.exercise_3(copy)


def hint_of(exercise, answer) -> str:
    try:
        return exercise(answer)
    except Stopped as stop:
        return str(stop)


@pytest.mark.parametrize("function", [no_await, no_await_in_a_list, never_awaited, no_star, no_star_map, runs_a_loop])
def test_a_hint_comes_without_warnings_of_python(function, recwarn, caplog):
    assert lesson_10.exercise_2(function)
    gc.collect()
    assert not recwarn.list and not caplog.records


def test_a_function_without_an_end_does_not_hang_the_notebook(monkeypatch):
    monkeypatch.setattr(lesson_10, "PATIENCE", 0.3)
    end = threading.Event()

    async def endless(ask, questions):
        while not end.is_set():
            time.sleep(0.01)

    before = time.monotonic()
    assert "did not end within 0.3 seconds" in lesson_10.exercise_2(endless)
    assert time.monotonic() - before < 5
    end.set()


def test_a_missing_package_is_not_taken_for_a_missing_exercise(monkeypatch):
    monkeypatch.delitem(sys.modules, "qwen_helpers.exercises.lesson_10", raising=False)
    monkeypatch.setitem(sys.modules, "qwen_helpers.engines.server", None)  # as if it could not be imported
    with pytest.raises(ModuleNotFoundError, match="qwen_helpers.engines.server"):
        check("10.1", 1)


@pytest.mark.parametrize(
    ("first", "rate", "hint"),
    [(0.8, 20.0, None), (0.05, 20, "first of the moments"), (0.8, 5.0, "leave that wait out"),
     (0.8, 25, "four steps"), (0.8, 3, "divide by the seconds"), ("0.8", 20, "two numbers")],
)  # fmt: skip
def test_times(first, rate, hint):
    answer = lesson_04.exercise_1(first, rate)
    assert answer is None if hint is None else hint in answer


BEFORE = {"loss": [3.3, 0.3], "eval_loss": [4.1, 2.9, 3.4]}


@pytest.mark.parametrize(
    ("mended", "hint"),
    [
        ({"loss": [3.3, 1.0], "eval_loss": [4.1, 2.9, 3.0]}, None),
        (4, "call learn("),
        ({"loss": [3.3], "eval_loss": []}, "call learn("),
        ({"loss": [3.3, 2.5], "eval_loss": [4.1, 4.0]}, "has not learnt"),
        ({"loss": [3.3, float("nan")], "eval_loss": [4.1, 4.0]}, "has not learnt"),
        (BEFORE, "was 2.90 at its value 2 of 3"),
        ({"loss": [3.3, 1.9], "eval_loss": [4.1, 3.45]}, "section 8's at 3.40: that is no better"),
    ],
)
def test_a_training_that_over_fits_less(mended, hint):
    answer = lesson_09.exercise_2(mended, BEFORE)
    assert answer is None if hint is None else hint in answer


def test_check_prints_one_line(capsys):
    check("1.3", "2.2")
    check("1.3", "2.3")
    check("1.3", ...)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Exercise 1.3: right!"
    assert lines[1].startswith("Exercise 1.3: not yet. Hint: 2.3 must satisfy both")
    assert lines[2] == "Exercise 1.3: not yet. Hint: replace the three dots by your answer."


@pytest.mark.parametrize("name", ["14.9", "3.9", "three", 3.9])
def test_an_unknown_exercise(name):
    with pytest.raises(ValueError, match="There is no exercise"):
        check(name, 1)
