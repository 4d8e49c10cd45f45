"""Peak memory on the CPU, predicted and measured: `measure memory` for answers, `measure training` for LoRA.

The models have random weights in the shape of a real one, such as Qwen2.5-0.5B. Each point is a process of its own,
whose peak is then that of the point.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from qwen_helpers.folders import TINY_BASE
from qwen_helpers.labs.finetune import training_memory
from qwen_helpers.models import bits
from qwen_helpers.sizes import as_size, peak_bytes
from qwen_helpers.tiny import HERE
from qwen_helpers.tools.shapes import random_model, save_random, shape

CONTEXTS = (64, 1024, 2048, 4096)
ANSWER = 4  # tokens


def memory(size: str = "0.5b", contexts=CONTEXTS, dtypes=("float32", "bfloat16")) -> dict:
    """Peak resident memory of a process that reads a prompt of each length, on the CPU, against `sizes.peak_bytes`.

    The model has random weights in one of `shapes.SHAPES`. Each point is a process of its own; the peak is that of a
    short answer, after one that warms up, without that of loading. `error` is predicted / measured - 1. Qwen3.5 is
    loaded as the course's Chat does, for text alone, and once more with its vision tower, through which then goes a
    small picture. Raises ValueError for an unknown shape.
    """
    model, points = shape(size), []
    ways = {"text": 0, "pictures": model.vision_parameters} if model.vision else {"text": 0}
    with tempfile.TemporaryDirectory(prefix="qwen-memory-") as temporary:
        folder = save_random(model, Path(temporary, "random"))
        print(f"{'loaded for':10} {'dtype':10} {'prompt':>7} {'predicted GB':>13} {'measured GB':>12} {'error':>7}")
        for way, dtype, tokens in itertools.product(ways, dtypes, contexts):
            command = [sys.executable, "-m", "qwen_helpers.tools.measure_memory", str(folder), way, dtype, str(tokens)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{dtype}, {tokens} tokens: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
            predicted = peak_bytes(model, dtype, tokens, ANSWER) + round(ways[way] * bits(dtype) / 8)
            point = {"loaded_for": way, "dtype": dtype, "prompt": tokens, "predicted": predicted}
            point["measured"] = measured = int(done.stdout.split()[-1])
            point["error"] = error = predicted / measured - 1
            points.append(point)
            row = f"{way:10} {dtype:10} {tokens:7} {predicted / 1e9:13.2f} {measured / 1e9:12.2f} {error:+7.1%}"
            print(row, flush=True)
    return {"model": model.id, "points": points, "worst": max(abs(point["error"]) for point in points)}


def measure_answer(folder: str, way: str, dtype: str, tokens: int) -> int:
    """Bytes: the peak of this process while it answers a prompt of `tokens` made-up tokens.

    `way` is "text" or "pictures": then 16 of the tokens are a picture of 8 x 8 patches.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    from qwen_helpers.engines.transformers import TransformersEngine
    from qwen_helpers.labs.speed import Peak

    if way == "pictures":
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)
    else:
        model = TransformersEngine(folder, dtype=dtype, device="cpu").model
    peak = Peak()
    for length in (64, tokens):  # the short prompt warms up: it brings all weights into memory
        ids = torch.arange(length)[None] % 1000 + 100
        inputs = {"attention_mask": torch.ones_like(ids)}
        if way == "pictures":
            ids[0, :16] = model.config.image_token_id
            inputs |= {"pixel_values": torch.zeros(8 * 8, 3 * 2 * 16 * 16), "image_grid_thw": torch.tensor([[1, 8, 8]])}
            inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
        peak.reset()
        model.generate(ids, **inputs, max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False)
    return peak.bytes


# Runs in a process of its own, whose peak is then that of the training.
CHILD = """
import json, sys
from qwen_helpers.labs.speed import Peak
peak = Peak()
from swift import SftArguments, sft_main
settings = json.loads(sys.argv[1])
history = sft_main(SftArguments(**settings))["log_history"]
losses = [entry["loss"] for entry in history if "loss" in entry]
print(json.dumps({"peak": peak.bytes, "losses": losses}))
"""


