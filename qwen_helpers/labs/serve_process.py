"""`swift deploy` for a class: `python -m qwen_helpers.labs.serve_process` takes its options and is the same server.

It adds what ms-swift 4.6 leaves open when forty people share one model: the key comes from QWEN_SERVER_KEY and stands
in no log and no list of processes; a request that would take everybody's turn is refused with one sentence; an error in
the middle of an answer ends that answer instead of the server; and a thought begins with its mark, whoever has opened
it. `serve.py` starts it.
"""

import os
import threading
from http import HTTPStatus

import psutil
import swift.arguments.deploy_args
from swift.infer_engine.utils import InferStreamer, TokensIteratorStreamer
from swift.pipelines.infer.deploy import SwiftDeploy

from qwen_helpers.thoughts import opening

MAX_TOKENS = int(os.environ.get("QWEN_SERVER_MAX_TOKENS", 512))  # of one answer
MAX_PROMPT = int(os.environ.get("QWEN_SERVER_MAX_PROMPT", 2048))  # tokens of all messages together
MAX_BODY = 1_000_000  # bytes of one request
# What `generate` accepts: an error in it would end the answers of all who are in the same batch.
RANGES = {"temperature": (0, 2), "top_p": (0.01, 1), "top_k": (-1, 1000), "repetition_penalty": (0.5, 2)}
RANGES |= {"n": (1, 1), "num_beams": (1, 1), "max_tokens": (1, MAX_TOKENS)}


class Classroom(SwiftDeploy):
    """ms-swift's server with limits."""

    def __init__(self, args=None):
        # ms-swift takes the next free port without a word, even if the port was only left a minute ago.
        swift.arguments.deploy_args.find_free_port = lambda port: port
        InferStreamer._align_blank_suffix = exact_lines
        TokensIteratorStreamer.__next__ = next_or_raise
        super().__init__(args)
        context = self.infer_engine.max_model_len  # prompt and answer share it
        self.most = min(MAX_PROMPT, max(context - MAX_TOKENS, context // 2))
        template = self.infer_engine.template
        generate = template.generate

        def generate_or_tell(*args, streamer=None, **kwargs):
            try:
                return generate(*args, streamer=streamer, **kwargs)
            except Exception as error:  # its thread logs it; without this the server waits for the next token for ever
                if streamer is not None:
                    streamer.queue.put(error)
                raise

        template.generate = generate_or_tell

    def _install_auth_middleware(self):
        """Called by SwiftDeploy after it has written all its options into the log: the key is not among them."""
        self.args.api_key = self.args.api_key or os.environ.get("QWEN_SERVER_KEY")
        super()._install_auth_middleware()

        @self.app.middleware("http")
        async def size(request, call_next):
            length = request.headers.get("content-length", "0" if request.method == "GET" else "")
            if not length.isdigit() or int(length) > MAX_BODY:
                text = f"The request is larger than {MAX_BODY // 1000} kB, or does not say how large it is."
                return self.create_error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            return await call_next(request)

    async def create_chat_completion(self, request, raw_request, *, return_cmpl_response: bool = False):
        if request.max_tokens is None:
            request.max_tokens = MAX_TOKENS  # ms-swift's own default is all that is left of the context
        # Nothing else of the template is a student's to change: with a template of his own he stops the server.
        wish = request.chat_template_kwargs.get("enable_thinking")
        request.chat_template_kwargs = {"enable_thinking": wish} if isinstance(wish, bool) else {}
        reason = self.refusal(request)
        if reason:
            return self.create_error_response(HTTPStatus.BAD_REQUEST, reason)
        # A thought that the prompt has opened: with its mark in front, who asks can tell it from the answer.
        begun = opening(self.infer_engine.tokenizer, self.prompt(request))
        request.chat_template_kwargs = {**request.chat_template_kwargs, "response_prefix": begun}
        return await super().create_chat_completion(request, raw_request, return_cmpl_response=return_cmpl_response)

    # FastAPI reads the types of the arguments from here.
    create_chat_completion.__annotations__ = SwiftDeploy.create_chat_completion.__annotations__

    async def infer_handler(self):
        return self.create_error_response(HTTPStatus.NOT_FOUND, "This server offers /v1/chat/completions only.")

    def refusal(self, request) -> str | None:
        """Why this request is not for a shared server, in one sentence; None if it is."""
        for name, (low, high) in RANGES.items():
            value = getattr(request, name)
            if value is not None and not low <= value <= high:
                wish = f"{name}={high}" if low == high else f"{name} from {low} to {high}"
                return f"You asked for {name}={value}, and this server takes {wish}: ask again with that."
        contents = [message.get("content") for message in request.messages]
        media = request.images or request.audios or request.videos
        if media or not contents or not all(isinstance(text, str) for text in contents):
            return "This server takes text only: each message needs a role and a content that is text."
        # The tokenizer needs a second for a million characters, in which nobody else is heard.
        long = sum(map(len, contents)) > 16 * self.most
        try:
            count = None if long else len(self.prompt(request))
        except Exception as error:  # jinja2's, raised by the template or by a message that it did not expect
            return f"The model's chat template refuses these messages: {error}"
        if long or count > self.most:
            size = "far too long" if long else f"{count} tokens long"
            return f"Your messages are {size}; this server takes {self.most} tokens: shorten them or start a new chat."
        return None

    def prompt(self, request) -> list[int]:
        """The prompt, template included."""
        return self.infer_engine.tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_dict=True, **request.chat_template_kwargs
        )["input_ids"]


def exact_lines(self, response: str) -> str:
    """ms-swift evens out the spaces at the start of a streamed line, which some tokenizers need, and so takes away the
    indentation of code. Qwen's byte-level tokenizer gives the exact text."""
    return response


def next_or_raise(self):
    """The next tokens from the thread that runs `generate`, or its error."""
    value = self.queue.get()
    if value is None:
        raise StopIteration
    if isinstance(value, Exception):
        raise value
    return value


def end_with(process: psutil.Process) -> None:
    """End this server as soon as `process` has ended, a notebook's kernel for instance, however that ended."""
    process.wait()
    os._exit(0)


def main() -> None:
    parent = os.environ.get("QWEN_SERVER_PARENT")
    if parent:
        threading.Thread(target=end_with, args=(psutil.Process(int(parent)),), daemon=True).start()
    Classroom().main()


if __name__ == "__main__":
    main()
