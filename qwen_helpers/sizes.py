"""How much memory, disk and time does a model need? Every formula once, and `preflight`, which asks this machine.

In Python `print(preflight("Qwen/Qwen2.5-7B-Instruct"))`, in a terminal `python -m qwen_helpers preflight`. The sizes of
weights and cache come from `models.py`. The last part is about training: memory and time.
"""

import argparse
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from qwen_helpers.columns import left, right
from qwen_helpers.folder_check import AGAIN, ModelFolderError, check_folder, safetensors_header, weight_files
from qwen_helpers.folders import TINY_CHAT, find_folder, model_folder
from qwen_helpers.language import N_, _
from qwen_helpers.models import BITS, CATALOGUE, LinearLayers, Model, VisionTower, bits, find_model, work_bits

# Measured on Linux with Python 3.11, torch 2.13 (CPU), transformers 5.19 and random weights in the shapes of
# Qwen2.5-0.5B and 1.5B: resident memory beyond weights and KV cache is 0.43 to 0.46 GB for a short prompt (of these
# 0.39 GB after the imports), and grows by 4 to 8 numbers per prompt token and MLP column.
LIBRARIES = 460_000_000  # bytes: Python, torch, transformers
MARGIN = 40_000_000  # bytes that preflight allows on top, to be on the safe side
# Qwen3.5 and later: the vision tower, which text alone does not need, and layers for speculative decoding.
NOT_LOADED = ("model.visual.", "mtp.")
SYSTEM = 4_000_000_000  # bytes, assumed: what the system and a browser use of a computer's own memory
WORK = 8  # numbers per token and column of the MLP: intermediate results, while a prompt is read
LINEAR_WORK = 20  # float32 numbers per token and column of the values in a layer with linear attention
FAMILIES = {
    "qwen2": "Qwen2.5", "qwen3": "Qwen3", "qwen3_moe": "Qwen3", "qwen3_5": "Qwen3.5", "qwen3_5_text": "Qwen3.5",
    "qwen3_5_moe": "Qwen3.5", "qwen3_5_moe_text": "Qwen3.5",
}  # fmt: skip  # model_type in config.json: the architecture, which 3.6 and 3.8 share with 3.5


def kv_bytes(model: Model, dtype, tokens: int) -> int:
    """Bytes of the KV cache of so many tokens, and of what layers without one keep instead."""
    return tokens * model.kv_bytes_per_token(dtype) + 4 * model.state_numbers


def work_bytes(model: Model, dtype, prompt: int) -> int:
    """Bytes of intermediate results while `prompt` tokens are read, since all of them go through a layer at once.

    The larger of two: an MLP's (of experts, those that a token takes), and, in Qwen3.5 and later, those of linear
    attention, which PyTorch computes in float32 whatever the dtype (torch_chunk_gated_delta_rule in transformers'
    modeling_qwen3_5.py: queries and keys repeated for each value head, and about ten more of their size).
    """
    columns = model.intermediate * max(1, model.active_experts) + model.shared_intermediate
    linear = LINEAR_WORK * 4 * model.linear.values if model.linear else 0
    return round(max(WORK * columns * work_bits(dtype) / 8, linear) * prompt)


def peak_bytes(model: Model, dtype, prompt: int, answer: int) -> int:
    """Peak memory of the process on a CPU while it reads `prompt` tokens and writes `answer` tokens."""
    used = model.weight_bytes(dtype) + kv_bytes(model, dtype, prompt + answer)
    return used + LIBRARIES + work_bytes(model, dtype, prompt)


def bytes_per_token(model: Model, dtype, context: int) -> int:
    """Bytes that must be read to write one token, with `context` tokens before it: the weights and the KV cache.

    Of experts only those that the token takes are read. Of an embedding that is not tied to the output layer only one
    row is read, so it does not count.
    """
    read = model.active_body_parameters + model.vocabulary * model.hidden
    return round(read * bits(dtype) / 8) + kv_bytes(model, dtype, context)


def ceiling(model: Model, dtype, context: int, gb_per_s: float) -> float:
    """Tokens per second that no engine can pass with memory of `gb_per_s` (1e9 bytes per second), one answer at a time.

    A model so small that the processor's cache holds it reads from there, and this ceiling says nothing about it.
    """
    return gb_per_s * 1e9 / bytes_per_token(model, dtype, context)