def training(layers=24, vocabulary=151936, batch=1, tokens=512, learnt=256, checkpointing=True) -> dict:
    """Train a random model of Qwen2.5-0.5B's width for two steps in float32; the peak and the prediction, in bytes.

    `tokens` per dialogue, of which `learnt` belong to the answer. Raises ValueError where there is no /proc (Windows,
    macOS).
    """
    if not Path("/proc/self/status").is_file():
        raise ValueError("This measurement reads /proc/self/status, which only Linux has: run it there.")
    with tempfile.TemporaryDirectory(prefix="qwen-practice-") as place:
        folder = save_half_billion(Path(place) / "model", layers, vocabulary)
        lengths = write_dialogues(Path(place) / "data.jsonl", folder, 2 * batch, tokens, learnt)
        settings = {
            "model": str(folder), "model_type": "qwen2", "template": "qwen2_5", "dataset": [f"{place}/data.jsonl"],
            "tuner_type": "lora", "target_modules": ["all-linear"], "lora_rank": 8, "torch_dtype": "float32",
            "max_steps": 2, "per_device_train_batch_size": batch, "gradient_accumulation_steps": 1,
            "gradient_checkpointing": checkpointing, "split_dataset_ratio": 0.0, "logging_steps": 1,
            "max_length": 4096, "save_strategy": "no", "add_version": False, "report_to": ["none"],
            "dataloader_num_workers": 0, "dataloader_pin_memory": False, "use_cpu": True, "check_model": False,
            "disable_tqdm": True, "output_dir": f"{place}/output",
        }  # fmt: skip
        quiet = {"LOG_LEVEL": "ERROR", "CUDA_VISIBLE_DEVICES": "", "MODELSCOPE_CACHE": f"{place}/cache"}
        command = [sys.executable, "-c", CHILD, json.dumps(settings)]
        done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"The training stopped with exit code {done.returncode}:\n{done.stderr[-2000:]}")
        result = json.loads(done.stdout.strip().splitlines()[-1])
        predicted = training_memory(
            folder, "lora", dtype="float32", batch=batch, tokens=max(lengths), learnt=batch * (learnt + 3),
            checkpointing=checkpointing,
        )  # fmt: skip
    print(f"{layers} layers, vocabulary {vocabulary:,}, {batch} x {max(lengths)} tokens, {learnt} of them learnt")
    print(predicted)
    print(f"measured     {as_size(result['peak']):>9}   prediction / measured = {predicted.total / result['peak']:.2f}")
    return {**result, "predicted": predicted.total, "tokens": max(lengths), "ratio": predicted.total / result["peak"]}


def save_half_billion(folder: Path, layers: int, vocabulary: int) -> Path:
    """Save a model of Qwen2.5-0.5B's width, in bfloat16 and with random weights, and the tiny model's tokenizer."""
    shutil.copytree(TINY_BASE, folder, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    random_model(replace(shape("0.5b"), layers=layers, vocabulary=vocabulary)).save_pretrained(folder)
    return folder


def write_dialogues(file: Path, folder: Path, dialogues: int, tokens: int, learnt: int) -> list[int]:
    """Write dialogues of about `tokens` tokens with answers of about `learnt`; their lengths in tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = tokenizer((HERE / "prose.txt").read_text(encoding="utf-8"))["input_ids"]
    words = words * (1 + tokens // len(words))
    lengths = []
    with file.open("w", encoding="utf-8") as stream:
        for number in range(dialogues):
            question = tokenizer.decode(words[number : number + tokens - learnt - 29])  # 29: template and system prompt
            answer = tokenizer.decode(words[-learnt:])
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
            lengths.append(len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]))
    return lengths


if __name__ == "__main__":
    folder, way, dtype, tokens = sys.argv[1:]
    print(measure_answer(folder, way, dtype, int(tokens)))
