"""The catalogue against published figures, check_folder against every fault, and the choice of a model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_helpers.folder_check import ModelFolderError, check_folder, safetensors_header, weight_files
from qwen_helpers.folders import TINY_BASE, TINY_CHAT, course_root, find_folder, model_folder, places, use_model
from qwen_helpers.models import CATALOGUE, OTHER_FILES, bits, find_model

INSTRUCT = "Qwen/Qwen2.5-0.5B-Instruct"

# Number of parameters and of non-embedding parameters, in billions, as the model cards print them.
CARDS = {
    "Qwen/Qwen2.5-0.5B": ("0.49", "0.36"),
    "Qwen/Qwen2.5-1.5B": ("1.54", "1.31"),
    "Qwen/Qwen2.5-3B": ("3.09", "2.77"),
    "Qwen/Qwen2.5-7B": ("7.61", "6.53"),
    "Qwen/Qwen2.5-14B": ("14.7", "13.1"),
    "Qwen/Qwen2.5-32B": ("32.5", "31.0"),
    "Qwen/Qwen2.5-72B": ("72.7", "70.0"),
    "Qwen/Qwen3-0.6B": ("0.6", "0.44"),
    "Qwen/Qwen3-1.7B": ("1.7", "1.4"),
    "Qwen/Qwen3-4B": ("4.0", "3.6"),
    "Qwen/Qwen3-8B": ("8.2", "6.95"),
    "Qwen/Qwen3-14B": ("14.8", "13.2"),
    "Qwen/Qwen3-32B": ("32.8", "31.2"),
    "Qwen/Qwen3-30B-A3B": ("30.5", "29.9"),
}
# These are not what the published files hold (WEIGHTS below), rounded: 7.61 is cut off, the others are further away.
INEXACT = {
    ("Qwen/Qwen2.5-7B", 0),
    ("Qwen/Qwen2.5-14B", 0),
    ("Qwen/Qwen2.5-14B", 1),
    ("Qwen/Qwen2.5-32B", 0),
    ("Qwen/Qwen2.5-32B", 1),
    ("Qwen/Qwen2.5-72B", 1),
}

# Bytes of the tensors in the published bfloat16 files: total_size in model.safetensors.index.json, or the file's size
# less its header.
WEIGHTS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 988_065_536,
    "Qwen/Qwen2.5-1.5B-Instruct": 3_087_428_608,
    "Qwen/Qwen2.5-3B-Instruct": 6_171_877_376,
    "Qwen/Qwen2.5-7B-Instruct": 15_231_233_024,
    "Qwen/Qwen2.5-14B-Instruct": 29_540_067_328,
    "Qwen/Qwen2.5-32B-Instruct": 65_527_752_704,
    "Qwen/Qwen2.5-72B-Instruct": 145_412_407_296,
    "Qwen/Qwen3-0.6B-Base": 1_192_099_840,
    "Qwen/Qwen3-0.6B": 1_192_099_840,
    "Qwen/Qwen3-1.7B-Base": 3_441_149_952,
    "Qwen/Qwen3-4B": 8_044_936_192,
    "Qwen/Qwen3-8B": 16_381_470_720,
    "Qwen/Qwen3-14B": 29_536_614_400,
    "Qwen/Qwen3-32B": 65_524_246_528,
    "Qwen/Qwen3-4B-Instruct-2507": 8_044_936_192,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 61_064_245_248,
}
# The same of Qwen3.5 and later: text, vision tower and MTP together.
STORED = {
    "Qwen/Qwen3.5-0.8B": 1_746_882_752,
    "Qwen/Qwen3.5-2B": 4_548_144_832,
    "Qwen/Qwen3.5-4B": 9_319_737_856,
    "Qwen/Qwen3.5-9B": 19_306_216_416,
    "Qwen/Qwen3.5-27B": 55_562_872_800,
    "Qwen/Qwen3.5-35B-A3B": 71_903_655_008,
    "Qwen/Qwen3.6-27B": 55_562_855_904,
    "Qwen/Qwen3.6-35B-A3B": 71_903_645_408,
    "Qwen/Qwen3.8-27B": 55_562_855_904,
}
# Bytes of all files of the repository, or of its weights and tokenizer.
DOWNLOADS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 988_097_824 + 7_031_645 + 2_776_833 + 1_671_839 + 7_305,
    "Qwen/Qwen3-0.6B-Base": 1_203_641_805,
    "Qwen/Qwen3-0.6B": 1_519_209_737,
    "Qwen/Qwen3-1.7B": 3_441_185_608 + 622_329_984 + 11_422_654 + 2_776_833 + 1_671_853,
    "Qwen/Qwen3-1.7B-Base": 3_441_185_608 + 7_031_645 + 2_776_833 + 1_671_853,
    "Qwen/Qwen3-4B": 3_957_900_840 + 3_987_450_520 + 99_630_640 + 11_422_654 + 2_776_833 + 1_671_853,
    "Qwen/Qwen3.5-0.8B-Base": 1_746_942_600,
    "Qwen/Qwen3.5-2B": 4_548_221_488,
    "Qwen/Qwen3.5-4B": 9_319_828_096,
    "Qwen/Qwen3.5-9B": 19_306_310_880,
    "Qwen/Qwen3.6-35B-A3B": 71_903_776_776,
    "Qwen/Qwen3.8-27B": 55_563_006_776,
    "Qwen/Qwen3-4B-Instruct-2507": 8_044_982_000,
    "Qwen/Qwen3-30B-A3B": 61_066_575_648,
}


@pytest.fixture
def downloaded(alone, qwen2_folder):
    """The random model where lesson 2 would have put Qwen2.5-0.5B-Instruct."""
    return shutil.copytree(qwen2_folder, alone / "models" / "Qwen2.5-0.5B-Instruct")


# The catalogue


def test_catalogue_has_every_size_in_both_kinds_but_no_qwen3_32b_base():
    sizes = {m.id: m for m in CATALOGUE}
    assert len(sizes) == len(CATALOGUE) == 25 + 6 + 14
    assert set(CARDS) | set(STORED) <= set(sizes)
    bases = {id.removesuffix("-Base") for id in sizes if id.endswith("-Base") and id.removesuffix("-Base") in STORED}
    assert bases == {f"Qwen/Qwen3.5-{size}" for size in ("0.8B", "2B", "4B", "9B", "35B-A3B")}  # no others exist
    for id in CARDS:
        other = f"{id}-Instruct" if "Qwen2.5" in id else f"{id}-Base"
        assert (other in sizes) == (id != "Qwen/Qwen3-32B")
    assert {m.kind for m in CATALOGUE} == {"base", "instruct"}


@pytest.mark.parametrize("id", CARDS)
def test_parameters_are_those_of_the_card(id):
    model = find_model(id)
    for place, (computed, printed) in enumerate(zip((model.parameters, model.body_parameters), CARDS[id], strict=True)):
        digits = len(printed.split(".")[1])
        if (id, place) in INEXACT:
            assert computed / 1e9 == pytest.approx(float(printed), rel=0.01)
        else:
            assert f"{computed / 1e9:.{digits}f}" == printed


@pytest.mark.parametrize("id", WEIGHTS)
def test_weight_bytes_are_those_of_the_published_files(id):
    assert find_model(id).weight_bytes("bfloat16") == WEIGHTS[id]


@pytest.mark.parametrize("id", STORED)
def test_everything_that_the_files_hold_is_counted(id):
    """To the byte: Qwen3.5 keeps A_log and a norm of its linear layers in float32, the later ones in bfloat16."""
    model = find_model(id)
    wide = model.linear.layers * (model.linear.value_heads + model.linear.value_dim) if model.family == "Qwen3.5" else 0
    assert model.download_bytes - OTHER_FILES + 2 * wide == STORED[id]


@pytest.mark.parametrize("id", DOWNLOADS)
def test_download_is_within_one_percent_of_the_published_files(id):
    assert find_model(id).download_bytes == pytest.approx(DOWNLOADS[id], rel=0.01)


@pytest.mark.parametrize("model", [m for m in CATALOGUE if m.kind == "instruct"], ids=lambda m: m.id)
def test_parameters_are_those_of_the_real_architecture(model):
    """Counted in transformers' own classes; of the experts' matrices a token goes through its share."""
    import torch

    with torch.device("meta"):  # shapes without memory
        real = real_model(model)
    numbers = {name: parameter.numel() for name, parameter in real.named_parameters()}  # a tied lm_head counts once
    tower = sum(count for name, count in numbers.items() if ".visual." in name)
    assert sum(numbers.values()) - tower == model.parameters and tower == model.vision_parameters
    embeddings = real.get_input_embeddings().weight.numel() * (1 if model.tied else 2)
    assert model.parameters - embeddings == model.body_parameters
    experts = sum(count for name, count in numbers.items() if ".mlp.experts." in name)
    active = experts * model.active_experts // model.experts if model.experts else 0
    assert model.active_body_parameters == model.body_parameters - experts + active
    full = [module for module in real.modules() if hasattr(module, "q_proj") and hasattr(module, "head_dim")]
    assert len(full) == model.cache_layers and full[0].head_dim == model.head_dim


def real_model(model):
    """transformers' model for an entry of the catalogue."""
    import transformers

    sizes = {
        "hidden_size": model.hidden, "num_hidden_layers": model.layers, "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads, "intermediate_size": model.intermediate, "head_dim": model.head_dim,
        "vocab_size": model.vocabulary, "tie_word_embeddings": model.tied,
    }  # fmt: skip
    if model.experts:
        sizes |= {"num_experts": model.experts, "num_experts_per_tok": model.active_experts,
                  "moe_intermediate_size": sizes.pop("intermediate_size"),
                  "shared_expert_intermediate_size": model.shared_intermediate}  # fmt: skip
    if not model.linear:
        if model.family == "Qwen2.5":
            del sizes["head_dim"]
            return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes))
        name = "Qwen3Moe" if model.experts else "Qwen3"
        return getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**sizes))
    sizes |= {"linear_num_key_heads": model.linear.key_heads, "linear_num_value_heads": model.linear.value_heads}
    tower = {"depth": model.vision.depth, "hidden_size": model.vision.hidden, "out_hidden_size": model.hidden}
    tower["intermediate_size"] = model.vision.intermediate
    name = "Qwen3_5Moe" if model.experts else "Qwen3_5"
    config = getattr(transformers, f"{name}Config")(
        text_config=sizes, vision_config=tower, tie_word_embeddings=model.tied
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)


