"""How much memory, disk and time does a model need? Every formula once, and `preflight`, which asks this machine.

In Python `print(preflight("Qwen/Qwen2.5-7B-Instruct"))`, in a terminal `python -m qwen_helpers preflight`. The sizes of
weights and cache come from `models.py`; what training needs on top is in `labs/finetune.py`.
"""

import argparse
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from qwen_helpers.folder_check import ModelFolderError, check_folder, safetensors_header, weight_files
from qwen_helpers.folders import TINY_CHAT, find_folder, model_folder
from qwen_helpers.models import BITS, CATALOGUE, Model, bits, find_model, work_bits

# Measured on Linux with Python 3.11, torch 2.13 (CPU), transformers 5.19 and random weights in the shapes of
# Qwen2.5-0.5B and 1.5B: resident memory beyond weights and KV cache is 0.43 to 0.46 GB for a short prompt (of these
# 0.39 GB after the imports), and grows by 4 to 8 numbers per prompt token and MLP column.
LIBRARIES = 460_000_000  # bytes: Python, torch, transformers
MARGIN = 40_000_000  # bytes that preflight allows on top, to be on the safe side
# Qwen3.5 and later: the vision tower, which text alone does not need, and layers for speculative decoding.
NOT_LOADED = ("model.visual.", "mtp.")
WORK = 8  # numbers per token and column of the MLP: intermediate results, while a prompt is read


def kv_bytes(model: Model, dtype, tokens: int) -> int:
    """Bytes of the KV cache of so many tokens, and of what layers without one keep instead."""
    return tokens * model.kv_bytes_per_token(dtype) + 4 * model.state_numbers


def work_bytes(model: Model, dtype, prompt: int) -> int:
    """Bytes of intermediate results while `prompt` tokens are read, since all of them go through a layer at once."""
    return round(WORK * model.intermediate * work_bits(dtype) / 8 * prompt)


def peak_bytes(model: Model, dtype, prompt: int, answer: int) -> int:
    """Peak memory of the process on a CPU while it reads `prompt` tokens and writes `answer` tokens."""
    used = model.weight_bytes(dtype) + kv_bytes(model, dtype, prompt + answer)
    return used + LIBRARIES + work_bytes(model, dtype, prompt)


def bytes_per_token(model: Model, dtype, context: int) -> int:
    """Bytes that must be read to write one token, with `context` tokens before it: the weights and the KV cache.

    Of an embedding that is not tied to the output layer only one row is read, so it does not count.
    """
    read = model.body_parameters + model.vocabulary * model.hidden
    return round(read * bits(dtype) / 8) + kv_bytes(model, dtype, context)


def ceiling(model: Model, dtype, context: int, gb_per_s: float) -> float:
    """Tokens per second that no engine can pass with memory of `gb_per_s` (1e9 bytes per second), one answer at a time.

    A model so small that the processor's cache holds it reads from there, and this ceiling says nothing about it.
    """
    return gb_per_s * 1e9 / bytes_per_token(model, dtype, context)


def folder_weight_bytes(folder, dtype, tied: bool) -> int:
    """Bytes of a folder's weights once loaded in `dtype`, from the headers of its files.

    Quantized numbers (int8, int4) keep their size. A tied lm_head that the files hold too (Qwen3-0.6B) is not loaded,
    and neither is what NOT_LOADED names.
    """
    files = weight_files(folder)
    if files[0].suffix != ".safetensors":
        return sum(file.stat().st_size for file in files)  # a .bin file has no header to read: its size is a guess
    total = 0
    for tensor in loaded_tensors(files, tied):
        if tensor["dtype"] in ("BF16", "F16", "F32"):
            total += math.prod(tensor["shape"]) * bits(dtype) / 8
        else:
            total += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    return round(total)


def loaded_tensors(files, tied: bool) -> list[dict]:
    """The headers' entries of the tensors that the course's engines load from safetensors files."""
    found = [pair for file in files for pair in safetensors_header(file).items()]
    left_out = (*NOT_LOADED, "lm_head.weight") if tied else NOT_LOADED
    return [tensor for name, tensor in found if not name.startswith(left_out)]


