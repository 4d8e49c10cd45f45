"""ONNX Runtime GenAI: `convert` writes a model with 4 bits per weight, `OnnxEngine` runs it as an engine of `Chat`.

The conversion is the library's own builder, which lesson 8 calls by hand; here it runs offline, quietly, and into a
folder that gets its name only when it is whole. In a terminal: `python -m qwen_helpers convert MODEL_DIR OUT_DIR`.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from qwen_helpers.engines import Pieces, Reply, encode_prompt, finish_reason
from qwen_helpers.engines.converter import cores, has_linear_attention, run_offline
from qwen_helpers.folder_check import ModelFolderError, check_folder, check_tokenizer
from qwen_helpers.folders import find_folder
from qwen_helpers.language import _
from qwen_helpers.thoughts import opening

BLOCK = 128  # weights that share one scale; the builder's own 32 reads 17 % more bytes per token
SETTINGS = {"do_sample", "temperature", "top_k", "top_p", "repetition_penalty"}  # the same names as in transformers


def check_library() -> None:
    """Raise ModelFolderError if onnxruntime-genai is missing, as it is on Python 3.10."""
    if not find_spec("onnxruntime_genai"):
        raise ModelFolderError(
            _(
                "onnxruntime-genai is not installed. It needs Python 3.11 or 3.12: delete the folder .venv, run "
                "course.py with one of these; if you have one, run course.py again."
            )
        )


def convert(model_dir, out_dir, precision: str = "int4") -> Path:
    """Write `model_dir`, a folder or the id of a downloaded model, to `out_dir` as int4 or int8; return that folder.

    Needs the disk of the result, and about twice the model's weights in memory. An interrupted run leaves
    `OUT_DIR.incomplete`, which the next one deletes. Raises ModelFolderError if `out_dir` is there already, if the
    model is not whole or of a kind that would not run, or if the builder fails, with its last line.
    """
    check_library()
    source, out = check_folder(find_folder(model_dir)), Path(out_dir).expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelFolderError(_("{out} is there already: use it, delete it, or give another name.").format(out=out))
    if has_linear_attention(source):
        raise ModelFolderError(
            _(
                "{source} has layers with linear attention: the builder of onnxruntime-genai 0.18 converts them, "
                "but this course has not checked the answers of the result. Use transformers, llama.cpp, or a "
                "Qwen2.5 or Qwen3."
            ).format(source=source)
        )
    part = out.with_name(out.name + ".incomplete")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    command = [sys.executable, "-X", "utf8", "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", part]
    command += ["-p", precision, "-e", "cpu", "-c", part / "cache", "--extra_options", f"block_size={BLOCK}"]
    try:
        made = part / "genai_config.json"
        run_offline(_("The builder of onnxruntime-genai"), [*command, "hf_token=false"], source, made)
    except ModelFolderError:
        shutil.rmtree(part)
        raise
    shutil.rmtree(part / "cache", ignore_errors=True)
    if out.exists():  # empty
        out.rmdir()
    os.replace(part, out)
    return out


class OnnxEngine:
    """A converted model on the CPU.

    The library runs one step per call, so there is no thread: whoever asks for the next piece computes it.
    """

    name = "onnx"

    def __init__(self, model_dir):
        """Load the folder `model_dir`. Raises ModelFolderError if it is not one that was converted, and whole."""
        check_library()
        import onnxruntime_genai
        from transformers import AutoTokenizer

        self.model_dir = Path(model_dir).expanduser().absolute()
        files = [name for name in ("genai_config.json", "model.onnx") if not (self.model_dir / name).is_file()]
        if files:
            how = _("make one with `python -m qwen_helpers convert MODEL_DIR OUT_DIR`")
            raise ModelFolderError(
                _("{model_dir} has no {file}, so it is no converted model: {how}.").format(
                    model_dir=self.model_dir, file=files[0], how=how
                )
            )
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir, local_files_only=True)
        check_tokenizer(self.tokenizer, self.model_dir)
        settings = json.loads((self.model_dir / "genai_config.json").read_text(encoding="utf-8"))
        config = onnxruntime_genai.Config(str(self.model_dir))
        # One thread per core. Left alone, the library took one thread in all on a virtual machine with two cores, and
        # wrote 75 tokens per second with a model of 0.5B where two threads write 128.
        threads = {"intra_op_num_threads": cores()}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        self.onnx = onnxruntime_genai.Model(config)
        self.context = settings["model"]["context_length"]
        self.stops = settings["model"]["eos_token_id"]
        search = {name: settings["search"][name] for name in ("do_sample", "temperature")}
        self.model = SimpleNamespace(device="cpu", generation_config=SimpleNamespace(**search))  # for the chat box

    def encode(self, messages, template) -> list[int]:
        """The prompt as the model reads it, from the folder's own template."""
        return encode_prompt(self.tokenizer, messages, template)

    def count(self, messages, template) -> int:
        return len(self.encode(messages, template))

    def opening(self, messages, template) -> str:
        return opening(self.tokenizer, self.encode(messages, template))

    def stream(self, messages, template, **generation) -> Generator[str, None, Reply]:
        """Yield the answer piece by piece; half characters wait for the other half. Return a Reply.

        Closing the iterator ends the answer at once. Raises ValueError for a setting that this engine does not have.
        """
        import onnxruntime_genai

        prompt = self.encode(messages, template)
        params = onnxruntime_genai.GeneratorParams(self.onnx)
        params.set_search_options(**self.search_options(len(prompt), **generation))
        generator = onnxruntime_genai.Generator(self.onnx, params)
        generator.append_tokens(prompt)
        pieces: list[str] = []
        decode, count, token = Pieces(self.tokenizer, pieces.append, in_prompt=False), 0, None
        while not generator.is_done():
            generator.generate_next_token()
            token, count = generator.get_next_tokens()[0], count + 1
            decode.put(token)
            if pieces:
                yield pieces.pop()
        return Reply(finish_reason(token, self.stops), len(prompt), count)

    def search_options(self, prompt_tokens: int, max_new_tokens=512, min_new_tokens=0, **generation) -> dict:
        """The library's search options, whose lengths count the prompt too, from the names of transformers."""
        if unknown := set(generation) - SETTINGS:
            names = ", ".join(sorted(unknown))
            raise ValueError(
                _("The engine onnx has no setting {names}: use the engine transformers, or leave it out.").format(
                    names=names
                )
            )
        longest = min(prompt_tokens + max_new_tokens, self.context)
        return {**generation, "max_length": longest, "min_length": prompt_tokens + min_new_tokens}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers convert", description=_("Convert a model to 4 bits."))
    parser.add_argument("model_dir", help=_("a model folder, or the id of a downloaded model"))
    parser.add_argument("out_dir", help=_("a folder that does not exist yet"))
    parser.add_argument("--precision", choices=["int4", "int8"], default="int4")
    args, start = parser.parse_args(arguments), time.perf_counter()
    out = convert(args.model_dir, args.out_dir, args.precision)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(
        _("{out}: {size:,.1f} MB, {precision}, made in {seconds:.0f} s").format(
            out=out, size=size / 1e6, precision=args.precision, seconds=time.perf_counter() - start
        )
    )
