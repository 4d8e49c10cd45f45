"""The chat box: `ChatBox(chat)` at the end of a cell shows a conversation with buttons, in JupyterLab and Notebook.

It knows nothing of models: it asks a `Chat` in a thread, so that the kernel stays free to hear the stop button, and
shows the pieces. Where widgets are not drawn, the conversation appears as plain text.
"""

import html
import json
import re
import threading
import time
from base64 import b64encode

import ipywidgets as widgets
import mistune

from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.language import N_, _
from qwen_helpers.thoughts import Thought

COLOURS = {"user": "#d3e8fd", "assistant": "#f4f4f4"}  # as in the X-ray of lesson 3
OTHER = "#e8def8"  # a system prompt, or a tool's result, in a history that was set by hand
markdown = mistune.create_markdown(escape=True, plugins=["table"])  # escape: HTML in an answer is shown, not obeyed
FULL = {"description_width": "initial"}  # or "Temperature" would be cut
STOPPED = N_("Stopped: this turn is not in the history.")
NO_ANSWER = N_("Only thoughts, no answer: this turn is not in the history")
NO_QUESTION = N_("Type a question first.")
# How Qwen's tokenizers write the tokens that steer a model: <|...|> for turns and pictures; thoughts, tools, speech.
MARKER = re.compile(r"<(?=\|\w+\|>|/?(think|tool_call|tool_response|tts_\w+)>)")


