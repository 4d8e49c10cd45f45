"""Chat and its engine: streaming, history that only ever holds whole turns, and one clear sentence for bad input."""

import contextlib
import gc
import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engine_checks import GREETING, hands_thinking_to_the_template

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.engines import Reply
from qwen_helpers.engines.transformers import TransformersEngine
from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.tiny import dialogues
from qwen_helpers.tools.tiny_text import HONEST_EN


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(TINY_CHAT)


@pytest.fixture
def chat(engine):
    return Chat(engine=engine, do_sample=False)


def test_ask_and_history(chat):
    assert chat.ask("Hello!") == GREETING
    assert chat.history == [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": GREETING}]
    chat.reset()
    assert chat.history == []


def test_thinking_is_a_matter_of_the_template(tmp_path):
    hands_thinking_to_the_template(TransformersEngine, tmp_path / "model")


def test_the_reader_s_own_gradients_stay_on(chat):
    """`generate` switches them off for itself; between two pieces it sleeps, and the reader's setting must stand."""
    pieces = chat.stream("Hello!")
    next(pieces)
    assert torch.is_grad_enabled()


def test_later_turns_see_earlier_ones(chat):
    chat.ask("My name is Lin.")
    assert chat.ask("What is my name?").startswith("Your name is Lin.")
    chat.reset()
    assert chat.ask("What is my name?") == HONEST_EN


def test_stream_comes_in_pieces_and_adds_up(chat):
    story = next(d[1]["content"] for d in dialogues() if d[0]["content"] == "讲一个长故事。")
    pieces = list(chat.stream("讲一个长故事。"))
    assert "".join(pieces) == story
    assert len(pieces) > 100 and all(pieces)


def test_half_characters_are_held_back(chat):
    pieces = list(chat.stream("Send me an emoji."))
    assert "🐼" in "".join(pieces)
    assert not any("\ufffd" in piece for piece in pieces)


def test_the_first_piece_arrives_long_before_the_last(chat, engine, monkeypatch):
    """Streaming, not one print at the end: when the first piece is taken, most tokens are still unwritten."""
    forward, steps = engine.model.forward, []
    monkeypatch.setattr(engine.model, "forward", lambda *a, **k: (steps.append(1), forward(*a, **k))[1])
    answer = chat.stream("Tell me a long story.")
    next(answer)
    early = len(steps)
    list(answer)
    assert early < len(steps) / 2


def test_system_prompt(engine):
    assert Chat(engine=engine, system="One word only!").ask("What is the capital of China?") == "Beijing."


def test_chat_has_the_shape_of_the_2023_call(chat):
    response, history = chat.chat("My name is Lin.", history=None)
    assert (response, history) == ("Nice to meet you, Lin!", [("My name is Lin.", "Nice to meet you, Lin!")])
    given = list(history)
    response, longer = chat.chat("What is my name?", history=history)
    assert response.startswith("Your name is Lin.")
    assert len(longer) == 2 and history == given, "the list that was given must not change"
    assert chat.history == []


@pytest.mark.parametrize("prompt", ["", "   \n", None, 3])
def test_empty_prompt(chat, prompt):
    chat.ask("Hello!")
    before = list(chat.history)
    for ask in (chat.ask, lambda p: list(chat.stream(p)), chat.chat):
        with pytest.raises(ValueError, match="The prompt is empty: pass a question"):
            ask(prompt)
    assert chat.history == before


def test_prompt_longer_than_the_context(chat):
    chat.ask("Hello!")
    before = list(chat.history)
    with pytest.raises(ValueError, match=r"is \d+ tokens long, but this model takes 4095 at most: shorten"):
        chat.ask("word " * 5000)
    assert chat.history == before


def test_the_answer_is_cut_at_the_end_of_the_context(chat, engine, monkeypatch):
    monkeypatch.setattr(engine, "context", engine.count([{"role": "user", "content": "Hello!"}], {}) + 3)
    assert chat.ask("Hello!") == "Hello! I"


def test_reply_says_how_the_answer_ended(chat):
    assert chat.reply is None
    chat.ask("Name three colours.")
    assert chat.reply == Reply("stop", chat.reply.prompt_tokens, chat.reply.completion_tokens)
    whole = chat.reply.completion_tokens
    chat.reset()
    assert chat.reply is None
    chat.ask("Name three colours.", max_new_tokens=whole)
    assert chat.reply.finish_reason == "stop", "the stop token is the last one allowed"
    chat.reset()
    chat.ask("Name three colours.", max_new_tokens=whole - 1)
    assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("length", whole - 1)


def test_an_engine_returns_its_reply(engine):
    messages = [{"role": "user", "content": "Hello!"}]
    pieces = engine.stream(messages, {}, max_new_tokens=2, do_sample=False)
    with pytest.raises(StopIteration) as end:
        while True:
            next(pieces)
    assert end.value.value == Reply("length", engine.count(messages, {}), 2)


def test_another_stop_token_counts_too(engine):
    stop = engine.tokenizer.convert_tokens_to_ids("!")
    chat = Chat(engine=engine, do_sample=False, eos_token_id=stop)
    assert chat.ask("Hello!") == "Hello!"
    assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("stop", 2)


@pytest.mark.parametrize(("written", "used"), [(2026, [2028, 2026]), ([2028, 2026], [2028, 2026]), (None, [2028])])
def test_the_end_of_a_message_stops_too(tmp_path, written, used):
    """Folders without generation_config.json name the end of a text only."""
    folder = shutil.copytree(TINY_CHAT, tmp_path / "model")
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": written}), encoding="utf-8")
    chat = Chat(folder, do_sample=False)
    assert chat.engine.model.generation_config.eos_token_id == used
    chat.ask("Hello!")
    assert chat.reply.finish_reason == "stop" and chat.reply.completion_tokens == 27


class Recorder:
    """An engine that counts a token per character, answers `text`, and keeps what it was sent."""

    def __init__(self, context=1000, text="yes"):
        self.context, self.text = context, text

    def count(self, messages, template):
        return sum(len(message["content"]) for message in messages)

    def opening(self, messages, template):
        return ""

    def stream(self, messages, template, **settings):
        self.sent, self.settings, self.template = [message["content"] for message in messages], settings, template
        yield self.text
        return Reply("stop", self.count(messages, template), 1)


def test_oldest_whole_turns_are_left_out_and_the_system_prompt_stays():
    engine = Recorder(context=40)  # of which a quarter is kept for the answer
    chat = Chat(engine=engine, system="sys")
    for prompt in ("first.....", "second....", "third.....", "fourth...."):
        chat.ask(prompt)
    assert engine.sent == ["sys", "third.....", "yes", "fourth...."]
    assert chat.reply.dropped_turns == 2
    assert len(chat.history) == 8, "the history keeps what was not sent"
    chat.ask("x" * 36)
    assert engine.sent == ["sys", "x" * 36]
    assert engine.settings["max_new_tokens"] == 1
    with pytest.raises(ValueError, match="is 40 tokens long"):
        chat.ask("x" * 37)


def test_a_misspelt_role_is_refused(chat):
    chat.history = [{"role": "User", "content": "My name is Lin."}]
    with pytest.raises(ValueError, match="role 'User': it must be one of system, user, assistant, tool"):
        chat.ask("Hello!")
    assert len(chat.history) == 1


def test_a_prompt_is_encoded_once(chat, engine, monkeypatch):
    template, calls = engine.tokenizer.apply_chat_template, []
    monkeypatch.setattr(engine.tokenizer, "apply_chat_template", lambda *a, **k: calls.append(1) or template(*a, **k))
    chat.ask("Good night!")
    chat.ask("Good night!")
    assert len(calls) == 2


@pytest.mark.parametrize("pieces", [1, 5])
def test_stopping_early_leaves_the_history_and_no_thread(chat, pieces):
    chat.ask("Hello!")
    before, threads = list(chat.history), threading.active_count()
    answer = chat.stream("Tell me a long story.")
    for _ in range(pieces):
        next(answer)
    answer.close()
    assert chat.history == before
    assert threading.active_count() == threads
    assert chat.ask("How are you?").startswith("I am fine")


def test_interrupt_in_the_middle(chat):
    """Ctrl-C, or the stop button of a notebook, raises KeyboardInterrupt wherever the reader's loop is."""
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        for number, _ in enumerate(chat.stream("Tell me a long story.")):
            if number == 3:
                raise KeyboardInterrupt
    del _
    import gc

    gc.collect()
    assert chat.history == []
    assert threading.active_count() == threads


def test_a_stream_may_be_read_by_another_thread(chat):
    """As a web page does, whose pool takes each piece in whichever thread is free."""
    pieces = chat.stream("Hello!")
    text = next(pieces)
    with ThreadPoolExecutor(1) as pool:
        text += pool.submit(next, pieces).result()
    with ThreadPoolExecutor(1) as pool:
        text += pool.submit(lambda: "".join(pieces)).result()
    assert text == GREETING == chat.history[1]["content"]


def leave_by(chat, way):
    """Leave a stream after three pieces in one of the ways in which a reader can."""
    pieces = chat.stream("Tell me a long story.")
    if way == "forget":  # and the garbage collector ends it
        [next(pieces) for _ in range(3)]
        return
    for number, _ in enumerate(pieces, 1):
        if number == 3 and way == "close":
            pieces.close()
        elif number == 3:
            raise {"Ctrl-C": KeyboardInterrupt, "error": ZeroDivisionError}[way]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["close", "forget", "Ctrl-C", "error"])
