"""The engines of the course side by side, and a GPU beside the V100 of 2024: `measure engines` and `measure gpu`.

Each engine runs in a process of its own, so that memory and load time are this engine's and nobody else's.
"""

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

from qwen_helpers.engines import llama_cpp, onnx
from qwen_helpers.engines.converter import has_linear_attention
from qwen_helpers.folders import model_folder
from qwen_helpers.labs.speed import Peak, bandwidth, timed_answer
from qwen_helpers.models import BITS
from qwen_helpers.sizes import bytes_per_token, ceiling, look_up_model
from qwen_helpers.tools.shapes import random_model, save_random, shape

ENGINES = (
    "transformers float32", "transformers bfloat16", "compiled bfloat16", "ms-swift bfloat16",
    "torchao int8", "onnx int8", "onnx int4", "llama.cpp float16", "llama.cpp q8_0", "llama.cpp q4_0",
)  # fmt: skip
BASE, OTHER = "transformers bfloat16", "llama.cpp q4_0"  # what the others are compared with
MESSAGES = [{"role": "user", "content": "讲一个长故事。"}]  # the tiny model's longest answer, 182 tokens
GPU_TOKENS, GPU_PROMPT = 128, 40
V100_S = 9.72  # seconds for 128 tokens, printed by that tutorial for 1.5B and for 7B alike


