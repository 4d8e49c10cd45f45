"""PaddleNLP: the folder that it needs, the engine of `Chat`, and the static graph. For the kernel qwen-paddle.

PaddleNLP 3.0.0b4 is from the time of transformers 4. It does not know the names that transformers 5 has changed, in one
case without a word, and it writes a second copy of the weights into the folder that it reads. So `paddle_folder` makes
it a folder of its own: links to the large files, small files in which the old names stand beside the new ones, and an
empty file in place of the second copy. transformers 5 reads it just as well.

Paddle can run a model in two ways. In the dynamic graph (`PaddleEngine`) Python starts one operator after another. For
a static graph (`export`, `StaticModel`) the Python code is translated once into a program, loops included, which then
runs without Python. PaddleNLP 3.0.0b4 cannot translate its own Qwen2 in Paddle 3.x: two of its functions and one of
Paddle's need to be written another way, with the same result; `export` puts these in their place while it works.
"""

import json
import os
import shutil
import warnings
import zlib
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

from qwen_helpers.engines import Pieces, Reply, finish_reason, stop_tokens, stream_from_thread
from qwen_helpers.folder_check import ModelFolderError, check_folder, read_json_if_there, weight_files
from qwen_helpers.folders import course_root, find_folder
from qwen_helpers.language import N_, _

FAMILIES = ("qwen2", "qwen2_moe")  # of the Qwen models, those that PaddleNLP 3.0.0b4 knows
LINKED = ("model.safetensors.index.json", "tokenizer.json", "vocab.json", "merges.txt")

SETTINGS = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty")
# Harmless, and printed at every start: a compiler cache that is not installed, two packages that share a module,
# a progress bar drawn as text, and a function of Paddle's that PaddleNLP calls by its old name.
HARMLESS = ("No ccache found", "Setuptools is replacing distutils", "IProgress not found", r"[\s\S]*swiglu")
NO_PADDLE = N_(
    "This Python has no PaddleNLP: in JupyterLab choose Kernel > Change Kernel > Python "
    "(qwen-paddle); if that is missing, type `python course.py` (without --no-paddle) in a terminal "
    "in the course's folder, then reload the page."
)


def paddle_folder(model_dir, target=None) -> Path:
    """Return a folder that PaddleNLP loads as transformers loads `model_dir`, with the same tokens and logits.

    It lies in models/paddle of the course, or is `target`, and takes a few kilobytes: weights and vocabulary are links
    (copies only where the system allows no link). Making it again is quick and changes nothing. Raises
    ModelFolderError for a folder that is not whole, or whose model PaddleNLP does not know.
    """
    source = check_folder(find_folder(model_dir)).resolve()
    config = read_json_if_there(source / "config.json")
    if config.get("model_type") not in FAMILIES:
        raise ModelFolderError(
            _(
                "{source} holds a model of the type {kind}, and PaddleNLP 3.0.0b4, its last release, knows only "
                "Qwen2 and Qwen2.5: choose one of those."
            ).format(source=source, kind=config.get("model_type"))
        )
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise ModelFolderError(
            _(
                "{source} stretches its positions (rope scaling), which PaddleNLP would ignore: use the plain "
                "config.json."
            ).format(source=source)
        )
    if target is None:  # a number from the path, since many folders are called "master"
        target = course_root() / "models" / "paddle" / f"{source.name}-{zlib.crc32(str(source).encode()):08x}"
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    for file in [*weight_files(source), *(source / name for name in LINKED)]:
        if file.is_file():
            link_or_copy(file, target / file.name)
    # The values are there, under the names of transformers 5. Without the first, PaddleNLP takes 10000, silently.
    old_names = {"rope_theta": rope.get("rope_theta"), "torch_dtype": config.get("dtype")}
    write_json(target / "config.json", {**{name: value for name, value in old_names.items() if value}, **config})
    if generation := read_json_if_there(source / "generation_config.json"):
        generation.pop("_from_model_config", None)  # it would make PaddleNLP drop the list of stop tokens
        write_json(target / "generation_config.json", generation)
    tokenizer = read_json_if_there(source / "tokenizer_config.json")
    template = source / "chat_template.jinja"
    if template.is_file() and not tokenizer.get("chat_template"):
        tokenizer["chat_template"] = template.read_text(encoding="utf-8")
    tokenizer["tokenizer_class"] = "Qwen2Tokenizer"  # transformers 5 may write a name that PaddleNLP has not
    write_json(target / "tokenizer_config.json", tokenizer)
    # PaddleNLP's conversion ends by writing all weights once more under this name, unless the file is there.
    (target / "model_state.pdparams").touch()
    return target


def link_or_copy(file: Path, link: Path) -> None:
    if link.exists() and link.samefile(file):
        return
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(file)
    except OSError:  # Windows asks for a privilege; a hard link needs none, but the same drive
        try:
            os.link(file, link)
        except OSError:
            shutil.copy2(file, link)


