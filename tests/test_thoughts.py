"""Thoughts are told apart from the answer, however the text is cut into pieces, and whoever has opened them."""

import pytest
from test_chat import Recorder

from qwen_helpers import TINY_THINKING, Chat
from qwen_helpers.thoughts import Thought, tell_apart, without_thoughts


def in_pieces(text, size):
    for start in range(0, len(text), size):
        yield text[start : start + size]
    return "the reply"


def taken(pieces):
    """(thoughts, answer, everything as it would be printed, what the generator returned)"""
    got = []
    while True:
        try:
            got.append(next(pieces))
        except StopIteration as end:
            thoughts = "".join(piece for piece in got if isinstance(piece, Thought))
            answer = "".join(piece for piece in got if not isinstance(piece, Thought))
            assert "" not in got
            return thoughts, answer, "".join(got), end.value


CASES = {
    # what the prompt holds, what the model writes: (thoughts as they stream, answer)
    "opened by the prompt": ("<think>\n", "One r, two.\n</think>\n\nThree.", "One r, two.\n\n", "Three."),
    "opened by the model": ("", "<think>\nOne r, two.\n</think>\n\nThree.", "One r, two.\n\n", "Three."),
    "no thoughts": ("", "Three.\n\n  Or more?", "", "Three.\n\n  Or more?"),
    "empty thoughts": ("", "<think>\n\n</think>\n\nThree.", "", "Three."),
    "the answer speaks of the mark": ("", "Write <think> or </think>.", "", "Write <think> or </think>."),
    "so does a thought": (
        "<think>\n",
        "a < b, </thin, <think>\n\nc\n</think>ok",
        "a < b, </thin, <think>\n\nc\n\n",
        "ok",
    ),
    "a second thought is none": ("<think>", "a</think>b<think>c</think>", "a\n\n", "b<think>c</think>"),
    "cut in mid-thought": ("<think>\n", "One r, two </thi", "One r, two </thi", ""),
    "cut before it began": ("<think>\n", "", "", ""),
    "cut after the thought": ("<think>\n", "One.\n</think>\n\n", "One.\n\n", ""),
    "an answer of spaces": ("", "  ", "", "  "),
    "half a mark": ("", " <thi", "", " <thi"),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("case", CASES)
def test_told_apart(case, size):
    begun, text, thoughts, answer = CASES[case]
    returned = (thoughts.rstrip(), answer, "the reply")
    assert taken(tell_apart(in_pieces(text, size), begun)) == (thoughts, answer, thoughts + answer, returned)


def test_a_thought_is_shown_as_soon_as_it_is_sure():
    pieces = tell_apart(in_pieces("One r, two.\n</think>\n\nThree.", 4), "<think>\n")
    assert [next(pieces) for _ in range(3)] == ["One", " r, t", "wo."]


def test_closing_ends_the_engine_s_stream_too():
    closed = []

    def endless():
        try:
            while True:
                yield "hm "
        finally:
            closed.append(True)

    pieces = tell_apart(endless(), "<think>")
    next(pieces)
    pieces.close()
    assert closed == [True]


class Thinker(Recorder):
    """An engine whose prompt ends with `begun`, and which writes a letter at a time."""

    def __init__(self, text, begun="<think>\n"):
        super().__init__(text=text)
        self.begun = begun

    def opening(self, messages, template):
        return self.begun

    def count(self, messages, template):
        return super().count(messages, template) + 9 * (template.get("enable_thinking") is False)

    def stream(self, messages, template, **settings):
        pieces = super().stream(messages, template, **settings)
        yield from next(pieces)
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(("begun", "mark"), [("<think>\n", ""), ("", "<think>\n"), (None, "<think>\n"), (None, "")])
def test_thoughts_do_not_enter_the_history(begun, mark):
    chat = Chat(engine=Thinker(f"{mark}Two is even.\n</think>\n\nYes <think>.", begun), enable_thinking=True)
    assert chat.ask("Even?") == "Yes <think>."
    assert chat.history == [{"role": "user", "content": "Even?"}, {"role": "assistant", "content": "Yes <think>."}]
    assert chat.reply.thoughts == ("" if (begun, mark) == (None, "") else "Two is even.")
    assert chat.engine.template == {"enable_thinking": True} and "enable_thinking" not in chat.engine.settings
    assert chat.chat("Even?")[1] == [("Even?", "Yes <think>.")]


@pytest.mark.parametrize("text", ["Two is ev", "Two is even.\n</think>\n\n"])
def test_an_answer_that_never_came_is_no_turn(text):
    chat = Chat(engine=Thinker(text))
    assert "".join(chat.stream("Even?")).strip() == text.removesuffix("\n</think>\n\n")
    assert chat.history == [] and chat.reply.thoughts == text.removesuffix("\n</think>\n\n")
    assert chat.chat("Even?", [("a", "b")]) == ("", [("a", "b")])


def test_an_answer_from_a_server_may_speak_of_the_mark():
    for text, kept in {
        "In Qwen3 `</think>` ends a thought.": "In Qwen3 `</think>` ends a thought.",
        "<think>\na\n</think>\n\nWrite </think>.": "Write </think>.",
    }.items():
        chat = Chat(engine=Thinker(text, begun=None))
        assert chat.ask("How?") == kept and chat.history[1]["content"] == kept


def test_what_a_template_refuses_is_one_sentence():
    chat = Chat(TINY_THINKING)
    chat.history = [{"role": "system", "content": "Be brief."}] * 2
    with pytest.raises(ValueError, match="The model's chat template refuses these messages: A message has a role"):
        chat.ask("Hello!")


@pytest.mark.parametrize("thinking", ["false", 0, 1, [], "no"])
def test_thinking_is_true_or_false(thinking):
    with pytest.raises(ValueError, match="write True or False, or leave it out"):
        Chat(engine=Thinker("Yes."), enable_thinking=thinking).ask("Even?")


def test_stopping_in_the_thoughts_leaves_the_history():
    chat = Chat(engine=Thinker("Two is even.\n</think>\n\nYes."))
    chat.ask("Even?")
    before = chat.history
    pieces = chat.stream("Even?")
    assert isinstance(next(pieces), Thought)
    pieces.close()
    assert chat.history is before


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "Yes."),
        ("hm\n</think>\n\nYes.", "Yes."),
        ("<think>\ncut", ""),
        ("Yes.", "Yes."),
        ("Yes <think>.", "Yes <think>."),
    ],
)
def test_a_whole_answer_without_its_thoughts(text, answer):
    assert without_thoughts(text) == answer


@pytest.mark.parametrize(
    ("begun", "thinking", "reason"),
    [("", True, "knows no thoughts: leave enable_thinking out"), ("<think>\n", False, "always thinks: leave")],
)
def test_a_wish_that_the_template_leaves_out_is_refused(begun, thinking, reason):
    chat = Chat(engine=Thinker("Yes.", begun), enable_thinking=thinking)
    chat.engine.count = lambda messages, template: 9
    with pytest.raises(ValueError, match=reason):
        chat.ask("Even?")
    assert chat.history == []
