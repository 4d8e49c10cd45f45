"""128 tokens on a GPU, beside the V100 of a 2024 tutorial: `python -m qwen_helpers.measure gpu`."""

import statistics
import sys
import time

from qwen_helpers.bandwidth import bandwidth
from qwen_helpers.predict import ceiling
from qwen_helpers.shapes import random_model, shape

TOKENS, PROMPT = 128, 40
V100_S = 9.72  # seconds for 128 tokens, printed by that tutorial for 1.5B and for 7B alike


def gpu(sizes=("1.5b", "7b"), rounds: int = 5) -> dict:
    """Seconds for 128 tokens of bfloat16 models with random weights, eager, and compiled over a static cache.

    Medians of `rounds` greedy answers of exactly 128 tokens, after one that warms up. A model that does not fit into
    the free memory of the first GPU is left out, and the table says so. Exits with one sentence where there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        sys.exit("There is no GPU that PyTorch can use here: run `python -m qwen_helpers.measure engines` for the CPU.")
    memory = bandwidth("cuda", megabytes=2000)
    result = {"card": torch.cuda.get_device_name(0), "bandwidth_gb_per_s": memory, "v100_s": V100_S, "models": {}}
    print(f"{result['card']}, torch {torch.__version__}, memory {memory['best']:.0f} GB/s")
    print(f"{'model':22} {'way':10} {'128 tokens':>11} {'tokens/s':>9} {'ceiling':>8} {'x V100':>7}")
    for size in sizes:
        model = shape(size)
        free = torch.cuda.mem_get_info()[0]
        if model.weight_bytes("bfloat16") * 1.1 > free:
            print(f"{model.id:22} does not fit: {free / 1e9:.0f} GB are free")
            continue
        limit = ceiling(model, "bfloat16", PROMPT + TOKENS // 2, memory["best"])
        network = random_model(model, "cuda")
        for way in ("eager", "compiled"):
            seconds = _seconds(network, way == "compiled", rounds)
            result["models"].setdefault(model.id, {"ceiling_tokens_per_s": limit})[f"{way}_s"] = seconds
            rate = TOKENS / seconds
            print(f"{model.id:22} {way:10} {seconds:9.2f} s {rate:9.1f} {limit:8.1f} {V100_S / seconds:7.1f}")
        del network
        torch.cuda.empty_cache()
    return result


def _seconds(network, compiled: bool, rounds: int) -> float:
    import torch

    ids = torch.arange(PROMPT, device=network.device)[None] + 100
    settings = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    if compiled:  # on a GPU transformers itself compiles the step that writes a token
        settings["cache_implementation"] = "static"
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        network.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
