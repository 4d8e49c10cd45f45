"""Troubles that raise no error, looked for in a model folder and in a loaded model. `doctor(model_dir)` prints them.

Read are the small files, the tokenizer and the headers of the weights, and of weights up to 4 GB every number, for inf
and NaN. What only an answer can show (C10, C11, S2) is not found here.
"""

import importlib.util
import json
import sys
from pathlib import Path

from qwen_helpers.folders import ModelFolderError, check_folder, course_root, safetensors_header, weight_files
from qwen_helpers.models import find_folder
from qwen_helpers.troubles import find

FLOATS = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000)}  # bytes, bits of the exponent
SCANNED = 4e9  # bytes of weights that are read, 0.4 s per GB if the disk is fast enough
PIECE = 4_000_000  # numbers at a time, so that little memory is taken
HEALTHY = "no silent trouble found in its files, tokenizer, rope_theta, stop tokens and numbers"


def folder_findings(model_dir) -> list[str]:
    """What would go wrong with this folder (or whatever `find_folder` takes): sentences that begin with an entry's id.

    Empty for a chat model that is whole. What `check_folder` raises comes first, and then alone.
    """
    try:
        folder = check_folder(find_folder(model_dir))
    except ModelFolderError as error:
        return [f"{trouble.id}: {error}" for trouble in find(error)[:1]] or [str(error)]
    config = _read(folder, "config.json")
    looks = (_tokenizer(folder, config), _rope(config), _stop_tokens(folder, config), _numbers(folder))
    return [sentence for look in looks for sentence in look]


def _read(folder: Path, name: str) -> dict:
    file = folder / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _tokenizer(folder, config):
    tokenizer = _read(folder, "tokenizer.json")
    vocabulary = tokenizer.get("model", {}).get("vocab", []) if tokenizer else _read(folder, "vocab.json")
    size, rows = len(vocabulary), config.get("vocab_size")
    if size < 1000:
        yield f"D10: the tokenizer has only {size} tokens, so that prompts come out empty: download the folder again."
    elif rows and size > rows:
        yield f"L8: the tokenizer has {size} tokens and the model {rows}: they belong to two models, download one anew."


def _rope(config):
    theta = (config.get("rope_parameters") or {}).get("rope_theta")
    old = config.get("rope_theta")
    if theta and (old or 10000) != theta:  # 10000 is what libraries take that find no rope_theta
        yield (
            f"L5: config.json says rope_theta in transformers 5's way only ({theta:g}); older versions and PaddleNLP "
            f'would take {old or 10000:g} and answer worse: write "rope_theta": {theta:g} into it.'
        )
    elif not theta and not old and str(config.get("model_type")).startswith("qwen"):
        yield (
            "L5: config.json has lost rope_theta, so 10000 is taken and answers get worse: copy config.json from the "
            "original (Qwen2.5 and Qwen3 have 1000000)."
        )


def _stop_tokens(folder, config):
    added = _read(folder, "tokenizer.json").get("added_tokens", [])
    decoder = _read(folder, "tokenizer_config.json").get("added_tokens_decoder", {})
    added += [{"id": int(number), **token} for number, token in decoder.items()]
    end = {token["id"] for token in added if token["content"] == "<|im_end|>"}
    stops = _read(folder, "generation_config.json").get("eos_token_id", config.get("eos_token_id"))
    if end and not end & set(stops if isinstance(stops, list) else [stops]):
        yield (
            "C3: <|im_end|> is no stop token of this model, so it is a base model, which continues text: take the "
            "-Instruct model for answers, or give generate its eos_token_id."
        )


def _numbers(folder):
    files = [file for file in weight_files(folder) if file.suffix == ".safetensors"]
    headers = {file: safetensors_header(file) for file in files}
    if any(tensor["dtype"] == "F16" for header in headers.values() for tensor in header.values()):
        yield (
            "G5: the weights are float16, whose numbers end at 65504; if an answer is !!!! or probabilities are NaN, "
            "load with dtype=torch.bfloat16 or torch.float32."
        )
    if importlib.util.find_spec("numpy") and sum(file.stat().st_size for file in files) <= SCANNED:
        broken = [name for file, header in headers.items() for name in _not_finite(file, header)]
        if broken:
            more = f" and {len(broken) - 1} more" if broken[1:] else ""
            yield f"G5: {broken[0]}{more} holds inf or NaN, so every answer is spoilt: download the weights again."


def _not_finite(file, header):
    """Names of the tensors that hold inf or NaN: numbers whose exponent is all ones (IEEE 754)."""
    import numpy

    data = numpy.memmap(file, mode="r")
    start = len(data) - max(tensor["data_offsets"][1] for tensor in header.values())
    for name, tensor in header.items():
        if tensor["dtype"] in FLOATS:
            kind, exponent = FLOATS[tensor["dtype"]]
            begin, end = tensor["data_offsets"]
            numbers = data[start + begin : start + end].view(kind)
            pieces = (numbers[at : at + PIECE] for at in range(0, len(numbers), PIECE))
            if any(((piece & exponent) == exponent).any() for piece in pieces):
                yield name


def kernel_findings() -> list[str]:
    """J1, if this Python has none of the libraries that load a model."""
    if any(importlib.util.find_spec(name) for name in ("transformers", "paddlenlp")):
        return []
    course = course_root() / ".venv"
    where = (
        f"choose the course's kernel, whose Python lies in {course}" if course.is_dir() else "run `python course.py`"
    )
    return [f"J1: {sys.executable} has neither transformers nor PaddleNLP, so the kernel is not the course's: {where}."]


def check_model(model) -> None:
    """Print what is wrong with a loaded model (torch): layers that were moved out (G2), float16, inf and NaN (G5)."""
    print(
        "\n".join(model_findings(model))
        or "Nothing found: no layer is moved out, all weights are finite, none is float16."
    )


def model_findings(model) -> list[str]:
    """A sentence for each, beginning with the entry's id. Weights that were moved out are not read for inf and NaN."""
    found, weights = [], list(model.parameters())
    away = sum(weight.numel() for weight in weights if weight.device.type == "meta")
    if away:
        share = away / sum(weight.numel() for weight in weights)
        found.append(
            f"G2: {share:.0%} of the weights were moved out to memory or disk and are fetched for every token: take a "
            'smaller model, 4 bits, or dtype="auto".'
        )
    here = [weight for weight in weights if weight.device.type != "meta"]
    if any(str(weight.dtype) == "torch.float16" for weight in weights):
        found.append("G5: the model computes in float16, which ends at 65504: take bfloat16 if the answer is !!!!.")
    if not all(weight.isfinite().all() for weight in here):
        found.append("G5: there are weights that are inf or NaN, so every answer is spoilt: download the model again.")
    return found
