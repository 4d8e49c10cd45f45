"""What turning a model's folder into another engine's files takes, whichever library does it."""

import os
import subprocess
from pathlib import Path

from qwen_helpers.folder_check import ModelFolderError, read_json_if_there
from qwen_helpers.language import _


def has_linear_attention(model_dir: Path) -> bool:
    """Whether a folder's model is one like Qwen3.5, by its config.json."""
    config = read_json_if_there(model_dir / "config.json")
    return "linear_num_value_heads" in config.get("text_config", config)


def run_offline(converter: str, command: list, source: Path, made: Path) -> None:
    """Run `command`, which writes the file `made` from the folder `source`, without a network.

    Raises ModelFolderError, with the last line that `converter` has written, if it fails or has made no such file.
    """
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
        errors="replace", env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode or not made.is_file():
        last = (done.stderr.strip() or done.stdout.strip() or _("no output")).splitlines()[-1]
        raise ModelFolderError(
            _("{converter} could not convert {source}: {last}").format(converter=converter, source=source, last=last)
        )


def cores() -> int:
    """Threads for an engine that computes on the CPU: one per core, since two on one core share its arithmetic."""
    import psutil

    return psutil.cpu_count(logical=False) or psutil.cpu_count()