def write_json(file: Path, content: dict) -> None:
    """Whole or not at all: another notebook may be reading the file."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)


def quiet_paddle() -> None:
    """Import PaddleNLP without what it prints at every start; its own errors still come through.

    Raises ModuleNotFoundError, with what to do, in a kernel that has no PaddleNLP.
    """
    if find_spec("paddlenlp") is None:
        raise ModuleNotFoundError(_(NO_PADDLE))
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

    def count(self, messages, template) -> int:
        """`template` is for Qwen3's chat template and has no meaning for Qwen2's."""
        return self.encode(messages)["input_ids"].shape[1]

    def opening(self, messages, template) -> str:
        """Qwen2 does not think."""
        return ""

    def stream(self, messages, template, **generation) -> Generator[str, None, Reply]:
        """Yield the answer piece by piece, a token at a time. Return a Reply.

        As in TransformersEngine, closing the iterator ends `generate` after the token that it is writing. `template` is
        left out, as in `count`. Raises ValueError for a setting that is not in SETTINGS: PaddleNLP would ignore it
        silently.
        """
        from paddlenlp.generation.stopping_criteria import StoppingCriteriaList

        inputs, settings = self.encode(messages), generate_settings(generation)

        def generate(hand_over, stopped):
            streamer = Pieces(self.tokenizer, hand_over, in_prompt=False)  # PaddleNLP sends only new tokens
            criteria = StoppingCriteriaList([lambda ids, scores: stopped()])
            return self.model.generate(**inputs, **settings, streamer=streamer, stopping_criteria=criteria)

        ids, scores = yield from stream_from_thread(generate)
        tokens = ids[0].tolist()
        stops = self.model.generation_config.eos_token_id
        return Reply(finish_reason(tokens[-1], stops), inputs["input_ids"].shape[1], len(tokens))


def generate_settings(generation: dict) -> dict:
    """PaddleNLP's arguments, from those of transformers' `generate`. `do_sample` has another name there."""
    settings = {name: value for name, value in generation.items() if name != "do_sample"}
    if unknown := set(settings) - set(SETTINGS):
        names = ", ".join(sorted(unknown))
        raise ValueError(
            _("PaddleNLP has no setting {names}, or this engine does not pass it on: leave it out.").format(names=names)
        )
    if "do_sample" in generation:
        settings["decode_strategy"] = "sampling" if generation["do_sample"] else "greedy_search"
    return settings


def attention(query, config, key, value, mask, *_, **__):
    """PaddleNLP's scaled_dot_product_attention without its checks of shapes, which are unknown while translating.

    `query`, `key` and `value` have the shape [batch, tokens, heads, head_dim], `mask` [batch, 1, tokens, all tokens].
    """
    import paddle

    query, key, value = (x.transpose([0, 2, 1, 3]) for x in (query, key, value))
    scores = query @ key.transpose([0, 1, 3, 2]) / query.shape[-1] ** 0.5 + mask
    mixed = paddle.nn.functional.softmax(scores, axis=-1) @ value
    return mixed.transpose([0, 2, 1, 3]).reshape([0, 0, config.hidden_size])  # 0: keep this one


def rotary(self, x, seq_len=None):
    """Qwen2RotaryEmbedding.forward without growing its tables: they already reach to max_position_embeddings."""
    return self.cos_cached[:, :seq_len], self.sin_cached[:, :seq_len]


def log_softmax(x, axis=-1):
    """By definition. Paddle's own takes time with the square of the vocabulary on a CPU: 11 s per token for Qwen2."""
    import paddle

    return x - paddle.logsumexp(x, axis=axis, keepdim=True)


def export(model_dir, prefix) -> None:
    """Translate the model in `model_dir` and write PREFIX.json (the program) and PREFIX.pdiparams (the weights).

    The program chooses among the `top_k` most probable tokens; 1 is greedy. Top-p would need an operator that Paddle
    has for GPUs only. It stops at one token, the first of `eos_token_id`.
    """
    quiet_paddle()
    from paddlenlp.transformers.qwen2 import modeling

    with (
        warnings.catch_warnings(),
        patch.object(modeling, "scaled_dot_product_attention", attention),
        patch.object(modeling.Qwen2RotaryEmbedding, "forward", rotary),
        patch("paddle.nn.functional.log_softmax", log_softmax),
    ):
        warnings.simplefilter("ignore")  # remarks on operators that work another way while translating
        model = PaddleEngine(model_dir).model  # its layers take the patched attention
        model.generation_config.eos_token_id = stop_tokens(model.generation_config.eos_token_id)[0]
        model.to_static(str(prefix), {"use_top_p": False})


class StaticModel:
    """An exported model in paddle.inference, Paddle's engine for finished programs."""

    def __init__(self, prefix, onednn: bool = False):
        """Load what `export` wrote. `onednn=True` leaves Intel's operators on, which here give wrong tokens."""
        quiet_paddle()
        from paddle.inference import Config, create_predictor

        program, weights = (Path(f"{prefix}{end}") for end in (".json", ".pdiparams"))
        if not program.is_file() or not weights.is_file():
            raise FileNotFoundError(
                _("There is no exported model {file} in {folder}: call export first.").format(
                    file=program.name, folder=program.parent
                )
            )
        config = Config(str(program), str(weights))
        config.disable_gpu()
        config.disable_glog_info()
        if not onednn:
            config.disable_mkldnn()  # oneDNN's earlier name
        self.predictor = create_predictor(config)

    def generate(self, ids: list[int], max_new_tokens: int, top_k: int = 1) -> list[int]:
        """The new tokens after the prompt `ids`, a stop token included."""
        import numpy
        import paddle

        inputs = {
            "input_ids": [ids], "attention_mask": numpy.ones((1, len(ids))), "position_ids": [range(len(ids))],
            "max_new_tokens": [max_new_tokens], "top_k": [top_k],
        }  # fmt: skip
        feed = [numpy.asarray(inputs[name], dtype="int64") for name in self.predictor.get_input_names()]
        return self.predictor.run([paddle.to_tensor(array) for array in feed])[0].numpy()[0].tolist()
