"""paddle_folder: a folder that both libraries read, made without touching the original. Needs no PaddleNLP."""

import json
import os
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen_helpers import TINY_CHAT
from qwen_helpers.engines.paddle import paddle_folder
from qwen_helpers.folder_check import ModelFolderError


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def edit(folder, name, **changes):
    content = {**(read(folder, name) if (folder / name).exists() else {}), **changes}
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def test_the_old_names_stand_beside_the_new_ones(rotated_folder, tmp_path):
    before, after = read(rotated_folder, "config.json"), read(paddle_folder(rotated_folder, tmp_path), "config.json")
    assert "rope_theta" not in before and "torch_dtype" not in before, "transformers 5 writes other names"
    assert after == {**before, "rope_theta": before["rope_parameters"]["rope_theta"], "torch_dtype": "bfloat16"}
    assert read(tmp_path, "tokenizer_config.json")["tokenizer_class"] == "Qwen2Tokenizer"
    assert "im_start" in read(tmp_path, "tokenizer_config.json")["chat_template"]
    assert "_from_model_config" not in read(tmp_path, "generation_config.json")


def test_a_folder_of_2024_keeps_its_own_values(tmp_path):
    """The published ones have rope_theta and no rope_parameters."""
    source = shutil.copytree(TINY_CHAT, tmp_path / "old")
    config = read(source, "config.json")
    del config["rope_parameters"], config["dtype"]
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert read(paddle_folder(source, tmp_path / "made"), "config.json") == config


def test_transformers_reads_it_as_it_reads_the_original(rotated_folder, tmp_path):
    made, results = paddle_folder(rotated_folder, tmp_path), []
    for folder in (rotated_folder, made):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        messages = [{"role": "user", "content": "hello"}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            results.append((ids, AutoModelForCausalLM.from_pretrained(folder)(**ids).logits))
    assert results[0][0]["input_ids"].tolist() == results[1][0]["input_ids"].tolist()
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.skipif(os.name == "nt", reason="Windows makes hard links or copies")
def test_links_and_small_files_only_in_models_paddle(alone, sharded_copy):
    made = paddle_folder(sharded_copy)
    assert made.parent == alone / "repository" / "models" / "paddle"
    links = {file.name for file in made.iterdir() if file.is_symlink()}
    assert {"tokenizer.json", "model.safetensors.index.json"} <= links
    assert all(name.endswith((".safetensors", ".json", ".txt")) for name in links)
    assert sum(name.startswith("model-") for name in links) > 1
    assert (made / "model_state.pdparams").stat().st_size == 0


def test_again_and_after_a_change_of_the_original(tmp_path, model_copy):
    edit(model_copy, "generation_config.json", temperature=0.5)
    paddle_folder(model_copy, tmp_path / "made")
    edit(model_copy, "generation_config.json", temperature=0.6)
    made = paddle_folder(model_copy, tmp_path / "made")
    assert read(made, "generation_config.json")["temperature"] == 0.6
    assert not [
        file.name for file in made.iterdir() if file.suffix not in (".json", ".txt", ".safetensors", ".pdparams")
    ]


def test_without_links_the_files_are_copied(tmp_path, model_copy, monkeypatch):
    def no_link(*_):
        raise OSError("not here")

    monkeypatch.setattr("pathlib.Path.symlink_to", no_link)
    monkeypatch.setattr(os, "link", no_link)
    made = paddle_folder(model_copy, tmp_path / "made")
    assert (made / "model.safetensors").read_bytes() == (model_copy / "model.safetensors").read_bytes()


def test_two_folders_of_one_name_do_not_share(alone, model_copy):
    other = shutil.copytree(model_copy, alone / "elsewhere" / model_copy.name)
    assert paddle_folder(model_copy) != paddle_folder(other)


def test_what_paddlenlp_does_not_know_is_refused(qwen3_folder, model_copy, tmp_path):
    with pytest.raises(
        ModelFolderError, match="of the type qwen3, and PaddleNLP 3.0.0b4, its last release, knows only"
    ):
        paddle_folder(qwen3_folder, tmp_path / "made")
    edit(model_copy, "config.json", rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0})
    with pytest.raises(ModelFolderError, match="rope scaling"):
        paddle_folder(model_copy, tmp_path / "made")
    (model_copy / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelFolderError, match="cut off"):
        paddle_folder(model_copy, tmp_path / "made")
    assert not (tmp_path / "made").exists(), "nothing half-made is left"