def test_a_token_goes_through_three_of_thirty_billion():
    """The cards: 3.3 billion activated of Qwen3-30B-A3B, embedding and lm_head included."""
    model = find_model("Qwen/Qwen3-30B-A3B")
    assert model.active_body_parameters + 2 * model.vocabulary * model.hidden == pytest.approx(3.3e9, rel=0.02)
    assert find_model("Qwen/Qwen3-8B").active_body_parameters == find_model("Qwen/Qwen3-8B").body_parameters


def test_who_thinks_and_who_reads_pictures():
    thinking = {m.id.split("/")[1]: m.thinking for m in CATALOGUE}
    assert thinking["Qwen3-4B"] == thinking["Qwen3-30B-A3B"] == thinking["Qwen3.5-4B"] == "on by default"
    assert thinking["Qwen3.5-0.8B"] == thinking["Qwen3.5-2B"] == "off by default"
    assert thinking["Qwen3-4B-Instruct-2507"] == thinking["Qwen2.5-7B-Instruct"] == "never"
    assert thinking["Qwen3-30B-A3B-Thinking-2507"] == "always" and thinking["Qwen3.5-4B-Base"] is None
    assert all((m.thinking is None) == (m.kind == "base") for m in CATALOGUE)
    assert {m.family for m in CATALOGUE if m.vision} == {"Qwen3.5", "Qwen3.6", "Qwen3.8"}


