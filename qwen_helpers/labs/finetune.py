"""Lesson 9's tools: a check of training data, a plan for real models, the loss as it falls.

`check_data` reads ms-swift's `messages` format: JSON Lines, one dialogue per line. `training_plan` tabulates what
`sizes.py` predicts of memory and time. `watch` draws the loss of a training by ms-swift, and `verdict` reads it.
"""

import difflib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from qwen_helpers.columns import left, right
from qwen_helpers.language import _
from qwen_helpers.sizes import CARDS, as_size, training_memory, training_seconds

ROLES = ("system", "user", "assistant")


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
        tokens = ""
        if self.lengths:
            tokens = _(", {shortest} to {longest} tokens each")
            tokens = tokens.format(shortest=min(self.lengths), longest=max(self.lengths))
        return _("{dialogues} dialogues, {answers} answers{tokens}: no fault found.").format(
            dialogues=self.dialogues, answers=self.answers, tokens=tokens
        )

    __repr__ = __str__


def check_data(file, tokenizer=None, max_tokens: int | None = None) -> DataReport:
    """Read `file` (JSON Lines, `{"messages": [{"role": ..., "content": ...}, ...]}`) and return a DataReport.

    With a tokenizer the dialogues are measured in tokens, its chat template included, and those of more than
    `max_tokens` are faults (ms-swift's --max_length leaves such a dialogue out). Raises ValueError if the file is
    missing or empty.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(
            _("There is no file {path}: write the dialogues first, or correct the path.").format(path=path)
        )
    lines = path.read_bytes().split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines  # the last line may or may not end in a line break
    if not lines:
        raise ValueError(_("{file} is empty: write one dialogue per line.").format(file=path.name))
    report, dialogues, questions = DataReport(), {}, {}
    for number, line in enumerate(lines, start=1):
        messages, fault = parse(line)
        fault = fault or check_messages(messages)
        if not fault:
            text = json.dumps(messages, ensure_ascii=False)
            *asked, answer = [(message["role"], message["content"]) for message in messages]
            before, same = dialogues.setdefault(text, number), questions.setdefault(tuple(asked), number)
            if before != number:
                fault = _("the same dialogue as line {before}: delete one of the two.").format(before=before)
            elif same != number:
                fault = _("the same question as line {same} with another answer: decide for one of the two.").format(
                    same=same
                )
        if not fault and tokenizer is not None:
            length = len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])
            if max_tokens is not None and length > max_tokens:
                fault = _(
                    "{length} tokens, but at most {max_tokens} are allowed: shorten or split the dialogue."
                ).format(length=length, max_tokens=max_tokens)
            else:
                report.lengths.append(length)
        if fault:
            report.faults.append(_("line {number}: {fault}").format(number=number, fault=fault))
        else:
            report.dialogues += 1
            report.answers += sum(message["role"] == "assistant" for message in messages)
    return report


def parse(line: bytes) -> tuple[list | None, str | None]:
    """The messages in one line, or None and the fault."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return None, _('not UTF-8: write the file with open(..., "w", encoding="utf-8").')
    except ValueError as error:
        if not line.strip():
            return None, _("an empty line: delete it.")
        what = _("not whole JSON ({error})").format(error=error)
        what = _("an invisible mark at the start (BOM)") if "BOM" in str(error) else what
        return None, _("{what}: write each dialogue with json.dumps, on one line of its own.").format(what=what)
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        return None, _('no messages: a line is {"messages": [...]}, with at least a question and an answer.')
    return messages, None