def file_bytes(model: Model, kind: str) -> int:
    """Bytes of the weights in a file of `kind`: "onnx int4", "onnx int8", "q8_0", "q4_0" or "awq".

    Formats differ in what they leave at more bits. ONNX Runtime's builder (`engines/onnx.py`) writes the embedding in
    float32, except in 4 bits for a tied model, where output layer and embedding are one table; norms and biases in
    float32, too, and two rotary tables with a row for each place of the context. llama.cpp (`engines/llama_cpp.py`)
    gives embedding and output layer 8.5 bits, norms and biases 32. AWQ, with the settings of the published folders (a
    scale of 16 and a zero of 4 bits per 128 weights), leaves all that is not a layer's matrix in 16 bits.

    In memory ONNX Runtime takes less, see `Model.weight_bytes`: of its embedding only the rows that a text needs are
    read from the file. Tested against a published AWQ folder and files made by both converters. Raises ValueError for
    another kind, and for a model with experts or linear attention, which was not worked out.
    """
    # bits of a layer's matrix, of the output layer, of the embedding if it is a table of its own, of norms and biases
    layouts = {
        "onnx int4": (bits("int4"), bits("int4"), 0 if model.tied else 32, 32),
        "onnx int8": (bits("int8"), bits("int8"), 32, 32),
        "q8_0": (bits("q8_0"), bits("q8_0"), 0 if model.tied else bits("q8_0"), 32),
        "q4_0": (bits("q4_0"), bits("q8_0"), 0 if model.tied else bits("q8_0"), 32),
        "awq": (4 + (16 + 4) / 128, 16, 0 if model.tied else 16, 16),
    }
    if kind not in layouts:
        raise ValueError(
            _("Unknown kind of file {kind!r}: use one of {names}.").format(kind=kind, names=_(", ").join(layouts))
        )
    if model.experts or model.linear:
        raise ValueError(
            _("{id} has experts or linear attention, whose files were not worked out here.").format(id=model.id)
        )
    matrix, output, embedding, other = layouts[kind]
    matrices, table = sum(i * o for i, o in linear_shapes(model)), model.vocabulary * model.hidden
    rotary = 4 * model.context * model.head_dim if kind.startswith("onnx") else 0
    rest = model.body_parameters - matrices
    return round((matrices * matrix + table * (output + embedding) + rest * other) / 8) + rotary


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
    vision_bytes: int = 0  # on top if the model reads pictures; text does not load the vision tower

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
        free = _("of {free} free")
        rows = [
            (_("weights"), self.weights_bytes, _("{size:g} bytes per number").format(size=bits(self.dtype) / 8)),
            (_("KV cache"), self.kv_bytes, self._cache()),
            (_("working memory"), self.work_bytes, _("Python, libraries and intermediate results")),
            (
                _("memory needed"),
                self.needed_bytes,
                free.format(free=as_size(self.available_bytes)) + f" ({self.device})",
            ),
        ]
        if self.vision_bytes:
            rows.insert(1, (_("vision tower"), self.vision_bytes, _("for pictures; not loaded for text")))
        if self.disk_needed_bytes:
            rows.append((_("disk needed"), self.disk_needed_bytes, free.format(free=as_size(self.disk_free_bytes))))
        rows = [(name, as_size(size), note) for name, size, note in rows]
        if self.download_minutes is not None:
            minutes = _("{minutes:,.1f} min").format(minutes=self.download_minutes)
            rows.append((_("download"), minutes, _("if the line keeps the speed you gave")))
        lines = [f"{left(name, 14)} {right(value, 9)}   {note}" for name, value, note in rows]
        head = _("{model} in {dtype}").format(model=self.model, dtype=self.dtype)
        return "\n".join([head, *lines, self.advice])

    __repr__ = __str__

    def _cache(self):
        state = _(", and {size} at any length").format(size=as_size(self.state_bytes)) if self.state_bytes else ""
        return _("{bytes:,} bytes x {context:,} tokens{state}").format(
            bytes=(self.kv_bytes - self.state_bytes) // self.context, context=self.context, state=state
        )


