"""Lesson 9's helpers: faults in the data, the loss mask, a loss that runs away, memory; and a disk that fills up."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from lessons import ROOT, read

from qwen_helpers import TINY_BASE
from qwen_helpers.labs.finetune import (
    WAYS,
    check_data,
    layer_bytes,
    training_memory,
    training_memory_table,
    verdict,
)
from qwen_helpers.labs.prompt_xray import xray_labels
from qwen_helpers.models import CATALOGUE
from qwen_helpers.tools.measure_memory import training


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY_BASE)


def line(*messages) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in messages]})


GOOD = line(("user", "What colour are the plums?"), ("assistant", "The plums are blue."))
FAULTS = [
    (GOOD[:-9], "line 2: not whole JSON"),
    ("", "line 2: an empty line"),
    ("\ufeff" + GOOD, "line 2: an invisible mark at the start"),
    ("[1]", "line 2: no messages"),
    ('{"query": "a", "response": "b"}', "line 2: no messages"),
    ('{"messages": []}', "line 2: no messages"),
    ('{"messages": ["Hello!"]}', "line 2: message 1 must have role and content"),
    ('{"messages": [{"role": "user", "text": "Hello!"}]}', "line 2: message 1 must have role and content"),
    (line(("User", "a"), ("assistant", "b")), "line 2: message 1 has the role 'User': did you mean 'user'?"),
    (line(("user", "a"), ("bot", "b")), "line 2: message 2 has the role 'bot': use one of system, user, assistant."),
    (line(("user", "a"), ("assistant", " \n")), "line 2: message 2 is an empty answer"),
    (line(("user", ""), ("assistant", "b")), "line 2: message 1 is an empty question"),
    (line(("user", "a"), ("assistant", None)), "line 2: message 2 is an empty answer"),
    (line(("user", "a"), ("system", "b"), ("assistant", "c")), "line 2: message 2 is a system prompt"),
    (line(("user", "a")), "line 2: the dialogue does not end with an answer"),
    (line(("system", "a")), "line 2: the dialogue does not end with an answer"),
    (line(("assistant", "a")), "line 2: user and assistant must take turns"),
    (line(("user", "a"), ("user", "b"), ("assistant", "c")), "line 2: user and assistant must take turns"),
    (line(("user", "a " * 300), ("assistant", "b")), "tokens, but at most 100 are allowed"),
    (GOOD, "line 2: the same dialogue as line 1"),
    (GOOD.replace("blue", "red"), "line 2: the same question as line 1 with another answer"),
]


@pytest.mark.parametrize(("bad", "sentence"), FAULTS)
def test_one_sentence_for_each_fault(tmp_path, tokenizer, bad, sentence):
    file = tmp_path / "data.jsonl"
    file.write_text(f"{GOOD}\n{bad}\n{line(('user', 'x'), ('assistant', 'y'))}\n", encoding="utf-8")
    report = check_data(file, tokenizer, max_tokens=100)
    (fault,) = report.faults
    assert sentence in fault and str(report) == fault
    assert report.dialogues == report.answers == 2, "the lines around it are read all the same"


def test_good_data(tmp_path, tokenizer):
    file = tmp_path / "data.jsonl"
    two = line(("system", "Short!"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    for text in (f"{GOOD}\n{two}", f"{GOOD}\n{two}\n", f"{GOOD}\r\n{two}\r\n"):
        file.write_bytes(text.encode())
        report = check_data(file, tokenizer)
        assert report.faults == [] and report.dialogues == 2 and report.answers == 3 and len(report.lengths) == 2
        assert str(report).startswith("2 dialogues, 3 answers, ")
    assert check_data(file).lengths == []


def test_files_that_cannot_be_checked(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        check_data(tmp_path / "nothing.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="empty.jsonl is empty"):
        check_data(tmp_path / "empty.jsonl")
    (tmp_path / "windows.jsonl").write_bytes(line(("user", "a"), ("assistant", "b")).encode().replace(b"a", b"\xe4", 1))
    assert "not UTF-8" in str(check_data(tmp_path / "windows.jsonl"))


def test_the_mask_on_the_xray(tokenizer):
    ids = tokenizer("Hello!<|im_end|>")["input_ids"]
    drawn = xray_labels(tokenizer, ids, [-100] * (len(ids) - 1) + ids[-1:])
    assert drawn.counts() == {"only read": len(ids) - 1, "learnt": 1}
    assert drawn.tokens[-1] == ("<|im_end|>", "learnt", True)
    assert "#9ad8a0" in drawn._repr_html_() and "learnt: 1" in drawn._repr_html_()
    with pytest.raises(ValueError, match="3 labels: give both of the same dialogue"):
        xray_labels(tokenizer, [1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("losses", "begins"),
    [
        ([3.3, 2.0, 1.0, 0.5, 0.3, 0.3, 0.3, 0.3], "Fine: the loss went from 3.30 down to 0.30."),
        ([3.3, 7.1, 9.1, 6.0, 5.5, 5.0, 4.9, 4.8], "Diverged: the loss was 3.30, and ends at 4.85."),
        ([3.3, 1.0, 0.5, 0.4, 0.6, 2.0, 4.0, 4.0], "Diverged: the loss was 0.45, and ends at 4.00."),
        ([3.3, 2.0, float("nan"), 0.0], "Diverged: the 3. loss in the list is nan."),
        ([3.3, 2.0, float("inf"), 1.0], "Diverged: the 3. loss in the list is inf."),
        ([3.3, 3.4, 3.2, 3.3, 3.3, 3.2, 3.3, 3.3], "Learnt nothing: the loss began at 3.30"),
        ([3.3, 1.0, 1.4, 1.0, 1.2, 1.0, 1.1, 1.1], "Fine"),  # noise is no divergence
    ],
)
def test_verdict(losses, begins):
    assert verdict(losses).startswith(begins)


def test_too_few_losses():
    with pytest.raises(ValueError, match="3 losses are too few"):
        verdict([3, 2, 1])


def test_an_adapter_is_as_large_as_predicted(qwen3_folder, qwen3_5_folder):
    """peft counts what it trains, on a real Qwen2, Qwen3 and Qwen3.5 architecture."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for folder in (TINY_BASE, qwen3_folder, qwen3_5_folder):
        for rank in (1, 8):
            model = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")
            tuned = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
            trained = [weight for weight in tuned.parameters() if weight.requires_grad]
            need = training_memory(folder, "lora", rank=rank)
            assert need.trained == sum(weight.numel() for weight in trained)
            assert need.adapter == sum(weight.nbytes for weight in trained), "float32, whatever the model is in"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_the_bytes_a_layer_keeps_are_counted_exactly(dtype, dropout):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    def kept(layers, tokens=32):
        config = Qwen2Config(
            vocab_size=100, hidden_size=128, intermediate_size=320, num_hidden_layers=layers, num_attention_heads=4,
            num_key_value_heads=2,
        )  # fmt: skip
        model = Qwen2ForCausalLM(config).to(getattr(torch, dtype))
        lora = LoraConfig(r=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora).train()
        model.enable_input_require_grads()
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        saved = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            end = model.model.model(torch.zeros(1, tokens, dtype=torch.long))
        return sum(saved.values()) / tokens, end  # while `end` lives, so do the saved tensors

    shape = {"hidden": 128, "intermediate": 320, "heads": 4, "kv_heads": 2, "head_dim": 32}
    size = 4 if dtype == "float32" else 2
    predicted = layer_bytes(replace(CATALOGUE[0], **shape), size, rank=8, dropout=dropout > 0)
    assert kept(3)[0] - kept(2)[0] == predicted


