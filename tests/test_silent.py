"""Troubles that raise no error: each is made in a copy of a folder, and found; healthy folders have none."""

import json
import shutil
import sys

import pytest

from qwen_helpers import TINY_BASE, TINY_CHAT, diagnosis
from qwen_helpers.diagnosis import check_model, folder_findings, kernel_findings


@pytest.fixture
def chat(tmp_path):
    """A copy of tiny chat that a test may damage."""
    return shutil.copytree(TINY_CHAT, tmp_path / "chat")


def change(folder, name: str, **changes) -> None:
    """Set keys of a JSON file; None takes a key out."""
    file = folder / name
    values = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}), encoding="utf-8")


def ids(folder) -> list[str]:
    return [sentence.partition(":")[0] for sentence in folder_findings(folder)]


def test_healthy_folders_have_none(qwen2_folder, qwen3_folder, qwen3_5_folder, sharded_folder):
    for folder in (TINY_CHAT, "tiny", qwen2_folder, qwen3_folder, qwen3_5_folder, sharded_folder):
        assert folder_findings(folder) == []


def test_a_base_model_is_said_to_be_one():
    (sentence,) = folder_findings(TINY_BASE)
    assert sentence.startswith("C3: <|im_end|> is no stop token of this model, so it is a base model")


def test_a_chat_model_that_lost_its_stop_token(chat):
    change(chat, "generation_config.json", eos_token_id=2026)
    assert ids(chat) == ["C3"]
    (chat / "generation_config.json").unlink()
    assert ids(chat) == []  # config.json names it, too
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (chat / name).read_text(encoding="utf-8")
        (chat / name).write_text(text.replace("<|im_end|>", "<|another|>"), encoding="utf-8")
    change(chat, "config.json", eos_token_id=2026)
    assert ids(chat) == []  # a model of another family, whose stop token is not known


def test_the_saving_of_transformers_5_is_noticed(rotated_folder, chat):
    (sentence,) = folder_findings(rotated_folder)
    assert sentence.startswith("L5: config.json says rope_theta in transformers 5's way only (1e+06)")
    change(chat, "config.json", rope_theta=None)
    assert ids(chat) == ["L5"]
    change(chat, "config.json", rope_theta=10000.0)
    assert ids(chat) == ["L5"]
    change(chat, "config.json", rope_theta=None, rope_parameters=None)
    assert "has lost rope_theta" in folder_findings(chat)[0]


def test_a_qwen3_5_whose_settings_name_no_end_of_a_message(qwen3_5_folder, tmp_path):
    folder = shutil.copytree(qwen3_5_folder, tmp_path / "qwen3_5")
    (folder / "generation_config.json").unlink()
    assert ids(folder) == []
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = {**config["text_config"], "eos_token_id": 0}
    text["rope_parameters"]["rope_theta"] = 1e7  # nothing older reads it, so nothing takes 10000
    change(folder, "config.json", text_config=text)
    (sentence,) = folder_findings(folder)
    assert sentence.startswith("C3: only the tokenizer says that <|im_end|> ends an answer")
    change(folder, "config.json", text_config={**text, "vocab_size": 1100})
    assert "L8" in ids(folder)


def test_an_empty_tokenizer(chat):
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (chat / name).rename(chat / f"{name}.away")
    assert ids(chat) == ["D10"]
    shutil.copy(chat / "tokenizer.json.away", chat / "tokenizer.json")
    assert ids(chat) == []
    tokenizer = json.loads((chat / "tokenizer.json").read_text(encoding="utf-8"))
    change(chat, "tokenizer.json", model={**tokenizer["model"], "vocab": {"a": 0}})
    assert folder_findings(chat)[0].startswith("D10: the tokenizer has only 1 tokens")


def test_a_tokenizer_of_another_model(chat):
    change(chat, "config.json", vocab_size=1500)
    assert ids(chat) == ["L8"]