def preflight(model=None, dtype=None, context=None, mbit_per_s=None):
    """Estimate what a model needs and compare it with what this machine has free; returns a `Preflight`.

    `model` is a catalogue id or anything else that `find_folder` takes; left out, the model in use. `dtype` is one of
    `models.BITS`, as a word or torch's own; left out, what `dtype="auto"` loads: the one in config.json, bfloat16 for
    Qwen. `context` counts tokens, prompt and answer together; left out, 2048 or the model's own limit if that is lower.
    `mbit_per_s` is the speed of your line.

    needed = weights + KV cache + work, where work is LIBRARIES, MARGIN and `work_bytes` of a prompt that fills the
    context. The measured peak (see LIBRARIES; 0.5B and 1.5B, prompts of 64 to 4096 tokens) was 2 to 5 % below it, that
    of Qwen3.5-0.8B within 6 % of it (`measure memory`). `vision_bytes` come on top where AutoModelForImageTextToText
    loads the vision tower too, and each picture's intermediate results. On a GPU nothing was measured and LIBRARIES is
    an allowance.

    int8 and int4 stand for a scale in float32 per 128 weights, 8.25 and 4.25 bits: see `Model.weight_bytes`, also for
    what such files take on the disk.

    If the dtype is not that of the file, or the model has experts, whose matrices transformers joins, tools show the
    file's size on top, but the system can take those pages back: under a limit of 2.3 GB, 2.0 GB of float32 weights
    still loaded from a bfloat16 file.

    Raises ModelFolderError for a folder that cannot be found or is not whole, ValueError for the other arguments. A
    catalogue id of which only a part is here counts as not downloaded.
    """
    if mbit_per_s is not None and not mbit_per_s > 0:
        wrong = _("mbit_per_s is {speed}: give your line's speed in megabit per second, such as 50.")
        raise ValueError(wrong.format(speed=mbit_per_s))
    found, folder, file_dtype = look_up_model(model)
    dtype = file_dtype if dtype in (None, "auto") else str(dtype).removeprefix("torch.")
    context = min(2048, found.context) if context is None else context
    if not 1 <= context <= found.context:
        yarn = _(" ({most} with the YaRN setting on its model card)").format(most=found.yarn_context)
        wrong = _("context={context} is not possible: {id} takes 1 to {most} tokens{yarn}.")
        yarn = yarn if found.yarn_context else ""
        raise ValueError(wrong.format(context=context, id=found.id, most=found.context, yarn=yarn))
    weights = folder_weight_bytes(folder, dtype, found.tied) if folder else found.weight_bytes(dtype)
    download = 0 if folder else found.download_bytes
    device, available = device_memory()
    result = Preflight(
        model=found.id, dtype=dtype, context=context, device=device, weights_bytes=weights,
        kv_bytes=kv_bytes(found, dtype, context), work_bytes=LIBRARIES + MARGIN + work_bytes(found, dtype, context),
        available_bytes=available, disk_needed_bytes=download, disk_free_bytes=shutil.disk_usage(Path.cwd()).free,
        download_minutes=download * 8 / (mbit_per_s * 1e6) / 60 if download and mbit_per_s else None,
        state_bytes=4 * found.state_numbers, vision_bytes=round(found.vision_parameters * work_bits(dtype) / 8),
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
        # The newest family, and of that the largest: a small new model is worth more than a larger old one.
        best = max(fitting, key=lambda m: (m.family, m.parameters), default=None)
        choose = 'use_model("tiny")'
        if best:
            choose = _("choose {id}, the largest {kind} model of {family} that does")
            choose = choose.format(id=best.id, kind=kind, family=best.family)
        on_cpu = result.needed_bytes <= psutil.virtual_memory().available  # possible only if `device` is a GPU
        slower = _(', or load it with device="cpu", where it fits but is slower') if on_cpu else ""
        return _("It does not fit: close other programs, or {choose}{slower}.").format(choose=choose, slower=slower)
    if not result.fits_disk:
        missing = as_size(result.disk_needed_bytes - result.disk_free_bytes)
        full = _("It does not fit on the disk: free {missing} more, or work in a folder on a larger drive.")
        return full.format(missing=missing)
    return _("It fits.")


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
    model, text = _model_of(name, config, folder), config.get("text_config", {})
    names = (config.get("dtype"), config.get("torch_dtype"), text.get("dtype"))  # transformers 5, before, Qwen3.5
    return model, folder, next(filter(None, names), "float32")


def _model_of(name, config, folder) -> Model:
    """What config.json says. Qwen3.5 and later keep the language model's numbers in `text_config`."""
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        raise ModelFolderError(
            _("text_config in {file} is not the table that it should be: {again}.").format(
                file=folder / "config.json", again=_(AGAIN)
            )
        )

    def number(key, table=text, default=None):
        value = default if table.get(key) is None else table[key]
        if type(value) is not int or value < 1:
            cure = _("preflight knows only models like Qwen2, Qwen3 and Qwen3.5, so choose one of those")
            raise ModelFolderError(
                _("config.json in {folder} has no {key!r}: {cure}.").format(folder=folder, key=key, cure=cure)
            )
        return value

    model_type = str(text.get("model_type") or config.get("model_type"))
    if model_type not in FAMILIES:
        known = _(", ").join(FAMILIES)
        raise ModelFolderError(
            _("config.json in {folder} has model_type {model_type!r}; preflight knows {known}.").format(
                folder=folder, model_type=model_type, known=known
            )
        )
    heads, hidden, layers = number("num_attention_heads"), number("hidden_size"), number("num_hidden_layers")
    rest, intermediate = {}, "intermediate_size"
    if "moe" in model_type:
        intermediate = "moe_intermediate_size"
        every = "num_local_experts" if "num_local_experts" in text else "num_experts"  # transformers 5, before
        rest = {"experts": number(every), "active_experts": number("num_experts_per_tok")}
    if "qwen3_5" in model_type:
        kinds, every = text.get("layer_types"), number("full_attention_interval", default=4)  # as in transformers
        full = kinds.count("full_attention") if isinstance(kinds, list) else layers // every
        linear = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
        rest["linear"] = LinearLayers(layers - full, *(number(f"linear_{key}") for key in linear))
        if "moe" in model_type:
            rest["shared_intermediate"] = number("shared_expert_intermediate_size")
    if isinstance(vision := config.get("vision_config"), dict):
        rest["vision"] = VisionTower(*(number(key, vision) for key in ("depth", "hidden_size", "intermediate_size")))
    kinds = {model.id.split("/")[1]: model.kind for model in CATALOGUE}
    return Model(
        id=name, family=FAMILIES[model_type], layers=layers, hidden=hidden, heads=heads,
        kind=kinds.get(name.split("/")[-1], "base" if name.lower().endswith("base") else "instruct"),
        kv_heads=number("num_key_value_heads", default=heads), head_dim=number("head_dim", default=hidden // heads),
        intermediate=number(intermediate), vocabulary=number("vocab_size"),
        tied=config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)), lm_head_in_files=False,
        context=number("max_position_embeddings"), yarn_context=None, licence="see its model card", **rest,
    )  # fmt: skip