def test_base_and_instruct_differ_only_in_context_and_files():
    for model in CATALOGUE:
        if model.kind == "instruct":
            size = model.id.removesuffix("-Instruct")
            twin = [m for m in CATALOGUE if m.id in (size, f"{size}-Base") and m.kind == "base"]
            assert all(m.parameters == model.parameters and m.licence == model.licence for m in twin)


def test_kv_cache_bytes(qwen2_folder):
    assert find_model(INSTRUCT).kv_bytes_per_token("bfloat16") == 12_288  # 2 * 24 layers * 2 heads * 64 * 2 bytes
    assert find_model("Qwen/Qwen2.5-7B").kv_bytes_per_token("float32") == 2 * 57_344
    assert find_model("Qwen/Qwen3.5-9B").kv_bytes_per_token() == 32_768  # 8 of 32 layers
    assert find_model("Qwen/Qwen3.5-9B").state_numbers == 24 * (32 * 128 * 128 + 4 * 8192)


def test_contexts_and_licences():
    context = {m.id.split("/")[1]: (m.context, m.yarn_context) for m in CATALOGUE}
    assert context["Qwen2.5-0.5B"] == context["Qwen2.5-0.5B-Instruct"] == (32768, None)
    assert context["Qwen2.5-7B"] == (131072, None) and context["Qwen2.5-7B-Instruct"] == (32768, 131072)
    assert context["Qwen3-0.6B"] == (40960, None) and context["Qwen3-8B"] == (40960, 131072)
    assert context["Qwen3-8B-Base"] == context["Qwen3-30B-A3B-Base"] == (32768, None)
    assert context["Qwen3-30B-A3B"] == (40960, 131072) and context["Qwen3-4B-Instruct-2507"] == (262144, None)
    assert context["Qwen3.5-0.8B"] == (262144, None) and context["Qwen3.5-9B"] == (262144, 1010000)
    special = {m.id.split("/")[1]: m.licence for m in CATALOGUE if m.licence != "Apache-2.0"}
    assert special == {"Qwen2.5-3B": "Qwen Research", "Qwen2.5-3B-Instruct": "Qwen Research",
                       "Qwen2.5-72B": "Qwen", "Qwen2.5-72B-Instruct": "Qwen"}  # fmt: skip


