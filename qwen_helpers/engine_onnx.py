"""ONNX Runtime GenAI as an engine of `Chat`: a folder that `python -m qwen_helpers.fast` has made.

The library runs one step per call, so there is no thread: whoever asks for the next piece computes it.
"""

import json
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

from qwen_helpers.engines import Finish, Pieces, check_tokenizer, encode_prompt, finish_reason, take_template
from qwen_helpers.fast import check_library
from qwen_helpers.folders import ModelFolderError

SETTINGS = {"do_sample", "temperature", "top_k", "top_p", "repetition_penalty"}  # the same names as in transformers


class OnnxEngine:
    """A converted model on the CPU."""

    name = "onnx"

    def __init__(self, model_dir):
        """Load the folder `model_dir`. Raises ModelFolderError if it is not one that was converted, and whole."""
        check_library()
        import onnxruntime_genai
        import psutil
        from transformers import AutoTokenizer

        self.model_dir = Path(model_dir).expanduser().absolute()
        files = [name for name in ("genai_config.json", "model.onnx") if not (self.model_dir / name).is_file()]
        if files:
            how = "make one with `python -m qwen_helpers.fast MODEL_DIR OUT_DIR`"
            raise ModelFolderError(f"{self.model_dir} has no {files[0]}, so it is no converted model: {how}.")
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir, local_files_only=True)
        check_tokenizer(self.tokenizer, self.model_dir)
        settings = json.loads((self.model_dir / "genai_config.json").read_text(encoding="utf-8"))
        config = onnxruntime_genai.Config(str(self.model_dir))
        # One thread per core. Left alone, the library took one thread in all on a virtual machine with two cores, and
        # wrote 75 tokens per second with a model of 0.5B where two threads write 128.
        threads = {"intra_op_num_threads": psutil.cpu_count(logical=False) or psutil.cpu_count()}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        self.onnx = onnxruntime_genai.Model(config)
        self.context = settings["model"]["context_length"]
        self.stops = settings["model"]["eos_token_id"]
        search = {name: settings["search"][name] for name in ("do_sample", "temperature")}
        self.model = SimpleNamespace(device="cpu", generation_config=SimpleNamespace(**search))  # for the chat box

    def encode(self, messages, **template) -> list[int]:
        """The prompt as the model reads it, from the folder's own template."""
        return encode_prompt(self.tokenizer, messages, **template)

    def count(self, messages, **template) -> int:
        return len(self.encode(messages, **template))

    def stream(self, messages, **generation) -> Generator[str, None, Finish]:
        """Yield the answer piece by piece; half characters wait for the other half. Return a Finish.

        `enable_thinking` goes to the chat template. Closing the iterator ends the answer at once. Raises ValueError for
        a setting that this engine does not have.
        """
        import onnxruntime_genai

        prompt = self.encode(messages, **take_template(generation))
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
        return Finish(finish_reason(token, self.stops), len(prompt), count)

    def search_options(self, prompt_tokens: int, max_new_tokens=512, min_new_tokens=0, **generation) -> dict:
        """The library's search options, whose lengths count the prompt too, from the names of transformers."""
        if unknown := set(generation) - SETTINGS:
            names = ", ".join(sorted(unknown))
            raise ValueError(f"The engine onnx has no setting {names}: use the engine transformers, or leave it out.")
        longest = min(prompt_tokens + max_new_tokens, self.context)
        return {**generation, "max_length": longest, "min_length": prompt_tokens + min_new_tokens}
