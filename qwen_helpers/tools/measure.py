"""Measurements: `python -m qwen_helpers measure NAME` prints a table and, as its last line, one JSON object.

Here are the two of streaming; the others are in the modules that `main` names. Speeds are compared as ratios within one
run, in alternating rounds, since a busy machine changes from second to second.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from qwen_helpers.folders import model_folder
from qwen_helpers.labs.speed import alternate
from qwen_helpers.tools.shapes import SHAPES

PROMPT = "What is a token?"
STORY = "讲一个长故事。"  # the tiny model's longest answer, 182 tokens


def overhead(model_dir=None, shape: str | None = None, tokens: int = 192, rounds: int = 15) -> dict:
    """Tokens per second of `Chat.stream` against a bare `model.generate`: same model, prompt and length, greedy.

    The model is the folder `model_dir` (default: the lessons' own), or random weights in a `shape` such as "0.5b". The
    rounds alternate and `ratio` is the median over the rounds of stream's rate divided by generate's, so that a slow
    second hits both. Every round writes exactly `tokens` tokens, with the threads that PyTorch takes by itself.
    """
    from qwen_helpers.chat import Chat

    length = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    with tempfile.TemporaryDirectory(prefix="qwen-overhead-") as temporary:
        if shape:
            from qwen_helpers.tools import shapes

            model_dir = shapes.save_random(shapes.shape(shape), Path(temporary, shape))
        chat = Chat(model_folder() if model_dir is None else model_dir, **length)
    model = chat.engine.model
    encoded = chat.engine.encode([{"role": "user", "content": PROMPT}], {})
    inputs = {name: tensor.to(model.device) for name, tensor in encoded.items()}

    def bare() -> float:
        start = time.perf_counter()
        written = model.generate(**inputs, **length)
        assert written.shape[1] == inputs["input_ids"].shape[1] + tokens
        return tokens / (time.perf_counter() - start)

    def stream() -> float:
        start = time.perf_counter()
        chat.reset()
        for _ in chat.stream(PROMPT):
            pass
        return tokens / (time.perf_counter() - start)

    rates = alternate({"generate": bare, "stream": stream}, rounds)
    ratios = [s / g for s, g in zip(rates["stream"], rates["generate"], strict=True)]
    result = {
        "model": chat.engine.model_dir.name,
        "tokens": tokens,
        "rounds": rounds,
        "generate_tokens_per_s": statistics.median(rates["generate"]),
        "stream_tokens_per_s": statistics.median(rates["stream"]),
        "ratio": statistics.median(ratios),
    }
    print(f"{tokens} tokens, {rounds} rounds, model {result['model']}")
    print(f"model.generate  {result['generate_tokens_per_s']:8.1f} tokens/s")
    print(f"Chat.stream     {result['stream_tokens_per_s']:8.1f} tokens/s")
    print(f"ratio           {result['ratio']:8.3f}   (rounds: {min(ratios):.3f} to {max(ratios):.3f})")
    return result


def swift_overhead(model_dir=None, rounds: int = 15) -> dict:
    """`Chat.stream` over ms-swift against ms-swift's own stream: one long answer, greedy, in alternating rounds.

    `rate_ratio` and `first_ratio` are medians over the rounds: Chat's tokens per second, and its time to first token,
    divided by the engine's own.
    """
    from qwen_helpers.chat import Chat
    from qwen_helpers.engines.swift import SwiftEngine

    length = 256
    chat = Chat(engine=SwiftEngine(model_folder() if model_dir is None else model_dir), do_sample=False)
    from swift import InferRequest, RequestConfig  # after SwiftEngine, which has set ms-swift's LOG_LEVEL

    request = InferRequest(messages=[{"role": "user", "content": STORY}])
    firsts: dict[str, list[float]] = {"engine": [], "chat": []}

    def own():
        config = RequestConfig(max_tokens=length, temperature=0, stream=True)
        for chunk in chat.engine.engine.infer([request], config)[0]:
            if chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    def timed(name, pieces) -> float:
        start = time.perf_counter()
        text = next(pieces)
        firsts[name].append(time.perf_counter() - start)
        text += "".join(pieces)
        return len(chat.engine.tokenizer(text)["input_ids"]) / (time.perf_counter() - start)

    def over_chat() -> float:
        chat.reset()
        return timed("chat", chat.stream(STORY, max_new_tokens=length))

    rates = alternate({"engine": lambda: timed("engine", own()), "chat": over_chat}, rounds)
    median = statistics.median
    result = {
        "model": chat.engine.model_dir.name,
        "rounds": rounds,
        "engine_tokens_per_s": median(rates["engine"]),
        "chat_tokens_per_s": median(rates["chat"]),
        "rate_ratio": median(c / e for c, e in zip(rates["chat"], rates["engine"], strict=True)),
        "engine_first_s": median(firsts["engine"][1:]),  # the first round warms up
        "chat_first_s": median(firsts["chat"][1:]),
        "first_ratio": median(c / e for c, e in zip(firsts["chat"][1:], firsts["engine"][1:], strict=True)),
    }
    print(f"{rounds} rounds, model {result['model']}      tokens/s   first token after")
    for name, label in {"engine": "ms-swift's own stream", "chat": "Chat.stream over it"}.items():
        print(f"{label:30} {result[f'{name}_tokens_per_s']:8.1f} {result[f'{name}_first_s'] * 1000:12.1f} ms")
    print(f"{'ratio':30} {result['rate_ratio']:8.3f} {result['first_ratio']:15.3f}")
    return result


def main(arguments: list[str]) -> None:
    """Run one measurement: each takes its options by the names that they have on the command line."""
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers measure", description="Measure on this machine.")
    commands = parser.add_subparsers(dest="name", required=True)
    command = commands.add_parser("overhead", help="Chat.stream against a bare model.generate")
    command.add_argument("--model", dest="model_dir", help="model folder (default: the one the lessons use)")
    command.add_argument("--shape", help="instead: random weights in the shape of a real model, such as 0.5b")
    command.add_argument("--tokens", type=int, default=192)
    command.add_argument("--rounds", type=int, default=15)
    command = commands.add_parser("swift", help="Chat.stream over ms-swift against ms-swift's own stream")
    command.add_argument("--model", dest="model_dir", help="model folder (default: the one the lessons use)")
    command.add_argument("--rounds", type=int, default=15)
    command = commands.add_parser("hub", help="the course's hub against nginx: one client, one large file")
    command.add_argument("--gigabytes", type=float, default=1)
    command.add_argument("--rounds", type=int, default=5)
    command = commands.add_parser("engines", help="every engine and precision of the course side by side")
    command.add_argument("--model", dest="model_dir", help="model folder (default: the one the lessons use)")
    command.add_argument("--shape", dest="size", help="instead: random weights in the shape of a real model")
    command.add_argument("--tokens", type=int, default=64)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--passes", type=int, default=1, help="repeat the whole table and take medians")
    command = commands.add_parser("memory", help="predicted and measured peak memory over the context length")
    command.add_argument("--shape", dest="size", default="0.5b", help=f"one of {', '.join(SHAPES)} (default: 0.5b)")
    commands.add_parser("gpu", help="128 tokens of a 1.5B and a 7B on a GPU, beside the V100 of 2024")
    commands.add_parser("training", help="peak memory of LoRA on the CPU, predicted and measured (4 GB, two minutes)")
    command = commands.add_parser("class", help="a class that asks one server at the same time, with a stopwatch")
    command.add_argument("--students", type=int, nargs="+", default=[40], help="one or more sizes of the class")
    command.add_argument("--questions", type=int, default=2, help="of each student")
    command.add_argument("--think", type=float, default=2, help="seconds between two questions, on average")
    command.add_argument("--places", type=int, default=8, help="answers that are written at a time")
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--url", help="a running server, such as http://127.0.0.1:8000/v1 (default: start one)")
    command.add_argument("--api_key", help="its key")
    command.add_argument(
        "--no_compare", dest="compare", action="store_false", help="another model: its answers are not compared"
    )
    command.add_argument("--requests", type=int, help="instead: so many short questions, and the server's memory")
    options = vars(parser.parse_args(arguments))
    name = options.pop("name")
    from qwen_helpers.tools import measure_class, measure_engines, measure_hub, measure_memory

    measure = {
        "overhead": overhead, "swift": swift_overhead, "hub": measure_hub.hub_beside_nginx,
        "engines": measure_engines.compare_engines, "gpu": measure_engines.gpu,
        "memory": measure_memory.memory, "training": measure_memory.training,
        "class": measure_class.class_or_memory,
    }[name]  # fmt: skip
    print(json.dumps(measure(**options), ensure_ascii=False))