def test_dtype_takes_words_and_torch_dtypes():
    import torch

    assert bits("float32") == bits(torch.float32) == 32
    assert bits(torch.bfloat16) == 16 and bits("int8") == 8.25 and bits("int4") == 4.25
    with pytest.raises(
        ValueError, match=r"Unknown dtype 'bf16': use one of float32, bfloat16, float16, int8, int4, q8_0, q4_0\.$"
    ):
        bits("bf16")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Qwen/Qwen2.5-0.5B-Instuct", INSTRUCT),
        ("qwen/qwen2.5-0.5b-instruct", INSTRUCT),
        ("Qwen2.5-0.5B-Instruct", INSTRUCT),
        ("Qwen/Qwen2.5-0.5B-Chat", INSTRUCT),
        ("Qwen/Qwen2.5-7B-Insruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen/Qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-4B-Instruct-2508", "Qwen/Qwen3-4B-Instruct-2507"),
        ("Qwen/Qwen3.5-4B-Instruct", "Qwen/Qwen3.5-4B"),
    ],
)
def test_mistyped_id_gets_a_suggestion(typed, meant):
    with pytest.raises(ValueError) as caught:
        find_model(typed)
    assert str(caught.value) == f"{typed!r} is not in the course's catalogue of Qwen models: did you mean {meant!r}?"


def test_an_id_like_no_other_gets_no_suggestion():
    with pytest.raises(ValueError, match=r"CATALOGUE lists them\.$"):
        find_model("gpt2")
    assert find_model(INSTRUCT).id == INSTRUCT
    for larger in ("Qwen/Qwen3.5-397B-A17B", "Qwen/Qwen3-235B-A22B", "Qwen/Qwen3.8-2.4T-A95B"):  # they exist
        with pytest.raises(ValueError, match=r"CATALOGUE lists them\.$"):
            find_model(larger)


# check_folder


def fault(folder, **options):
    """The message of check_folder: one sentence that ends in a full stop or question mark."""
    with pytest.raises(ModelFolderError) as caught:
        check_folder(folder, **options)
    message = str(caught.value)
    assert "\n" not in message and message[-1] in ".?"
    return message


def test_whole_folders_pass(qwen2_folder, qwen3_folder, sharded_folder):
    for folder in (qwen2_folder, qwen3_folder, sharded_folder, str(qwen2_folder)):
        assert check_folder(folder) == Path(folder)
    assert len(weight_files(sharded_folder)) == 2
    assert "model.embed_tokens.weight" in safetensors_header(qwen2_folder / "model.safetensors")


