"""One adapter per engine: each turns messages into a stream of text.

An engine has `stream(messages, **generation)`, a generator that yields the answer piece by piece and returns a `Finish`
(`finish = yield from engine.stream(messages)`), `count(messages)`, the length of the prompt in tokens, and `context`,
the longest prompt and answer together. It keeps no history: that is `chat.py`.
"""

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

from qwen_helpers.folders import ModelFolderError, check_folder
from qwen_helpers.models import find_folder


@dataclass(frozen=True)
class Finish:
    """How an answer ended: "stop", by a stop token, or "length", cut by a limit; and how many tokens were counted."""

    reason: str
    prompt_tokens: int
    completion_tokens: int  # the stop token included


class TransformersEngine:
    """A model folder in transformers: lesson 3's calls, and lesson 4's streamer with its thread."""

    name = "transformers"

    def __init__(self, model_dir, dtype="auto", device=None):
        """Load the model in `model_dir`, a folder or the id of a downloaded model.

        `dtype="auto"` keeps the precision of the files, bfloat16 for Qwen. `device` is "cpu", "cuda" or "mps"; left
        out, the GPU is used where there is one. Raises ModelFolderError if something is missing in the folder.
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
        check_tokenizer(self.tokenizer, self.model_dir)
        self.context = self.model.config.max_position_embeddings
        self.last = None  # the prompt that was encoded last: Chat counts it, then streams it

    def encode(self, messages, **template):
        """The prompt as the model reads it: a dict with `input_ids` and `attention_mask`, both of shape [1, tokens].

        `template` goes to the chat template, such as `enable_thinking=False` to Qwen3's; others ignore it silently.
        """
        key, last = repr((messages, template)), self.last  # a second chat box may change self.last at any moment
        if last is None or last[0] != key:
            inputs = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, return_tensors="pt", **template
            )
            last = self.last = key, inputs
        return dict(last[1])

    def count(self, messages, **template) -> int:
        return self.encode(messages, **template)["input_ids"].shape[1]

    def stream(self, messages, **generation) -> Generator[str, None, Finish]:
        """Yield the answer piece by piece, a token at a time; half characters wait for the other half. Return a Finish.

        `enable_thinking` goes to the chat template, everything else to `generate`.

        `generate` runs in a greenlet, which hands each piece over and sleeps until the next one is wanted. The usual
        thread (lesson 4) would fight with PyTorch's own threads for the processor: on two cores the tiny model wrote
        0.5 to 0.95 times as fast. Closing the iterator ends `generate` at once; errors and Ctrl-C pass through.
        """
        import torch

        template = take_template(generation)
        inputs = {name: tensor.to(self.model.device) for name, tensor in self.encode(messages, **template).items()}

        def generate(hand_over):
            return self.model.generate(**inputs, **generation, streamer=Pieces(self.tokenizer, hand_over))

        # generate switches gradients off for itself, not for the reader of the pieces
        output = yield from paused(generate, partial(torch.set_grad_enabled, torch.is_grad_enabled()))
        tokens, prompt_tokens = output[0], inputs["input_ids"].shape[1]
        stops = generation.get("eos_token_id", self.model.generation_config.eos_token_id)
        return Finish(finish_reason(tokens[-1].item(), stops), prompt_tokens, len(tokens) - prompt_tokens)


def take_template(generation: dict) -> dict:
    """Take what belongs to the chat template out of `generation`, which `generate` then gets without it."""
    return {name: generation.pop(name) for name in ("enable_thinking",) if name in generation}


def encode_prompt(tokenizer, messages, **template) -> list[int]:
    """The prompt as the model reads it, for engines that take plain ids."""
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, **template)[
        "input_ids"
    ]


def stop_tokens(ids: int | list[int]) -> list[int]:
    """`eos_token_id` as a list: some models have one stop token, Qwen's instruct models two."""
    return ids if isinstance(ids, list) else [ids]


def finish_reason(last_token: int, stops: int | list[int]) -> str:
    """Why an answer with this last token ended: "stop", or "length" if it was cut."""
    return "stop" if last_token in stop_tokens(stops) else "length"


def paused(generate, own_gradients) -> Generator:
    """Yield what `generate(hand_over)` hands over, one thing at a time; return what it returns.

    It runs in a greenlet, a function that can pause: it sleeps from one `hand_over` until the next thing is asked for.
    Closing the iterator ends it at once. `own_gradients()` is a context with the reader's own setting of gradients.
    """
    from greenlet import getcurrent, greenlet

    def hand_over(thing) -> None:
        with own_gradients():
            worker.parent.switch(thing)

    worker = greenlet(lambda: generate(hand_over))
    try:
        while True:
            worker.parent = getcurrent()  # whoever asks for a piece gets it
            handed_over = worker.switch()
            if worker.dead:  # then it is what generate returned
                return handed_over
            yield handed_over
    finally:
        if not worker.dead:  # it sleeps in the middle of an answer that nobody reads on
            worker.throw()


class Pieces:
    """A streamer for `generate`: calls `hand_over` with the text of each new token, special tokens left out."""

    def __init__(self, tokenizer, hand_over, in_prompt: bool = True):
        """`in_prompt=False` is for libraries that send only the answer, and not the prompt before it."""
        from tokenizers.decoders import DecodeStream

        self.decode = DecodeStream(skip_special_tokens=True)
        self.tokenizer, self.hand_over, self.in_prompt = tokenizer.backend_tokenizer, hand_over, in_prompt

    def put(self, ids) -> None:
        """Called by `generate` with a tensor of token ids: first the prompt, then one token at a time."""
        if self.in_prompt:
            self.in_prompt = False
        elif piece := self.decode.step(self.tokenizer, ids.item()):
            self.hand_over(piece)

    def end(self) -> None:
        """Called by `generate` after the last token. A half character at the end has no other half: it is dropped."""


def check_tokenizer(tokenizer, model_dir) -> None:
    """Raise ModelFolderError for a tokenizer without vocabulary, which transformers 5 builds without a word."""
    if len(tokenizer) < 1000 or tokenizer.chat_template is None:
        raise ModelFolderError(
            f"The tokenizer in {model_dir} has {len(tokenizer)} tokens and "
            f"{'no' if tokenizer.chat_template is None else 'a'} chat template: download the folder again."
        )
