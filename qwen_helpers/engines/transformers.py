"""A model folder in transformers, as an engine of `Chat`: lesson 3's calls, and lesson 4's streamer in a thread."""

import contextlib
from collections.abc import Generator

from qwen_helpers.engines import Pieces, Reply, finish_reason, stop_tokens, stream_from_thread
from qwen_helpers.folder_check import check_folder, check_tokenizer, weight_files
from qwen_helpers.folders import find_folder
from qwen_helpers.thoughts import opening


class TransformersEngine:
    """A Qwen model that transformers runs."""

    name = "transformers"

    def __init__(self, model_dir, dtype="auto", device=None):
        """Load the model in `model_dir`, a folder or the id of a downloaded model.

        `dtype="auto"` keeps the precision of the files, bfloat16 for Qwen. `device` is "cpu", "cuda" or "mps"; left
        out, the GPU is used where there is one. Raises ModelFolderError if something is missing in the folder.
        """
        import torch  # here and not on top: `import qwen_helpers` stays quick
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model_dir = check_folder(find_folder(model_dir))
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        small = sum(file.stat().st_size for file in weight_files(self.model_dir)) < 1e8
        with no_progress_bar() if small else contextlib.nullcontext():  # there is nothing to wait for
            self.tokenizer = AutoTokenizer.from_pretrained(self.model_dir, local_files_only=True)
            check_tokenizer(self.tokenizer, self.model_dir)
            model = AutoModelForCausalLM.from_pretrained(self.model_dir, dtype=dtype, local_files_only=True)
        # The small models of Qwen3.5 come without generation_config.json. Their config.json names the end of a text,
        # and only the tokenizer the end of a message: without it an answer goes on for two tokens that nobody sees.
        stops, end = model.generation_config.eos_token_id, self.tokenizer.eos_token_id
        stops = [] if stops is None else stop_tokens(stops)
        model.generation_config.eos_token_id = stops if end in stops else [end, *stops]
        self.model = model.to(device)
        self.context = self.model.config.max_position_embeddings
        self.last = None  # the prompt that was encoded last: Chat counts it, then streams it

    def encode(self, messages, template) -> dict:
        """The prompt as the model reads it: a dict with `input_ids` and `attention_mask`, both of shape [1, tokens]."""
        key, last = repr((messages, template)), self.last  # a second chat box may change self.last at any moment
        if last is None or last[0] != key:
            inputs = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, return_tensors="pt", **template
            )
            last = self.last = key, inputs
        return dict(last[1])

    def count(self, messages, template) -> int:
        return self.encode(messages, template)["input_ids"].shape[1]

    def opening(self, messages, template) -> str:
        return opening(self.tokenizer, self.encode(messages, template)["input_ids"][0].tolist())

    def stream(self, messages, template, **generation) -> Generator[str, None, Reply]:
        """Yield the answer piece by piece, a token at a time; half characters wait for the other half. Return a Reply.

        Closing the iterator ends `generate` after the token that it is writing. With a model of 0.5B this writes as
        fast as a bare `generate`: `python -m qwen_helpers measure overhead --shape 0.5b`.
        """
        from transformers import StoppingCriteriaList

        inputs = {name: tensor.to(self.model.device) for name, tensor in self.encode(messages, template).items()}
        own = generation.pop("stopping_criteria", [])

        def generate(hand_over, stopped):
            return self.model.generate(
                **inputs, **generation, streamer=Pieces(self.tokenizer, hand_over),
                stopping_criteria=StoppingCriteriaList([*own, stop_when(stopped)]),
            )  # fmt: skip

        output = yield from stream_from_thread(generate)
        tokens, prompt_tokens = output[0], inputs["input_ids"].shape[1]
        stops = generation.get("eos_token_id", self.model.generation_config.eos_token_id)
        count = len(tokens) - prompt_tokens
        reason = finish_reason(tokens[-1].item(), stops)
        if own and count < generation.get("max_new_tokens", count):  # a criterion of the reader's has ended it
            reason = "stop"
        return Reply(reason, prompt_tokens, count)


def stop_when(stopped):
    """A stopping criterion: `generate` asks it after each token, and ends when `stopped()` is True."""
    import torch

    def criterion(ids, scores, **_):  # ids of shape [1, tokens]; the answer of shape [1], one for each answer
        return torch.full((len(ids),), stopped(), device=ids.device, dtype=torch.bool)

    return criterion


@contextlib.contextmanager
def no_progress_bar():
    """Switch transformers' progress bars off for a while, and then back to what they were."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