def largest_that_fit(computers=(8, 16, 32), cards=(8, 12, 24), dtypes=("int4", "bfloat16"), context=4096) -> list:
    """[("computer", 8, "int4", id), ...]: the largest instruct model from Qwen3.5 on for so many GB of memory, or None.

    `context` counts tokens, prompt and answer together. Assumed: a computer's system and a browser use SYSTEM of its
    memory; a GPU's memory is all free. On the CPU as in `preflight`, so not measured on a GPU.
    """
    today = [model for model in CATALOGUE if model.kind == "instruct" and model.family >= "Qwen3.5"]
    rows = []
    for place, memory, system in [*(("computer", gb, SYSTEM) for gb in computers), *(("card", gb, 0) for gb in cards)]:
        for dtype in dtypes:
            room = memory * 1e9 - system - MARGIN
            fitting = [model for model in today if peak_bytes(model, dtype, prompt=context, answer=0) <= room]
            best = max(fitting, key=lambda model: (model.parameters, model.family), default=None)
            rows.append((place, memory, dtype, best.id if best else None))
    return rows


# Training. Read off `python -m qwen_helpers measure training` and runs like it (see `training_memory`), on Linux:
SWIFT = 190_000_000  # bytes of ms-swift, beside those of the other libraries
KEPT = 3  # numbers per token, layer and column of the MLP: intermediate results that are freed, and not given back
NF4 = 0.5 + 0.127 / 8  # bytes per number in 4 bits; the constants take 0.127 bits (QLoRA, arXiv:2305.14314, section 3)
WAYS = ("lora", "qlora", "full")
# Fitted to Qwen's own table of seconds on an A100 (see `training_seconds`):
SHARE = 0.45  # of the card's arithmetic that training uses, where arithmetic is the limit
LAYER_SECONDS = 0.005  # per layer and step at least, however few tokens: the processor tells the card what to do
UNPACKING = 3.5e-11 * 312  # seconds per number that QLoRA unpacks in a step, on a card with 1 TFLOPS
# GB of memory, and 1e12 operations per second of its tensor cores in 16 bits, added up in 32, dense: NVIDIA's data
# sheets of the T4 and the A100, and the white paper on Ada.
CARDS = {"T4": (16, 65), "RTX 4090": (24, 165), "A100": (80, 312)}


