"""The engine behind a class's server, as the gateway asks it: llama.cpp's server or vLLM."""

import contextlib
import json

import httpx

from qwen_helpers.labs.question import Question
from qwen_helpers.language import _

ANSWER_S = 120  # seconds for an answer to be written


class Refusal(Exception):
    """A status and the sentence that goes with it."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status, self.text = status, text

    def body(self) -> dict:
        return {"error": {"message": self.text, "type": "invalid_request_error", "code": self.status}}


class Engine:
    """llama.cpp's server or vLLM at `url` (without /v1)."""

    def __init__(self, url: str, key: str, model: str):
        limits = httpx.Limits(max_keepalive_connections=0)  # a connection that is closed tells the engine to stop
        self.http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=ANSWER_S, limits=limits, trust_env=False
        )
        self.model, self.penalty = model, "repetition_penalty"

    async def count(self, question: Question) -> int:
        """Tokens of the prompt, template included, as this engine counts them."""
        asked = question.prompt()
        if self.penalty == "repetition_penalty":  # vLLM counts messages in one step
            return (await self._post("/tokenize", {"model": self.model, **asked}))["count"]
        prompt = (await self._post("/apply-template", asked))["prompt"]
        return len((await self._post("/tokenize", {"content": prompt, "parse_special": True}))["tokens"])

    async def _post(self, path: str, body: dict) -> dict:
        with reached():
            answer = await self.http.post(path, json=body)
        if answer.is_error:
            raise Refusal(
                400, _("The model's chat template refuses these messages: {why}").format(why=said(answer.content))
            )
        return answer.json()

    async def lines(self, question: Question):
        """The answer: JSON objects, one for each piece of a stream, or a single one."""
        body = {**question.settings(self.penalty), "model": self.model}
        with reached():
            async with self.http.stream("POST", "/v1/chat/completions", json=body) as answer:
                if answer.is_error:
                    raise Refusal(400, _("The engine refuses: {why}").format(why=said(await answer.aread())))
                if not question.stream:
                    yield json.loads(await answer.aread())
                    return
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        piece = json.loads(line[6:])
                        if "error" in piece:
                            raise Refusal(500, _("The engine stopped this answer: {why}").format(why=said(line[6:])))
                        yield piece


@contextlib.contextmanager
def reached():
    """Raise a Refusal if the engine does not answer."""
    try:
        yield
    except httpx.HTTPError as error:
        raise Refusal(
            500, _("The engine does not answer ({kind}): tell your teacher.").format(kind=type(error).__name__)
        ) from error


def said(answer) -> str:
    """The sentence in an engine's error."""
    try:
        error = json.loads(answer)
        return str(error.get("error", error).get("message", error))[:300]
    except (ValueError, AttributeError):
        return _("it gives no reason")
