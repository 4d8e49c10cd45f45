"""Tests that run in .venv-paddle, started by test_paddle.py, which shows each of them under its own name."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from engine_checks import GREETING, answers_every_dialogue_word_for_word, keeps_two_chats_apart

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.engines.paddle import PaddleEngine, StaticModel, export
from qwen_helpers.folder_check import ModelFolderError


@pytest.fixture(scope="module")
def reference():
    """What transformers made of the same messages and folders; test_paddle.py wrote it."""
    with open(os.environ["PADDLE_REFERENCE"], encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def engine():
    return PaddleEngine(TINY_CHAT)


@pytest.fixture
def chat(engine):
    return Chat(engine=engine, do_sample=False)


def greedy(engine, ids, max_new_tokens):
    import paddle

    inputs = {"input_ids": paddle.to_tensor([ids]), "attention_mask": paddle.ones([1, len(ids)], dtype="int64")}
    settings = {"max_new_tokens": max_new_tokens, "decode_strategy": "greedy_search"}
    return engine.model.generate(**inputs, **settings)[0][0].tolist()


def test_the_prompt_is_the_same_token_for_token(engine, reference):
    for messages, ids in reference["prompts"]:
        assert engine.encode(messages)["input_ids"][0].tolist() == ids


def test_all_dialogues_of_the_course_are_answered_word_for_word(engine):
    answers_every_dialogue_word_for_word(engine)


@pytest.mark.parametrize("kind", ["saved by transformers 5", "in several files"])
def test_a_folder_that_transformers_5_saved(kind, reference):
    """Its rope_theta stands where PaddleNLP does not look, and is not PaddleNLP's default."""
    import paddle

    case = reference["random"][kind]
    engine = PaddleEngine(case["folder"])
    assert engine.model.config.rope_theta == case["rope_theta"] != 10000
    assert engine.encode(case["messages"])["input_ids"][0].tolist() == case["prompt"]
    with paddle.no_grad():
        logits = engine.model(paddle.to_tensor([case["prompt"]]))[0].numpy()
    assert np.abs(logits - np.array(case["logits"])).max() < 1e-4
    assert greedy(engine, case["prompt"], 20) == case["answer"]


def test_nothing_is_written_into_the_folder_that_is_read(tmp_path):
    folder = shutil.copytree(TINY_CHAT, tmp_path / "model")
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    engine = PaddleEngine(folder)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    copied = sum(file.stat().st_size for file in engine.model_dir.iterdir() if not file.is_symlink())
    assert os.name == "nt" or copied < 20_000, "bytes; the weights have 3.6 MB"


def test_pieces_arrive_while_the_model_writes(chat):
    pieces = list(chat.stream("讲一个长故事。"))
    assert len(pieces) > 100 and "\ufffd" not in "".join(pieces)
    assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("stop", 182)


def test_a_cut_answer_says_so_and_has_no_half_character(engine):
    for limit in range(8, 14):  # the panda's four tokens are among the last
        chat = Chat(engine=engine, do_sample=False, max_new_tokens=limit)
        assert "\ufffd" not in chat.ask("发一个表情。")
        assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("length", limit)


def test_a_stop_ends_generate_and_leaves_no_trace(chat, engine, monkeypatch):
    forward, calls = engine.model.lm_head.forward, []
    monkeypatch.setattr(
        engine.model.lm_head, "forward", lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs)
    )
    answer = chat.stream("讲一个长故事。")
    next(answer)
    answer.close()
    assert len(calls) < 10 and chat.history == []
    assert chat.ask("Hello!") == GREETING


def test_an_error_in_the_middle_arrives(chat, engine, monkeypatch):
    forward, calls = engine.model.lm_head.forward, []

    def broken(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("out of memory, say")
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model.lm_head, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory, say"):
        chat.ask("Hello!")
    monkeypatch.undo()
    assert chat.history == [] and chat.ask("Hello!") == GREETING


def test_two_chats_on_one_engine_do_not_mix(engine):
    keeps_two_chats_apart(engine)


def test_the_reader_s_own_gradients_stay_on(chat):
    import paddle

    answer = chat.stream("Hello!")
    next(answer)
    assert paddle.is_grad_enabled()
    answer.close()


def test_do_sample_counts(engine):
    import paddle

    paddle.seed(0)
    wild = {"do_sample": True, "temperature": 9.0, "top_k": 0, "max_new_tokens": 20}
    answers = {Chat(engine=engine, **wild).ask("Hello!") for _ in range(3)}
    assert len(answers) == 3
    assert Chat(engine=engine, **{**wild, "do_sample": False, "max_new_tokens": 100}).ask("Hello!") == GREETING


def test_a_setting_that_paddlenlp_would_ignore(chat):
    with pytest.raises(ValueError, match="PaddleNLP has no setting num_beams, penalty_alpha"):
        chat.ask("Hello!", num_beams=2, penalty_alpha=0.6)
    assert chat.history == []


def test_a_prompt_longer_than_the_context(chat):
    with pytest.raises(ValueError, match=r"is \d+ tokens long, but this model takes 4095 at most: shorten"):
        chat.ask("word " * 5000)


def test_bad_folders_give_one_sentence(tmp_path, reference):
    with pytest.raises(ModelFolderError, match="nowhere"):
        PaddleEngine(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match="of the type qwen3, and PaddleNLP 3.0.0b4, its last release, knows"):
        PaddleEngine(reference["qwen3"])


def test_a_chat_without_an_engine_says_what_to_do():
    with pytest.raises(ModuleNotFoundError, match=r"in lesson 7 write Chat\(engine=PaddleEngine\(model_dir\)\)"):
        Chat()


def test_nothing_is_printed_beside_the_answer(tmp_path):
    """A script's standard error stays empty, from the import to the end."""
    code = (
        "from qwen_helpers import Chat, TINY_CHAT\nfrom qwen_helpers.engines.paddle import PaddleEngine\n"
        "print(Chat(engine=PaddleEngine(TINY_CHAT), do_sample=False).ask('Hello!'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert (done.stdout.strip(), done.stderr) == (GREETING, "")


def test_the_static_graph_writes_the_same_tokens(engine, tmp_path):
    export(TINY_CHAT, tmp_path / "story")
    static = StaticModel(tmp_path / "story")
    for question in ("讲一个长故事。", "Hello!", "发一个表情。", "Write a loop in Python."):
        ids = engine.encode([{"role": "user", "content": question}])["input_ids"][0].tolist()
        assert static.generate(ids, 200) == greedy(engine, ids, 200)
    assert len(static.generate(ids, 5)) == 5
    assert Chat(engine=engine, do_sample=False).ask("Hello!") == GREETING, "the patches are gone after the export"


def test_an_export_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported model story.json .*: call export first"):
        StaticModel(tmp_path / "story")
