"""How much memory does training take? Predicted from a model's dimensions, before anything is loaded.

`training_memory("Qwen/Qwen2.5-7B", "qlora")` for one way of training, `table()` for the whole catalogue.
"""

from dataclasses import dataclass

from qwen_helpers.models import CATALOGUE, Model, dtype_bytes
from qwen_helpers.preflight import as_size, look_up

# Read off `python -m qwen_helpers.measure training` and runs like it (see `training_memory`), on Linux:
LIBRARIES = 650_000_000  # bytes: Python, torch, transformers and ms-swift
KEPT = 3  # numbers per token, layer and column of the MLP: intermediate results that are freed, and not given back
NF4 = 0.5 + 0.127 / 8  # bytes per number in 4 bits; the constants take 0.127 bits (QLoRA, arXiv:2305.14314, section 3)
WAYS = ("lora", "qlora", "full")


@dataclass(frozen=True)
class TrainingMemory:
    """A prediction in bytes. `total` is what the device needs, on a CPU the libraries included."""

    model: str
    way: str  # "lora", "qlora" or "full"
    trained: int  # numbers that training changes
    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    libraries: int
    file: int  # the weights' file, which is in memory while it is loaded

    @property
    def total(self) -> int:
        trained = self.weights + self.adapter + self.gradients + self.optimizer + self.activations
        return self.libraries + max(trained, self.weights + self.file)

    def __str__(self) -> str:
        parts = ("weights", "adapter", "gradients", "optimizer", "activations", "libraries", "total")
        head = f"{self.model}, {self.way}: {self.trained:,} numbers are trained"
        return "\n".join([head, *(f"{part:12} {as_size(getattr(self, part)):>9}" for part in parts)])

    __repr__ = __str__


def linear_shapes(model: Model) -> list[tuple[int, int]]:
    """(inputs, outputs) of the seven matrices of a layer that `--target_modules all-linear` finds."""
    q, kv = model.heads * model.head_dim, model.kv_heads * model.head_dim
    attention = [(model.hidden, q), (model.hidden, kv), (model.hidden, kv), (q, model.hidden)]
    return attention + [(model.hidden, model.intermediate)] * 2 + [(model.intermediate, model.hidden)]


def adapter_numbers(model: Model, rank: int) -> int:
    """Numbers in a LoRA adapter: A is rank x inputs, B is outputs x rank, for each matrix of each layer.

    Source: Hu et al., LoRA, arXiv:2106.09685, section 4.1.
    """
    return model.layers * sum(rank * (inputs + outputs) for inputs, outputs in linear_shapes(model))


def training_memory(
    model=None, way="lora", *, dtype="bfloat16", rank=8, batch=1, tokens=512, learnt=None, checkpointing=True,
    dropout=True, libraries=True,
) -> TrainingMemory:  # fmt: skip
    """Predict the memory of training `model`, a catalogue id or a folder; left out, the model in use.

    `batch` dialogues of `tokens` tokens each are on the device at once; `learnt` of all these tokens have a label
    (left out: all), and only for those ms-swift computes logits. `dtype` is that of the weights. An adapter is kept in
    float32 (peft's autocast_adapter_dtype), and with it its gradients and AdamW's two averages: 4 + 4 + 8 bytes per
    number. Full training keeps all four in `dtype`. QLoRA holds the layers' matrices in 4 bits.

    Activations: with checkpointing (ms-swift's default) the input of each layer, and all that one layer needs for the
    way back (`layer_bytes`) and holds besides (KEPT); without it that of every layer. Then, for each learnt token, a
    row of the vocabulary: logits and their copy in `dtype`, and four times float32 in the loss and its way back.

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

    On a GPU nothing was measured. Raises ValueError for an unknown way or dtype, ModelFolderError for a model that is
    nowhere.
    """
    if way not in WAYS:
        raise ValueError(f"Unknown way {way!r}: use one of {', '.join(WAYS)}.")
    found, size = look_up(model)[0], dtype_bytes(dtype)
    trained = found.parameters if way == "full" else adapter_numbers(found, rank)
    kept = size if way == "full" else 4  # bytes per trained number, its gradient, each of its averages
    matrices = found.layers * sum(inputs * outputs for inputs, outputs in linear_shapes(found)) if way == "qlora" else 0
    all_tokens = batch * tokens
    layer = layer_bytes(found, size, rank, dropout) + KEPT * found.intermediate * size
    per_token = found.layers * found.hidden * size + layer if checkpointing else found.layers * layer
    logits = (all_tokens if learnt is None else learnt) * found.vocabulary * (2 * size + 4 * 4)
    return TrainingMemory(
        model=found.id, way=way, trained=trained,
        weights=int((found.parameters - matrices) * size + matrices * NF4),
        adapter=0 if way == "full" else trained * kept, gradients=trained * kept, optimizer=2 * trained * kept,
        activations=all_tokens * per_token + logits, libraries=LIBRARIES if libraries else 0,
        file=2 * found.parameters if libraries else 0,
    )  # fmt: skip


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
    if model.family == "Qwen3":  # its norms of q and k
        single += q + kv + model.heads + model.kv_heads
    inputs = 5 * h + q + i  # of q, k, v, gate and up; of o; of down
    if dropout:
        return plain * size + (single + 2 * inputs) * 4
    return plain * size + single * 4 + ((2 * h + i) * size if size == 4 else inputs * 4)


def table(way="lora", **settings) -> str:
    """The prediction for every size of the catalogue, as text; `settings` as for `training_memory`."""
    rows = [f"{'model':26} {'trained':>13} {'weights':>10} {'rest':>10} {'total':>10}"]
    for model in CATALOGUE:
        if model.kind == "instruct":
            need = training_memory(model.id, way, libraries=False, **settings)
            rest = need.total - need.weights
            sizes = " ".join(f"{as_size(count):>10}" for count in (need.weights, rest, need.total))
            rows.append(f"{model.id:26} {need.trained:13,} {sizes}")
    return "\n".join(rows)
