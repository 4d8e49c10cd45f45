"""preflight: the arithmetic, each verdict, each device and each bad argument, on pretended machines."""

import json
import re
import shutil
import socket
import sys
import time
from collections import namedtuple

import psutil
import pytest

from qwen_helpers import sizes
from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.models import CATALOGUE, find_model

preflight = sizes.preflight

SMALL, SEVEN = "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct"
Memory, Disk = namedtuple("Memory", "available"), namedtuple("Disk", "free")


@pytest.fixture
def machine(alone, monkeypatch):
    """Call it with memory and disk in GB, and what the GPU has, to get such a machine."""
    import torch

    def pretend(memory=16, disk=100, cuda=None, mps=None):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(int(memory * 1e9)))
        monkeypatch.setattr(sizes.shutil, "disk_usage", lambda path: Disk(int(disk * 1e9)))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int((cuda or 0) * 1e9), 80_000_000_000))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps is not None)
        monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: int((mps or 0) * 1e9))

    pretend()
    return pretend


def test_arithmetic_of_a_catalogue_model(machine):
    found = preflight(SMALL, mbit_per_s=100)
    model = find_model(SMALL)
    assert found.weights_bytes == model.parameters * 2 == 988_065_536
    assert found.kv_bytes == 2048 * 12_288
    assert found.work_bytes == 500_000_000 + 8 * 4864 * 2 * 2048
    assert found.needed_bytes == found.weights_bytes + found.kv_bytes + found.work_bytes
    assert (found.model, found.dtype, found.context, found.device) == (SMALL, "bfloat16", 2048, "cpu")
    assert found.disk_needed_bytes == model.download_bytes and found.disk_free_bytes == 100_000_000_000
    assert found.download_minutes == pytest.approx(1.004 * 8000 / 100 / 60, rel=0.01)  # 1.004 GB at 100 Mbit/s
    assert found.fits and found.fits_disk and found.advice == "It fits."


@pytest.mark.parametrize(
    ("id", "dtype", "context", "measured"),
    [
        (SMALL, "bfloat16", 64, 1358),
        (SMALL, "bfloat16", 2048, 1515),
        (SMALL, "bfloat16", 4096, 1692),
        (SMALL, "float32", 64, 2294),
        (SMALL, "float32", 2048, 2630),
        (SMALL, "float32", 4096, 2917),
        ("Qwen/Qwen2.5-1.5B-Instruct", "bfloat16", 2048, 3631),
        ("Qwen/Qwen2.5-1.5B-Instruct", "bfloat16", 4096, 4015),
        ("Qwen/Qwen2.5-1.5B-Instruct", "float32", 2048, 6903),
    ],
)
def test_estimate_lies_a_little_above_what_was_measured(machine, id, dtype, context, measured):
    """Peak resident MiB of loading and generating with random weights in these shapes on Linux."""
    assert 1.01 < preflight(id, dtype=dtype, context=context).needed_bytes / (measured * 2**20) < 1.06


@pytest.mark.parametrize(
    ("dtype", "tokens", "pictures", "measured"),
    [
        ("bfloat16", 256, False, 2_012_905_472),
        ("bfloat16", 1024, False, 2_218_217_472),
        ("bfloat16", 2048, False, 2_260_316_160),
        ("bfloat16", 4096, False, 2_721_366_016),
        ("float32", 256, False, 3_568_590_848),
        ("float32", 2048, False, 4_129_243_136),
        ("float32", 4096, False, 4_280_958_976),
        ("bfloat16", 64, True, 2_183_098_368),
        ("bfloat16", 1024, True, 2_367_606_784),
    ],
)
def test_qwen3_5_takes_what_was_measured(machine, dtype, tokens, pictures, measured):
    """Peak resident bytes with random weights in the shape of Qwen3.5-0.8B on Linux; pictures: with vision tower."""
    found = preflight("Qwen/Qwen3.5-0.8B", dtype=dtype, context=tokens)
    predicted = found.needed_bytes - sizes.MARGIN + (found.vision_bytes if pictures else 0)
    assert predicted == pytest.approx(measured, rel=0.07)