def test_the_parts_for_a_real_size():
    seven = next(model for model in CATALOGUE if model.id == "Qwen/Qwen2.5-7B")
    lora, qlora, full = (training_memory(seven.id, way) for way in WAYS)
    assert lora.weights == full.weights == 2 * seven.parameters
    assert lora.trained == qlora.trained == 20_185_088
    assert full.trained == seven.parameters and full.adapter == 0
    assert lora.gradients + lora.optimizer == 12 * lora.trained
    assert full.gradients + full.optimizer == 6 * full.trained
    assert 0.3 < qlora.weights / lora.weights < 0.4  # the embedding and lm_head stay in bfloat16
    assert training_memory(seven.id, tokens=1024).activations == 2 * lora.activations
    assert training_memory(seven.id, checkpointing=False).activations > lora.activations
    assert training_memory(seven.id, learnt=10).activations < lora.activations
    shown = [model for model in CATALOGUE if model.kind == "instruct" and not model.experts]
    assert len(training_memory_table("qlora").splitlines()) == 1 + len(shown) < 1 + len(CATALOGUE)
    with pytest.raises(ValueError, match="has experts, whose training was not worked out here"):
        training_memory(next(model.id for model in CATALOGUE if model.experts))
    with pytest.raises(ValueError, match="Unknown way 'dora': use one of lora, qlora, full"):
        training_memory(seven.id, "dora")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_small_model_is_as_predicted():
    """Six layers of Qwen2.5-0.5B's width and a smaller vocabulary; `qwen_helpers.measure training` takes all."""
    result = training(layers=6, vocabulary=50_000, batch=2, tokens=512, learnt=64, checkpointing=False)
    assert 0.8 < result["ratio"] < 1.2