def check_messages(messages: list) -> str | None:
    """The first fault in one dialogue, or None."""
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return _("message {number} must have role and content, and nothing else.").format(number=position + 1)
        role, content = message["role"], message["content"]
        if role not in ROLES:
            close = difflib.get_close_matches(str(role).lower(), ROLES, n=1)
            meant = _("use one of {roles}.").format(roles=_(", ").join(ROLES))
            meant = _("did you mean {close!r}?").format(close=close[0]) if close else meant
            return _("message {number} has the role {role!r}: {meant}").format(
                number=position + 1, role=role, meant=meant
            )
        if not isinstance(content, str) or not content.strip():
            what = {"assistant": _("answer"), "user": _("question")}.get(role, _("system prompt"))
            return _("message {number} is an empty {what}: fill it in, or delete the dialogue.").format(
                number=position + 1, what=what
            )
        if role == "system" and position:
            return _("message {number} is a system prompt, which can only be the first message.").format(
                number=position + 1
            )
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if not turns or turns[-1] != "assistant":
        return _("the dialogue does not end with an answer, so there is nothing to learn at its end: add one.")
    if turns != ["user", "assistant"] * (len(turns) // 2):
        return _("user and assistant must take turns, and the user begins.")
    return None


# (model, way): what `training_plan` shows.
PLAN = (
    *((f"Qwen/Qwen2.5-{size}", "lora") for size in ("0.5B", "1.5B", "3B", "7B")),
    *((f"Qwen/Qwen2.5-{size}", "qlora") for size in ("7B", "14B")),
    *((f"Qwen/Qwen2.5-{size}", "full") for size in ("0.5B", "7B")),
)
FREE = 0.2  # of a card's memory that a prediction must leave free


def training_plan(tokens=512, dialogues=1000, epochs=3, liger=False) -> str:
    """For each model and way of PLAN: memory per card, the smallest card, minutes on a T4 and an RTX 4090, as text.

    "-" where it does not fit. Full training that fits on no card is divided among cards of 80 GB (ZeRO-2).
    """
    head = (left(_("model"), 17), left(_("way"), 6), right(_("memory"), 9), left(_("card"), 9))
    rows = ["{} {} {}  {} {} {:>9}".format(*head, right(_("minutes: T4"), 11), "RTX 4090")]
    for model, way in PLAN:
        fits_on, memory = smallest_cards(model, way, tokens, liger)
        minutes = []
        for gb, tflops in (CARDS["T4"], CARDS["RTX 4090"]):
            seconds = dialogues * epochs * training_seconds(model, way, tflops=tflops, tokens=tokens)
            minutes.append(f"{seconds / 60:.0f}" if fits_on[0] == 1 and fits_on[1] <= gb else "-")
        place = f"{fits_on[1]} GB" if fits_on[0] == 1 else f"{fits_on[0]} x {fits_on[1]} GB"
        name = model.removeprefix("Qwen/")
        rows.append(f"{name:17} {way:6} {as_size(memory):>9}  {place:9} {minutes[0]:>11} {minutes[1]:>9}")
    return "\n".join(rows)


def smallest_cards(model: str, way: str, tokens: int, liger: bool) -> tuple[tuple[int, int], int]:
    """((number of cards, GB of each), bytes needed on each): the smallest on which FREE stays free."""
    for cards, gb in (*((1, gb) for gb in (8, 12, 16, 24, 32, 48, 80)), (2, 80), (4, 80), (8, 80)):
        if cards == 1 or way == "full":  # an adapter's training is not divided: each card holds the whole model
            need = training_memory(model, way, tokens=tokens, liger=liger, cards=cards, libraries=False).total
            if need <= (1 - FREE) * gb * 1e9:
                return (cards, gb), need
    raise ValueError(_("{model} needs more than 8 cards of 80 GB.").format(model=model))


def verdict(losses: list[float]) -> str:
    """One sentence on a training, from its logged losses in order. Raises ValueError for fewer than four of them.

    "Diverged" means: a loss that is not a number, or a last quarter that is on average 1.2 times as high as the first
    loss or as the best stretch of that length; "learnt nothing": nine tenths of the first loss or more.
    """
    if len(losses) < 4:
        raise ValueError(
            _("{count} losses are too few to judge: log at least four (logging_steps).").format(count=len(losses))
        )
    lower = _("Divide learning_rate by 3 to 10 and start again.")
    for number, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            return _("Diverged: the {number}. loss in the list is {loss}. {lower}").format(
                number=number, loss=loss, lower=lower
            )
    size = len(losses) // 4
    means = [sum(losses[i : i + size]) / size for i in range(len(losses) - size + 1)]
    best, last = min(losses[0], *means), means[-1]
    if last > 1.2 * best:
        return _("Diverged: the loss was {best:.2f}, and ends at {last:.2f}. {lower}").format(
            best=best, last=last, lower=lower
        )
    if last > 0.9 * losses[0]:
        return _(
            "Learnt nothing: the loss began at {first:.2f} and ends at {last:.2f}. Look at data and learning_rate."
        ).format(first=losses[0], last=last)
    return _("Fine: the loss went from {first:.2f} down to {last:.2f}.").format(first=losses[0], last=last)


def watch(name: str = "live_loss") -> str:
    """Register the live plot with ms-swift and return its name, for SftArguments(callbacks=[watch()]).

    It takes the place of ms-swift's own bar and of the dictionary that ms-swift prints for each logged loss. The axis
    has room for all steps from the start, so the curve shows how far the training is. The dashed line is the first
    loss: a curve that ends above it has learnt less than nothing. Matplotlib's font has no Chinese, so the words in the
    picture are English.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display
    from swift import TrainerCallback, callbacks_map
    from transformers import PrinterCallback, ProgressCallback

    class LiveLoss(TrainerCallback):
        """Draws after each logged loss; transformers calls these methods while it trains."""

        def on_init_end(self, args, state, control, **kwargs):
            handler = self.trainer.callback_handler
            loud = (PrinterCallback, ProgressCallback)
            handler.callbacks = [callback for callback in handler.callbacks if not isinstance(callback, loud)]

        def on_train_begin(self, args, state, control, **kwargs):
            self.figure, self.axes = plt.subplots(figsize=(8, 4), dpi=100)
            plt.close(self.figure)  # else the notebook would show it once more at the end of the cell
            self.shown = display(self.figure, display_id=True)

        def on_log(self, args, state, control, **kwargs):
            self.axes.clear()
            for key, label in {"loss": "learnt dialogues", "eval_loss": "dialogues held back"}.items():
                points = [(entry["step"], entry[key]) for entry in state.log_history if key in entry]
                if points:
                    self.axes.plot(*zip(*points, strict=True), label=label, linewidth=2)
            first = next((entry["loss"] for entry in state.log_history if "loss" in entry), None)
            if first is not None:
                self.axes.axhline(first, linestyle="--", color="grey", label="first loss")
            self.axes.set_xlabel(f"step (of {state.max_steps})", fontsize=13)
            self.axes.set_ylabel("loss", fontsize=13)
            self.axes.set(xlim=(0, state.max_steps), ylim=(0, None))
            self.axes.tick_params(labelsize=12)
            self.axes.legend(fontsize=12)
            self.shown.update(self.figure)

    callbacks_map[name] = LiveLoss
    return name
