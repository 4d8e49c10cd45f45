"""Chat: a conversation with history and streaming, over any engine.

`python -m qwen_helpers chat "question"` answers once; without a question it talks until an empty line.
"""

import sys
from collections.abc import Generator
from dataclasses import replace
from importlib.util import find_spec

from qwen_helpers.engines import Reply
from qwen_helpers.folders import TINY_CHAT, model_folder
from qwen_helpers.language import N_, _
from qwen_helpers.thoughts import tell_apart, without_thoughts

NO_TORCH = N_(
    "This Python has no PyTorch. In a lesson, choose Kernel > Change Kernel > Python 3 (ipykernel); "
    "in lesson 7 write Chat(engine=PaddleEngine(model_dir)), with PaddleEngine from "
    "qwen_helpers.engines.paddle."
)
ROLES = ("system", "user", "assistant", "tool")


class Chat:
    """A conversation with the model in `model_dir` (default: the one the lessons use).

    `history` is a list of messages, always whole turns: a question is added together with its answer, once that is
    finished. A turn that fails or is stopped leaves no trace. `reply` is the `Reply` to the last finished turn, if any.

    What a thinking model writes before its answer comes in pieces of its own, each a `Thought`. Together they are
    `reply.thoughts`, and they do not enter the history: templates leave them out of the next prompt, too. An answer
    that was cut before its thoughts had ended is none, and its turn does not enter the history either.

    A conversation that outgrows the model's context is sent without its oldest turns, whole turns only. The system
    prompt is always sent, `history` itself keeps every turn, and `reply.dropped_turns` says how many were left out.
    Room is kept for `max_new_tokens` of answer, or for a quarter of the context if that is less.

    >>> chat = Chat()
    >>> for piece in chat.stream("Hello!"):
    ...     print(piece, end="", flush=True)
    """

    def __init__(self, model_dir=None, system: str | None = None, engine=None, api_key=None, device=None, **generation):
        """`model_dir` may also be the address of a server, "http://127.0.0.1:8000/v1", with its `api_key`.
        `system` replaces the template's default system prompt. `device` is "cpu", "cuda" or "mps"; left out, the GPU is
        used where there is one. `generation` holds `max_new_tokens` (512 if left out), `do_sample` and all else that
        `generate` takes; what else is left out comes from the model's `generation_config.json`. Beside them,
        `enable_thinking`, True or False, asks the template for thoughts or for none; left out, the template decides.

        Raises ModelFolderError, in one sentence, if the folder can't be used, ServerError if the server can't, and
        ModuleNotFoundError without PyTorch.
        """
        if engine is None and str(model_dir).startswith(("http://", "https://")):
            from qwen_helpers.engines.server import ServerEngine

            engine = ServerEngine(model_dir, api_key)
        if engine is None:
            if find_spec("torch") is None:
                raise ModuleNotFoundError(_(NO_TORCH))
            from qwen_helpers.engines.transformers import TransformersEngine  # loads PyTorch

            engine = TransformersEngine(model_folder() if model_dir is None else model_dir, device=device)
        self.engine = engine
        self.system = system
        self.generation = {"max_new_tokens": 512, **generation}
        self.history: list[dict[str, str]] = []
        self.reply: Reply | None = None

    def reset(self) -> None:
        """Forget the conversation, keep the model and the system prompt."""
        self.history = []
        self.reply = None

    def ask(self, prompt: str, **generation) -> str:
        """The whole answer at once, without thoughts."""
        return returned(self.stream(prompt, **generation))

    def stream(self, prompt: str, **generation) -> Generator[str, None, str]:
        """Yield the answer in pieces, thoughts first. The turn enters `history` when the last piece has been taken.

        Raises ValueError, at the first piece, if the prompt is empty, does not fit into the model's context even alone,
        if `history` holds a role that no chat template knows, or the template refuses or ignores what it is asked.
        """
        turn = self._turn(prompt)
        answer = yield from self._answer([*self._system(), *self.history, turn], **generation)
        if self._whole(answer):
            self.history = [*self.history, turn, {"role": "assistant", "content": answer}]
        return answer

    def chat(self, query: str, history: list[tuple[str, str]] | None = None, **generation):
        """`(response, history)`, like `model.chat` of 2023: history is a list of (query, response), given and returned.

        It does not use or change `self.history`.
        """
        past = list(history or [])
        messages = []
        for question, answer in past:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        response = returned(self._answer([*self._system(), *messages, self._turn(query)], **generation))
        return response, [*past, (query, response)] if self._whole(response) else past

    def _whole(self, answer: str) -> bool:
        """Whether a turn has come of it: not if there are only thoughts, or if it was cut before the first letter."""
        return bool(answer) or not (self.reply.thoughts or self.reply.finish_reason == "length")

    def _system(self) -> list[dict[str, str]]:
        return [] if self.system is None else [{"role": "system", "content": self.system}]

    def _turn(self, prompt: str) -> dict[str, str]:
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(_('The prompt is empty: pass a question as text, such as chat.ask("Hello!").'))
        return {"role": "user", "content": prompt}

    def _answer(self, messages, **generation) -> Generator[str, None, str]:
        for message in messages:
            if message["role"] not in ROLES:
                raise ValueError(
                    _(
                        "The history holds a message with the role {role!r}: it must be one of {roles}, since "
                        "Qwen2.5's chat template leaves out any other without an error."
                    ).format(role=message["role"], roles=_(", ").join(ROLES))
                )
        settings, context = {**self.generation, **generation}, self.engine.context
        thinking = settings.pop("enable_thinking", None)
        if thinking is not None and not isinstance(thinking, bool):
            raise ValueError(
                _("enable_thinking is {thinking!r}: write True or False, or leave it out.").format(thinking=thinking)
            )
        template = {} if thinking is None else {"enable_thinking": thinking}
        room, dropped = min(settings["max_new_tokens"], context // 4), 0
        while (length := self._count(messages, template)) + room > context:
            first = 1 if messages[0]["role"] == "system" else 0
            turns = [place for place in range(first + 1, len(messages)) if messages[place]["role"] == "user"]
            if not turns:  # the new prompt is alone
                break
            messages, dropped = messages[:first] + messages[turns[0] :], dropped + 1
        if length >= context:
            raise ValueError(
                _(
                    "The prompt is {length} tokens long, but this model takes {most} at most: shorten the prompt."
                ).format(length=length, most=context - 1)
            )
        settings["max_new_tokens"] = min(settings["max_new_tokens"], context - length)
        begun = self.engine.opening(messages, template)
        if begun is not None and thinking is (not begun):
            self._insist(messages, thinking, length)
        pieces = self.engine.stream(messages, template, **settings)
        thoughts, answer, reply = yield from tell_apart(pieces, begun or "")
        self.reply = replace(reply, thoughts=thoughts, dropped_turns=dropped)
        return without_thoughts(answer) if begun is None and not thoughts else answer

    def _count(self, messages, template) -> int:
        from jinja2 import TemplateError

        try:
            return self.engine.count(messages, template)
        except TemplateError as error:  # such as Qwen3.5's for a second system message
            raise ValueError(
                _("The model's chat template refuses these messages: {error}").format(error=error)
            ) from error

    def _insist(self, messages, thinking: bool, length: int) -> None:
        """Raise ValueError if the template leaves `enable_thinking` out, as most do that don't know it: silently."""
        if self.engine.count(messages, {"enable_thinking": not thinking}) == length:
            if thinking:
                raise ValueError(
                    _("This model's chat template knows no thoughts: leave enable_thinking out, or take another model.")
                )
            raise ValueError(_("This model always thinks: leave enable_thinking out, or take another model."))


def returned(pieces: Generator[str, None, str]) -> str:
    """What a generator returns, after all its pieces."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def main(arguments: list[str]) -> None:
    chat, you = Chat(), _("You: ")
    name = "Tiny Qwen" if chat.engine.model_dir.parent == TINY_CHAT.parent else chat.engine.model_dir.name

    def show(question: str) -> None:
        print(f"{name}: ", end="", flush=True)
        try:
            for piece in chat.stream(question):
                print(piece, end="", flush=True)
        finally:
            print()

    if arguments:
        print(you + " ".join(arguments))
        show(" ".join(arguments))
        return
    print(_("Type a question, or an empty line to end."))
    print(you, end="", flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        show(line.strip())
        print(you, end="", flush=True)
