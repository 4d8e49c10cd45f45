"""ms-swift under Chat: the same answers, a stop that stops, an error that arrives, no name to guess."""

import random
import shutil
import threading
import time

import psutil
import pytest
from engine_checks import (
    GREETING,
    answers_every_dialogue_word_for_word,
    hands_thinking_to_the_template,
    keeps_two_chats_apart,
)

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.engines.swift import SwiftEngine, as_text
from qwen_helpers.engines.transformers import TransformersEngine
from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.tiny import dialogues


@pytest.fixture(scope="module")
def engine():
    return SwiftEngine(TINY_CHAT)


@pytest.fixture(scope="module")
def other():
    return TransformersEngine(TINY_CHAT)


@pytest.fixture
def chat(engine):
    return Chat(engine=engine, do_sample=False)


def generating() -> list:
    return [thread for thread in threading.enumerate() if "_model_generate" in thread.name]


def nothing_left() -> bool:
    end = time.monotonic() + 5
    while generating() and time.monotonic() < end:
        time.sleep(0.01)
    return not generating()


@pytest.mark.parametrize("system", [None, "", "One word only!", "Answer briefly."])
def test_the_prompt_is_the_same_token_for_token(engine, other, system):
    for dialogue in dialogues():
        messages = dialogue[:-1] if system is None else [{"role": "system", "content": system}, *dialogue[:-1]]
        theirs = other.encode(messages, {})["input_ids"][0].tolist()
        assert (
            engine.encode(messages, {}) == engine.engine.template.encode({"messages": messages})["input_ids"] == theirs
        )


def test_all_dialogues_of_the_course_are_answered_word_for_word(engine):
    """One holds code, whose indentation ms-swift's own text would lose."""
    answers_every_dialogue_word_for_word(engine)


def test_thinking_is_a_matter_of_the_template(tmp_path):
    hands_thinking_to_the_template(SwiftEngine, tmp_path / "model")


def test_pieces_arrive_while_the_model_writes(chat):
    pieces = list(chat.stream("讲一个长故事。"))
    assert len(pieces) > 50 and "\ufffd" not in "".join(pieces)


def test_a_cut_answer_has_no_half_character(chat, other):
    for limit in range(8, 14):  # the panda's four tokens are among the last
        settings = {"max_new_tokens": limit, "do_sample": False}
        assert chat.ask("发一个表情。", **settings) == Chat(engine=other).ask("发一个表情。", **settings)
        chat.reset()


@pytest.mark.slow
def test_two_hundred_answers_stopped_at_random_leave_nothing(chat):
    """No thread, no growing memory, and a history of whole turns."""
    chance, memory = random.Random(0), []
    for number in range(200):
        if number % 10 == 0:
            chat.reset()
        answer, wanted = chat.stream(chance.choice(["讲一个长故事。", "Hello!"])), chance.randint(1, 12)
        for count, _ in enumerate(answer, 1):
            if count == wanted:
                break
        answer.close()
        assert [message["role"] for message in chat.history] == ["user", "assistant"] * (len(chat.history) // 2)
        memory.append(psutil.Process().memory_info().rss)
    assert nothing_left()
    assert memory[-1] - memory[60] < 30e6, "bytes; one answer's cache is 0.2 MB"


def test_a_stop_ends_generate_soon(chat, engine):
    answer = chat.stream("讲一个长故事。")
    next(answer)
    answer.close()
    assert nothing_left() and chat.history == []
    assert chat.ask("Hello!") == GREETING


def test_an_error_in_the_thread_arrives_at_once(chat, engine, monkeypatch):
    forward, calls = engine.model.forward, []

    def broken(*args, **kwargs):
        calls.append(1)
        if len(calls) in (1, 4):  # in the first answer the prompt, in the second one a token
            raise RuntimeError("out of memory, say")
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", broken)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory, say"):
            chat.ask("Hello!")
    monkeypatch.undo()
    assert chat.history == [] and chat.ask("Hello!") == GREETING


def test_two_chats_on_one_engine_do_not_mix(engine):
    keeps_two_chats_apart(engine)


def test_a_setting_that_ms_swift_lacks(chat):
    with pytest.raises(ValueError, match="no setting min_new_tokens: use the engine transformers"):
        chat.ask("Hello!", min_new_tokens=3)
    assert chat.history == []


def test_a_prompt_longer_than_the_context(chat):
    with pytest.raises(ValueError, match=r"is \d+ tokens long, but this model takes 4095 at most: shorten"):
        chat.ask("word " * 5000)
    assert chat.history == []


def test_any_folder_name_and_family(qwen3_folder, tmp_path):
    folder = shutil.copytree(TINY_CHAT, tmp_path / "master", ignore=shutil.ignore_patterns("args.json"))
    assert Chat(engine=SwiftEngine(folder), do_sample=False).ask("Hello!") == GREETING
    chat = Chat(engine=SwiftEngine(qwen3_folder), do_sample=False, max_new_tokens=5)
    assert chat.ask("Hello!") and chat.engine.context == 512


def test_a_model_that_reads_pictures_too_is_loaded_for_text(qwen3_5_folder, tmp_path):
    """Without the packages for pictures that ms-swift's own type wants, whatever of the two the folder says it is."""
    settings = {"do_sample": False, "max_new_tokens": 5}
    answer = Chat(engine=TransformersEngine(qwen3_5_folder), **settings).ask("Hello!")
    chat = Chat(engine=SwiftEngine(qwen3_5_folder), **settings)
    assert chat.ask("Hello!") == answer and type(chat.engine.model).__name__ == "Qwen3_5ForCausalLM"
    saved = tmp_path / "saved"  # as training leaves it, "qwen3_5_text"
    chat.engine.model.save_pretrained(saved)
    chat.engine.tokenizer.save_pretrained(saved)
    assert Chat(engine=SwiftEngine(saved), **settings).ask("Hello!") == answer
    assert as_text(TINY_CHAT) == {"model_type": "qwen2"} and as_text(saved) == as_text(qwen3_5_folder)


def test_bad_folders_give_one_sentence(tmp_path):
    with pytest.raises(ModelFolderError, match="nowhere"):
        SwiftEngine(tmp_path / "nowhere")
    folder = shutil.copytree(TINY_CHAT, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}", encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="tokenizer"):
        SwiftEngine(folder)
