"""Measured against predicted: the peak memory of two steps of LoRA on the CPU, for a model with random weights.

`python -m qwen_helpers.measure training` takes the shape of Qwen2.5-0.5B, 1 GB of disk for a moment and 4 GB of memory.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from qwen_helpers.models import TINY_BASE
from qwen_helpers.preflight import as_size
from qwen_helpers.shapes import random_model, shape
from qwen_helpers.training_memory import training_memory

# Runs in a process of its own, whose peak is then that of the training.
CHILD = """
import json, sys
from qwen_helpers.peak import Peak
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
        folder = save_model(Path(place) / "model", layers, vocabulary)
        lengths = write_data(Path(place) / "data.jsonl", folder, 2 * batch, tokens, learnt)
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


def save_model(folder: Path, layers: int, vocabulary: int) -> Path:
    """Save a model of Qwen2.5-0.5B's width, in bfloat16 and with random weights, and the tiny model's tokenizer."""
    shutil.copytree(TINY_BASE, folder, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    random_model(replace(shape("0.5b"), layers=layers, vocabulary=vocabulary)).save_pretrained(folder)
    return folder


def write_data(file: Path, folder: Path, dialogues: int, tokens: int, learnt: int) -> list[int]:
    """Write dialogues of about `tokens` tokens with answers of about `learnt`; their lengths in tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = tokenizer((TINY_BASE.parent / "prose.txt").read_text(encoding="utf-8"))["input_ids"]
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
