"""PaddleNLP as an engine of `Chat`: lesson 6's calls. For the kernel qwen-paddle, which has no PyTorch."""

import os
import warnings
from collections.abc import Generator
from functools import partial
from importlib.util import find_spec

from qwen_helpers.engines import Finish, Pieces, finish_reason, paused, take_template
from qwen_helpers.paddle_folder import paddle_folder

SETTINGS = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty")
# Harmless, and printed at every start: a compiler cache that is not installed, two packages that share a module,
# a progress bar drawn as text, and a function of Paddle's that PaddleNLP calls by its old name.
HARMLESS = ("No ccache found", "Setuptools is replacing distutils", "IProgress not found", r"[\s\S]*swiglu")
NO_PADDLE = (
    "This Python has no PaddleNLP: in JupyterLab choose Kernel > Change Kernel > Python (qwen-paddle); if that is "
    "missing, type `python course.py` (without --no-paddle) in a terminal in the course's folder, then reload the page."
)


def quiet_paddle() -> None:
    """Import PaddleNLP without what it prints at every start; its own errors still come through.

    Raises ModuleNotFoundError, with what to do, in a kernel that has no PaddleNLP.
    """
    if find_spec("paddlenlp") is None:
        raise ModuleNotFoundError(NO_PADDLE)
    os.environ.setdefault("GLOG_minloglevel", "2")  # the part that is written in C++ reads it when it is imported
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    from paddlenlp.utils.log import logger

    logger.set_level("ERROR")


class PaddleEngine:
    """A Qwen2 or Qwen2.5 folder in PaddleNLP, in float32 on the CPU."""

    name = "paddlenlp"

    def __init__(self, model_dir):
        """Load the model in `model_dir`, a folder or the id of a downloaded model; see `paddle_folder`.

        While it converts, PaddleNLP needs two and a half times the float32 weights in memory (0.5B: 5.1 GB). Raises
        ModelFolderError for a folder that is not whole or not Qwen2, ModuleNotFoundError without PaddleNLP.
        """
        quiet_paddle()
        from paddlenlp.transformers import AutoModelForCausalLM, AutoTokenizer

        self.model_dir = paddle_folder(model_dir)
        self.tokenizer = AutoTokenizer.from_pretrained(str(self.model_dir), use_fast=True)
        # On a CPU some of Paddle's operators know neither float16 nor bfloat16.
        self.model = AutoModelForCausalLM.from_pretrained(str(self.model_dir), dtype="float32", convert_from_torch=True)
        self.model.eval()
        self.context = self.model.config.max_position_embeddings

    def encode(self, messages) -> dict:
        """The prompt as the model reads it: `input_ids` and `attention_mask`, Paddle tensors of shape [1, tokens]."""
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return dict(self.tokenizer(text, return_tensors="pd"))

    def count(self, messages, **template) -> int:
        """`template` is for Qwen3's chat template and has no meaning for Qwen2's."""
        return self.encode(messages)["input_ids"].shape[1]

    def stream(self, messages, **generation) -> Generator[str, None, Finish]:
        """Yield the answer piece by piece, a token at a time. Return a Finish.

        As in TransformersEngine, closing the iterator ends `generate` at once. Raises ValueError for a setting that is
        not in SETTINGS: PaddleNLP would ignore it silently.
        """
        import paddle

        take_template(generation)
        inputs, settings = self.encode(messages), generate_settings(generation)

        def generate(hand_over):
            streamer = Pieces(self.tokenizer, hand_over, in_prompt=False)  # PaddleNLP sends only new tokens
            return self.model.generate(**inputs, **settings, streamer=streamer)

        ids, _ = yield from paused(generate, partial(paddle.set_grad_enabled, paddle.is_grad_enabled()))
        tokens = ids[0].tolist()
        stops = self.model.generation_config.eos_token_id
        return Finish(finish_reason(tokens[-1], stops), inputs["input_ids"].shape[1], len(tokens))


def generate_settings(generation: dict) -> dict:
    """PaddleNLP's arguments, from those of transformers' `generate`. `do_sample` has another name there."""
    settings = {name: value for name, value in generation.items() if name != "do_sample"}
    if unknown := set(settings) - set(SETTINGS):
        names = ", ".join(sorted(unknown))
        raise ValueError(f"PaddleNLP has no setting {names}, or this engine does not pass it on: leave it out.")
    if "do_sample" in generation:
        settings["decode_strategy"] = "sampling" if generation["do_sample"] else "greedy_search"
    return settings