def compare_engines(
    model_dir=None, size=None, tokens: int = 64, rounds: int = 3, passes: int = 1, only=ENGINES
) -> dict:
    """Measure every engine in `only` with one model, each in its own process, and print the table.

    The model is the folder `model_dir` (default: the lessons' own), or, with `size`, random weights in the shape of
    Qwen2.5-0.5B and so on, made in a temporary folder. One greedy answer of up to `tokens` tokens, `rounds` times after
    one that warms up, and all of it `passes` times. Ratios are taken within a pass and are medians over the passes, as
    are the figures. `best_over_transformers_bf16` is the fastest row over transformers in bfloat16, and
    `best_over_llama_cpp_q4_0` the fastest of the other engines over llama.cpp in 4 bits. Raises ValueError for a model
    or shape that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="qwen-engines-") as temporary:
        if size:
            model = shape(size)
            folder = save_random(model, Path(temporary, "random"))
        else:
            model, folder, _ = look_up_model(model_folder() if model_dir is None else model_dir)
        if has_linear_attention(folder):
            only = [name for name in only if not name.startswith("onnx")]
            print("ONNX Runtime is not checked with such a model: its rows are left out.", flush=True)
        folders = {}
        for name in only:
            kind, precision, start = name.split()[0], name.split()[-1], time.perf_counter()
            if kind == "onnx" and find_spec("onnxruntime_genai"):
                folders[name] = onnx.convert(folder, Path(temporary, name), precision)
            elif kind == "llama.cpp":
                folders[name] = llama_cpp.convert(folder, Path(temporary, name), precision.replace("float", "f"))
            else:
                continue
            print(f"converted for {name} in {time.perf_counter() - start:.0f} s", flush=True)
        memory, runs = bandwidth(), {name: [] for name in only}
        for _ in range(passes):
            for name in only:
                runs[name].append(_measure_in_process(name, folders.get(name, folder), tokens, rounds))
                print(f"{name}: {runs[name][-1].get('error') or 'measured'}", flush=True)
            memory = {name: max(rate, memory[name]) for name, rate in bandwidth().items()}
    reference = runs["transformers float32"][0].get("answer") if "transformers float32" in only else None
    rows = {name: _medians(name, results, model, memory["best"], reference) for name, results in runs.items()}
    result = {
        "date": str(datetime.date.today()),
        "machine": f"{platform.system()}, {platform.machine()}, {psutil.cpu_count(logical=False)} cores, {_vectors()}",
        "model": f"random weights in the shape of {model.id}" if size else model.id,
        "tokens": tokens, "rounds": rounds, "passes": passes, "bandwidth_gb_per_s": memory, "engines": rows,
    }  # fmt: skip
    ratios, others = _ratios(runs, BASE), _ratios(runs, OTHER)
    best = max(ratios, key=ratios.get, default=None)
    result |= {"best": best, "best_over_transformers_bf16": ratios.get(best), "over_transformers_bf16": ratios}
    others = {name: ratio for name, ratio in others.items() if not name.startswith("llama.cpp")}
    result["best_over_llama_cpp_q4_0"] = max(others.values(), default=None)
    _print_table(result)
    return result


def _measure_in_process(name: str, folder: Path, tokens: int, rounds: int) -> dict:
    """What the process for one engine prints, or {"error": one sentence}."""
    command = [sys.executable, "-X", "utf8", "-m", "qwen_helpers.tools.measure_engines", name, folder, tokens, rounds]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "0"}
    env.pop("OMP_WAIT_POLICY", None)  # "passive" makes llama.cpp's threads sleep between operations: a tenth as fast
    done = subprocess.run([str(word) for word in command], capture_output=True, encoding="utf-8", env=env)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _medians(name: str, results: list[dict], model, gb_per_s: float, reference: str | None) -> dict:
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


def _ratios(runs: dict, base_name: str) -> dict:
    """{engine: its rate over that of `base_name`}, the median over the passes; empty if that was not measured."""
    base = runs.get(base_name, [])
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


def _print_table(result: dict) -> None:
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
    if result["best_over_llama_cpp_q4_0"]:
        print(f"the fastest of the others over {OTHER}: {result['best_over_llama_cpp_q4_0']:.2f}")
    print("x: over transformers in bfloat16; first: the first answer, with warm-up or compiling; GB: peak, answering")


def load_engine(name: str, model_dir: str):
    """(engine, settings of `generate` that belong to it) for one of the names in ENGINES."""
    kind, precision = name.split()[0], name.split()[-1]
    if kind == "onnx":
        return onnx.OnnxEngine(model_dir), {}
    if kind == "llama.cpp":
        return llama_cpp.LlamaCppEngine(model_dir), {}
    if kind == "ms-swift":
        from qwen_helpers.engines.swift import SwiftEngine

        return SwiftEngine(model_dir, device="cpu"), {}
    from qwen_helpers.engines.transformers import TransformersEngine

    dtype = precision if BITS.get(precision, 0) >= 16 else "bfloat16"
    engine = TransformersEngine(model_dir, dtype=dtype, device="cpu")
    if kind == "transformers":
        return engine, {}
    import torch

    if kind == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(engine.model, Int8WeightOnlyConfig())
    engine.model.forward = torch.compile(engine.model.forward)
    return engine, {"cache_implementation": "static"}


def measure_engine(name: str, model_dir: str, tokens: int, rounds: int) -> dict:
    """Load, warm up with one whole answer, then `rounds` answers; times in seconds, memory in bytes.

    The rate counts the tokens after the first: the first belongs to the prompt. ms-swift holds text back until it sees
    a space, so its first token is timed with an answer of one token.
    """
    peak, start = Peak(), time.perf_counter()
    engine, settings = load_engine(name, model_dir)
    load_s = time.perf_counter() - start
    *_, first_call_s = timed_answer(engine, MESSAGES, tokens, **settings)
    load_peak = peak.bytes
    peak.reset()
    firsts, rates = [], []
    for _ in range(rounds):
        text, count, first, seconds = timed_answer(engine, MESSAGES, tokens, **settings)
        first = timed_answer(engine, MESSAGES, 1)[-1] if name.startswith("ms-swift") else first
        if count < 2:
            sys.exit(f"the answer has {count} token: nothing to measure")
        firsts.append(first)
        rates.append((count - 1) / (seconds - first))
    measured = {
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
    # After all else, since it loads the model once more.
    return measured | ({"weights_share": share_of_weights(model_dir)} if name.startswith("onnx") else {})


def share_of_weights(model_dir, tokens: int = 32) -> float:
    """The part of the time of ONNX Runtime's operations that goes into those which read, unpack and multiply weights.

    From its own profile of `tokens` steps; the rest is attention, norms and additions.
    """
    import onnxruntime_genai as og

    with tempfile.TemporaryDirectory(prefix="qwen-profile-") as folder:
        config = og.Config(str(model_dir))
        profile = {"enable_profiling": str(Path(folder, "profile"))}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": profile}}}))
        model = og.Model(config)
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=8 + tokens, min_length=8 + tokens)
        generator = og.Generator(model, params)
        generator.append_tokens([5] * 8)
        while not generator.is_done():
            generator.generate_next_token()
        del generator, params, model  # the profile is written when the session ends
        (file,) = Path(folder).iterdir()
        events = json.loads(file.read_text(encoding="utf-8"))
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    weights = sum(event["dur"] for event in kernels if event["args"]["op_name"] == "MatMulNBits")
    return weights / sum(event["dur"] for event in kernels)


def gpu(sizes=("1.5b", "7b"), rounds: int = 5) -> dict:
    """Seconds for 128 tokens of 16-bit models with random weights, eager, and compiled over a static cache.

    In bfloat16, or in float16 on a card without arithmetic for it (T4, V100, RTX 20), as in lesson 8. Medians of
    `rounds` greedy answers of exactly 128 tokens, after one that warms up. A model that does not fit into the free
    memory of the first GPU is left out, and the table says so. Exits with one sentence where there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        sys.exit("There is no GPU that PyTorch can use here: run `python -m qwen_helpers measure engines` for the CPU.")
    memory = bandwidth("cuda", megabytes=2000)
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    result = {"card": torch.cuda.get_device_name(0), "dtype": str(dtype).removeprefix("torch.")}
    result |= {"bandwidth_gb_per_s": memory, "v100_s": V100_S, "models": {}}
    print(f"{result['card']}, {result['dtype']}, torch {torch.__version__}, memory {memory['best']:.0f} GB/s")
    print(f"{'model':22} {'way':10} {'128 tokens':>11} {'tokens/s':>9} {'ceiling':>8} {'x V100':>7}")
    for size in sizes:
        model = shape(size)
        free = torch.cuda.mem_get_info()[0]
        if model.weight_bytes(result["dtype"]) * 1.1 > free:
            print(f"{model.id:22} does not fit: {free / 1e9:.0f} GB are free")
            continue
        limit = ceiling(model, result["dtype"], GPU_PROMPT + GPU_TOKENS // 2, memory["best"])
        network = random_model(model, "cuda").to(dtype)
        for way in ("eager", "compiled"):
            seconds = _gpu_seconds(network, way == "compiled", rounds)
            result["models"].setdefault(model.id, {"ceiling_tokens_per_s": limit})[f"{way}_s"] = seconds
            rate = GPU_TOKENS / seconds
            print(f"{model.id:22} {way:10} {seconds:9.2f} s {rate:9.1f} {limit:8.1f} {V100_S / seconds:7.1f}")
        del network
        torch.cuda.empty_cache()
    return result


def _gpu_seconds(network, compiled: bool, rounds: int) -> float:
    import torch

    ids = torch.arange(GPU_PROMPT, device=network.device)[None] + 100
    settings = {"max_new_tokens": GPU_TOKENS, "min_new_tokens": GPU_TOKENS, "do_sample": False}
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


if __name__ == "__main__":
    name, model_dir, tokens, rounds = sys.argv[1:]
    if name.startswith("torchao") and not find_spec("torchao"):
        sys.exit('needs torchao, which the course leaves out: pip install -c constraints.txt -e ".[fast]"')
    print(json.dumps(measure_engine(name, model_dir, int(tokens), int(rounds))))
