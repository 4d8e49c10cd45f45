"""Lesson 9's tools: a check of training data, the memory that training takes, the loss as it falls.

`check_data` reads ms-swift's `messages` format: JSON Lines, one dialogue per line. `training_memory` predicts from a
model's dimensions, before anything is loaded. `watch` draws the loss of a training by ms-swift, and `verdict` reads it.
"""

import difflib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from qwen_helpers.models import CATALOGUE, Model, bits
from qwen_helpers.sizes import LIBRARIES, as_size, look_up_model

ROLES = ("system", "user", "assistant")
# Read off `python -m qwen_helpers measure training` and runs like it (see `training_memory`), on Linux:
SWIFT = 190_000_000  # bytes of ms-swift, beside those of the other libraries
KEPT = 3  # numbers per token, layer and column of the MLP: intermediate results that are freed, and not given back
NF4 = 0.5 + 0.127 / 8  # bytes per number in 4 bits; the constants take 0.127 bits (QLoRA, arXiv:2305.14314, section 3)
WAYS = ("lora", "qlora", "full")


@dataclass
class DataReport:
    """What `check_data` found; printing it gives a summary or the faults."""

    dialogues: int = 0
    answers: int = 0
    lengths: list[int] = field(default_factory=list)  # tokens of each faultless dialogue, if a tokenizer was given
    faults: list[str] = field(default_factory=list)  # sentences, in the order of the lines

    def __str__(self) -> str:
        if self.faults:
            return "\n".join(self.faults)
        tokens = f", {min(self.lengths)} to {max(self.lengths)} tokens each" if self.lengths else ""
        return f"{self.dialogues} dialogues, {self.answers} answers{tokens}: no fault found."

    __repr__ = __str__


def check_data(file, tokenizer=None, max_tokens: int | None = None) -> DataReport:
    """Read `file` (JSON Lines, `{"messages": [{"role": ..., "content": ...}, ...]}`) and return a DataReport.

    With a tokenizer the dialogues are measured in tokens, its chat template included, and those of more than
    `max_tokens` are faults (ms-swift's --max_length leaves such a dialogue out). Raises ValueError if the file is
    missing or empty.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"There is no file {path}: write the dialogues first, or correct the path.")
    lines = path.read_bytes().split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines  # the last line may or may not end in a line break
    if not lines:
        raise ValueError(f"{path.name} is empty: write one dialogue per line.")
    report, dialogues, questions = DataReport(), {}, {}
    for number, line in enumerate(lines, start=1):
        messages, fault = parse(line)
        fault = fault or check_messages(messages)
        if not fault:
            text = json.dumps(messages, ensure_ascii=False)
            *asked, answer = [(message["role"], message["content"]) for message in messages]
            before, same = dialogues.setdefault(text, number), questions.setdefault(tuple(asked), number)
            if before != number:
                fault = f"the same dialogue as line {before}: delete one of the two."
            elif same != number:
                fault = f"the same question as line {same} with another answer: decide for one of the two."
        if not fault and tokenizer is not None:
            length = len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])
            if max_tokens is not None and length > max_tokens:
                fault = f"{length} tokens, but at most {max_tokens} are allowed: shorten or split the dialogue."
            else:
                report.lengths.append(length)
        if fault:
            report.faults.append(f"line {number}: {fault}")
        else:
            report.dialogues += 1
            report.answers += sum(message["role"] == "assistant" for message in messages)
    return report


def parse(line: bytes) -> tuple[list | None, str | None]:
    """The messages in one line, or None and the fault."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return None, 'not UTF-8: write the file with open(..., "w", encoding="utf-8").'
    except ValueError as error:
        if not line.strip():
            return None, "an empty line: delete it."
        what = "an invisible mark at the start (BOM)" if "BOM" in str(error) else f"not whole JSON ({error})"
        return None, f"{what}: write each dialogue with json.dumps, on one line of its own."
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        return None, 'no messages: a line is {"messages": [...]}, with at least a question and an answer.'
    return messages, None


