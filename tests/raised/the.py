"""What code that raises and cures troubles shares: a folder, the sound model, a log, empty packages, PaddleNLP."""

import functools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from lessons import python_of
from second_kernel import SecondKernel

from qwen_helpers import TINY_CHAT
from qwen_helpers.labs.hub import Hub
from qwen_helpers.labs.practice import empty_wheel

HELLO = "Hello! I am the tiny model of this course. Ask me what a token is, or ask for a long story."
QWEN = "Qwen/Qwen2.5-0.5B-Instruct"  # the name under which `the.hub()` serves the tiny model
VARIABLES = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost"}
PADDLE = """
import os, warnings
os.environ.setdefault("GLOG_minloglevel", "2")
warnings.filterwarnings("ignore")
from pathlib import Path
from paddlenlp.utils.log import logger
logger.set_level("ERROR")
from paddlenlp.transformers import AutoModelForCausalLM, AutoTokenizer
from qwen_helpers import TINY_CHAT, explain
from qwen_helpers.engines.paddle import paddle_folder
explain.off()  # a traceback as PaddleNLP gives it
folder = str(paddle_folder(TINY_CHAT))
tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", convert_from_torch=True)
_ = model.eval()
text = tokenizer.apply_chat_template([{"role": "user", "content": "Hello!"}], tokenize=False)
prompt = tokenizer(text, return_tensors="pd", add_special_tokens=False)
output = model.generate(**prompt, max_new_tokens=40, decode_strategy="greedy_search")
"""


class The:
    """For one entry, from its first function to its last: `with The() as the`."""

    messages = [{"role": "user", "content": "Hello!"}]

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="qwen-practice-", ignore_cleanup_errors=True)
        self.disk = Path(self.temporary.name)
        return self

    def __exit__(self, *_):
        self.temporary.cleanup()

    def call(self, function):
        """Call it with this object. Variables, the search path and filters of warnings are put back afterwards."""
        with patch.dict(os.environ, VARIABLES), patch.object(sys, "path", sys.path[:]), warnings.catch_warnings():
            return function(self)

    # Models

    @property
    def tokenizer(self):
        """The sound model's, which nobody may change; `load_tokenizer` for one to break."""
        return sound_tokenizer()

    @property
    def model(self):
        """The sound model, which nobody may change; `load` for one to break."""
        return sound_model()

    @property
    def prompt(self):
        """The messages as tensors, with their attention mask."""
        return prompt_of(self.messages, self.tokenizer)

    def load(self, folder=TINY_CHAT, **settings):
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder, **settings)

    def load_tokenizer(self, folder=TINY_CHAT):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)

    def answer(self, model=None, messages=None, tokenizer=None, **settings) -> str:
        """Lesson 3's function; of what is left out it takes the sound one."""
        model, tokenizer = model or self.model, self.tokenizer if tokenizer is None else tokenizer
        prompt = prompt_of(messages or self.messages, tokenizer)
        output = model.generate(**prompt, **{"max_new_tokens": 40, "do_sample": False, **settings})
        return tokenizer.decode(output[0][prompt["input_ids"].shape[1] :], skip_special_tokens=True)

    # Folders

    def copy(self, name, model=TINY_CHAT) -> Path:
        return Path(shutil.copytree(model, self.disk / name))

    def package(self, name, code) -> Path:
        """A package that holds `code`; `name` may begin with a folder. What comes back goes into the search path."""
        folder = self.disk / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(code)
        return folder.parent

    def edit(self, file, **changes) -> None:
        """Change keys of a JSON file; None takes a key out."""
        settings = {**json.loads(file.read_text(encoding="utf-8")), **changes}
        kept = {key: value for key, value in settings.items() if value is not None}
        file.write_text(json.dumps(kept), encoding="utf-8")

    # What is around

    @contextmanager
    def log(self, name):
        """What a library writes into its log, as a StringIO. What transformers says only once, it says again."""
        from transformers.utils.logging import warning_once

        warning_once.cache_clear()
        logger, handler = logging.getLogger(name), logging.StreamHandler(StringIO())
        level = logger.level
        logger.setLevel(logging.WARNING)
        with patch.object(logger, "handlers", [handler]):
            yield handler.stream
        logger.setLevel(level)

    def hub(self) -> Hub:
        """`with the.hub() as hub:` serves the tiny model as QWEN."""
        return Hub({QWEN: TINY_CHAT})

    def pip(self, *wanted) -> list[str]:
        """What pip says of errors, and of what it would install, with a shelf of empty packages for an index."""
        shelf = self.disk / "shelf"
        if not shelf.exists():
            fill(shelf)
        options = ["--no-index", f"--find-links={shelf}", "--dry-run", "--no-color", f"--target={shelf}"]
        command = [sys.executable, "-m", "pip", "install", *options, *wanted]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return [line for line in done.stdout.splitlines() if line.startswith(("ERROR", "Would install"))]

    def paddle(self, code, **names) -> None:
        """Run `code` in lesson 7's kernel, where PADDLE was run; `names` are texts that it needs."""
        paddle().run("\n".join(f"{name} = {str(value)!r}" for name, value in names.items()) + "\n" + code)


def prompt_of(messages, tokenizer):
    settings = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    return tokenizer.apply_chat_template(messages, **settings)


@functools.cache
def sound_tokenizer():
    return The().load_tokenizer()


@functools.cache
def sound_model():
    return The().load(dtype="auto")


@functools.cache
def paddle() -> SecondKernel:
    python_of("07_paddlenlp")  # skips the test where the kernel is missing; in CI it fails
    kernel = SecondKernel("qwen-paddle")
    kernel.run(PADDLE)
    return kernel


def fill(shelf: Path) -> None:
    """Empty packages that ask for what the real ones ask for; vllm has one for Linux only, as on PyPI."""
    shelf.mkdir()
    empty_wheel(shelf, "paddlenlp", "3.0.0b4", ["tokenizers<0.22,>=0.21"])
    empty_wheel(shelf, "transformers", "5.19.0", ["tokenizers<0.24.0,>=0.23.1"])
    empty_wheel(shelf, "transformers", "4.55.4", ["tokenizers<0.22,>=0.21"])
    for version in ("0.21.4", "0.23.3"):
        empty_wheel(shelf, "tokenizers", version, [])
    empty_wheel(shelf, "vllm", "0.25.0", [])
    wheel = shelf / "vllm-0.25.0-py3-none-any.whl"
    wheel.rename(wheel.with_name("vllm-0.25.0-py3-none-manylinux_2_31_x86_64.whl"))
