"""What a question to a class's server may say: OpenAI's fields that are listed here, each with its range, and no other.

pydantic checks it. What an engine would take besides can stop it for everybody: a template of one's own, a path, a
grammar, a penalty of zero.
"""

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qwen_helpers.language import N_, _

MAX_TOKENS = int(os.environ.get("QWEN_SERVER_MAX_TOKENS", 512))  # of one answer
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=1000)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Function(Strict):
    name: Name
    arguments: Annotated[str, Field(max_length=10_000)]  # JSON


class Call(Strict):
    id: Name
    type: Literal["function"] = "function"
    function: Function


class Message(Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[Call], Field(max_length=8)] | None = None
    tool_call_id: Name | None = None


class Parameter(Strict):
    type: Literal["string", "integer", "number", "boolean"]
    description: Text = ""
    enum: Annotated[list[Name], Field(min_length=1, max_length=20)] | None = None


class Parameters(Strict):
    type: Literal["object"]
    properties: Annotated[dict[Name, Parameter], Field(max_length=20)] = {}
    required: Annotated[list[Name], Field(max_length=20)] = []


class Described(Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Text = ""
    parameters: Parameters


class Tool(Strict):
    type: Literal["function"]
    function: Described


class StreamOptions(Strict):
    include_usage: bool = False


class Thinking(Strict):
    enable_thinking: bool | None = None


class Question(Strict):
    """One question. None: as the engine and the model have it."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0.01, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.5, le=2)] | None = None
    stop: Name | Annotated[list[Name], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: Annotated[list[Tool], Field(max_length=8)] | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: Thinking | None = None  # where vLLM, llama.cpp and Qwen's own pages put enable_thinking

    def prompt(self) -> dict:
        """The fields that make the prompt."""
        fields = self.model_dump(include={"messages", "tools"}, exclude_none=True)
        wish = self.enable_thinking
        if wish is None and self.chat_template_kwargs:
            wish = self.chat_template_kwargs.enable_thinking
        return fields | ({} if wish is None else {"chat_template_kwargs": {"enable_thinking": wish}})

    def settings(self, penalty: str) -> dict:
        """All fields for an engine that calls `repetition_penalty` `penalty`; it is asked to count tokens, too."""
        fields = self.model_dump(include={"temperature", "top_p", "top_k", "stop", "stream"}, exclude_none=True)
        fields |= self.prompt() | {"max_tokens": self.max_tokens or MAX_TOKENS}
        if self.repetition_penalty is not None:
            fields[penalty] = self.repetition_penalty
        return fields | ({"stream_options": {"include_usage": True}} if self.stream else {})

    def characters(self) -> int:
        return sum(len(message.content or "") + len(message.reasoning_content or "") for message in self.messages)


class Checked(Strict):
    """What `check` said about one exercise."""

    exercise: Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]$")]
    passed: bool


class Switch(Strict):
    """What the teacher wants: the class paused or not, one student dropped or not."""

    paused: bool | None = None
    student: str | None = None
    dropped: bool = True


LIMITS = {  # pydantic's own words, which it has in English only
    "less_than_equal": N_("it should be less than or equal to {le}"),
    "greater_than_equal": N_("it should be greater than or equal to {ge}"),
}


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong, and what to do about it."""
    first = error.errors(include_url=False)[0]
    where, kind = ".".join(str(part) for part in first["loc"]), first["type"]
    if kind == "json_invalid":
        return _("Your request is not JSON as it should be: {error}.").format(error=first["ctx"]["error"])
    if kind == "extra_forbidden":
        return _("This server takes no {name!r}: leave it out.").format(name=where[:80])
    if kind == "missing":
        return _("Your request has no {name!r}: add it.").format(name=where)
    if where.startswith("messages") and where.endswith("content"):
        return _("This server takes text only: each message needs a role and a content that is text.")
    got = "" if isinstance(first["input"], dict | list) else _(" and not {value!r:.60}").format(value=first["input"])
    name = where[:80] or _("The request")
    wrong = _(LIMITS.get(kind, "")).format(**first.get("ctx", {})) or first["msg"].replace("Input should", "it should")
    return _("{name}: {wrong}{got}.").format(name=name, wrong=wrong, got=got)