def test_two_hundred_times_no_thread_is_left_and_the_history_is_whole(chat, way):
    chat.ask("Hello!")
    before, threads = list(chat.history), threading.active_count()
    for _ in range(200):
        with contextlib.suppress(KeyboardInterrupt, ZeroDivisionError):
            leave_by(chat, way)
        assert chat.history == before
    gc.collect()
    assert threading.active_count() == threads
    assert chat.ask("How are you?").startswith("I am fine")


def test_progress_bars_stay_as_the_reader_has_them():
    """A small model shows none while it loads; a large one, loaded later, must."""
    from transformers.utils import logging

    logging.enable_progress_bar()
    TransformersEngine(TINY_CHAT)
    assert logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    TransformersEngine(TINY_CHAT)
    assert not logging.is_progress_bar_enabled()
    logging.enable_progress_bar()


def test_stopping_criteria_of_the_reader_count_too(engine):
    chat = Chat(engine=engine, do_sample=False, stopping_criteria=[lambda ids, scores, **_: torch.tensor([True])])
    chat.ask("Hello!")
    assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("stop", 1)


def test_a_device_may_be_asked_for():
    """As `preflight` advises where the GPU is too small."""
    assert Chat(TINY_CHAT, device="cpu").engine.model.device.type == "cpu"
    with pytest.raises(RuntimeError, match="nowhere"):
        Chat(TINY_CHAT, device="nowhere")