@dataclass(frozen=True, repr=False)
class Preflight:
    """What `preflight` found. Sizes in bytes; printing it gives the report."""

    model: str
    dtype: str
    context: int  # tokens, prompt and answer together
    device: str  # "cpu", "cuda" or "mps": where the course's Chat would load the model
    weights_bytes: int
    kv_bytes: int  # KV cache when all of the context is used
    work_bytes: int  # Python and libraries, and intermediate results
    available_bytes: int  # free now on the device
    disk_needed_bytes: int  # 0 if the model is already here
    disk_free_bytes: int  # on the drive of the current folder
    download_minutes: float | None  # None if nothing is to be downloaded or no speed was given
    advice: str = ""  # the verdict in one sentence
    state_bytes: int = 0  # of kv_bytes, what does not grow with the context

    @property
    def needed_bytes(self):
        return self.weights_bytes + self.kv_bytes + self.work_bytes

    @property
    def fits(self):
        return self.needed_bytes <= self.available_bytes

    @property
    def fits_disk(self):
        return self.disk_needed_bytes <= self.disk_free_bytes

    def __str__(self):
        rows = [
            ("weights", as_size(self.weights_bytes), f"{bits(self.dtype) / 8:g} bytes per number"),
            ("KV cache", as_size(self.kv_bytes), self._cache()),
            ("working memory", as_size(self.work_bytes), "Python, libraries and intermediate results"),
            ("memory needed", as_size(self.needed_bytes), f"of {as_size(self.available_bytes)} free ({self.device})"),
        ]
        if self.disk_needed_bytes:
            rows.append(("disk needed", as_size(self.disk_needed_bytes), f"of {as_size(self.disk_free_bytes)} free"))
        if self.download_minutes is not None:
            rows.append(("download", f"{self.download_minutes:,.1f} min", "if the line keeps the speed you gave"))
        lines = [f"{name:<14} {value:>9}   {note}" for name, value, note in rows]
        return "\n".join([f"{self.model} in {self.dtype}", *lines, self.advice])

    __repr__ = __str__

    def _cache(self):
        state = f", and {as_size(self.state_bytes)} at any length" if self.state_bytes else ""
        return f"{(self.kv_bytes - self.state_bytes) // self.context:,} bytes x {self.context:,} tokens{state}"


def preflight(model=None, dtype=None, context=None, mbit_per_s=None):
    """Estimate what a model needs and compare it with what this machine has free; returns a `Preflight`.

    `model` is a catalogue id or anything else that `find_folder` takes; left out, the model in use. `dtype` is one of
    `models.BITS`, as a word or torch's own; left out, what `dtype="auto"` loads: the one in config.json, bfloat16 for
    Qwen. `context` counts tokens, prompt and answer together; left out, 2048 or the model's own limit if that is lower.
    `mbit_per_s` is the speed of your line.

    needed = weights + KV cache + work, where work is LIBRARIES, MARGIN and `work_bytes` of a prompt that fills the
    context. The measured peak (see LIBRARIES; 0.5B and 1.5B, prompts of 64 to 4096 tokens) was 2 to 5 % below it. On a
    GPU nothing was measured and LIBRARIES is an allowance. If
    the dtype is not that of the file, tools show the file's size on top while loading, but the system can take those
    pages back: under a limit of 2.3 GB, 2.0 GB of float32 weights still loaded from a bfloat16 file.

    Raises ModelFolderError for a folder that cannot be found or is not whole, ValueError for the other arguments. A
    catalogue id of which only a part is here counts as not downloaded.
    """
    if mbit_per_s is not None and not mbit_per_s > 0:
        raise ValueError(f"mbit_per_s is {mbit_per_s}: give your line's speed in megabit per second, such as 50.")
    found, folder, file_dtype = look_up_model(model)
    dtype = file_dtype if dtype in (None, "auto") else str(dtype).removeprefix("torch.")
    context = min(2048, found.context) if context is None else context
    if not 1 <= context <= found.context:
        yarn = f" ({found.yarn_context} with the YaRN setting on its model card)" if found.yarn_context else ""
        raise ValueError(f"context={context} is not possible: {found.id} takes 1 to {found.context} tokens{yarn}.")
    weights = folder_weight_bytes(folder, dtype, found.tied) if folder else found.weight_bytes(dtype)
    download = 0 if folder else found.download_bytes
    device, available = device_memory()
    result = Preflight(
        model=found.id, dtype=dtype, context=context, device=device, weights_bytes=weights,
        kv_bytes=kv_bytes(found, dtype, context), work_bytes=LIBRARIES + MARGIN + work_bytes(found, dtype, context),
        available_bytes=available, disk_needed_bytes=download, disk_free_bytes=shutil.disk_usage(Path.cwd()).free,
        download_minutes=download * 8 / (mbit_per_s * 1e6) / 60 if download and mbit_per_s else None,
        state_bytes=4 * found.state_numbers,
    )  # fmt: skip
    return replace(result, advice=_advice(result, found.kind))