def test_tiny_models_pass():
    for folder in (TINY_CHAT, TINY_BASE):
        if folder.is_dir():  # they are made by `python -m qwen_helpers train`
            assert check_folder(folder) == folder


def test_bin_weights_pass(model_copy):
    (model_copy / "model.safetensors").rename(model_copy / "pytorch_model.bin")
    assert check_folder(model_copy) == model_copy
    (model_copy / "pytorch_model.bin").rename(model_copy / "pytorch_model-1.bin")
    (model_copy / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-1.bin"}}')
    assert weight_files(model_copy) == [model_copy / "pytorch_model-1.bin"]


def test_vocab_and_merges_are_a_tokenizer_too(model_copy):
    (model_copy / "tokenizer.json").unlink()
    (model_copy / "tokenizer_config.json").unlink()
    assert check_folder(model_copy) == model_copy


def test_missing_folder(alone):
    assert fault(alone / "nothing") == (
        f"There is no folder {str(alone / 'nothing')!r}: correct the path, or download the model as lesson 2 shows."
    )
    assert f"'models/nothing' in {Path.cwd()}:" in fault("models/nothing")


def test_id_in_place_of_a_folder(alone):
    assert fault(INSTRUCT) == (
        f'{INSTRUCT} is a model\'s id and not a folder: download it with snapshot_download("{INSTRUCT}", '
        'local_dir="models/Qwen2.5-0.5B-Instruct") as lesson 2 shows, and give that folder.'
    )


@pytest.mark.parametrize("path", ["D:\\qwen\new\tiny", "C:\\models\0", "D:qwenmodels", "c:UsersmeQwen"])
def test_windows_path_that_lost_its_backslashes(path):
    assert "has lost its backslashes" in fault(path) and r'write it as r"D:\new\tiny"' in fault(path)


def test_file_in_place_of_a_folder(model_copy):
    message = fault(model_copy / "config.json")
    assert "config.json is a file: give the folder that it is in, " in message and str(model_copy) in message


def test_config_missing(model_copy):
    (model_copy / "config.json").unlink()
    assert "holds no config.json: give the folder that does" in fault(model_copy)


@pytest.mark.parametrize("content", ["<!DOCTYPE html><title>404</title>", '{"hidden_size": 32,', "[1, 2]", "\x80"])
def test_config_that_is_not_json(model_copy, content):
    (model_copy / "config.json").write_bytes(content.encode("latin-1"))
    assert "config.json is not whole JSON (cut off, or a saved error page?): delete it" in fault(model_copy)


def test_config_empty(model_copy):
    (model_copy / "config.json").write_text(" \n")
    assert "config.json is empty: delete it and run the same download again" in fault(model_copy)


def test_no_weights(model_copy):
    (model_copy / "model.safetensors").unlink()
    assert "holds no weights, neither model.safetensors nor model.safetensors.index.json" in fault(model_copy)
    assert check_folder(model_copy, weights=False) == model_copy


def test_shard_missing(sharded_copy):
    shard = weight_files(sharded_copy)[1]
    shard.unlink()
    assert f"{shard.name} is missing from {sharded_copy}, though model.safetensors.index.json" in fault(sharded_copy)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": ["a"]}'])
def test_index_without_weights(sharded_copy, content):
    (sharded_copy / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json names no weights: delete it" in fault(sharded_copy)


def test_half_downloaded(model_copy):
    (model_copy / "model.safetensors").rename(model_copy / "model.safetensors.incomplete")
    message = f"model.safetensors in {model_copy} is only half downloaded: run the same download again, it continues "
    assert fault(model_copy) == message + "where it stopped."
    (model_copy / "model.safetensors.incomplete").rename(model_copy / "model.safetensors")
    (model_copy / "model.safetensors.incomplete").touch()  # a leftover beside the finished file
    assert check_folder(model_copy) == model_copy


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_git_lfs_pointer(model_copy, name):
    (model_copy / name).write_text(POINTER, newline="\n")
    assert f"{name} is only a git-lfs pointer, {len(POINTER)} bytes in place of the real file" in fault(model_copy)
    assert "`git lfs pull`" in fault(model_copy)


def test_truncated_weights(model_copy):
    file = model_copy / "model.safetensors"
    size = file.stat().st_size
    os.truncate(file, size - 1)
    assert f"model.safetensors has {size - 1:,} bytes but should have {size:,}: delete it" in fault(model_copy)
    for cut in (100, 8, 5, 0):  # inside the header, before it, inside the length, empty
        os.truncate(file, cut)
        assert f"is cut off in its first bytes ({cut:,} bytes): delete it" in fault(model_copy)


def test_weights_longer_than_their_header_says(model_copy):
    with (model_copy / "model.safetensors").open("ab") as file:
        file.write(b"more")
    assert "bytes but should have" in fault(model_copy)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
        (20).to_bytes(8, "little") + b"this is not any JSON",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (15).to_bytes(8, "little") + b'{"a": {"b": 1}}',
    ],
)
def test_weights_that_are_something_else(model_copy, content):
    (model_copy / "model.safetensors").write_bytes(content)
    assert "model.safetensors is not safetensors (a saved error page?): delete it" in fault(model_copy)