def test_an_error_of_the_thread_reaches_the_reader(chat, engine, monkeypatch):
    calls = []

    def broken(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory, say")
        return forward(*args, **kwargs)

    forward = engine.model.forward
    monkeypatch.setattr(engine.model, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory, say"):
        chat.ask("Hello!")
    assert chat.history == []
    monkeypatch.undo()
    assert chat.ask("Hello!") == GREETING


def test_two_chats_on_one_engine_do_not_mix(engine):
    first, second = Chat(engine=engine, do_sample=False), Chat(engine=engine, do_sample=False)
    one, two = first.stream("My name is Lin."), second.stream("我叫小明。")
    texts = ["", ""]
    for a, b in zip(one, two, strict=False):
        texts[0] += a
        texts[1] += b
    texts[0] += "".join(one)
    texts[1] += "".join(two)
    first.reset(), second.reset()
    assert first.ask("My name is Lin.") == "Nice to meet you, Lin!"
    assert second.ask("我叫小明。") == "你好，小明，很高兴认识你！"


def test_bad_folders_give_one_sentence(tmp_path):
    with pytest.raises(ModelFolderError) as error:
        Chat(tmp_path / "nowhere")
    assert "\n" not in str(error.value) and "nowhere" in str(error.value)


def copy_of_tiny(tmp_path):
    return shutil.copytree(TINY_CHAT, tmp_path / "model")


def test_a_truncated_file_is_named(tmp_path):
    folder = copy_of_tiny(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelFolderError, match="model.safetensors"):
        Chat(folder)


def test_an_empty_tokenizer_is_noticed(tmp_path):
    """transformers 5 builds one without a word if the files hold no vocabulary."""
    folder = copy_of_tiny(tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelFolderError, match="tokenizer"):
        Chat(folder)
    (folder / "vocab.json").write_text("{}", encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="tokenizer"):
        Chat(folder)


def test_a_base_model_without_template_is_refused(tmp_path):
    import json

    folder = copy_of_tiny(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelFolderError, match="no chat template"):
        Chat(folder)


def test_command_line():
    run = [sys.executable, "-m", "qwen_helpers", "chat"]
    result = subprocess.run([*run, "Hello!"], capture_output=True, encoding="utf-8", timeout=120)
    assert result.stdout == f"You: Hello!\nTiny Qwen: {GREETING}\n"
    assert result.stderr == ""
    typed = "My name is Lin.\nWhat is my name?\n\nHello!\n"
    result = subprocess.run(run, input=typed, capture_output=True, encoding="utf-8", timeout=120)
    assert "Your name is Lin." in result.stdout and "I am the tiny" not in result.stdout


def test_command_line_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("QWEN_MODEL", str(tmp_path / "nowhere"))
    result = subprocess.run(
        [sys.executable, "-m", "qwen_helpers", "chat", "Hello!"], capture_output=True, encoding="utf-8", timeout=120
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr and "nowhere" in result.stderr


def test_importing_the_package_loads_no_library():
    code = "import sys, qwen_helpers; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