@dataclass(frozen=True)
class TrainingMemory:
    """A prediction in bytes. `total` is what the device needs (with more cards: each), a CPU's libraries included."""

    model: str
    way: str  # "lora", "qlora" or "full"
    trained: int  # numbers that training changes
    weights: int
    adapter: int
    gradients: int
    optimizer: int  # the averages, and, in full training with 16-bit weights, a copy of these in float32
    activations: int
    libraries: int
    file: int  # the weights' file, which is in memory while it is loaded

    @property
    def total(self) -> int:
        trained = self.weights + self.adapter + self.gradients + self.optimizer + self.activations
        return self.libraries + max(trained, self.weights + self.file)

    def __str__(self) -> str:
        parts = [N_("weights"), N_("adapter"), N_("gradients"), N_("optimizer"), N_("activations"), N_("libraries")]
        parts.append(N_("total"))
        head = _("{model}, {way}: {trained:,} numbers are trained").format(
            model=self.model, way=self.way, trained=self.trained
        )
        return "\n".join([head, *(f"{left(_(part), 12)} {as_size(getattr(self, part)):>9}" for part in parts)])

    __repr__ = __str__


def linear_shapes(model: Model) -> list[tuple[int, int]]:
    """(inputs, outputs) of all matrices that `--target_modules all-linear` finds in the layers.

    Of a layer with full attention seven; from Qwen3.5 on q_proj also makes a gate, and a layer with linear attention
    has in_proj_qkv, _z, _b and _a and out_proj in place of q, k, v and o (transformers' modeling_qwen3_5.py).
    """
    h, q, kv, linear = model.hidden, model.heads * model.head_dim, model.kv_heads * model.head_dim, model.linear
    mlp = [(h, model.intermediate)] * 2 + [(model.intermediate, h)]
    full = [(h, 2 * q if linear else q), (h, kv), (h, kv), (q, h), *mlp]
    if not linear:
        return model.layers * full
    heads = [(h, linear.value_heads)] * 2
    other = [(h, linear.columns), (h, linear.values), *heads, (linear.values, h), *mlp]
    return model.cache_layers * full + linear.layers * other


def adapter_numbers(shapes: list[tuple[int, int]], rank: int) -> int:
    """Numbers in a LoRA adapter: A is rank x inputs, B is outputs x rank, for each matrix.

    Source: Hu et al., LoRA, arXiv:2106.09685, section 4.1.
    """
    return sum(rank * (inputs + outputs) for inputs, outputs in shapes)