def test_second_shard_is_checked_too(sharded_copy):
    os.truncate(weight_files(sharded_copy)[1], 1000)
    assert "model-00002-of-00002.safetensors" in fault(sharded_copy)


def test_tokenizer_left_out(model_copy):
    (model_copy / "tokenizer.json").unlink()
    (model_copy / "merges.txt").unlink()
    message = fault(model_copy)
    assert "holds no tokenizer" in message and "transformers 5 would silently build an empty one" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "", "tokenizer.json is empty"),
        ("tokenizer.json", '{"version": "1.0", "mod', "tokenizer.json is not whole JSON"),
        ("tokenizer_config.json", "<html>", "tokenizer_config.json is not whole JSON"),
        ("vocab.json", '{"a": 0, ', "vocab.json is not whole JSON"),
        ("merges.txt", "", "merges.txt is empty"),
        ("merges.txt", POINTER, "merges.txt is only a git-lfs pointer"),
    ],
)
def test_damaged_tokenizer(model_copy, name, content, message):
    if name in ("vocab.json", "merges.txt"):
        (model_copy / "tokenizer.json").unlink()
    (model_copy / name).write_text(content)
    assert message in fault(model_copy)


def test_check_never_reads_the_weights(model_copy, monkeypatch):
    file = model_copy / "model.safetensors"
    header = file.read_bytes()[: 8 + int.from_bytes(file.read_bytes()[:8], "little")]
    wide = json.loads(header[8:])
    wide = {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 50_000_000_000]}}
    text = json.dumps(wide).encode()
    with file.open("wb") as stream:  # 50 GB of holes
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + 50_000_000_000)
    assert check_folder(model_copy) == model_copy


# model_folder and use_model


def test_default_is_tiny_chat(alone, monkeypatch, qwen2_folder):
    monkeypatch.setattr("qwen_helpers.folders.TINY_CHAT", qwen2_folder)
    assert model_folder() == qwen2_folder


def test_qwen_model_may_be_a_folder(alone, monkeypatch, qwen3_folder):
    monkeypatch.setenv("QWEN_MODEL", str(qwen3_folder))
    assert model_folder() == qwen3_folder
    shutil.copytree(qwen3_folder, alone / "mine")
    monkeypatch.setenv("QWEN_MODEL", "mine")
    assert model_folder() == Path.cwd() / "mine"  # relative to the current folder, and absolute for whoever gets it
    shutil.copytree(qwen3_folder, alone / "home" / "mine")
    monkeypatch.setenv("QWEN_MODEL", "~/mine")
    assert model_folder() == alone / "home" / "mine"


def test_qwen_model_may_be_a_word(alone, monkeypatch, qwen2_folder, qwen3_folder):
    monkeypatch.setattr("qwen_helpers.folders.TINY_CHAT", qwen2_folder)
    monkeypatch.setattr("qwen_helpers.folders.TINY_BASE", qwen3_folder)
    monkeypatch.setenv("QWEN_MODEL", "tiny")
    assert model_folder() == qwen2_folder
    monkeypatch.setenv("QWEN_MODEL", "tiny-base")
    assert model_folder() == qwen3_folder
    monkeypatch.setenv("QWEN_MODEL", "")  # as good as not set
    assert model_folder() == qwen2_folder