class ChatBox(widgets.VBox):
    """A chat box over `chat`, a `Chat` with any engine (default: the lessons' model).

    The history is the chat's own, `box.chat.history`: whole turns only. `box.ask(...)` does what the send button does;
    `box.thread.join()` waits for the answer. Several boxes may share one engine, each with a `Chat` of its own.
    """

    def __init__(self, chat=None):
        if chat is None:
            from qwen_helpers.chat import Chat

            chat = Chat()
        self.chat, self.question, self.thread, self.stopping = chat, "", None, False
        self.thoughts: dict[tuple[int, str], str] = {}  # of an answer, by its place in the history and its text
        engine = chat.engine
        self.name = ("tiny " if engine.model_dir.parent == TINY_CHAT.parent else "") + engine.model_dir.name
        title = f"<b>{html.escape(self.name)}</b> · {engine.name} · {engine.model.device}"
        # column-reverse keeps the newest line in view while it grows, as long as the box inside it does not scroll too
        self.messages = widgets.VBox(layout=widgets.Layout(overflow="visible", flex="0 0 auto"))
        flow = widgets.Layout(max_height="32em", overflow="auto", flex_flow="column-reverse", display="flex")
        hint, wide = _("Ask something, then press Enter"), widgets.Layout(width="100%")
        self.entry = widgets.Textarea(placeholder=hint, rows=2, layout=wide)
        self.entry.observe(self._typed, "value")
        clicks = {
            N_("Send"): self._send, N_("Stop"): self.stop, N_("Retry"): self.retry, N_("Undo"): self.undo,
            N_("Clear"): self.clear,
        }  # fmt: skip
        self.buttons = {name: widgets.Button(description=_(name)) for name in clicks}
        for name, button in self.buttons.items():
            button.layout = widgets.Layout(width="5em", flex="0 0 auto")
            button.on_click(lambda button, click=clicks[name]: click())
        self.status, self.download = widgets.HTML(), widgets.HTML()
        self.system = widgets.Text(
            description=_("System:"), value=chat.system or "", layout=widgets.Layout(width="99%")
        )
        config, given = engine.model.generation_config, chat.generation
        warm = given.get("do_sample", config.do_sample)
        temperature = given.get("temperature", config.temperature or 1.0) if warm else 0.0
        self.temperature = widgets.FloatSlider(
            description=_("Temperature:"), value=temperature, max=2.0, step=0.1, readout_format=".1f", style=FULL
        )
        self.length = widgets.IntSlider(
            description=_("Max tokens:"),
            value=given["max_new_tokens"],
            min=8,
            max=max(2048, given["max_new_tokens"]),
            style=FULL,
        )
        self._busy(False)
        self._draw()
        super().__init__([
            widgets.HTML(title), widgets.Box([self.messages], layout=flow), self.status,
            widgets.HBox([self.entry, *self.buttons.values()]), self.system,
            widgets.HBox([self.temperature, self.length, self.download]),
        ])  # fmt: skip

    def ask(self, question: str) -> None:
        """Start to answer `question`. While an answer is being written, or without a question, nothing happens."""
        if self.buttons["Send"].disabled:
            return
        if question.strip():
            self._start(harmless(question), self.chat.history)
        else:
            self.status.value = _(NO_QUESTION)

    def _start(self, question: str, kept: list) -> None:
        """`kept` is the history to go back to if no turn comes of it."""
        self.question, self.kept, self.stopping = question, kept, False
        self._busy(True)
        self.thread = threading.Thread(target=self._answer, daemon=True)  # daemon: a kernel may end in mid-answer
        self.thread.start()

    def stop(self) -> None:
        """End the answer after the token that is being written, the first one at the earliest. What was shown stays."""
        self.stopping = True

    def retry(self) -> None:
        """Ask the last question again, in place of its turn if that was finished."""
        if self.buttons["Send"].disabled or not self.question:
            return
        kept = self.chat.history
        asked = [message["content"] for message in kept[-2:-1]]
        if asked == [self.question]:
            self.chat.history = kept[:-2]
            self._draw()
        self._start(self.question, kept)

    def undo(self) -> None:
        """Forget the last turn, such as one that has led the model astray: it reads the whole history each time."""
        if not self.buttons["Send"].disabled:
            places = [place for place, message in enumerate(self.chat.history) if message["role"] == "user"]
            self.chat.history = self.chat.history[: places[-1]] if places else []
            self.question, self.status.value = "", ""
            self._draw()

    def clear(self) -> None:
        """Forget the conversation, keep the settings."""
        if not self.buttons["Send"].disabled:
            self.chat.reset()
            self.thoughts = {}
            self.question, self.status.value = "", ""
            self._draw()

    def export(self) -> str:
        """The conversation as one line of JSON with `messages`, the format in which lesson 9 takes training data."""
        system = [{"role": "system", "content": self.system.value}] if self.system.value else []
        return json.dumps({"messages": system + self.chat.history}, ensure_ascii=False)

    def _typed(self, change) -> None:
        """Enter at the end sends. Pasted lines stay lines, and an input method's Enter adds none to the text."""
        added = change["new"].removeprefix(change["old"])
        if change["new"].startswith(change["old"]) and added.endswith("\n") and added.count("\n") == 1:
            self._send()

    def _send(self) -> None:
        if not self.buttons["Send"].disabled:
            question, self.entry.value = self.entry.value.strip("\n"), ""
            self.ask(question)

    def _busy(self, busy: bool) -> None:
        for name, button in self.buttons.items():
            button.disabled = busy != (name == "Stop")

    def _answer(self) -> None:
        """Runs in the thread. Whatever happens, the buttons come back and the history holds whole turns."""
        asked, answer = bubble("user", self.question), bubble("assistant", "…")
        self._draw()
        self.messages.children += (asked, answer)
        text, thought, count, start, first, drawn = "", "", 0, time.perf_counter(), 0.0, 0.0
        greedy = self.temperature.value == 0
        settings = {"do_sample": False} if greedy else {"do_sample": True, "temperature": self.temperature.value}
        self.chat.system = harmless(self.system.value) or None
        whole, before = False, self.chat.history
        pieces = self.chat.stream(self.question, max_new_tokens=self.length.value, **settings)
        try:
            for piece in pieces:
                count, now = count + 1, time.perf_counter()
                if isinstance(piece, Thought):
                    thought += piece
                else:
                    text += piece
                first = first or now - start
                if now - drawn > 0.05:  # a browser need not draw more than 20 times a second
                    answer.value, drawn = live(text, thought), now
                    self.status.value = describe_speed(count, first, now - start)  # a piece is a token, or nearly
                if self.stopping:
                    pieces.close()
                    self.status.value = _(STOPPED)
                    break
            else:
                reply = self.chat.reply
                whole = self.chat.history is not before
                if whole:  # the next prompt holds the answer, too, and a model may repeat a marker letter by letter
                    self.chat.history[-1]["content"] = harmless(self.chat.history[-1]["content"])
                count = reply.completion_tokens or count  # some servers do not count
                note = describe_speed(count, first, time.perf_counter() - start)
                note = note if text else _(NO_ANSWER) if thought else _("The model gave no text.")
                cut = reply.finish_reason == "length"
                self.status.value = note + (_("; cut: raise Max tokens to see more") if cut else "")
                if whole:
                    self.thoughts[len(self.chat.history) - 1, self.chat.history[-1]["content"]] = thought
        except Exception as error:  # shown where the reader looks; the history has only whole turns
            reason = str(error).split("\n")[0]
            reason = reason if isinstance(error, ValueError) else f"{type(error).__name__}: {reason}"
            self.status.value = f'<span style="color:#b00020">{html.escape(reason)}</span>'
        finally:
            if whole:
                self._draw()
            else:  # shown until the next question, without a place in the history
                self.chat.history = self.kept
                answer.value = bubble("assistant", text, thought).value
                asked.value, answer.value = (f'<div style="opacity:.5">{w.value}</div>' for w in (asked, answer))
            self._busy(False)

    def _draw(self) -> None:
        """The history as it stands, its answers as Markdown."""
        self.messages.children = [
            bubble(message["role"], message["content"], self.thoughts.get((place, message["content"]), ""))
            for place, message in enumerate(self.chat.history)
        ]
        data = b64encode(self.export().encode()).decode()
        link = f'href="data:application/json;base64,{data}" style="text-decoration:underline"'
        title = _("Export")
        self.download.value = f'<a download="chat.jsonl" {link}>{title}</a>'

    def _repr_mimebundle_(self, **kwargs) -> dict:
        """What Jupyter shows: the box, and for a page without widgets the conversation as text."""
        lines = [f"{message['role']}: {message['content']}" for message in self.chat.history]
        plain = "\n".join(lines) or _("Chat box ({name}): run this cell to talk in it.").format(name=self.name)
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": plain}


