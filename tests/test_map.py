"""The map from 2024 to today, in lesson 11: the left column is run, and must end in what the second column says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lessons import python_of, read
from troubles_lesson import LESSON_11

from qwen_helpers import TINY_CHAT

PREPARE = """
import os, shutil, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("GLOG_minloglevel", "2")
from qwen_helpers import TINY_CHAT
disk = tempfile.TemporaryDirectory(prefix="qwen-practice-", ignore_cleanup_errors=True)
model_dir, cache = str(TINY_CHAT), disk.name + "/cache"
messages = [{"role": "user", "content": "Hello!"}]
"""
TODAY = """
from qwen_helpers.labs.hub import Hub
hub = Hub({"Qwen/Qwen2.5-0.5B-Instruct": TINY_CHAT}).start()
os.environ["MODELSCOPE_ENDPOINT"], os.environ["NO_PROXY"] = hub.url, "127.0.0.1"
from modelscope import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(model_dir)
model = AutoModelForCausalLM.from_pretrained(model_dir)
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
"""
PADDLE = """
from paddlenlp.utils.log import logger
logger.set_level("ERROR")
from paddlenlp.transformers import AutoModelForCausalLM, AutoTokenizer
from qwen_helpers.engines.paddle import paddle_folder
folder, original = str(paddle_folder(TINY_CHAT)), shutil.copytree(model_dir, disk.name + "/original")
tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", convert_from_torch=True)
model.eval()
text = tokenizer.apply_chat_template(messages, tokenize=False)
inputs = tokenizer(text, return_tensors="pd", add_special_tokens=False)
"""
RUN = """
import contextlib, io, json, sys
said = []
for line in json.loads(sys.stdin.read()):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(line, "<2024>", "exec"), globals())
        said.append("no error")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
sys.stdout.write("\\nANSWER " + json.dumps(said))
"""


def rows(title: str) -> list[tuple[str, str]]:
    """(code, what the second column says) of the table whose first heading is `title`."""
    text = "\n\n".join(cell.source for cell in read(LESSON_11).cells if cell.cell_type == "markdown")
    table = text[text.index(f"| {title} |") :].split("\n\n")[0].splitlines()[2:]
    found = []
    for line in table:
        old, says, *_ = [column.strip() for column in re.split(r"(?<!\\)\|", line)[1:-1]]
        found.append((re.search(r"`(.+?)`", old)[1] if "`" in old else old, says))
    return found


def is_run(says: str) -> bool:
    return not says.startswith("not run here: ")


def outcomes(title: str, python: str, prepare: str) -> dict[str, str]:
    lines = [old for old, says in rows(title) if is_run(says)]
    done = subprocess.run(
        [python, "-X", "utf8", "-c", PREPARE + prepare + RUN], input=json.dumps(lines), capture_output=True,
        encoding="utf-8", cwd=Path(TINY_CHAT).parents[2], timeout=300,
    )  # fmt: skip
    assert "\nANSWER " in done.stdout, done.stderr
    return dict(zip(lines, json.loads(done.stdout.rpartition("\nANSWER ")[2]), strict=True))


MAIN, OTHER = "2023 and 2024", "PaddleNLP, 2024"


@pytest.fixture(scope="module")
def today():
    return outcomes(MAIN, sys.executable, TODAY)


@pytest.fixture(scope="module")
def paddle():
    return outcomes(OTHER, python_of("07_paddlenlp"), PADDLE)


def agrees(said: str, says: str) -> bool:
    """The stated error is the beginning of the real one; "no error" must be one."""
    if says.startswith("no error"):
        return said == "no error"
    stated = re.match(r"(`+)(.+?)\1", says)[2].strip()
    return said.startswith(stated)


@pytest.mark.parametrize(("old", "says"), [row for row in rows(MAIN) if is_run(row[1])])
def test_what_2024_wrote(old, says, today):
    assert agrees(today[old], says), f"{old} says {today[old]}"


@pytest.mark.parametrize(("old", "says"), [row for row in rows(OTHER) if is_run(row[1])])
def test_what_2024_wrote_for_paddlenlp(old, says, paddle):
    assert agrees(paddle[old], says), f"{old} says {paddle[old]}"


def test_what_is_not_run_says_why():
    left = [row for title in (MAIN, OTHER) for row in rows(title) if not is_run(row[1])]
    assert all(len(says) > len("not run here: ") for _, says in left) and len(left) <= 8


@pytest.mark.parametrize(
    ("said", "says", "right"),
    [("KeyError: 'qwen2'", "`KeyError: 'qwen2'`", True), ("KeyError: 'qwen3'", "`KeyError: 'qwen2'`", False),
     ("no error", "no error, slow", True), ("ValueError: x", "no error, slow", False),
     ("no error", "`KeyError: 'qwen2'`", False)],
)  # fmt: skip
def test_agrees(said, says, right):
    assert agrees(said, says) is right
