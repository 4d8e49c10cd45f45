"""One adapter per engine: each turns messages into a stream of text.

An engine has `stream(messages, **generation)`, which yields the answer piece by piece, `count(messages)`, the length of
the prompt in tokens, and `context`, the longest prompt and answer together. It keeps no history: that is `chat.py`.
"""

import threading
from collections.abc import Iterator

from qwen_helpers.folders import ModelFolderError, check_folder
from qwen_helpers.models import find_folder


class TransformersEngine:
    """A model folder in transformers: lesson 3's calls, and lesson 4's streamer with its thread."""

    name = "transformers"

    def __init__(self, model_dir, dtype="auto", device=None):
        """Load the model in `model_dir`, a folder or the id of a downloaded one.

        `dtype="auto"` keeps the precision of the files, bfloat16 for Qwen. `device` is "cpu", "cuda" or "mps"; left out, the GPU is used where there is one. Raises ModelFolderError if
        something is missing in the folder.
        """
        import torch  # here and not on top: `import qwen_helpers` stays quick
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        self.model_dir = check_folder(find_folder(model_dir))
        if sum(file.stat().st_size for file in self.model_dir.glob("*.safetensors")) < 1e8:
            disable_progress_bar()  # there is nothing to wait for
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir, local_files_only=True)
        self.model = AutoModelForCausalLM.from_pretrained(self.model_dir, dtype=dtype, local_files_only=True).to(device)
        # transformers 5 builds an empty tokenizer without a word if the folder has none that fits.
        if len(self.tokenizer) < 1000 or self.tokenizer.chat_template is None:
            raise ModelFolderError(
                f"The tokenizer in {self.model_dir} has {len(self.tokenizer)} tokens and "
                f"{'no' if self.tokenizer.chat_template is None else 'a'} chat template: download the folder again."
            )
        self.context = self.model.config.max_position_embeddings

    def encode(self, messages):
        """The prompt as the model reads it: a dict with `input_ids` and `attention_mask`, both of shape [1, tokens]."""
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )

    def count(self, messages) -> int:
        return self.encode(messages)["input_ids"].shape[1]

    def stream(self, messages, **generation) -> Iterator[str]:
        """Yield the answer while `generate` writes it in a thread.

        Closing the iterator early, or Ctrl-C, stops the thread at its next token. An error of the thread is raised here.
        """
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop, errors = threading.Event(), []

        def generate():
            try:
                self.model.generate(
                    **self.encode(messages).to(self.model.device),
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([lambda ids, scores, **_: stop.is_set()]),
                    **generation,
                )
            except BaseException as error:  # not swallowed: raised below, in the reader's own thread
                errors.append(error)
            finally:
                streamer.end()  # without it the loop below would wait for ever

        thread = threading.Thread(target=generate)
        thread.start()
        try:
            yield from filter(None, streamer)  # half a word or half a character comes as an empty piece
        finally:
            stop.set()
            thread.join()
        if errors:
            raise errors[0]
