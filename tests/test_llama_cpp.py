"""llama.cpp: a model becomes a GGUF file, nothing is lost on the way, and the file is an engine like others."""

import json
import shutil

import pytest
from engine_checks import answers_every_dialogue_word_for_word, keeps_two_chats_apart
from lessons import ROOT

from qwen_helpers import TINY_BASE, TINY_CHAT, TINY_THINKING, Chat
from qwen_helpers.engines import llama_cpp
from qwen_helpers.engines.llama_cpp import LlamaCppEngine, convert, differences
from qwen_helpers.folder_check import ModelFolderError

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{precision: the tiny chat model as a file}, and "thinking"."""
    folder = tmp_path_factory.mktemp("gguf")
    made = {kind: convert(TINY_CHAT, folder / f"chat-{kind}.gguf", kind) for kind in ("f16", "q8_0", "q4_0")}
    return made | {"thinking": convert(TINY_THINKING, folder / "thinking.gguf", "q8_0")}


@pytest.fixture(scope="module")
def engine(files):
    return LlamaCppEngine(files["f16"])


def test_every_dialogue_word_for_word(engine):
    answers_every_dialogue_word_for_word(engine)


def test_every_dialogue_in_8_and_4_bits(files):
    """The tiny model is very sure of its answers: not one changes."""
    for precision in ("q8_0", "q4_0"):
        answers_every_dialogue_word_for_word(LlamaCppEngine(files[precision], threads=1))  # beside the other engine


def test_two_chats(engine):
    keeps_two_chats_apart(engine)


def test_sizes(files):
    f16, q8, q4 = (files[precision].stat().st_size for precision in ("f16", "q8_0", "q4_0"))
    assert q4 < q8 < f16
    assert not list(files["f16"].parent.glob("*.incomplete"))


@pytest.mark.parametrize("precision", ["f16", "q8_0", "q4_0"])
def test_nothing_is_lost(files, precision):
    assert differences(files[precision], TINY_CHAT) == []
    assert differences(files["thinking"], TINY_THINKING) == []


def test_its_tokens_are_those_of_transformers(files, engine):
    from transformers import AutoTokenizer

    texts = [
        "Hello, world! It's 3.14.\n\n  def f(x):\n\treturn x",
        "你好，世界！今天是2026年。",
        "naïve café 😀 <|im_start|>user",
    ]
    texts.append((ROOT / "qwen_helpers" / "tiny" / "prose.txt").read_text(encoding="utf-8"))
    for folder, file in ((TINY_CHAT, engine), (TINY_THINKING, LlamaCppEngine(files["thinking"]))):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for text in texts:
            assert file.tokens(text) == tokenizer(text)["input_ids"]
    messages = [{"role": "user", "content": "Hello!"}]
    tokenizer = AutoTokenizer.from_pretrained(TINY_CHAT)
    assert engine.prompt(messages, {}) == tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert engine.count(messages, {}) == len(
        tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    )


def test_a_limit_and_a_stop(engine):
    chat = Chat(engine=engine, do_sample=False, max_new_tokens=5)
    chat.ask("讲一个长故事。")
    assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("length", 5)
    pieces = Chat(engine=engine, do_sample=False).stream("讲一个长故事。")
    next(pieces)
    pieces.close()  # and the engine is free again
    assert Chat(engine=engine, do_sample=False).ask("My name is Lin.") == "Nice to meet you, Lin!"


def test_settings_of_sampling(engine):
    wild = {"do_sample": True, "temperature": 9.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_new_tokens": 30}
    assert len({Chat(engine=engine, **wild).ask("Hello!") for _ in range(3)}) > 1
    calm = Chat(engine=engine, do_sample=False, max_new_tokens=60)
    strict = Chat(engine=engine, do_sample=False, max_new_tokens=60, repetition_penalty=2.0)
    assert calm.ask("讲一个长故事。") != strict.ask("讲一个长故事。"), "llama.cpp's name is repeat_penalty"
    with pytest.raises(ValueError, match="no setting num_beams"):
        Chat(engine=engine, num_beams=2).ask("Hello!")


def test_thoughts_and_without(files):
    engine = LlamaCppEngine(files["thinking"])
    chat = Chat(engine=engine, do_sample=False)
    assert chat.ask("Which is larger, 9.11 or 9.9?") == "9.9 is larger than 9.11." and "ninety" in chat.reply.thoughts
    chat = Chat(engine=engine, do_sample=False, enable_thinking=False)
    assert chat.ask("Which is larger, 9.11 or 9.9?") == "9.9 is larger than 9.11." and not chat.reply.thoughts


def test_a_conversation_that_is_too_long_loses_its_oldest_turns(files):
    chat = Chat(engine=LlamaCppEngine(files["q8_0"], context=256), do_sample=False, max_new_tokens=64)
    for _ in range(8):
        chat.ask("What is a token?")
    assert chat.reply.dropped_turns > 0
    with pytest.raises(ValueError, match="tokens long, but this model takes"):
        chat.ask("word " * 500)


# Files that cannot be used


def test_a_file_that_is_cut_or_no_gguf(files, tmp_path):
    whole, file = files["q8_0"].read_bytes(), tmp_path / "broken.gguf"
    for size in (10, 1000, 100_000, len(whole) - 10):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelFolderError, match=r"broken\.gguf is cut off: download or convert it again\.$"):
            LlamaCppEngine(file)
    file.write_bytes(b"<html>Not found</html>")
    with pytest.raises(ModelFolderError, match="is no GGUF file"):
        LlamaCppEngine(file)
    with pytest.raises(ModelFolderError, match="There is no file .*python -m qwen_helpers gguf MODEL_DIR none.gguf"):
        LlamaCppEngine(tmp_path / "none.gguf")


def test_a_kind_that_llama_cpp_does_not_know(files, tmp_path):
    file = tmp_path / "other.gguf"
    file.write_bytes(files["q8_0"].read_bytes().replace(b"qwen2", b"qwenX"))
    with pytest.raises(ModelFolderError, match="xllamacpp .* does not know the kind 'qwenX', or there is too little"):
        LlamaCppEngine(file)


def without(file, out, **changes):
    """A copy of a file with other values; None takes one out."""
    import gguf

    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, arch="qwen2")
    for name, field in reader.fields.items():
        value = changes.get(name.replace(".", "_"), field.contents())
        if not name.startswith("GGUF.") and name != "general.architecture" and value is not None:
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer_chat_template": None}, "the chat template is another one, or missing"),
        ({"tokenizer_ggml_pre": "gpt-2"}, "words are cut as by 'gpt-2' and not as by 'qwen2'"),
        ({"tokenizer_ggml_eos_token_id": 3}, "the stop token is 3 and not of"),
        ({"qwen2_rope_freq_base": 10000.0}, "the rotary base is 10000.0 and not 1000000.0"),
        ({"qwen2_context_length": 512}, "the context length is another one"),
    ],
)
def test_what_is_lost_without_an_error_is_found(files, tmp_path, changes, said):
    file = without(files["q8_0"], tmp_path / "changed.gguf", **changes)
    (found,) = differences(file, TINY_CHAT)
    assert found.startswith(said)


def test_another_vocabulary_is_found(files):
    assert any(
        "tokens of the vocabulary are others" in sentence for sentence in differences(files["q8_0"], TINY_THINKING)
    )


def test_without_a_template_there_is_no_chat(files, tmp_path):
    file = without(files["q8_0"], tmp_path / "plain.gguf", tokenizer_chat_template=None)
    with pytest.raises(ModelFolderError, match="has no chat template: convert the folder of a chat model"):
        LlamaCppEngine(file)


# Converting


def test_a_folder_that_cannot_be_converted(tmp_path):
    folder, out = shutil.copytree(TINY_CHAT, tmp_path / "model"), tmp_path / "model.gguf"
    file = folder / "config.json"
    file.write_text(file.read_text(encoding="utf-8").replace("Qwen2ForCausalLM", "Qwen99ForCausalLM"), encoding="utf-8")
    with pytest.raises(ModelFolderError, match="llama.cpp's converter could not convert .*Qwen99ForCausalLM"):
        convert(folder, out)
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing half-done is left"
    with pytest.raises(ValueError, match="precision is one of f16, bf16, q8_0, q4_0, not 'q2'"):
        convert(TINY_CHAT, out, "q2")
    out.write_bytes(b"precious")
    with pytest.raises(ModelFolderError, match="is there already"):
        convert(TINY_CHAT, out)
    assert out.read_bytes() == b"precious"


def test_command_line(tmp_path, capsys):
    llama_cpp.main([str(TINY_BASE), str(tmp_path / "base.gguf"), "--precision", "q8_0"])
    said = capsys.readouterr().out
    assert "MB, q8_0, made in" in said and "Vocabulary, template, stop token and rotary base are the model's." in said


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe", "qwen3_5"])
def test_other_families(family, request, tmp_path):
    """Random weights in their shape: the first tokens are those of transformers."""
    folder = shutil.copytree(request.getfixturevalue(f"{family}_folder"), tmp_path / "model")
    file = folder / "tokenizer.json"
    tokenizer, tiny = (json.loads(path.read_text(encoding="utf-8")) for path in (file, TINY_CHAT / "tokenizer.json"))
    tokenizer["pre_tokenizer"] = tiny["pre_tokenizer"]  # Qwen's way to cut words, without which nothing is converted
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    written = convert(folder, tmp_path / "model.gguf", "f16")
    assert differences(written, folder) == []
    settings = {"do_sample": False, "max_new_tokens": 8}
    theirs = Chat(folder, device="cpu", **settings).ask("Hello!")
    assert Chat(engine=LlamaCppEngine(written, threads=1), **settings).ask("Hello!") == theirs


def test_chat_box_and_other_clients(engine):
    import openai

    from qwen_helpers.chat_box import ChatBox

    box = ChatBox(Chat(engine=engine, do_sample=False))
    box.ask("My name is Lin.")
    box.thread.join(60)
    assert box.chat.history[-1]["content"] == "Nice to meet you, Lin!"
    client = openai.OpenAI(base_url=engine.url, api_key=engine.client.api_key)
    asked = [{"role": "user", "content": "My name is Lin."}]
    reply = client.chat.completions.create(model=engine.model_id, messages=asked, temperature=0)
    assert reply.choices[0].message.content == "Nice to meet you, Lin!"