@pytest.mark.parametrize(
    "place",
    [
        "models/Qwen2.5-0.5B-Instruct",
        "repository/models/Qwen2.5-0.5B-Instruct",
        "repository/notebooks/models/Qwen2.5-0.5B-Instruct",
        "cache/models/Qwen--Qwen2.5-0.5B-Instruct/snapshots/master",
        "models/models/Qwen--Qwen2.5-0.5B-Instruct/snapshots/master",
        "models/Qwen/Qwen2___5-0___5B-Instruct",
        "cache/models/Qwen/Qwen2___5-0___5B-Instruct",
        "cache/hub/models/Qwen/Qwen2___5-0___5B-Instruct",
        "cache/hub/Qwen/Qwen2___5-0___5B-Instruct",
        "cache/Qwen/Qwen2.5-0.5B-Instruct",
    ],
)
def test_an_id_is_found_where_downloads_land(alone, monkeypatch, qwen2_folder, place):
    shutil.copytree(qwen2_folder, alone / place)
    monkeypatch.setenv("QWEN_MODEL", INSTRUCT)
    assert model_folder() == alone / place


def test_modelscope_cache_defaults_to_the_home_folder(alone, monkeypatch):
    monkeypatch.delenv("MODELSCOPE_CACHE")
    home = alone / "home" / ".cache" / "modelscope" / "models" / "Qwen--A" / "snapshots" / "master"
    assert home in list(places("Qwen", "A"))


def test_modelscope_itself_finds_the_same_layouts(alone, monkeypatch, qwen2_folder):
    """Guards against a new layout in modelscope: what it downloads must be among our places."""
    modelscope = pytest.importorskip("modelscope")
    shutil.copytree(qwen2_folder, alone / "c" / "models" / "Qwen--Qwen2.5-0.5B-Instruct" / "snapshots" / "master")
    found = modelscope.snapshot_download(INSTRUCT, cache_dir=str(alone / "c"), local_files_only=True)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(alone / "c"))
    assert find_folder(INSTRUCT) == Path(found)


def test_id_that_is_not_downloaded(alone, monkeypatch):
    (alone / "models" / "Qwen2.5-0.5B-Instruct").mkdir(parents=True)  # an empty folder is not a model
    monkeypatch.setenv("QWEN_MODEL", INSTRUCT)
    with pytest.raises(ModelFolderError) as caught:
        model_folder()
    assert str(caught.value) == (
        f'QWEN_MODEL is set, but: {INSTRUCT} is not downloaded yet: run snapshot_download("{INSTRUCT}", '
        'local_dir="models/Qwen2.5-0.5B-Instruct"), as lesson 2 shows.'
    )


def test_id_of_another_model(alone, qwen2_folder):
    with pytest.raises(ModelFolderError, match=r'run snapshot_download\("Other/Model", local_dir="models/Model"\)'):
        find_folder("Other/Model")
    shutil.copytree(qwen2_folder, alone / "models" / "Model")
    assert find_folder("Other/Model") == alone / "models" / "Model"


def test_mistyped_ids_and_words(alone):
    with pytest.raises(ModelFolderError) as caught:
        find_folder("Qwen/Qwen2.5-0.5B-Instuct")
    assert str(caught.value) == (
        f"'Qwen/Qwen2.5-0.5B-Instuct' is not downloaded, and not in the course's catalogue: did you mean {INSTRUCT!r}?"
    )
    with pytest.raises(ModelFolderError, match=r"no folder 'tinny' in .*, and no such model: did you mean 'tiny'\?$"):
        find_folder("tinny")


@pytest.mark.parametrize("what", ["models/Qwen2.5-7B", "./Qwen2.5-7B", "a/b/c", "notebooks/models", r"C:\qwen\x"])
def test_paths_are_not_taken_for_ids(alone, what):
    with pytest.raises(ModelFolderError, match="There is no folder"):
        check_folder(find_folder(what))


