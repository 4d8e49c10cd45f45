"""How much memory does training take? Predicted from a model's dimensions, before anything is loaded.

`training_memory("Qwen/Qwen2.5-7B", "qlora")` for one way of training, `table()` for the whole catalogue.
"""

from dataclasses import dataclass

from qwen_helpers.models import CATALOGUE, Model, dtype_bytes
from qwen_helpers.preflight import _look_up, _size

LIBRARIES = 900_000_000  # bytes: Python, torch, transformers and ms-swift, measured on Linux (`measure training`)
ADAM = 8  # bytes per trained number: AdamW keeps two averages of each gradient, here in float32
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

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.gradients + self.optimizer + self.activations + self.libraries

    def __str__(self) -> str:
        parts = ("weights", "adapter", "gradients", "optimizer", "activations", "libraries", "total")
        head = f"{self.model}, {self.way}: {self.trained:,} numbers are trained"
        return "\n".join([head, *(f"{part:12} {_size(getattr(self, part)):>9}" for part in parts)])

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
    libraries=True,
) -> TrainingMemory:  # fmt: skip
    """Predict the memory of training `model`, a catalogue id or a folder; left out, the model in use.

    `batch` dialogues of `tokens` tokens each are on the device at once; `learnt` of all these tokens have a label
    (left out: all), and only for those ms-swift computes logits. `dtype` is that of the weights. An adapter is kept in
    float32 (peft's autocast_adapter_dtype), and with it its gradients and AdamW's two averages: 4 + 4 + 8 bytes per
    number. Full training keeps all four in `dtype`. QLoRA holds the layers' matrices in 4 bits.

    Activations, in numbers per token: with checkpointing (ms-swift's default) the input of each layer, `hidden`, and
    while one layer goes backward all that it needs, `layer_numbers`; without it `layer_numbers` for every layer.
    Then, for each learnt token, the vocabulary: logits in `dtype`, and in float32 the copy that the loss reads, its
    log-softmax and its gradient. Raises ValueError for an unknown way or dtype, ModelFolderError for a model that is
    nowhere.
    """
    if way not in WAYS:
        raise ValueError(f"Unknown way {way!r}: use one of {', '.join(WAYS)}.")
    found, size = _look_up(model)[0], dtype_bytes(dtype)
    trained = found.parameters if way == "full" else adapter_numbers(found, rank)
    kept = size if way == "full" else 4  # bytes per trained number, its gradient, each of its averages
    matrices = found.layers * sum(inputs * outputs for inputs, outputs in linear_shapes(found)) if way == "qlora" else 0
    all_tokens = batch * tokens
    layer = layer_numbers(found)
    numbers = found.layers * found.hidden + layer if checkpointing else found.layers * layer
    logits = (batch * tokens if learnt is None else learnt) * found.vocabulary * logits_bytes(size)
    return TrainingMemory(
        model=found.id, way=way, trained=trained,
        weights=int((found.parameters - matrices) * size + matrices * NF4),
        adapter=0 if way == "full" else trained * kept, gradients=trained * kept, optimizer=2 * trained * kept,
        activations=all_tokens * numbers * size + logits, libraries=LIBRARIES if libraries else 0,
    )  # fmt: skip


def layer_numbers(model: Model) -> int:
    """Numbers per token that one layer keeps for the way back, with LoRA on each matrix.

    Around each of the two norms three of `hidden`; q, and the attention's output, once each; k and v, repeated for
    each query head; of the MLP four of `intermediate` (gate, its SiLU, up, their product). Read off
    transformers' modeling_qwen2.py; the attention's own scores are not kept (SDPA).
    """
    q = model.heads * model.head_dim
    return 6 * model.hidden + 4 * q + 4 * model.intermediate


def logits_bytes(size: int) -> int:
    """Bytes per learnt token and row of the vocabulary, at the peak."""
    return size + 3 * 4


def table(way="lora", **settings) -> str:
    """The prediction for every size of the catalogue, as text; `settings` as for `training_memory`."""
    rows = [f"{'model':26} {'trained':>13} {'weights':>10} {'rest':>10} {'total':>10}"]
    for model in CATALOGUE:
        if model.kind == "instruct":
            need = training_memory(model.id, way, libraries=False, **settings)
            rest = need.total - need.weights
            rows.append(
                f"{model.id:26} {need.trained:13,} {_size(need.weights):>10} {_size(rest):>10} {_size(need.total):>10}"
            )
    return "\n".join(rows)
