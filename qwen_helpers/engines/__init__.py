"""What an engine of `Chat` is, and what several engines need. Each module here runs one library.

An engine turns messages into a stream of text. It has

- `stream(messages, template, **generation)`, a generator that yields the answer piece by piece and returns a `Reply`
  (`reply = yield from engine.stream(messages, {})`). `template` goes to the chat template, such as
  `{"enable_thinking": False}` to Qwen3's; `generation` holds `max_new_tokens`, `do_sample` and so on;
- `count(messages, template)`, the length of the prompt in tokens;
- `opening(messages, template)`, the `<think>` with which the prompt ends, or ""; None if only a server knows;
- `context`, the longest prompt and answer together, in tokens;
- `name`, `model_dir` and `model` (its `device` and `generation_config`), which the chat box shows.

It keeps no history: that is `chat.py`.
"""

import ctypes
import queue
import re
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reply:
    """What is known of a finished answer beside its text."""

    finish_reason: str  # "stop": the model, or what the reader set, ended it; "length": a limit of tokens cut it
    prompt_tokens: int
    completion_tokens: int  # the stop token included
    thoughts: str = ""  # what the model wrote before its answer; `Chat` tells them apart
    dropped_turns: int = 0  # oldest turns that the model did not see, because they no longer fitted; `Chat` counts them


def encode_prompt(tokenizer, messages, template) -> list[int]:
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


class Pieces:
    """A streamer for `generate`: calls `hand_over` with the text of each new token, special tokens left out.

    transformers' TextIteratorStreamer waits for a space before it shows a word; this one shows every token, and holds
    back only half characters.
    """

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


def stream_from_thread(generate: Callable[[Callable, Callable], object]) -> Generator[str, None, object]:
    """Yield what `generate(hand_over, stopped)` hands over while it runs in a thread; return what it returns.

    `generate` must ask `stopped()` after each token and end when it says True: that is how closing this generator,
    Ctrl-C or an error in the reader ends it. Each of them waits for the token that is being written, so that no thread
    is left. An error in `generate` is raised here, in the reader's thread.
    """
    handed_over, stop = queue.SimpleQueue(), threading.Event()

    def run() -> None:
        try:
            handed_over.put(("result", generate(lambda piece: handed_over.put(("piece", piece)), stop.is_set)))
        except BaseException as error:  # raised by the reader, below
            handed_over.put(("error", error))

    thread = threading.Thread(target=run, daemon=True)  # daemon: Python may end in mid-answer
    rest_openmp()
    thread.start()
    try:
        while True:
            kind, thing = handed_over.get()
            if kind == "error":
                raise thing
            if kind == "result":
                return thing
            yield thing
    finally:
        stop.set()
        thread.join()


def rest_openmp() -> None:
    """Let GNU OpenMP, with which PyTorch computes on Linux, end the workers of this thread, which is about to wait.

    They would count beside those of the thread that computes. Where both together are more than the cores, GNU OpenMP
    lets all of them sleep after every operation, and a model of 0.5B on two cores writes 0.8 times as fast. The call is
    OpenMP 5.0's own, section 3.2.44; the next operation in this thread starts its workers again. On Windows and macOS
    other OpenMP libraries keep one set of workers for all threads.
    """
    if not sys.platform.startswith("linux"):
        return
    for path in sorted(set(re.findall(r"(?m) (/.*/libgomp[^/\n]*)$", Path("/proc/self/maps").read_text()))):
        library = ctypes.CDLL(path)  # it is loaded already
        if hasattr(library, "omp_pause_resource_all"):  # GCC 9 and later
            library.omp_pause_resource_all(1)  # 1: omp_pause_soft, which keeps all settings