def test_use_model_is_remembered(alone, monkeypatch, downloaded, qwen2_folder, qwen3_folder, capsys):
    monkeypatch.setattr("qwen_helpers.folders.TINY_CHAT", qwen3_folder)
    assert use_model(INSTRUCT) == downloaded
    assert (alone / "repository" / ".qwen_model").read_text(encoding="utf-8") == f"{downloaded}\n"
    assert model_folder() == downloaded
    assert use_model(Path("models") / "Qwen2.5-0.5B-Instruct") == downloaded  # a relative folder is made absolute
    monkeypatch.chdir(alone / "home")
    assert model_folder() == downloaded  # whatever the current folder
    assert use_model("tiny") == qwen3_folder
    assert not (alone / "repository" / ".qwen_model").exists()
    assert use_model("tiny") == model_folder() == qwen3_folder  # twice is once
    assert capsys.readouterr().out == ""


def test_a_missing_folder_is_shown_as_it_was_written(alone, monkeypatch):
    monkeypatch.setenv("QWEN_MODEL", "./models/mine")
    with pytest.raises(ModelFolderError) as caught:
        model_folder()
    assert f"QWEN_MODEL is set, but: There is no folder {str(Path('models/mine'))!r} in {Path.cwd()}" in str(
        caught.value
    )
    with pytest.raises(ModelFolderError, match="has lost its backslashes"):
        use_model("D:\\qwen\new")  # not a raw string: Python has put a line break in it
    with pytest.raises(ModelFolderError, match="has lost its backslashes"):
        use_model("D:qwenmodels")


def test_use_model_takes_names_in_any_script(alone, qwen2_folder):
    folder = shutil.copytree(qwen2_folder, alone / "模型 é")
    assert use_model(folder) == model_folder() == folder


def test_use_model_remembers_nothing_that_is_broken(alone, model_copy):
    (model_copy / "config.json").unlink()
    with pytest.raises(ModelFolderError, match="no config.json"):
        use_model(model_copy)
    assert not (alone / "repository" / ".qwen_model").exists()


def test_use_model_says_that_qwen_model_wins(alone, monkeypatch, capsys, qwen2_folder, qwen3_folder):
    monkeypatch.setenv("QWEN_MODEL", str(qwen3_folder))
    use_model(qwen2_folder)
    assert capsys.readouterr().out == f"Saved, but QWEN_MODEL is set to {qwen3_folder} and wins until you unset it.\n"
    assert model_folder() == qwen3_folder


def test_a_choice_that_is_gone(alone, model_copy):
    use_model(model_copy)
    shutil.rmtree(model_copy)
    with pytest.raises(ModelFolderError, match=r'is no longer at .*back to the tiny model with use_model\("tiny"\)\.$'):
        model_folder()
    (alone / "repository" / ".qwen_model").write_text("")
    with pytest.raises(ModelFolderError, match="is no longer at ''"):
        model_folder()


def test_a_choice_that_cannot_be_saved(alone, qwen2_folder):
    (alone / "repository" / ".qwen_model").mkdir()  # a folder in its place: no file can be written there
    with pytest.raises(ModelFolderError, match=r"\.qwen_model cannot be written .*: set the environment variable"):
        use_model(qwen2_folder)


def test_course_root():
    assert (course_root() / "qwen_helpers" / "models.py").is_file()


def test_course_root_of_an_installed_package(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "qwen_helpers.folders.__file__", str(tmp_path / "site-packages" / "qwen_helpers" / "folders.py")
    )
    monkeypatch.chdir(tmp_path)
    assert course_root() == Path.cwd()


def test_import_is_quick_and_loads_no_torch():
    code = "import sys, qwen_helpers.models; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Qwen/Qwen3-0.6B-Instruct", "Qwen/Qwen3-0.6B"), ("Qwen/Qwen2.5-7B-Chat", "Qwen/Qwen2.5-7B-Instruct")],
)
def test_a_wrong_suffix_finds_the_chat_model(alone, typed, meant):
    with pytest.raises(ModelFolderError, match=f"did you mean '{meant}'"):
        find_folder(typed)


def test_a_wrong_folder_that_looks_like_an_id_is_called_a_folder(alone):
    with pytest.raises(ModelFolderError, match="There is no folder 'wrong/folder' in "):
        find_folder("wrong/folder")
