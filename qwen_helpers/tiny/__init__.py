"""The course's own tiny models, and the dialogues that tiny chat knows by heart. `tools/tiny_training.py` made them."""

import json
from pathlib import Path

HERE = Path(__file__).parent
Messages = list[dict[str, str]]


def dialogues() -> list[Messages]:
    """Every dialogue of the course. A few bring a system message of their own; the others must work under any."""
    lines = (HERE / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def thinking_dialogues() -> list[dict]:
    """Every dialogue of tiny thinking: `messages`, with `reasoning_content` and `tool_calls`, and names of `tools`."""
    lines = (HERE / "thinking.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
