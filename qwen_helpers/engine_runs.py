"""One engine, measured in a process of its own: `measure_engines` starts one of these for each row of its table.

Prints one JSON object. A process of its own, so that memory and load time are this engine's and nobody else's.
"""

import json
import statistics
import sys
import time
from importlib.util import find_spec

from qwen_helpers.measure import STORY
from qwen_helpers.models import DTYPE_BYTES
from qwen_helpers.peak import Peak

MESSAGES = [{"role": "user", "content": STORY}]


def load(name: str, model_dir: str):
    """(engine, settings of `generate` that belong to it) for one of the names in `measure_engines.ENGINES`."""
    kind, precision = name.split()[0], name.split()[-1]
    if kind == "onnx":
        from qwen_helpers.engine_onnx import OnnxEngine

        return OnnxEngine(model_dir), {}
    if kind == "ms-swift":
        from qwen_helpers.engine_swift import SwiftEngine

        return SwiftEngine(model_dir, device="cpu"), {}
    from qwen_helpers.engines import TransformersEngine

    dtype = precision if precision in DTYPE_BYTES and precision != "int8" else "bfloat16"
    engine = TransformersEngine(model_dir, dtype=dtype, device="cpu")
    if kind == "transformers":
        return engine, {}
    import torch

    if kind == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(engine.model, Int8WeightOnlyConfig())
    engine.model.forward = torch.compile(engine.model.forward)
    return engine, {"cache_implementation": "static"}


def answer(engine, tokens: int, **settings) -> tuple[str, int, float, float]:
    """(text, number of tokens, seconds to the first piece, seconds in all) of one greedy answer."""
    start, first, text = time.perf_counter(), None, ""
    stream = engine.stream(MESSAGES, max_new_tokens=tokens, do_sample=False, **settings)
    while True:
        try:
            text += next(stream)
        except StopIteration as end:
            seconds = time.perf_counter() - start
            return text, end.value.completion_tokens, seconds if first is None else first, seconds
        first = first or time.perf_counter() - start


def measure(name: str, model_dir: str, tokens: int, rounds: int) -> dict:
    """Load, warm up with one whole answer, then `rounds` answers; times in seconds, memory in bytes.

    The rate counts the tokens after the first: the first belongs to the prompt. ms-swift holds text back until it sees
    a space, so its first token is timed with an answer of one token.
    """
    peak, start = Peak(), time.perf_counter()
    engine, settings = load(name, model_dir)
    load_s = time.perf_counter() - start
    *_, first_call_s = answer(engine, tokens, **settings)
    load_peak = peak.bytes
    peak.reset()
    firsts, rates = [], []
    for _ in range(rounds):
        text, count, first, seconds = answer(engine, tokens, **settings)
        first = answer(engine, 1)[-1] if name.startswith("ms-swift") else first
        if count < 2:
            sys.exit(f"the answer has {count} token: nothing to measure")
        firsts.append(first)
        rates.append((count - 1) / (seconds - first))
    return {
        "load_s": load_s,
        "first_call_s": first_call_s,
        "prompt_s": statistics.median(firsts),
        "tokens": count,
        "tokens_per_s": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "peak_bytes": peak.bytes,
        "load_peak_bytes": load_peak,
        "answer": text,
    }


if __name__ == "__main__":
    name, model_dir, tokens, rounds = sys.argv[1:]
    if name.startswith("torchao") and not find_spec("torchao"):
        sys.exit('needs torchao, which the course leaves out: pip install -c constraints.txt -e ".[fast]"')
    print(json.dumps(measure(name, model_dir, int(tokens), int(rounds))))
