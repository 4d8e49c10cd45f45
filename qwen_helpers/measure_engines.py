"""The engines of the course side by side: `python -m qwen_helpers.measure engines [--model DIR | --shape 0.5b]`."""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil

from qwen_helpers.bandwidth import bandwidth
from qwen_helpers.fast import convert
from qwen_helpers.models import model_folder
from qwen_helpers.predict import bytes_per_token, ceiling
from qwen_helpers.preflight import look_up
from qwen_helpers.shapes import save_random, shape

ENGINES = (
    "transformers float32", "transformers bfloat16", "compiled bfloat16", "ms-swift bfloat16",
    "torchao int8", "onnx int8", "onnx int4",
)  # fmt: skip
BASE = "transformers bfloat16"


def engines(model_dir=None, size=None, tokens: int = 64, rounds: int = 3, passes: int = 1, only=ENGINES) -> dict:
    """Measure every engine in `only` with one model, each in its own process, and print the table.

    The model is the folder `model_dir` (default: the lessons' own), or, with `size`, random weights in the shape of
    Qwen2.5-0.5B and so on, made in a temporary folder. One greedy answer of up to `tokens` tokens, `rounds` times after
    one that warms up, and all of it `passes` times. Ratios are taken within a pass and are medians over the passes, as
    are the figures. `best_over_transformers_bf16` is the fastest row over transformers in bfloat16. Raises ValueError
    for a model or shape that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="qwen-engines-") as temporary:
        if size:
            model = shape(size)
            folder = save_random(model, Path(temporary, "random"))
        else:
            model, folder, _ = look_up(model_folder() if model_dir is None else model_dir)
        folders = {}
        for precision in ("int8", "int4"):
            if f"onnx {precision}" in only and find_spec("onnxruntime_genai"):
                start = time.perf_counter()
                folders[f"onnx {precision}"] = convert(folder, Path(temporary, precision), precision)
                print(f"converted to {precision} in {time.perf_counter() - start:.0f} s", flush=True)
        memory, runs = bandwidth(), {name: [] for name in only}
        for _ in range(passes):
            for name in only:
                runs[name].append(_run(name, folders.get(name, folder), tokens, rounds))
                print(f"{name}: {runs[name][-1].get('error') or 'measured'}", flush=True)
            memory = {name: max(rate, memory[name]) for name, rate in bandwidth().items()}
    reference = runs["transformers float32"][0].get("answer") if "transformers float32" in only else None
    rows = {name: _row(name, results, model, memory["best"], reference) for name, results in runs.items()}
    result = {
        "date": str(datetime.date.today()),
        "machine": f"{platform.system()}, {platform.machine()}, {psutil.cpu_count(logical=False)} cores, {_vectors()}",
        "model": f"random weights in the shape of {model.id}" if size else model.id,
        "tokens": tokens, "rounds": rounds, "passes": passes, "bandwidth_gb_per_s": memory, "engines": rows,
    }  # fmt: skip
    ratios = _ratios(runs)
    best = max(ratios, key=ratios.get, default=None)
    result |= {"best": best, "best_over_transformers_bf16": ratios.get(best), "over_transformers_bf16": ratios}
    _print(result)
    return result


def _run(name: str, folder: Path, tokens: int, rounds: int) -> dict:
    """What the process for one engine prints, or {"error": one sentence}."""
    command = [sys.executable, "-X", "utf8", "-m", "qwen_helpers.engine_runs", name, folder, tokens, rounds]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "0"}
    done = subprocess.run([str(word) for word in command], capture_output=True, encoding="utf-8", env=env)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _row(name: str, results: list[dict], model, gb_per_s: float, reference: str | None) -> dict:
    """Medians over the passes, and what the ceiling says."""
    errors = [result["error"] for result in results if "error" in result]
    if errors:
        return {"error": errors[0]}
    answers = [result.pop("answer") for result in results]
    row = {key: statistics.median(result[key] for result in results) for key in results[0]}
    context = 40 + row["tokens"] // 2  # a prompt of about 40 tokens; on the average half of the answer
    precision = name.split()[-1]
    row["bytes_per_token"] = bytes_per_token(model, precision, context)
    row["ceiling_tokens_per_s"] = ceiling(model, precision, context, gb_per_s)
    row["of_ceiling"] = row["tokens_per_s"] / row["ceiling_tokens_per_s"]
    row["same_answer"] = None if reference is None else answers[0] == reference
    share = f"{row['of_ceiling']:.0%} of the ceiling"
    row["limit"] = f"memory: {share}" if row["of_ceiling"] >= 0.6 else f"the work around the reading: {share}"
    return row


def _ratios(runs: dict) -> dict:
    """{engine: its rate over that of BASE}, the median over the passes; empty if BASE was not measured."""
    base = runs.get(BASE, [])
    if not base or any("error" in result for result in base):
        return {}
    return {
        name: statistics.median(r["tokens_per_s"] / b["tokens_per_s"] for r, b in zip(results, base, strict=True))
        for name, results in runs.items()
        if not any("error" in result for result in results)
    }


def _vectors() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _print(result: dict) -> None:
    memory = ", ".join(f"{name} {rate:.1f}" for name, rate in result["bandwidth_gb_per_s"].items())
    print(f"\n{result['model']}; {result['machine']}; {result['date']}\nmemory, GB/s: {memory}\n")
    print(f"{'engine':22} {'load s':>7} {'first s':>8} {'tokens/s':>9} {'noise':>13} {'GB':>5} {'x':>5} same  limit")
    for name, row in result["engines"].items():
        if "error" in row:
            print(f"{name:22} {row['error']}")
            continue
        same = {True: "yes", False: "no", None: "?"}[row["same_answer"]]
        noise = f"{row['slowest']:.1f}-{row['fastest']:.1f}"
        ratio = f"{result['over_transformers_bf16'].get(name, 0):.1f}"
        print(
            f"{name:22} {row['load_s']:7.1f} {row['first_call_s']:8.1f} {row['tokens_per_s']:9.1f} {noise:>13}"
            f" {row['peak_bytes'] / 1e9:5.2f} {ratio:>5} {same:4}  {row['limit']}"
        )
    print("x: over transformers in bfloat16; first: the first answer, with warm-up or compiling; GB: peak, answering")
