"""ms-swift as an engine of `Chat`: lesson 4's calls, with a stop that stops and an error that arrives.

ms-swift runs `generate` in a thread of its own, which goes on when nobody reads any more, and which takes its error
with it, so that the reader waits for ever; its streamed text loses spaces after a line break, and so the indentation of
code. `Turn` mends these three; all else is ms-swift's.
"""

import atexit
import importlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path

from qwen_helpers.engines import Pieces, Reply, encode_prompt
from qwen_helpers.engines.transformers import no_progress_bar, stop_when
from qwen_helpers.folder_check import check_folder, check_tokenizer, read_json_if_there
from qwen_helpers.folders import find_folder
from qwen_helpers.language import _
from qwen_helpers.thoughts import opening

# Names of transformers' generate, as ms-swift's RequestConfig spells them.
SETTINGS = {"max_new_tokens": "max_tokens"} | {
    name: name for name in ("temperature", "top_k", "top_p", "repetition_penalty", "num_beams")
}


def as_text(model_dir) -> dict[str, str]:
    """What ms-swift must be told to load a folder's language model: arguments, or options of its commands.

    For Qwen2 and Qwen3 it is their `model_type`. Newer models read pictures, too, and ms-swift then wants packages for
    pictures; they get a type without, and the file that makes ms-swift know it (`swift_text`). Where ms-swift is
    imported already, it knows the type when this returns.
    """
    config = read_json_if_there(Path(model_dir) / "config.json")
    model_type = str(config.get("model_type"))
    if "text_config" not in config and not model_type.endswith("_text"):
        return {"model_type": model_type}
    if "swift" in sys.modules:
        importlib.import_module("qwen_helpers.engines.swift_text")
    return {"model_type": "qwen_text", "external_plugins": str(Path(__file__).parent / "swift_text" / "__init__.py")}


class SwiftEngine:
    """A model folder in ms-swift's `TransformersEngine`, whatever the folder is called."""

    name = "ms-swift"

    def __init__(self, model_dir, dtype="auto", device=None):
        """Load the model in `model_dir`, a folder or the id of a downloaded model; as in TransformersEngine.

        Sets LOG_LEVEL=ERROR if that variable is not set, or ms-swift prints some 15 lines (lesson 4 reads them).
        Raises ModelFolderError if something is missing in the folder.
        """
        self.model_dir = check_folder(find_folder(model_dir))
        os.environ.setdefault("LOG_LEVEL", "ERROR")
        import swift
        import torch
        from transformers import AutoTokenizer
        from transformers.utils import logging

        check_tokenizer(AutoTokenizer.from_pretrained(self.model_dir, local_files_only=True), self.model_dir)
        level = logging.get_verbosity()
        logging.set_verbosity_error()  # ms-swift itself uses a name that transformers 5 complains of, torch_dtype
        try:
            precision = None if dtype == "auto" else getattr(torch, str(dtype).removeprefix("torch."))
            family = as_text(self.model_dir)["model_type"]
            with no_progress_bar():  # ms-swift says itself what it loads
                model, processor = swift.get_model_processor(
                    str(self.model_dir), model_type=family, torch_dtype=precision, device_map=device
                )
        finally:
            logging.set_verbosity(level)
        self.tokenizer, self.model = processor, model
        # With the type "dummy" ms-swift has no template of its own and takes the folder's.
        template = swift.get_template(processor, template_type="dummy")
        self.engine = swift.TransformersEngine(model, template=template)
        generate = template.generate

        def with_turn(model, *args, turn=None, **kwargs):  # without one, `self.engine` is used directly, as in lesson 4
            return turn.run(generate, model, *args, **kwargs) if turn else generate(model, *args, **kwargs)

        template.generate = with_turn
        self.context = self.engine.max_model_len
        # ms-swift's worker may still be inside PyTorch when Python ends, which aborts the program: let it come to rest.
        atexit.register(time.sleep, 0.3)

    def encode(self, messages, template) -> list[int]:
        """The prompt as the model reads it. ms-swift makes the same, but refuses to count one that is too long."""
        return encode_prompt(self.tokenizer, messages, template)

    def count(self, messages, template) -> int:
        return len(self.encode(messages, template))

    def opening(self, messages, template) -> str:
        return opening(self.tokenizer, self.encode(messages, template))

    def stream(self, messages, template, **generation) -> Generator[str, None, Reply]:
        """Yield the answer piece by piece, whenever ms-swift has something to show: at a space or a Han character.

        Returns a Reply. Closing the iterator ends ms-swift's thread at the next token. Raises ValueError for a setting
        that ms-swift does not have.
        """
        from swift import InferEngine, InferRequest

        turn, requests = Turn(self.tokenizer), [InferRequest(messages=messages, chat_template_kwargs=template)]
        config = request_config(generation)
        # What TransformersEngine.infer does with stream=True, and the hook that it does not pass on.
        (chunks,) = InferEngine.infer(self.engine, requests, config, pre_infer_hook=turn.enter)
        try:
            for chunk in chunks:  # noqa: B007, the last one is read below
                while turn.pieces:
                    yield turn.pieces.popleft()
            if turn.error:
                raise turn.error
            return Reply(chunk.choices[0].finish_reason, chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        finally:
            turn.stop()


class Turn:
    """One answer in ms-swift's thread: its exact text, a stop from outside, and the error that ended it."""

    def __init__(self, tokenizer):
        self.pieces = deque()  # filled in ms-swift's thread, emptied in the reader's
        self.text = Pieces(tokenizer, self.pieces.append)
        self.error, self.stopped = None, False
        self.started, self.ended = threading.Event(), threading.Event()

    def enter(self, kwargs: dict) -> dict:
        """The hook: what is in `inputs` reaches `generate`."""
        kwargs["inputs"]["turn"] = self
        return kwargs

    def put(self, ids) -> None:
        """Called by `generate`, as for any streamer, here with ms-swift's streamer behind it."""
        self.text.put(ids)
        self.streamer.put(ids)

    def end(self) -> None:
        self.streamer.end()

    def run(self, generate, model, *args, streamer, stopping_criteria, **kwargs):
        """Runs in ms-swift's thread, in place of `generate`."""
        from transformers import StoppingCriteriaList

        self.streamer = streamer
        self.started.set()
        try:
            criteria = StoppingCriteriaList([*stopping_criteria, stop_when(lambda: self.stopped)])
            return generate(model, *args, streamer=self, stopping_criteria=criteria, **kwargs)
        except Exception as error:  # handed to the reader by SwiftEngine.stream
            self.error = error
            streamer.end()  # else the reader waits for a token that never comes
        finally:
            self.ended.set()

    def stop(self) -> None:
        """End `generate` after the token that it is writing, and wait for that."""
        self.stopped = True
        if self.started.is_set():
            self.ended.wait()


def request_config(generation: dict):
    """ms-swift's settings for one streamed answer, from those of transformers' `generate`."""
    from swift import RequestConfig

    if unknown := set(generation) - set(SETTINGS) - {"do_sample"}:
        names = ", ".join(sorted(unknown))
        raise ValueError(
            _("ms-swift has no setting {names}: use the engine transformers, or leave it out.").format(names=names)
        )
    settings = {SETTINGS[name]: value for name, value in generation.items() if name in SETTINGS}
    if generation.get("do_sample") is False:
        settings["temperature"] = 0  # ms-swift's way to say greedy
    return RequestConfig(**settings, stream=True)