def test_report_is_aligned_and_ends_in_the_verdict(machine):
    lines = str(preflight(SEVEN, mbit_per_s=50)).splitlines()
    assert lines[0] == f"{SEVEN} in bfloat16"
    assert [re.split(r"  +", line)[0] for line in lines[1:-1]] == [
        "weights", "KV cache", "working memory", "memory needed", "disk needed", "download"
    ]  # fmt: skip
    assert lines[1] == "weights          15.2 GB   2 bytes per number"
    assert lines[2] == "KV cache        117.4 MB   57,344 bytes x 2,048 tokens"
    assert lines[6].startswith("download        40.7 min   ")
    assert len({line.index("   ", 20) for line in lines[1:-1]}) == 1
    assert lines[-1].startswith("It does not fit: ")
    assert repr(preflight(SEVEN)) == str(preflight(SEVEN))  # a notebook shows the same


def test_too_large_for_memory_names_the_largest_that_fits(machine):
    machine(memory=8)
    found = preflight(SEVEN)
    assert not found.fits and found.fits_disk
    best = find_model(re.search(r"choose (\S+), the largest instruct model of Qwen3.5 that does\.$", found.advice)[1])
    assert preflight(best.id).fits
    newer = [m for m in CATALOGUE if m.kind == "instruct" and m.family > best.family]
    larger = [m for m in CATALOGUE if m.kind == "instruct" and m.family == best.family]
    larger = [m for m in larger if m.parameters > best.parameters]
    assert newer and larger and not any(preflight(m.id).fits for m in newer + larger)
    assert preflight("Qwen/Qwen3-4B", dtype="int8").fits  # larger, but of an older family
    assert "the largest base model of Qwen3.5" in preflight("Qwen/Qwen2.5-7B").advice
    machine(memory=80)
    assert "choose Qwen/Qwen3.8-27B," in preflight("Qwen/Qwen2.5-72B-Instruct").advice


def test_the_model_that_is_named_takes_the_context_and_the_disk_too(machine):
    machine(memory=24, disk=3)
    assert "choose Qwen/Qwen3.5-0.8B," in preflight("Qwen/Qwen2.5-14B-Instruct").advice  # 2B: a download of 4.6 GB
    machine(memory=18)
    assert "choose Qwen/Qwen3.5-2B," in preflight("Qwen/Qwen3-14B", context=32768).advice
    machine(memory=18, disk=1.6)
    assert "choose Qwen/Qwen3-0.6B," in preflight("Qwen/Qwen3.5-27B", context=40960).advice
    assert 'use_model("tiny")' in preflight("Qwen/Qwen3.5-27B", context=40961).advice  # Qwen3-0.6B takes only 40960


def test_nothing_fits(machine):
    machine(memory=1)
    assert preflight(SEVEN).advice == 'It does not fit: close other programs, or use_model("tiny").'


def test_too_large_for_the_disk(machine):
    machine(disk=10)
    found = preflight(SEVEN, dtype="int8")
    assert found.fits and not found.fits_disk
    assert found.advice == ("It does not fit on the disk: free 5.2 GB more, or work in a folder on a larger drive.")


def test_dtypes(machine):
    import torch

    assert preflight(SMALL, dtype="float32").weights_bytes == 2 * preflight(SMALL, dtype="auto").weights_bytes
    assert preflight(SMALL, dtype=torch.float16).dtype == "float16"
    assert preflight(SMALL, dtype="int8").weights_bytes == round(find_model(SMALL).parameters * 8.25 / 8)
    assert preflight(SMALL, dtype="int4").weights_bytes == round(find_model(SMALL).parameters * 4.25 / 8)
    assert preflight(SMALL, dtype="int8").kv_bytes == preflight(SMALL).kv_bytes  # int8 is for weights only


def test_gpu(machine):
    machine(memory=32, cuda=6)
    found = preflight(SEVEN)
    assert (found.device, found.available_bytes) == ("cuda", 6_000_000_000)
    assert found.advice.endswith(', or load it with device="cpu", where it fits but is slower.')
    machine(memory=4, cuda=6)
    assert "device=" not in preflight(SEVEN).advice
    machine(memory=4, cuda=24)
    assert preflight(SEVEN).fits


def test_mac(machine):
    machine(memory=16, mps=11)
    assert sizes.device_memory() == ("mps", 11_000_000_000)
    assert 'device="cpu"' in preflight("Qwen/Qwen3-4B", context=16384).advice  # 12 GB
    machine(memory=5, mps=11)
    assert sizes.device_memory() == ("mps", 5_000_000_000)