def harmless(text: str) -> str:
    """`text` with its markers, such as `<|im_start|>`, broken by a space of no width: tokenizers see letters in them.

    Without it, who types a marker ends the turn and begins another, in the name of the system if so desired.
    """
    return MARKER.sub("<\u200b", text)


def describe_speed(count: int, first: float, seconds: float) -> str:
    """What `count` tokens in `seconds` are, with the first one after `first` seconds."""
    if count > 1 and seconds > first:
        speed = _("{count} tokens, first after {first:.2f} s, then {rate:.0f} tokens/s")
        return speed.format(count=count, first=first, rate=(count - 1) / (seconds - first))
    return _("{count} tokens, first after {first:.2f} s, then ").format(count=count, first=first)


def bubble(role: str, text: str, thought: str = "") -> widgets.HTML:
    """One message; an answer's thoughts are folded above it."""
    inner = (
        folded(thought) + markdown(text)
        if role == "assistant"
        else f'<p style="white-space:pre-wrap">{html.escape(text)}</p>'
    )
    style = f"background:{COLOURS.get(role, OTHER)};color:#222;border-radius:6px;"
    style += "padding:2px 10px 8px;margin:2px 0;line-height:1.5"  # code at an answer's end has no margin of its own
    return widgets.HTML(f'<div class="qwen-{role}" style="{style}">{inner}</div>')


def folded(thought: str) -> str:
    """Thoughts that a click on their title unfolds; nothing without thoughts."""
    style = "color:#555;border-left:3px solid #bbb;margin:2px 0 2px 4px;padding-left:8px;white-space:pre-wrap"
    text = f'<div style="{style}">{html.escape(thought.strip())}</div>'
    title = _("Thoughts")
    return f'<details class="qwen-thoughts"><summary>{title}</summary>{text}</details>' if thought.strip() else ""


def live(text: str, thought: str = "") -> str:
    """An answer that is still growing: plain, since half a Markdown list or code block has no right shape.

    While the model still thinks, the last of its thoughts are shown; as soon as it answers, they fold.
    """
    style = f"background:{COLOURS['assistant']};color:#222;border-radius:6px;padding:2px 10px;white-space:pre-wrap"
    if thought and not text:
        title, newest = _("Thinking:"), html.escape(thought[-200:])
        return f'<div class="qwen-live" style="{style};color:#777"><i>{title}</i> {newest}▌</div>'
    return f'<div class="qwen-live" style="{style}">{folded(thought)}{html.escape(text)}▌</div>'