# Three trainings of six steps in one process: one in peace; one whose disk is full from step 3 on (a limit on the size
# of a file stands for it: the adapter has 0.4 MB); one that resumes. Prints what is left on the disk after each.
FULL_DISK = """
import json, os, resource, signal, sys
from pathlib import Path
from swift import SftArguments, TrainerCallback, callbacks_map, sft_main

place = Path(sys.argv[2])
settings = {**json.loads(sys.argv[1]), "max_steps": 6, "save_steps": 3, "save_total_limit": 1}
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit fails with an OSError, as on a full disk

class FullDisk(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))

callbacks_map["full_disk"] = FullDisk

def left(run):
    folders = (place / run).glob("checkpoint-*")
    return {folder.name: sorted(file.name for file in folder.iterdir()) for folder in folders}

sft_main(SftArguments(**settings, output_dir=str(place / "peace")))
try:
    sft_main(SftArguments(**settings, output_dir=str(place / "full"), callbacks=["full_disk"]))
except Exception as error:
    raised = f"{type(error).__name__}: {error}"
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
report = {"error": raised, "left": left("full"), "link": os.readlink(place / "full" / "last-checkpoint")}
last = str(place / "full" / "checkpoint-3")
sft_main(SftArguments(**settings, output_dir=str(place / "full"), resume_from_checkpoint=last))
print(json.dumps(report))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_disk_that_fills_up_during_a_save_leaves_the_checkpoint_before_whole(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text(GOOD + "\n" + line(("user", "Who pulls the water?"), ("assistant", "The moon.")) + "\n")
    settings = {
        "model": str(TINY_BASE), "dataset": [str(data)], "tuner_type": "lora", "torch_dtype": "float32",
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 5e-3,
        "split_dataset_ratio": 0.0, "add_version": False, "report_to": ["none"], "dataloader_num_workers": 0,
        "use_cpu": True, "check_model": False, "disable_tqdm": True, "logging_steps": 1,
    }  # fmt: skip
    env = os.environ | {"LOG_LEVEL": "ERROR", "CUDA_VISIBLE_DEVICES": "", "MODELSCOPE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", FULL_DISK, json.dumps(settings), str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert "File too large" in report["error"]
    assert {"adapter_model.safetensors", "optimizer.pt", "trainer_state.json"} <= set(report["left"]["checkpoint-3"])
    assert "trainer_state.json" not in report["left"]["checkpoint-6"], "the lesson calls this one broken"
    assert report["link"] == "checkpoint-3"
    adapters = [tmp_path / run / "checkpoint-6" / "adapter_model.safetensors" for run in ("peace", "full")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes(), "resumed, it ends as if nothing had happened"


def test_every_flag_that_the_lesson_names_exists(monkeypatch):
    """The commands for a GPU are not run anywhere; at least ms-swift must know each of their words."""
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    from swift import ExportArguments, SftArguments

    text = "\n".join(cell.source for cell in read(ROOT / "notebooks" / "09_finetune.ipynb").cells)
    text, old = text.split("## Coming from an older tutorial?")
    known = {field.name for arguments in (SftArguments, ExportArguments) for field in fields(arguments)}
    named = set(re.findall(r"--([a-z_]+)", text))
    assert len(named) > 20 and named <= known
    for row in re.findall(r"^\| `--.+$", old, re.MULTILINE):
        before, now = (set(re.findall(r"--([a-z_]+)", column)) for column in row.split("|")[1:3])
        assert now <= known and not (before - {"model_type"}) & known
