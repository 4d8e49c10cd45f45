"""An OpenAI-compatible server as an engine of `Chat`: `Chat("http://127.0.0.1:8000/v1", api_key="...")`.

It works with `labs/serve.py`, vLLM, Ollama, `transformers serve` and others. The model, its tokenizer and its limits
are on the other side, so the server counts the tokens, and says no to a conversation that has become too long.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePosixPath
from types import SimpleNamespace
from urllib.parse import urlsplit

from qwen_helpers.engines import Reply
from qwen_helpers.language import N_, _
from qwen_helpers.thoughts import CLOSE, OPEN

OPENAI = {
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
}  # transformers' name: OpenAI's
MORE = {name: name for name in ("top_k", "repetition_penalty", "min_p")}  # most servers know them, OpenAI's does not
NOT_THERE = N_("The server at {url} does not answer: start it, or check the address and the port.")
BROKE_OFF = N_("The server at {url} broke off in the middle of the answer: ask again.")
PATIENCE = 60  # seconds without a new piece; the first one may have to wait for forty others


class ServerError(RuntimeError):
    """The server is not there, refuses, or has gone in the middle of an answer; in one sentence."""


class ServerEngine:
    """A model that another program serves."""

    name = "server"
    context = sys.maxsize  # only the server knows it
    more = MORE  # transformers' name: the server's

    def __init__(self, url: str, api_key: str | None = None, model: str | None = None, timeout: float = PATIENCE):
        """Connect to `url`, which ends in /v1 for most servers, and take its model, the first one if there are several.

        `timeout` is in seconds without a sign of life. An address of this computer is asked directly, whatever proxy
        the environment names. Raises ServerError if nothing answers or there is no such model.
        """
        import httpx
        import openai

        host = urlsplit(url).hostname
        wait = httpx.Timeout(timeout, connect=5)
        fresh = httpx.Limits(max_keepalive_connections=0)  # a connection from before may have been closed meanwhile
        self.url, self.host = url, host
        self.client = openai.OpenAI(
            base_url=url,
            api_key=api_key or "none",  # the client wants one, some servers do not
            max_retries=0,  # a question that failed is told to the reader, not asked again in silence
            http_client=httpx.Client(timeout=wait, limits=fresh, trust_env=not on_this_computer(url)),
        )
        try:
            with in_one_sentence(self.url):
                served = [found.id for found in self.client.models.list()]
        except ServerError as error:  # `transformers serve` fails here on a computer that has no cache of the Hub
            if not model or not isinstance(error.__cause__, openai.InternalServerError):
                raise
            served = []
        if not model and not served:  # as `transformers serve` with a folder
            raise ServerError(
                _('The server at {url} names no model: use Chat(engine=ServerEngine(url, model="...")).').format(
                    url=url
                )
            )
        if model and served and model not in served:
            raise ServerError(
                _("The server at {url} offers {served}, and not {model!r}: choose one of these.").format(
                    url=url, served=served, model=model
                )
            )
        self.model_id = model or served[0]
        self.model_dir = PurePosixPath(self.model_id)  # for the chat box, as the next line
        self.model = SimpleNamespace(device=host, generation_config=SimpleNamespace(do_sample=True, temperature=1.0))

    def count(self, messages, template) -> int:
        """0: the server counts, and says so if it is too much."""
        return 0

    def opening(self, messages, template) -> None:
        """None: only the server knows how its prompt ends."""

    def stream(self, messages, template, **generation) -> Generator[str, None, Reply]:
        """Yield the answer as the server sends it. Return a Reply with the server's counts (0 if it sends none).

        Thoughts that the server sends apart, in `reasoning_content` or, as newer versions of vLLM do, in `reasoning`,
        stand between `<think>` and `</think>`, as with other engines.

        Closing the iterator closes the connection. Raises ServerError, also in the middle of an answer, and ValueError
        for a setting that the API does not have.
        """
        greedy = generation.pop("do_sample", None) is False
        if unknown := set(generation) - set(OPENAI) - set(self.more):
            names = ", ".join(sorted(unknown))
            raise ValueError(_("A server has no setting {names}: leave it out.").format(names=names))
        settings = {OPENAI[name]: value for name, value in generation.items() if name in OPENAI}
        if greedy:
            settings["temperature"] = 0
        more = {self.more[name]: value for name, value in generation.items() if name in self.more}
        if template:
            more["chat_template_kwargs"] = template
        reason, usage, thinking, answered = None, None, False, False
        with in_one_sentence(self.url):
            chunks = self.client.chat.completions.create(
                model=self.model_id, messages=messages, stream=True, stream_options={"include_usage": True},
                extra_body=more, **settings,
            )  # fmt: skip
        with in_one_sentence(self.url, BROKE_OFF), chunks:
            for chunk in chunks:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    reason = choice.finish_reason or reason
                    delta = choice.delta
                    thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
                    if thought and not answered:  # a later one is no part of the answer
                        thought = thought.replace(CLOSE, "")
                        yield thought if thinking else OPEN + thought
                        thinking = True
                    if delta.content:
                        yield CLOSE + delta.content if thinking else delta.content
                        thinking, answered = False, answered or bool(delta.content.strip())
        if reason is None:  # some servers end the stream without a word when something fails
            raise ServerError(_(BROKE_OFF).format(url=self.url))
        return Reply(reason, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0)


def on_this_computer(url: str) -> bool:
    """Whether a proxy that the environment names must be kept out of the way."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


@contextmanager
def in_one_sentence(url: str, no_connection: str = NOT_THERE):
    """Turn what `openai` and `httpx` raise into one sentence that says what to do."""
    import httpx
    import openai

    try:
        yield
    except (openai.APITimeoutError, httpx.TimeoutException) as error:
        raise ServerError(
            _("The server at {url} was silent for too long: it is busy or stuck. Ask again later.").format(url=url)
        ) from error
    except (openai.APIConnectionError, httpx.TransportError) as error:
        raise ServerError(_(no_connection).format(url=url)) from error
    except openai.APIStatusError as error:
        said = error.body.get("message", error.message) if isinstance(error.body, dict) else error.message
        if error.status_code in (401, 403) or "api key" in str(said).lower():
            raise ServerError(
                _('The server at {url} does not accept the key: pass its own, api_key="sk-...".').format(url=url)
            ) from error
        if error.status_code in (407, 502, 503, 504):
            raise ServerError(
                _(
                    "Between you and {url} a proxy answers ({status}): add the server's address to the "
                    "environment variable NO_PROXY, then start Python again."
                ).format(url=url, status=error.status_code)
            ) from error
        raise ServerError(_("The server at {url} refuses: {said}").format(url=url, said=said)) from error
    except openai.APIError as error:  # told in the middle of an answer
        raise ServerError(
            _("The server at {url} stops this answer: {why}").format(url=url, why=error.message)
        ) from error
