"""Measurements: `python -m qwen_helpers.measure NAME` prints a table and, as its last line, one JSON object.

Speeds are compared as ratios within one run, in alternating rounds, since a busy machine changes from second to second.
"""

import argparse
import json
import statistics
import time

from qwen_helpers.models import model_folder
from qwen_helpers.rounds import alternate

PROMPT = "What is a token?"


def overhead(model_dir=None, tokens: int = 192, rounds: int = 15) -> dict:
    """Tokens per second of `Chat.stream` against a bare `model.generate`: same model, prompt and length, greedy.

    The rounds alternate and `ratio` is the median over the rounds of stream's rate divided by generate's, so that a
    slow second hits both. Every round writes exactly `tokens` tokens.
    """
    from qwen_helpers.chat import Chat

    length = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    chat = Chat(model_folder() if model_dir is None else model_dir, **length)
    model = chat.engine.model
    inputs = chat.engine.encode([{"role": "user", "content": PROMPT}]).to(model.device)

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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers.measure", description="Measure on this machine.")
    commands = parser.add_subparsers(dest="name", required=True)
    command = commands.add_parser("overhead", help="Chat.stream against a bare model.generate")
    command.add_argument("--model", help="model folder (default: the one the lessons use)")
    command.add_argument("--tokens", type=int, default=192)
    command.add_argument("--rounds", type=int, default=15)
    command = commands.add_parser("hub", help="the course's hub against nginx: one client, one large file")
    command.add_argument("--gigabytes", type=float, default=1)
    command.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.name == "hub":
        from qwen_helpers.measure_hub import hub

        print(json.dumps(hub(args.gigabytes, args.rounds)))
    else:
        print(json.dumps(overhead(args.model, args.tokens, args.rounds)))


if __name__ == "__main__":
    main()
