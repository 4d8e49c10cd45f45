"""Lesson 8's arithmetic and its measurements: the formulas against real models, the commands against their promises."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM

from qwen_helpers import TINY_CHAT, preflight
from qwen_helpers.engines import llama_cpp, onnx
from qwen_helpers.engines.transformers import TransformersEngine
from qwen_helpers.labs.calculator import NAMES, Calculator, estimate
from qwen_helpers.labs.speed import bandwidth
from qwen_helpers.models import find_model
from qwen_helpers.sizes import BITS, bytes_per_token, ceiling, file_bytes, kv_bytes, look_up_model, peak_bytes
from qwen_helpers.tools import measure_engines
from qwen_helpers.tools.measure_engines import ENGINES, _ratios, compare_engines
from qwen_helpers.tools.measure_memory import memory
from qwen_helpers.tools.shapes import SHAPES, random_model, save_random, shape

TINY = look_up_model(TINY_CHAT)[0]


def test_the_weights_and_the_cache_are_those_of_a_real_model():
    model = TransformersEngine(TINY_CHAT, dtype="float32", device="cpu").model
    assert TINY.weight_bytes("float32") == sum(p.numel() * 4 for p in model.parameters())
    with torch.no_grad():
        cache = model(input_ids=torch.arange(37)[None], use_cache=True).past_key_values
    assert kv_bytes(TINY, "float32", 37) == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-7B"])
def test_preflight_stays_on_the_safe_side_of_the_peak(name, dtype):
    for tokens in (64, 4096):
        ratio = preflight(name, dtype=dtype, context=tokens).needed_bytes / peak_bytes(
            find_model(name), dtype, tokens, 0
        )
        assert 1 <= ratio < 1.15


def test_the_ceiling():
    tied, untied = find_model("Qwen/Qwen2.5-0.5B"), find_model("Qwen/Qwen2.5-7B")
    assert bytes_per_token(tied, "bfloat16", 0) == tied.weight_bytes("bfloat16")
    assert bytes_per_token(untied, "bfloat16", 0) == untied.weight_bytes("bfloat16") - 2 * 152064 * 3584
    assert ceiling(untied, "bfloat16", 0, 14.0) == pytest.approx(0.99, abs=0.01)
    assert ceiling(tied, "int4", 0, 50) / ceiling(tied, "bfloat16", 0, 50) == pytest.approx(16 / 4.25)
    assert bytes_per_token(tied, "int4", 10) - bytes_per_token(tied, "int4", 0) == 10 * tied.kv_bytes_per_token()


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="Unknown dtype 'int3': use one of float32"):
        TINY.weight_bytes("int3")


def test_bandwidth_counts_what_it_touches(monkeypatch):
    """On a clock that gives each loop half a second: two arrays of 40 MB read or written are then 0.16 GB/s."""
    ticks = itertools.count(step=0.5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    rates = bandwidth(megabytes=40, rounds=2)
    assert rates == pytest.approx({"read": 0.16, "copy": 0.16, "triad": 0.24, "copy, numpy": 0.16, "best": 0.24})


def test_of_experts_only_those_that_a_token_takes_are_read():
    model = find_model("Qwen/Qwen3.6-35B-A3B")
    assert bytes_per_token(model, "bfloat16", 0) - 4 * model.state_numbers == 2 * (
        model.active_body_parameters + 248320 * 2048
    )
    dense = find_model("Qwen/Qwen3.8-27B")
    assert ceiling(model, "int4", 4096, 50) / ceiling(dense, "int4", 4096, 50) > 8  # of about the same size in memory
    assert "work" in estimate(model.id, "int4", 4096, 32, 50)


def test_the_size_of_published_and_converted_files(tmp_path):
    """AWQ: what vLLM prints as "Checkpoint size" of Qwen2.5-7B-Instruct-AWQ. 0.5B: files that onnx.convert made."""
    assert file_bytes(find_model("Qwen/Qwen2.5-7B-Instruct"), "awq") == pytest.approx(5.19 * 2**30, rel=0.001)
    half = find_model("Qwen/Qwen2.5-0.5B")
    assert file_bytes(half, "onnx int4") == pytest.approx(271e6, rel=0.002)
    assert file_bytes(half, "onnx int8") == pytest.approx(1063e6, rel=0.002)
    for kind in ("q8_0", "q4_0"):
        reader = llama_cpp.read(llama_cpp.convert(TINY_CHAT, tmp_path / f"{kind}.gguf", kind))
        assert file_bytes(TINY, kind) == sum(tensor.n_bytes for tensor in reader.tensors)
    with pytest.raises(ValueError, match="Unknown kind of file 'gptq': use one of onnx int4"):
        file_bytes(half, "gptq")
    with pytest.raises(ValueError, match="Qwen/Qwen3.5-4B has experts or linear attention"):
        file_bytes(find_model("Qwen/Qwen3.5-4B"), "awq")


@pytest.mark.skipif(find_spec("onnxruntime_genai") is None, reason="needs Python 3.11 or 3.12")
@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_the_builder_leaves_an_untied_embedding_in_float32(tmp_path, precision):
    """As in 7B and up. It also lets the processor compute in int8: accuracy_level 4."""
    import onnx as library

    wide = {"hidden": 256, "heads": 4, "kv_heads": 2, "head_dim": 64, "intermediate": 512}  # whole blocks of 128
    untied = replace(TINY, layers=2, tied=False, **wide)
    out = onnx.convert(save_random(untied, tmp_path / "untied"), tmp_path / "onnx", precision)
    predicted = file_bytes(untied, f"onnx {precision}")
    assert (out / "model.onnx.data").stat().st_size == pytest.approx(predicted, rel=0.01)
    nodes = library.load(out / "model.onnx", load_external_data=False).graph.node
    levels = {part.i for node in nodes for part in node.attribute if part.name == "accuracy_level"}
    assert levels == {4}


@pytest.mark.parametrize("name", SHAPES)
def test_a_random_model_has_the_shape_of_the_real_one(name):
    with torch.device("meta"):
        real = random_model(shape(name), "meta")
    assert real.num_parameters() == shape(name).parameters + shape(name).vision_parameters


def test_a_random_model_answers_with_text(tmp_path):
    folder = save_random(TINY, tmp_path)
    engine = TransformersEngine(folder, device="cpu")
    assert "".join(engine.stream([{"role": "user", "content": "Hi"}], {}, max_new_tokens=8, do_sample=False)).strip()
    with pytest.raises(ValueError, match="Unknown shape '9b': use one of 0.5b"):
        shape("9b")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnxruntime_genai") is None, reason="needs Python 3.11 or 3.12")
def test_engines_prints_a_table_and_ends_with_json(capsys):
    few = ("transformers float32", "transformers bfloat16", "onnx int4", "llama.cpp q4_0")
    result = compare_engines(TINY_CHAT, tokens=24, rounds=1, only=few)
    assert json.loads(json.dumps(result)) == result and list(result["engines"]) == list(few)
    *python, llama = result["engines"].values()
    for row in python:
        assert row["tokens"] == 24 and row["tokens_per_s"] > 0 and row["load_s"] > 0 and row["same_answer"] is True
        assert 2e8 < row["peak_bytes"] < 2e9 and "of the ceiling" in row["limit"]
    assert 0.1 < python[-1]["weights_share"] < 1
    assert llama["tokens"] == 24 and llama["same_answer"] is True and 2e7 < llama["peak_bytes"] < 2e9  # without PyTorch
    best = max(row["tokens_per_s"] for row in python)
    assert result["best_over_llama_cpp_q4_0"] == pytest.approx(best / llama["tokens_per_s"])
    ratios = result["over_transformers_bf16"]
    assert result["best_over_transformers_bf16"] == max(ratios.values()) and ratios["transformers bfloat16"] == 1
    assert "load s" in capsys.readouterr().out


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed")
def test_an_engine_that_cannot_run_is_a_row_with_a_reason(capsys):
    result = compare_engines(TINY_CHAT, only=("torchao int8",))
    assert result["engines"]["torchao int8"]["error"].startswith("needs torchao") and result["best"] is None
    assert "needs torchao, which the course leaves out: pip install" in capsys.readouterr().out


def test_ratios_are_taken_within_a_pass():
    runs = {"transformers bfloat16": [10, 1, 1], "onnx int4": [50, 5, 6]}  # the last two on a busy machine
    runs = {name: [{"tokens_per_s": rate} for rate in rates] for name, rates in runs.items()}
    assert set(ENGINES) > set(runs)
    assert _ratios(runs, "transformers bfloat16") == {"transformers bfloat16": 1, "onnx int4": 5}
    assert _ratios({"onnx int4": [{"tokens_per_s": 5}]}, "transformers bfloat16") == {}


def test_memory_compares(monkeypatch, capsys):
    monkeypatch.setattr("qwen_helpers.tools.measure_memory.shape", lambda name: TINY)
    result = memory("tiny", contexts=(64,), dtypes=("bfloat16",))
    (point,) = result["points"]
    assert 0.3e9 < point["measured"] < 0.6e9, "nearly all of it are the libraries"
    assert point["predicted"] == peak_bytes(TINY, "bfloat16", 64, 4) and 0 < result["worst"] < 0.3
    assert "predicted GB" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(("arithmetic", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_gpu_takes_float16_on_a_card_without_bfloat16(arithmetic, dtype, monkeypatch, qwen2_folder):
    seen = []
    for name, value in {
        "is_available": True, "is_bf16_supported": arithmetic, "get_device_name": "a card", "empty_cache": None,
        "mem_get_info": (1e12, 1e12),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(measure_engines, "bandwidth", lambda *_, **__: {"best": 900.0})
    model = AutoModelForCausalLM.from_pretrained(qwen2_folder)
    monkeypatch.setattr(measure_engines, "random_model", lambda *_: model)
    monkeypatch.setattr(measure_engines, "_gpu_seconds", lambda network, *_: seen.append(network.dtype) or 1.0)
    assert measure_engines.gpu(sizes=("1.5b",))["dtype"] == str(dtype).removeprefix("torch.")
    assert seen == [dtype, dtype]


def test_gpu_says_in_one_sentence_that_there_is_none():
    command = [sys.executable, "-m", "qwen_helpers", "measure", "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("There is no GPU that PyTorch can use")
    assert len(done.stderr.splitlines()) == 1


def test_the_calculator_tells_what_fits():
    text = estimate("Qwen/Qwen2.5-7B-Instruct", "bfloat16", 4096, 12, 360)
    assert "DOES NOT FIT" in text and "too slow to use" in text
    text = estimate("Qwen/Qwen2.5-7B-Instruct", "int4", 4096, 12, 360)
    assert "it fits" in text and "tokens/s at 360 GB/s" in text
    with pytest.raises(ValueError, match="takes 1 to 32768 tokens"):
        estimate("Qwen/Qwen2.5-7B-Instruct", "int4", 99999, 12, 360)


def test_the_calculator_follows_its_fields():
    calculator = Calculator(memory_gb=8, gb_per_s=50)
    assert "Qwen2.5-0.5B" in calculator.text and "it fits" in calculator.text
    for name in NAMES:
        for precision in BITS:
            for context in (512, 32768):
                calculator.model.value, calculator.precision.value, calculator.context.value = name, precision, context
                assert (
                    calculator.text.startswith(f"{name}, {precision}, {context:,}") and "GB" in calculator.shown.value
                )
    calculator.memory.value = 1
    assert "NOT FIT" in calculator.text and "#fde2e0" in calculator.shown.value
    assert calculator._repr_mimebundle_()["text/plain"] == calculator.text