def training_memory(
    model=None, way="lora", *, dtype="bfloat16", rank=8, batch=1, tokens=512, learnt=None, checkpointing=True,
    dropout=True, liger=False, cards=1, zero=2, libraries=True,
) -> TrainingMemory:  # fmt: skip
    """Predict the memory of training `model`, a catalogue id or a folder; left out, the model in use.

    `batch` dialogues of `tokens` tokens each are on the device at once; `learnt` of all these tokens have a label
    (left out: all), and only for those ms-swift computes logits. `dtype` is that of the weights. An adapter is kept in
    float32 (peft's autocast_adapter_dtype), and with it its gradients and AdamW's two averages: 4 + 4 + 8 bytes per
    number. QLoRA holds the layers' matrices in 4 bits. Full training takes `full_bytes`, on `cards` cards with
    DeepSpeed's stage `zero`.

    Activations: with checkpointing (ms-swift's default) the input of each layer, and all that one layer needs for the
    way back (`layer_bytes`) and holds besides (KEPT); without it that of every layer. Then `logit_bytes`.

    `total` is the larger of training and loading, during which the file (bfloat16) counts as well. Measured peaks in
    float32, the shape of Qwen2.5-0.5B with random weights, ms-swift 4.6 and torch 2.13 on Linux, November 2026:

        batch x tokens  learnt  checkpointing  measured  predicted / measured
        1 x 519             16  yes              3.60 GB  1.00 (loading)
        1 x 519            400  yes              4.31 GB  1.00
        4 x 135       4 x   64  yes              4.05 GB  0.95
        4 x 135       4 x   64  no               5.93 GB  1.09
        1 x 519             16  no               5.39 GB  1.01
        1 x 1031            16  no               8.35 GB  0.97
        1 x 516            256  yes              3.87 GB  0.98 (`measure training`; the constants were fitted before it)

    On a GPU nothing was measured for this course. Qwen's own table (QwenLM/Qwen, README, "Profiling of Memory and
    Speed": A100, LoRA of rank 64, bfloat16, 256 to 2,048 tokens) lies within 9 % of it for 7B and 14B. With 4,096
    tokens the prediction is 13 to 15 % too high, with Q-LoRA between a fifth too low and a fifth too high (it was
    another 4-bit format). For Qwen3.5 activations are counted as if all layers had full attention.
    Raises ValueError for an unknown way or dtype and for a model with experts, ModelFolderError for a model that is
    nowhere or of an unknown family.
    """
    if way not in WAYS:
        raise ValueError(_("Unknown way {way!r}: use one of {names}.").format(way=way, names=_(", ").join(WAYS)))
    found, size = look_up_model(model)[0], round(bits(dtype) / 8)
    if found.experts:
        raise ValueError(
            _("{id} has experts, whose training was not worked out here: choose a model without.").format(id=found.id)
        )
    shapes = linear_shapes(found)
    matrices = sum(inputs * outputs for inputs, outputs in shapes) if way == "qlora" else 0
    weights = round((found.parameters - matrices) * size + matrices * NF4)
    if way == "full":
        trained, adapter = found.parameters, 0
        weights, gradients, optimizer = full_bytes(trained, size, cards, zero)
    else:
        trained = adapter_numbers(shapes, rank)
        adapter = gradients = 4 * trained
        optimizer = 8 * trained
    layer = layer_bytes(found, size, rank, dropout) + KEPT * found.intermediate * size
    per_token = found.layers * found.hidden * size + layer if checkpointing else found.layers * layer
    logits = logit_bytes(found, size, batch * tokens if learnt is None else learnt, liger)
    return TrainingMemory(
        model=found.id, way=way, trained=trained, weights=weights, adapter=adapter, gradients=gradients,
        optimizer=optimizer, activations=batch * tokens * per_token + logits,
        libraries=LIBRARIES + SWIFT if libraries else 0, file=2 * found.parameters if libraries else 0,
    )  # fmt: skip


def full_bytes(numbers: int, size: int = 2, cards: int = 1, zero: int = 2) -> tuple[int, int, int]:
    """Bytes on each card of (weights, gradients, optimizer) when all `numbers` are trained: 16 per number on one card.

    The weights and their gradients in `size` bytes, AdamW's two averages in float32, and, if the weights have 16 bits,
    a copy of these in float32, the master weights, for steps that 16 bits cannot hold. With more cards stage 1 divides
    the optimizer's part, stage 2 the gradients as well, stage 3 the weights as well.

    Source: ZeRO, arXiv:1910.02054, section 3.1 and figure 1 (7.5 billion numbers, 64 cards: 120, 31.4, 16.6 and
    1.9 GB). It is the least: DeepSpeed's buffers come on top, and Qwen's own runs (the README named in
    `training_memory`) took 18 bytes per number for 7B on two cards, and 24 for 1.8B on one.
    """
    parts = (numbers * size, numbers * size, numbers * (8 if size == 4 else 12))
    divided = (zero >= 3, zero >= 2, zero >= 1)
    return tuple(round(part / cards) if share else part for part, share in zip(parts, divided, strict=True))