def check_messages(messages: list) -> str | None:
    """The first fault in one dialogue, or None."""
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return f"message {position + 1} must have role and content, and nothing else."
        role, content = message["role"], message["content"]
        if role not in ROLES:
            close = difflib.get_close_matches(str(role).lower(), ROLES, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(ROLES)}."
            return f"message {position + 1} has the role {role!r}: {meant}"
        if not isinstance(content, str) or not content.strip():
            what = {"assistant": "answer", "user": "question"}.get(role, "system prompt")
            return f"message {position + 1} is an empty {what}: fill it in, or delete the dialogue."
        if role == "system" and position:
            return f"message {position + 1} is a system prompt, which can only be the first message."
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if not turns or turns[-1] != "assistant":
        return "the dialogue does not end with an answer, so there is nothing to learn at its end: add one."
    if turns != ["user", "assistant"] * (len(turns) // 2):
        return "user and assistant must take turns, and the user begins."
    return None


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

    On a GPU nothing was measured, nor for Qwen3.5, whose activations are counted as if all layers had full attention.
    Raises ValueError for an unknown way or dtype and for a model with experts, ModelFolderError for a model that is
    nowhere.
    """
    if way not in WAYS:
        raise ValueError(f"Unknown way {way!r}: use one of {', '.join(WAYS)}.")
    found, size = look_up_model(model)[0], round(bits(dtype) / 8)
    if found.experts:
        raise ValueError(f"{found.id} has experts, whose training was not worked out here: choose a model without.")
    shapes = linear_shapes(found)
    trained = found.parameters if way == "full" else adapter_numbers(shapes, rank)
    kept = size if way == "full" else 4  # bytes per trained number, its gradient, each of its averages
    matrices = sum(inputs * outputs for inputs, outputs in shapes) if way == "qlora" else 0
    all_tokens = batch * tokens
    layer = layer_bytes(found, size, rank, dropout) + KEPT * found.intermediate * size
    per_token = found.layers * found.hidden * size + layer if checkpointing else found.layers * layer
    logits = (all_tokens if learnt is None else learnt) * found.vocabulary * (2 * size + 4 * 4)
    return TrainingMemory(
        model=found.id, way=way, trained=trained,
        weights=int((found.parameters - matrices) * size + matrices * NF4),
        adapter=0 if way == "full" else trained * kept, gradients=trained * kept, optimizer=2 * trained * kept,
        activations=all_tokens * per_token + logits, libraries=LIBRARIES + SWIFT if libraries else 0,
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
    if model.family != "Qwen2.5":  # the norms of q and k
        single += q + kv + model.heads + model.kv_heads
    inputs = 5 * h + q + i  # of q, k, v, gate and up; of o; of down
    if dropout:
        return plain * size + (single + 2 * inputs) * 4
    return plain * size + single * 4 + ((2 * h + i) * size if size == 4 else inputs * 4)


def training_memory_table(way="lora", **settings) -> str:
    """The prediction for every instruct model of the catalogue without experts, as text; `settings` as above."""
    rows = [f"{'model':27} {'trained':>14} {'weights':>10} {'rest':>10} {'total':>10}"]
    for model in CATALOGUE:
        if model.kind == "instruct" and not model.experts:
            need = training_memory(model.id, way, libraries=False, **settings)
            rest = need.total - need.weights
            sizes = " ".join(f"{as_size(count):>10}" for count in (need.weights, rest, need.total))
            rows.append(f"{model.id:27} {need.trained:14,} {sizes}")
    return "\n".join(rows)


def verdict(losses: list[float]) -> str:
    """One sentence on a training, from its logged losses in order. Raises ValueError for fewer than four of them.

    "Diverged" means: a loss that is not a number, or a last quarter that is on average 1.2 times as high as the first
    loss or as the best stretch of that length; "learnt nothing": nine tenths of the first loss or more.
    """
    if len(losses) < 4:
        raise ValueError(f"{len(losses)} losses are too few to judge: log at least four (logging_steps).")
    lower = "Divide learning_rate by 3 to 10 and start again."
    for number, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            return f"Diverged: the {number}. loss in the list is {loss}. {lower}"
    size = len(losses) // 4
    means = [sum(losses[i : i + size]) / size for i in range(len(losses) - size + 1)]
    best, last = min(losses[0], *means), means[-1]
    if last > 1.2 * best:
        return f"Diverged: the loss was {best:.2f}, and ends at {last:.2f}. {lower}"
    if last > 0.9 * losses[0]:
        return (
            f"Learnt nothing: the loss began at {losses[0]:.2f} and ends at {last:.2f}. Look at data and learning_rate."
        )
    return f"Fine: the loss went from {losses[0]:.2f} down to {last:.2f}."


def watch(name: str = "live_loss") -> str:
    """Register the live plot with ms-swift and return its name, for SftArguments(callbacks=[watch()]).

    It takes the place of ms-swift's own bar, which prints a dictionary for each logged loss.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display
    from swift import TrainerCallback, callbacks_map
    from tqdm.auto import tqdm
    from transformers import PrinterCallback, ProgressCallback

    class LiveLoss(TrainerCallback):
        """Draws after each logged loss; transformers calls these methods while it trains."""

        def on_init_end(self, args, state, control, **kwargs):
            handler = self.trainer.callback_handler
            loud = (PrinterCallback, ProgressCallback)
            handler.callbacks = [callback for callback in handler.callbacks if not isinstance(callback, loud)]

        def on_train_begin(self, args, state, control, **kwargs):
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="steps")
            self.figure, self.axes = plt.subplots(figsize=(6, 2.5), dpi=70)
            plt.close(self.figure)  # else the notebook would show it once more at the end of the cell
            self.shown = display(self.figure, display_id=True)

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args, state, control, **kwargs):
            self.axes.clear()
            for key, label in {"loss": "learnt dialogues", "eval_loss": "dialogues that are held back"}.items():
                points = [(entry["step"], entry[key]) for entry in state.log_history if key in entry]
                if points:
                    self.axes.plot(*zip(*points, strict=True), label=label)
            self.axes.set(xlabel=f"step (of {state.max_steps})", ylabel="loss", ylim=(0, None))
            self.axes.legend()
            self.shown.update(self.figure)

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    callbacks_map[name] = LiveLoss
    return name
