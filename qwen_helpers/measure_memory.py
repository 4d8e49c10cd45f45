"""Predicted and measured peak memory over the context length: `python -m qwen_helpers.measure memory`."""

import subprocess
import sys
import tempfile
from pathlib import Path

from qwen_helpers.predict import peak_bytes
from qwen_helpers.shapes import save_random, shape

CONTEXTS = (64, 1024, 2048, 4096)
ANSWER = 4  # tokens


def memory(size: str = "0.5b", contexts=CONTEXTS, dtypes=("float32", "bfloat16")) -> dict:
    """Peak resident memory of a process that reads a prompt of each length, on the CPU, against `predict.peak_bytes`.

    The model has random weights in the shape of Qwen2.5-0.5B and so on. Each point is a process of its own; the peak
    is that of a short answer, after one that warms up, without that of loading. `error` is predicted / measured - 1.
    Raises ValueError for an unknown shape.
    """
    model, points = shape(size), []
    with tempfile.TemporaryDirectory(prefix="qwen-memory-") as temporary:
        folder = save_random(model, Path(temporary, "random"))
        print(f"{'dtype':10} {'prompt':>7} {'predicted GB':>13} {'measured GB':>12} {'error':>7}")
        for dtype in dtypes:
            for tokens in contexts:
                command = [sys.executable, "-m", "qwen_helpers.measure_memory", str(folder), dtype, str(tokens)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{dtype}, {tokens} tokens: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
                measured, predicted = int(done.stdout.split()[-1]), peak_bytes(model, dtype, tokens, ANSWER)
                error = predicted / measured - 1
                points.append(
                    {"dtype": dtype, "prompt": tokens, "predicted": predicted, "measured": measured, "error": error}
                )
                print(f"{dtype:10} {tokens:7} {predicted / 1e9:13.2f} {measured / 1e9:12.2f} {error:+7.1%}", flush=True)
    return {"model": model.id, "points": points, "worst": max(abs(point["error"]) for point in points)}


def measure(folder: str, dtype: str, tokens: int) -> int:
    """Bytes: the peak of this process while it answers a prompt of `tokens` made-up tokens."""
    import torch

    from qwen_helpers.engines import TransformersEngine
    from qwen_helpers.peak import Peak

    model = TransformersEngine(folder, dtype=dtype, device="cpu").model
    peak = Peak()
    for length in (64, tokens):  # the short prompt warms up: it brings all weights into memory
        ids = torch.arange(length)[None] % 1000 + 100
        peak.reset()
        mask = torch.ones_like(ids)
        model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False
        )
    return peak.bytes


if __name__ == "__main__":
    folder, dtype, tokens = sys.argv[1:]
    print(measure(folder, dtype, int(tokens)))
