"""The engine onnx and its converter: the same answers in 4 bits, streaming, and no half-done folder taken for done."""

import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime_genai", reason="needs Python 3.11 or 3.12")

from engine_checks import answers_every_dialogue_word_for_word

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.chat_box import ChatBox
from qwen_helpers.engines import converter, onnx
from qwen_helpers.engines.onnx import OnnxEngine
from qwen_helpers.engines.transformers import TransformersEngine
from qwen_helpers.folder_check import ModelFolderError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return onnx.convert(TINY_CHAT, tmp_path_factory.mktemp("onnx") / "tiny-int4")


@pytest.fixture(scope="module")
def engine(folder):
    return OnnxEngine(folder)


@pytest.fixture(scope="module")
def other():
    return TransformersEngine(TINY_CHAT, device="cpu")


@pytest.fixture
def chat(engine):
    return Chat(engine=engine, do_sample=False)


def test_a_quarter_of_the_bytes(folder):
    """4 bits and a float32 scale for 128 weights; a row of 192 is filled up to 256."""
    weights = (TINY_CHAT / "model.safetensors").stat().st_size
    assert 0.25 < (folder / "model.onnx.data").stat().st_size / weights < 0.6


def test_all_dialogues_of_the_course_are_answered_word_for_word(engine):
    answers_every_dialogue_word_for_word(engine)


@pytest.mark.parametrize("system", [None, "", "One word only!"])
def test_the_prompt_is_the_same_token_for_token(engine, other, system):
    messages = [{"role": "user", "content": "发一个表情。🐼"}]
    messages = messages if system is None else [{"role": "system", "content": system}, *messages]
    assert engine.encode(messages, {}) == other.encode(messages, {})["input_ids"][0].tolist()
    assert engine.count(messages, {}) == other.count(messages, {}) and engine.context == other.context


def test_pieces_arrive_while_the_model_writes(chat):
    pieces = list(chat.stream("讲一个长故事。"))
    assert len(pieces) > 50 and "\ufffd" not in "".join(pieces)
    assert chat.reply.finish_reason == "stop" and chat.reply.completion_tokens > len(pieces)


def test_a_cut_answer_has_no_half_character_and_says_that_it_was_cut(chat, other):
    for limit in range(8, 14):  # the panda's four tokens are among the last
        settings = {"max_new_tokens": limit, "do_sample": False}
        theirs = Chat(engine=other)
        assert chat.ask("发一个表情。", **settings) == theirs.ask("发一个表情。", **settings)
        assert chat.reply == theirs.reply
        chat.reset()


def test_settings_have_the_names_of_transformers(chat):
    chat.ask("Hello!", min_new_tokens=60, max_new_tokens=60)
    assert chat.reply.completion_tokens == 60 and chat.reply.finish_reason == "length"
    random = {"do_sample": True, "temperature": 2.0, "top_k": 50, "top_p": 1.0, "max_new_tokens": 20}
    assert len({chat.ask("Hello!", **random) for _ in range(5)}) > 1
    with pytest.raises(ValueError, match="no setting num_beams: use the engine transformers"):
        chat.ask("Hello!", num_beams=2)


def test_a_stop_leaves_no_trace(chat):
    answer = chat.stream("讲一个长故事。")
    next(answer)
    answer.close()
    assert chat.history == []
    assert chat.ask("My name is Lin.") == "Nice to meet you, Lin!"


def test_in_the_chat_box(chat):
    box = ChatBox(chat)
    assert "onnx · cpu" in box.children[0].value and box.temperature.value == 0
    assert ChatBox(Chat(engine=chat.engine)).temperature.value == 0.7  # the tiny model's own setting
    box.ask("My name is Lin.")
    box.thread.join(timeout=30)
    assert box.chat.history[-1]["content"] == "Nice to meet you, Lin!"


def test_a_qwen3(qwen3_folder, tmp_path):
    chat = Chat(engine=OnnxEngine(onnx.convert(qwen3_folder, tmp_path / "qwen3")), do_sample=False, max_new_tokens=5)
    assert chat.ask("Hello!") and chat.engine.context == 512


def test_linear_attention_is_refused(qwen3_5_folder, tmp_path):
    with pytest.raises(ModelFolderError, match="has layers with linear attention"):
        onnx.convert(qwen3_5_folder, tmp_path / "qwen3_5")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_not_converted(tmp_path):
    with pytest.raises(ModelFolderError, match="has no genai_config.json, so it is no converted model: make one with"):
        OnnxEngine(TINY_CHAT)
    with pytest.raises(ModelFolderError, match="no converted model"):
        OnnxEngine(tmp_path / "nowhere")


def test_without_the_library_there_is_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    for attempt in (lambda: onnx.convert(TINY_CHAT, tmp_path / "out"), lambda: OnnxEngine(folder)):
        with pytest.raises(ModelFolderError, match="onnxruntime-genai is not installed. It needs Python 3.11 or 3.12"):
            attempt()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="is there already: use it, delete it, or give another name"):
        onnx.convert(TINY_CHAT, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_half_done_folder_never_has_the_name(tmp_path, monkeypatch, model_copy):
    """The builder is killed when it has written something, and fails by itself: neither leaves OUT_DIR."""

    def killed(command, **kwargs):
        part = command[command.index("-o") + 1]
        with open(f"{part}/model.onnx", "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(converter.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        onnx.convert(model_copy, out)
    monkeypatch.undo()
    assert not out.exists() and (tmp_path / "out.incomplete" / "model.onnx").exists()
    config = (model_copy / "config.json").read_text(encoding="utf-8")
    (model_copy / "config.json").write_text(config.replace("Qwen2ForCausalLM", "Qwen9ForCausalLM"), encoding="utf-8")
    with pytest.raises(ModelFolderError, match="could not convert .*: .*"):
        onnx.convert(model_copy, out)
    assert not out.exists() and not (tmp_path / "out.incomplete").exists()


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "qwen_helpers", "convert"]
    done = subprocess.run([*command, "nowhere", tmp_path / "out"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1 and "nowhere" in done.stderr
    done = subprocess.run([*command, "tiny", tmp_path / "out"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and " MB, int4, made in " in done.stdout
    assert (tmp_path / "out" / "genai_config.json").is_file() and not (tmp_path / "out.incomplete").exists()
