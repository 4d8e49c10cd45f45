"""transformers' warnings about missing kernels for linear attention: dropped on a CPU, one sentence on a GPU."""

import logging
from io import StringIO
from unittest.mock import patch

import pytest

from qwen_helpers import kernel_warnings
from qwen_helpers.kernel_warnings import ADVICE
from qwen_helpers.troubles import find

LOGGER = logging.getLogger("transformers.integrations.hub_kernels")
ON = kernel_warnings._once in LOGGER.filters  # by `import qwen_helpers`, before any test


@pytest.fixture(scope="module")
def answer(qwen3_5_folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(qwen3_5_folder)
    model = AutoModelForCausalLM.from_pretrained(qwen3_5_folder, dtype="auto")
    return lambda: model.generate(**tokenizer("Hello!", return_tensors="pt"), max_new_tokens=2, do_sample=False)


@pytest.fixture
def said(answer, monkeypatch):
    """A function: the lines that the first two answers of a program write."""

    def lines() -> list[str]:
        from transformers.utils.logging import warning_once

        warning_once.cache_clear()
        monkeypatch.setattr(kernel_warnings._once, "told", False)
        with patch.object(logging.getLogger("transformers"), "handlers", [logging.StreamHandler(log := StringIO())]):
            answer(), answer()
        return log.getvalue().splitlines()

    yield lines
    kernel_warnings.on()


def test_transformers_still_writes_what_the_filter_knows(said):
    """Red after an upgrade? Read what transformers says now: SAYS, the logger's name and entry I22 go by it."""
    packages = {"causal_conv1d_fn": "causal_conv1d", "chunk_gated_delta_rule": "flash-linear-attention"}
    packages |= {"causal_conv1d_update": "causal_conv1d", "fused_recurrent_gated_delta_rule": "flash-linear-attention"}
    kernel_warnings.off()
    lines = said()
    assert lines == [
        f"`{function}` is falling back to its reference PyTorch implementation because `{package}` is not installed. "
        f"This is correct but much slower; install `{package}` for the optimized kernel."
        for function, package in packages.items()
    ]
    assert {find(line)[0].id for line in [*lines, ADVICE]} == {"I22"}


def test_on_a_cpu_none_of_them_comes(said):
    """`import qwen_helpers` has switched the filter on. A second time changes nothing."""
    assert ON and said() == []
    kernel_warnings.on()
    assert said() == []


def test_with_a_gpu_one_sentence_comes_and_says_what_to_install(said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert said() == [ADVICE]
    assert ADVICE.endswith("pip install flash-linear-attention causal-conv1d")


def test_other_warnings_of_that_logger_come_through():
    with patch.object(logging.getLogger("transformers"), "handlers", [logging.StreamHandler(log := StringIO())]):
        LOGGER.warning("Something %s", "else")
    assert log.getvalue() == "Something else\n"