def test_what_check_folder_finds_gets_its_entry(chat, sharded_copy):
    weights = chat / "model.safetensors"
    whole = weights.read_bytes()
    for content, id in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 3600000\n", "D7"),
        (b"<html>no such file</html>", "D7"),
        (whole[:-1000], "D8"),
        (b"", "D8"),
    ):
        weights.write_bytes(content)
        assert ids(chat) == [id]
    weights.rename(chat / "model.safetensors.incomplete")
    assert ids(chat) == ["D9"]
    next(sharded_copy.glob("model-*.safetensors")).unlink()
    assert ids(sharded_copy) == ["D9"]
    assert ids(chat / "no such folder") == ["L2"]
    assert ids("D:\new\tiny") == ["L1"]


def test_float16_and_numbers_that_are_not_finite(chat, monkeypatch):
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(chat / "model.safetensors")
    name = next(iter(weights))
    monkeypatch.setattr(diagnosis, "PIECE", 1000)
    for dtype, value, expected, place in (
        (torch.float16, 1.0, ["G5"], 0),
        (torch.float16, float("nan"), ["G5", "G5"], 0),
        (torch.bfloat16, float("inf"), ["G5"], -1),
        (torch.float32, float("-inf"), ["G5"], 5000),
        (torch.float32, 3e38, [], 0),
    ):
        changed = {key: tensor.to(dtype, copy=True) for key, tensor in weights.items()}
        changed[name].view(-1)[place] = value
        save_file(changed, chat / "model.safetensors", metadata={"format": "pt"})
        found = folder_findings(chat)
        assert [sentence.partition(":")[0] for sentence in found] == expected
        if not torch.isfinite(torch.tensor(value)):
            assert f"{name} holds inf or NaN" in found[-1]


def test_too_many_weights_are_not_read(chat, monkeypatch):
    monkeypatch.setattr(diagnosis, "SCANNED", 1000)
    monkeypatch.setattr(diagnosis, "_not_finite", lambda *rest: pytest.fail("it has read them"))
    assert folder_findings(chat) == []


def test_a_python_without_the_libraries(alone, monkeypatch):
    assert kernel_findings() == []
    monkeypatch.setattr(diagnosis, "course_root", lambda: alone)
    monkeypatch.setattr(diagnosis.importlib.util, "find_spec", lambda name: None)
    (sentence,) = kernel_findings()
    assert sentence.startswith(f"J1: {sys.executable} has neither") and sentence.endswith("run `python course.py`.")
    (alone / ".venv").mkdir()
    assert f"choose the course's kernel, whose Python lies in {alone / '.venv'}." in kernel_findings()[0]
    assert "! J1: " in diagnosis.report()


def test_a_model_whose_layers_were_moved_out(tmp_path, capsys):
    import torch
    from transformers import AutoModelForCausalLM

    check_model(AutoModelForCausalLM.from_pretrained(TINY_CHAT, dtype=torch.float32))
    assert capsys.readouterr().out.startswith("Nothing found: ")
    places = {"model.embed_tokens": "cpu", "lm_head": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    places |= {f"model.layers.{n}": "disk" if n == 2 else "cpu" for n in range(4)}
    check_model(
        AutoModelForCausalLM.from_pretrained(TINY_CHAT, device_map=places, offload_folder=tmp_path, dtype="float32")
    )
    assert capsys.readouterr().out.startswith("G2: 20% of the weights were moved out")
    model = AutoModelForCausalLM.from_pretrained(TINY_CHAT, dtype=torch.float16)
    model.lm_head.weight.data[0, 0] = float("inf")
    check_model(model)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("G5: the model computes in float16") and second.startswith("G5: there are weights that are")


def test_doctor_prints_what_it_finds_in_a_folder(monkeypatch, capsys):
    monkeypatch.setattr(diagnosis, "report", lambda: "the report")
    diagnosis.doctor(TINY_CHAT)
    healthy = capsys.readouterr().out.splitlines()
    assert healthy[0] == "the report" and healthy[1].endswith(f": {diagnosis.HEALTHY}.")
    diagnosis.doctor("tiny-base")
    assert capsys.readouterr().out.splitlines()[1].startswith("! C3: ")
