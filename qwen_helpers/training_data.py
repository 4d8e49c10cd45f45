"""Check a file of dialogues before a model is trained on it: one sentence per fault, with its line number.

The format is ms-swift's `messages`: JSON Lines, one dialogue per line. Knows nothing of training.
"""

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path

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