def logit_bytes(model: Model, size: int, learnt: int, liger: bool) -> int:
    """Bytes of what the loss needs for `learnt` tokens: a row of the vocabulary for each.

    Logits and their copy in the model's dtype, and four times float32 in the loss and its way back. With Liger's fused
    loss (--use_liger_kernel) only for a part of the tokens at a time, as many rows as make a square of about
    tokens x hidden; and a gradient as wide as the model for every token (Liger-Kernel, fused_linear_cross_entropy.py).
    """
    row = model.vocabulary * (2 * size + 4 * 4)
    if not liger:
        return learnt * row
    parts = math.ceil(model.vocabulary / model.hidden)
    at_a_time = 2 ** math.ceil(math.log2(max(1, math.ceil(learnt / parts))))
    return min(learnt, at_a_time) * row + learnt * model.hidden * size


def layer_bytes(model: Model, size: int, rank: int, dropout: bool) -> int:
    """Bytes per token that one layer keeps for the way back, with LoRA beside each matrix.

    Counted in transformers' modeling_qwen2.py and peft's lora/layer.py, and tested against torch's saved_tensors_hooks:
    the input of each norm, in float32; q, k, v and the attention's output with one number per head (its scores are not
    kept); gate, its SiLU and up; what each A makes. And the input of each A, in float32: with dropout a copy for each
    matrix and the noise, without it, if the model is in float32 too, what is there anyway.
    """
    q, kv, h, i = model.heads * model.head_dim, model.kv_heads * model.head_dim, model.hidden, model.intermediate
    plain = 2 * q + 2 * kv + 3 * i
    single = 2 * h + 2 + model.heads + 7 * rank  # always float32
    if model.family != "Qwen2.5":  # the norms of q and k
        single += q + kv + model.heads + model.kv_heads
    inputs = 5 * h + q + i  # of q, k, v, gate and up; of o; of down
    if dropout:
        return plain * size + (single + 2 * inputs) * 4
    return plain * size + single * 4 + ((2 * h + i) * size if size == 4 else inputs * 4)


def training_seconds(model, way="lora", *, tflops: float, tokens=512) -> float:
    """Predict the seconds in which a GPU of `tflops` (see CARDS) learns from one dialogue of `tokens` tokens.

    Each number that a token goes through takes 2 operations forwards, 2 on the way back, and 2 more since the
    activations are computed twice (checkpointing); in full training 2 for its own gradient. Attention's products are
    left out: a hundredth of it at 512 tokens. A card reaches SHARE of `tflops`, and no step is faster than
    LAYER_SECONDS per layer. QLoRA unpacks every matrix in every step.

    The constants are fitted to Qwen's table (see `training_memory`; A100, 8 dialogues per step): 7B and 14B, LoRA and
    Q-LoRA, 256 to 8,192 tokens, lie within 25 %; 1.8B with long dialogues took up to 1.6 times as long. On other cards
    nothing was measured: plan for twice the time, for a T4, whose 70 watts hold it back, more.
    """
    if way not in WAYS:
        raise ValueError(_("Unknown way {way!r}: use one of {names}.").format(way=way, names=_(", ").join(WAYS)))
    found = look_up_model(model)[0]
    read = found.active_body_parameters + found.vocabulary * found.hidden
    operations = tokens * read * (8 if way == "full" else 6)
    seconds = max(found.layers * LAYER_SECONDS, operations / (SHARE * tflops * 1e12))
    return seconds + (found.body_parameters * UNPACKING / tflops if way == "qlora" else 0)


def as_size(count):
    """Bytes as text, in MB or GB (1e6 and 1e9 bytes)."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers preflight", description=_("Will a model fit here?"))
    parser.add_argument("model", nargs="?", help=_("a catalogue id such as Qwen/Qwen2.5-7B-Instruct, or a folder"))
    parser.add_argument("--dtype", help=_("{names} (default: as in the model's files)").format(names=", ".join(BITS)))
    parser.add_argument("--context", type=int, metavar="TOKENS", help=_("prompt and answer together (default: 2048)"))
    parser.add_argument("--mbit-per-s", type=float, metavar="SPEED", help=_("speed of your line"))
    print(preflight(**vars(parser.parse_args(arguments))))
