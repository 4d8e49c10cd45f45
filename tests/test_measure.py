"""The measurements run and say what they measured. Speeds themselves are not tested: a busy machine would decide."""

import json
import subprocess
import sys

from qwen_helpers import TINY_CHAT


def test_overhead_prints_a_table_and_ends_with_json():
    command = [sys.executable, "-m", "qwen_helpers", "measure", "overhead", "--model", TINY_CHAT]
    done = subprocess.run([*command, "--tokens", "12", "--rounds", "2"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.strip().splitlines()
    result = json.loads(last)
    assert result["tokens"] == 12 and result["rounds"] == 2
    assert result["ratio"] > 0 and result["generate_tokens_per_s"] > 0 and result["stream_tokens_per_s"] > 0
    assert any(line.startswith("Chat.stream") for line in table)


def test_swift_prints_a_table_and_ends_with_json():
    command = [sys.executable, "-m", "qwen_helpers", "measure", "swift", "--model", TINY_CHAT, "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.strip().splitlines()
    result = json.loads(last)
    assert result["rounds"] == 2 and result["rate_ratio"] > 0 and 0 < result["chat_first_s"] < 10
    assert any(line.startswith("Chat.stream over it") for line in table)