def device_memory():
    """("cuda", "mps" or "cpu", bytes free there now), in the order in which the course's Chat picks its device."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        import torch
    except (ImportError, OSError):  # not installed, or, on Windows, one of its DLLs cannot be loaded
        return "cpu", free
    if torch.cuda.is_available():
        return "cuda", torch.cuda.mem_get_info()[0]  # of the first GPU
    if torch.backends.mps.is_available():
        return "mps", min(free, torch.mps.recommended_max_memory())  # the GPU uses the Mac's own memory
    return "cpu", free


def _advice(result, kind):
    import psutil

    if not result.fits:
        dtype, context, room = result.dtype, result.context, result.available_bytes - MARGIN
        fitting = [
            m for m in CATALOGUE
            if m.kind == kind and m.context >= context and m.download_bytes <= result.disk_free_bytes
            and peak_bytes(m, dtype, prompt=context, answer=0) <= room
        ]  # fmt: skip
        best = max(fitting, key=lambda m: m.parameters, default=None)
        choose = f"choose {best.id}, the largest {kind} model that does" if best else 'use_model("tiny")'
        on_cpu = result.needed_bytes <= psutil.virtual_memory().available  # possible only if `device` is a GPU
        slower = ', or load it with device="cpu", where it fits but is slower' if on_cpu else ""
        return f"It does not fit: close other programs, or {choose}{slower}."
    if not result.fits_disk:
        missing = as_size(result.disk_needed_bytes - result.disk_free_bytes)
        return f"It does not fit on the disk: free {missing} more, or work in a folder on a larger drive."
    return "It fits."


def look_up_model(what):
    """(Model, folder, dtype of the files); the folder is None if the model is not here yet, or not whole."""
    if str(what) in [model.id for model in CATALOGUE]:
        try:
            return find_model(what), check_folder(find_folder(what)), "bfloat16"
        except ModelFolderError:  # not downloaded, or not all of it
            return find_model(what), None, "bfloat16"
    folder = model_folder() if what is None else check_folder(find_folder(what))
    config = json.loads((folder / "config.json").read_bytes())
    # ModelScope's cache is .../Qwen--Qwen2.5-0.5B/snapshots/master
    name = folder.parent.parent.name.replace("--", "/") if folder.parent.name == "snapshots" else folder.name
    name = f"tiny {name}" if folder.parent == TINY_CHAT.parent else name
    kinds = {model.id.split("/")[1]: model.kind for model in CATALOGUE}
    dtype = config.get("dtype") or config.get("torch_dtype")  # transformers 5, before
    if isinstance(config.get("text_config"), dict):  # Qwen3.5 and later, which also read pictures
        config = config["text_config"]
        dtype = dtype or config.get("dtype")
    try:
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        tied = config.get("tie_word_embeddings", False)
        model = Model(
            id=name, family="Qwen2.5" if config["model_type"] == "qwen2" else "Qwen3", hidden=hidden, heads=heads,
            kind=kinds.get(name.split("/")[-1], "base" if name.lower().endswith("base") else "instruct"),
            layers=config["num_hidden_layers"], kv_heads=config.get("num_key_value_heads", heads),
            head_dim=config.get("head_dim") or hidden // heads, intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"], tied=tied, lm_head_in_files=False,
            context=config["max_position_embeddings"], yarn_context=None, licence="see its model card",
            **_hybrid(config, folder, tied),
        )  # fmt: skip
    except KeyError as error:
        cure = "preflight knows only models like Qwen2, Qwen3 and Qwen3.5, so choose one of those"
        raise ModelFolderError(f"config.json in {folder} has no {error}: {cure}.") from None
    return model, folder, dtype or "float32"


def _hybrid(config, folder, tied) -> dict:
    """What a model has whose layers are of two kinds, as in Qwen3.5 (transformers' modeling_qwen3_5.py).

    A layer with linear attention keeps, in place of a cache that grows, one matrix per value head, linear_key_head_dim
    x linear_value_head_dim in float32, and the last linear_conv_kernel_dim columns of queries, keys and values. Those
    are counted in float32, too: they are a hundredth of it.
    """
    if "linear_num_value_heads" not in config:
        return {}
    every = config.get("full_attention_interval", 4)  # transformers' default: each fourth layer has full attention
    layers = range(1, config["num_hidden_layers"] + 1)
    kinds = config.get("layer_types") or ["linear_attention" if n % every else "full_attention" for n in layers]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    values = config["linear_num_value_heads"] * config["linear_value_head_dim"]
    columns = config["linear_conv_kernel_dim"] * (2 * keys + values)
    tensors = loaded_tensors(weight_files(folder), tied)
    return {
        "cache_layers": kinds.count("full_attention"),
        "state_numbers": kinds.count("linear_attention") * (values * config["linear_key_head_dim"] + columns),
        "counted_parameters": sum(math.prod(tensor["shape"]) for tensor in tensors),
    }


def as_size(count):
    """Bytes as text, in MB or GB (1e6 and 1e9 bytes)."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers preflight", description="Will a model fit here?")
    parser.add_argument("model", nargs="?", help="a catalogue id such as Qwen/Qwen2.5-7B-Instruct, or a folder")
    parser.add_argument("--dtype", help=f"{', '.join(BITS)} (default: as in the model's files)")
    parser.add_argument("--context", type=int, metavar="TOKENS", help="prompt and answer together (default: 2048)")
    parser.add_argument("--mbit-per-s", type=float, metavar="SPEED", help="speed of your line")
    print(preflight(**vars(parser.parse_args(arguments))))