def test_without_torch_it_is_the_cpu(machine, monkeypatch):
    machine(memory=5, cuda=80)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert sizes.device_memory() == ("cpu", 5_000_000_000)


def test_folder_gives_what_its_files_say(machine, qwen2_folder, qwen3_folder):
    from transformers import AutoModelForCausalLM

    for folder in (qwen2_folder, qwen3_folder):
        real = AutoModelForCausalLM.from_pretrained(folder).num_parameters()
        found = preflight(folder, context=100, mbit_per_s=10)
        assert found.weights_bytes == real * 2 and found.dtype == "bfloat16" and found.model == folder.name
        assert preflight(folder, context=100, dtype="float32").weights_bytes == real * 4
        assert found.disk_needed_bytes == 0 and found.download_minutes is None
        assert "disk" not in str(found) and str(found).endswith("It fits.")


def test_a_qwen3_5_folder_is_counted_as_it_is_loaded(machine, qwen3_5_folder):
    """Text only: without the vision tower. One layer in four has a cache that grows, the others keep a fixed state."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(qwen3_5_folder)
    found = preflight(qwen3_5_folder, context=300)
    assert found.weights_bytes == 2 * model.num_parameters() and found.dtype == "bfloat16"
    with torch.no_grad():
        cache = model(input_ids=torch.arange(300)[None], use_cache=True).past_key_values
    growing = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
    assert len(growing) == 1
    assert found.kv_bytes - found.state_bytes == sum(layer.keys.nbytes + layer.values.nbytes for layer in growing)
    states = [layer.recurrent_states[0] for layer in cache.layers if layer not in growing]
    assert len(states) == 3 and found.state_bytes == pytest.approx(sum(state.nbytes for state in states), rel=0.6)
    assert found.state_bytes >= sum(state.nbytes for state in states)
    assert "KB at any length" in str(found) or "MB at any length" in str(found)


def test_a_qwen3_5_folder_that_is_cut(machine, qwen3_5_folder, tmp_path):
    folder = shutil.copytree(qwen3_5_folder, tmp_path / "cut")
    config = json.loads((folder / "config.json").read_text())
    whole = dict(config["text_config"])
    del config["text_config"]["num_attention_heads"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="has no 'num_attention_heads': preflight knows only models like Qwen2"):
        preflight(folder)
    edit(folder, text_config={})
    with pytest.raises(ModelFolderError, match="has no 'num_attention_heads'"):
        preflight(folder)
    for key, value in {
        "num_key_value_heads": "8",
        "head_dim": -1,
        "full_attention_interval": 0,
        "vocab_size": True,
    }.items():
        edit(folder, text_config={**whole, key: value})
        with pytest.raises(ModelFolderError, match=f"has no '{key}'"):
            preflight(folder)
    edit(folder, text_config="cut")
    with pytest.raises(ModelFolderError, match=r"^text_config in .*config\.json is not the table .* download again"):
        preflight(folder)


@pytest.mark.parametrize(
    ("name", "family", "experts"),
    [
        ("qwen2", "Qwen2.5", 0),
        ("qwen3", "Qwen3", 0),
        ("qwen3_moe", "Qwen3", 4),
        ("qwen3_5", "Qwen3.5", 0),
        ("qwen3_5_moe", "Qwen3.5", 4),
    ],
)
def test_the_numbers_of_a_folder(request, name, family, experts):
    """Parameters of every architecture, against what transformers loads and the files hold."""
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(f"{name}_folder")
    found = sizes.look_up_model(folder)[0]
    assert (found.family, found.experts) == (family, experts)
    assert found.parameters == AutoModelForCausalLM.from_pretrained(folder).num_parameters()
    headers = sizes.safetensors_header(folder / "model.safetensors")
    tower = [tensor["shape"] for name, tensor in headers.items() if name.startswith("model.visual.")]
    assert found.vision_parameters == sum(sizes.math.prod(shape) for shape in tower)


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.id)
def test_every_model_in_a_second_without_a_network(machine, monkeypatch, model):
    def forbidden(*args, **kwargs):
        raise AssertionError("preflight asked the network")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    start = time.perf_counter()
    for dtype in ("bfloat16", "int8", "int4"):
        text = str(preflight(model.id, dtype=dtype, mbit_per_s=50))
        assert text.startswith(f"{model.id} in {dtype}\n") and ("vision tower" in text) == bool(model.vision)
    assert time.perf_counter() - start < 1


def test_the_largest_that_fit():
    rows = {row[:3]: row[3] for row in sizes.largest_that_fit()}
    assert len(rows) == 12
    assert rows["computer", 8, "bfloat16"] == "Qwen/Qwen3.5-0.8B" and rows["card", 8, "bfloat16"] == "Qwen/Qwen3.5-2B"
    assert rows["computer", 16, "int4"] == "Qwen/Qwen3.5-9B"
    assert rows["card", 24, "int4"] == "Qwen/Qwen3.6-35B-A3B"  # the newer of two of one size
    assert sizes.largest_that_fit(computers=(4,), cards=(), dtypes=("float32",)) == [("computer", 4, "float32", None)]
    assert sizes.largest_that_fit((), (24,), ("int4",), context=50_000) == [("card", 24, "int4", "Qwen/Qwen3.5-9B")]


@pytest.mark.parametrize("id", ["Qwen/Qwen3.7-4B", "Qwen/Qwen3.9-27B", "Qwen/Qwen4-8B-Instruct", "Qwen/Qwen3.8-35B"])
def test_a_newer_model_is_not_corrected_to_an_older_one(machine, id):
    with pytest.raises(ModelFolderError) as caught:
        preflight(id)
    assert str(caught.value) == (
        f"{id} is not downloaded yet, and its size is not in the course's catalogue: run snapshot_download("
        f'"{id}", local_dir="models/{id.split("/")[1]}"), as lesson 2 shows.'
    )
    with pytest.raises(ValueError, match=r"CATALOGUE lists them\.$"):
        find_model(id)


def test_folder_context_and_cache(machine, qwen2_folder, qwen3_folder):
    assert preflight(qwen2_folder, context=512).kv_bytes == 512 * 2 * 2 * 2 * 8 * 2  # k and v, layers, heads, 8, bytes
    assert preflight(qwen3_folder, context=512).kv_bytes == 512 * 2 * 2 * 2 * 16 * 2


def test_model_in_use_is_the_default(machine, monkeypatch, qwen3_folder):
    monkeypatch.setenv("QWEN_MODEL", str(qwen3_folder))
    assert preflight(context=100).model == "qwen3"
    monkeypatch.setattr(sizes, "TINY_CHAT", qwen3_folder.parent / "chat")
    assert preflight(context=100).model == "tiny qwen3"


def test_downloaded_model_needs_no_disk(machine, alone, qwen2_folder):
    shutil.copytree(qwen2_folder, alone / "models" / "Qwen2.5-0.5B-Instruct")
    found = preflight(SMALL, mbit_per_s=1)
    assert found.model == SMALL and found.disk_needed_bytes == 0 and found.download_minutes is None
    (alone / "models" / "Qwen2.5-0.5B-Instruct" / "model.safetensors").unlink()  # half of it has to come again
    assert preflight(SMALL).disk_needed_bytes == find_model(SMALL).download_bytes


def test_names_of_folders(machine, alone, qwen2_folder):
    cached = alone / "cache" / "models" / "Qwen--Qwen2.5-1.5B" / "snapshots" / "master"
    shutil.copytree(qwen2_folder, cached)
    assert preflight(cached, context=9).model == "Qwen/Qwen2.5-1.5B"
    machine(memory=0.1)
    assert "use_model" in preflight(cached, context=9).advice
    machine(memory=0.1, cuda=0.1)
    assert preflight(cached, context=9).device == "cuda"


@pytest.mark.parametrize(
    ("name", "kind"), [("Qwen2.5-1.5B", "base"), ("my-base", "base"), ("Qwen3-4B", "instruct"), ("mine", "instruct")]
)
def test_kind_of_a_folder(machine, alone, qwen2_folder, name, kind):
    folder = shutil.copytree(qwen2_folder, alone / name)
    machine(memory=3.5)
    edit(folder, num_hidden_layers=100_000_000)  # a KV cache that fits nowhere
    assert f"the largest {kind} model of Qwen3.5 that does" in preflight(folder, context=9).advice


def edit(folder, **changes):
    """Change config.json; a value of None takes the key out."""
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in {**config, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))


def test_configs_of_older_transformers(machine, model_copy):
    edit(model_copy, dtype=None, torch_dtype="float16")
    assert preflight(model_copy, context=9).dtype == "float16"
    edit(model_copy, torch_dtype=None)
    assert preflight(model_copy, context=9).dtype == "float32"


def test_other_kinds_of_models(machine, model_copy):
    edit(model_copy, model_type="llama")
    with pytest.raises(ModelFolderError, match=r"has model_type 'llama'; preflight knows qwen2, qwen3, .*\.$"):
        preflight(model_copy)
    edit(model_copy, model_type="qwen2", num_hidden_layers=None)
    with pytest.raises(ModelFolderError, match=r"has no 'num_hidden_layers': preflight knows only models like Qwen2"):
        preflight(model_copy)


def test_bin_and_tied_and_quantized_weights(model_copy, qwen2_folder):
    import torch
    from safetensors.torch import save_file

    real = sizes.folder_weight_bytes(qwen2_folder, "bfloat16", tied=True)
    tensors = {"model.embed_tokens.weight": torch.zeros(10, 4, dtype=torch.bfloat16),
               "lm_head.weight": torch.zeros(10, 4, dtype=torch.bfloat16)}  # fmt: skip
    save_file(tensors, model_copy / "model.safetensors")
    assert (
        sizes.folder_weight_bytes(model_copy, "bfloat16", tied=True) == 80
    )  # as in Qwen3-0.6B: the file holds it twice, memory once
    assert sizes.folder_weight_bytes(model_copy, "float32", tied=False) == 320
    save_file(
        {"qweight": torch.zeros(6, dtype=torch.int32), "scales": torch.zeros(3)}, model_copy / "model.safetensors"
    )
    assert (
        sizes.folder_weight_bytes(model_copy, "bfloat16", tied=True) == 6 * 4 + 3 * 2
    )  # packed numbers stay, the others are converted
    shutil.copy(qwen2_folder / "model.safetensors", model_copy / "pytorch_model.bin")
    (model_copy / "model.safetensors").unlink()
    assert sizes.folder_weight_bytes(model_copy, "bfloat16", tied=True) == pytest.approx(real, rel=0.05)


def test_bad_arguments(machine, qwen2_folder):
    for speed in (0, -5, float("nan")):
        with pytest.raises(ValueError, match=r"give your line's speed in megabit per second, such as 50\.$"):
            preflight(SMALL, mbit_per_s=speed)
    with pytest.raises(
        ValueError, match=r"^Unknown dtype 'int3': use one of float32, bfloat16, float16, int8, int4, q8_0, q4_0\.$"
    ):
        preflight(SMALL, dtype="int3")
    with pytest.raises(ValueError, match=r"^Unknown dtype 'int3'"):
        preflight(qwen2_folder, dtype="int3", context=9)


def test_context_longer_than_the_models(machine, qwen2_folder):
    with pytest.raises(ValueError) as caught:
        preflight(SMALL, context=32769)
    assert str(caught.value) == f"context=32769 is not possible: {SMALL} takes 1 to 32768 tokens."
    with pytest.raises(
        ValueError, match=r"takes 1 to 32768 tokens \(131072 with the YaRN setting on its model card\)\."
    ):
        preflight(SEVEN, context=50_000)
    with pytest.raises(ValueError, match="takes 1 to 512 tokens"):
        preflight(qwen2_folder, context=513)
    with pytest.raises(ValueError, match="context=0 is not possible"):
        preflight(SMALL, context=0)


def test_models_that_are_not_there(machine):
    with pytest.raises(ModelFolderError, match=r"did you mean 'Qwen/Qwen2\.5-7B-Instruct'\?$"):
        preflight("Qwen/Qwen2.5-7B-Instuct")
    with pytest.raises(ModelFolderError, match="There is no folder"):
        preflight("./nowhere")


def test_command_line(machine, monkeypatch, capsys):
    def run(*arguments):
        sizes.main(list(arguments))
        return capsys.readouterr().out

    out = run(SEVEN, "--dtype", "float32", "--context", "100", "--mbit-per-s", "8")
    assert out.startswith(f"{SEVEN} in float32\n") and "57,344" not in out and "114,688 bytes x 100 tokens" in out
    with pytest.raises(ValueError, match="^Unknown dtype 'bf16'"):  # of which `__main__` makes one sentence
        run(SEVEN, "--dtype", "bf16")
