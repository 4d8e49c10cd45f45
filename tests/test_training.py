"""Lesson 9's helpers: faults in the data, the loss mask, a loss that runs away, memory; and a disk that fills up."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from lessons import ROOT, read

from qwen_helpers import TINY_BASE, sizes
from qwen_helpers.exercises import lesson_09
from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.labs.finetune import PLAN, check_data, training_plan, verdict
from qwen_helpers.labs.prompt_xray import xray_labels
from qwen_helpers.models import CATALOGUE, find_model
from qwen_helpers.sizes import WAYS, full_bytes, layer_bytes, logit_bytes, training_memory, training_seconds
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
    assert full.gradients == 2 * full.trained and full.optimizer == 12 * full.trained  # with weights in float32
    assert full.weights + full.gradients + full.optimizer == 16 * full.trained == 121_849_864_192
    assert training_memory(seven.id, "full", dtype="float32").weights == 4 * full.trained
    two = training_memory(seven.id, "full", cards=2)
    assert two.weights + two.gradients + two.optimizer == 9 * full.trained == 68_540_548_608
    assert 0.3 < qlora.weights / lora.weights < 0.4  # the embedding and lm_head stay in bfloat16
    assert training_memory(seven.id, tokens=1024).activations == 2 * lora.activations
    assert training_memory(seven.id, checkpointing=False).activations > lora.activations
    assert training_memory(seven.id, learnt=10).activations < lora.activations
    with pytest.raises(ValueError, match="has experts, whose training was not worked out here"):
        training_memory(next(model.id for model in CATALOGUE if model.experts))
    with pytest.raises(ValueError, match="Unknown way 'dora': use one of lora, qlora, full"):
        training_memory(seven.id, "dora")


def test_a_model_of_another_family_is_refused_in_a_sentence(tmp_path):
    """The lesson's first prediction reads the folder, so nothing later meets a family that it has no template for."""
    shutil.copytree(TINY_BASE, tmp_path, dirs_exist_ok=True)
    config = json.loads((TINY_BASE / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(ModelFolderError, match="has model_type 'llama'; preflight knows qwen2, qwen3"):
        training_memory(tmp_path)


def test_full_training_is_what_the_zero_paper_says():
    """arXiv:1910.02054, figure 1: 7.5 billion numbers on 64 cards, GB on each without and with stages 1 to 3."""
    published = [120, 31.4, 16.6, 1.9]
    assert [round(sum(full_bytes(7_500_000_000, 2, 64, stage)) / 1e9, 1) for stage in range(4)] == published
    assert sum(full_bytes(1000, 4)) == sum(full_bytes(1000, 2)) == 16_000


# QwenLM/Qwen, README, "Profiling of Memory and Speed": an A100 of 80 GB, rank 64, 8 dialogues per step.
TOKENS = (256, 512, 1024, 2048, 4096, 8192)
FIRST_QWEN = {  # of the first generation: no grouped KV heads, an MLP of three matrices
    "1.8B": {"layers": 24, "hidden": 2048, "heads": 16, "kv_heads": 16, "intermediate": 5504, "vocabulary": 151936},
    "7B": {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 32, "intermediate": 11008, "vocabulary": 151936},
    "14B": {"layers": 40, "hidden": 5120, "heads": 40, "kv_heads": 40, "intermediate": 13696, "vocabulary": 152064},
}
GIGABYTES = {
    ("7B", "lora"): (20.1, 20.4, 21.5, 23.8, 29.7, 36.6),
    ("14B", "lora"): (34.6, 35.1, 35.3, 37.4, 42.5, 55.2),
    ("7B", "qlora"): (11.5, 11.5, 12.3, 13.9, 16.9, 23.5),
    ("14B", "qlora"): (18.7, 18.4, 18.9, 19.9, 23.0, 27.9),
}
SECONDS = {
    ("1.8B", "lora"): (1.0, 1.0, 1.1, 1.7, 3.3, 6.8),
    ("7B", "lora"): (1.2, 1.5, 2.8, 5.2, 10.1, 21.3),
    ("14B", "lora"): (1.6, 2.4, 4.4, 8.4, 17.0, 36.0),
    ("1.8B", "qlora"): (1.4, 1.4, 1.4, 2.0, 3.4, 6.5),
    ("7B", "qlora"): (3.0, 3.0, 3.5, 7.0, 11.6, 22.3),
    ("14B", "qlora"): (5.3, 6.3, 8.2, 11.8, 20.1, 38.3),
}


@pytest.fixture
def first_qwen(monkeypatch):
    """A function that makes `sizes` know one of FIRST_QWEN, which the catalogue leaves out, under the id it returns."""

    def know(size):
        model = replace(find_model("Qwen/Qwen2.5-7B"), id=f"Qwen/Qwen-{size}", **FIRST_QWEN[size])
        monkeypatch.setattr(sizes, "look_up_model", lambda id: (model, None, "bfloat16"))
        return model.id

    return know


@pytest.mark.parametrize(("size", "way"), GIGABYTES)
def test_memory_against_qwens_own_measurements(first_qwen, size, way):
    model = first_qwen(size)
    for tokens, measured in zip(TOKENS, GIGABYTES[size, way], strict=True):
        ratio = training_memory(model, way, rank=64, tokens=tokens, libraries=False).total / 1e9 / measured
        if way == "lora" and tokens <= 2048:
            assert 0.91 < ratio < 1.1
        elif way == "qlora" and 512 <= tokens <= 2048:
            assert 0.84 < ratio < 1.17
        elif tokens == 4096:
            assert ratio > 1.1, "too much, which is the safe side"


@pytest.mark.parametrize(("size", "way"), SECONDS)
def test_time_against_qwens_own_measurements(first_qwen, size, way):
    model = first_qwen(size)
    for tokens, measured in zip(TOKENS, SECONDS[size, way], strict=True):
        ratio = 8 * training_seconds(model, way, tflops=sizes.CARDS["A100"][1], tokens=tokens) / measured
        assert (0.8 if size != "1.8B" else 0.6) < ratio < 1.25


def test_full_training_takes_at_least_what_is_predicted(first_qwen):
    """The same table: 1.8B on one card 43.5 GB, 7B on two cards, all in all 139.2 GB with 256 tokens."""
    for size, measured in (("1.8B", 43.5), ("7B", 139.2)):
        numbers = training_memory(first_qwen(size), "full").trained
        assert 1.1 < measured * 1e9 / sum(full_bytes(numbers)) < 1.5
    assert training_seconds(first_qwen("7B"), "full", tflops=312) > training_seconds(
        first_qwen("7B"), "lora", tflops=312
    )
    with pytest.raises(ValueError, match="Unknown way 'dora'"):
        training_seconds(first_qwen("7B"), "dora", tflops=312)


def test_what_modules_to_save_costs():
    """Copies of embedding and lm_head, in the model's dtype: 2 + 2 + 4 bytes per number, and Qwen measured more.

    The table's rows "LoRA (emb)" are 7.0, 13.6 and 16.6 GB above "LoRA" with 256 tokens.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(TINY_BASE, dtype="bfloat16")
    lora = LoraConfig(target_modules="all-linear", modules_to_save=["embed_tokens"], task_type="CAUSAL_LM")
    saved = [w for name, w in get_peft_model(model, lora).named_parameters() if "modules_to_save" in name]
    assert [(str(w.dtype), w.numel()) for w in saved] == [
        ("torch.bfloat16", model.get_input_embeddings().weight.numel())
    ]
    for size, more in (("1.8B", 7.0), ("7B", 13.6), ("14B", 16.6)):
        numbers = 2 * FIRST_QWEN[size]["vocabulary"] * FIRST_QWEN[size]["hidden"]
        assert 8 < more * 1e9 / numbers < 12
    seven = find_model("Qwen/Qwen2.5-7B")
    assert 2 * seven.vocabulary * seven.hidden == 1_089_994_752, "the lesson says 1.1 billion"


def test_the_logits_and_what_liger_saves():
    seven = find_model("Qwen/Qwen2.5-7B")
    assert round(logit_bytes(seven, 2, 2048, liger=False) / 1e9, 1) == 6.2
    assert round(training_memory(seven.id, tokens=2048).activations / 1e9, 1) == 7.9
    # 43 parts of 48 tokens, rounded up to 64: 64 rows of the vocabulary, and a gradient for each token
    assert logit_bytes(seven, 2, 2048, liger=True) == 64 * 152064 * 20 + 2048 * 3584 * 2
    assert logit_bytes(seven, 2, 1, liger=True) == 152064 * 20 + 3584 * 2


def test_the_plan_for_real_models():
    plan = training_plan().splitlines()
    assert len(plan) == 1 + len(PLAN)
    row = {tuple(line.split()[:2]): line.split()[2:] for line in plan[1:]}
    assert row["Qwen2.5-7B", "lora"] == ["17.5", "GB", "24", "GB", "-", "15"]
    assert row["Qwen2.5-7B", "qlora"][:4] == ["7.8", "GB", "12", "GB"]
    assert row["Qwen2.5-7B", "full"][2:] == ["4", "x", "80", "GB", "-", "-"]
    long = [line.split() for line in training_plan(tokens=2048).splitlines() if "7B        lora" in line]
    assert long[0][4:6] == ["32", "GB"], "23.4 GB and a fifth on top do not fit on a card of 24"
    shorter = training_plan(dialogues=500).splitlines()
    assert shorter[4].split()[-1] == "7"  # 14.7 / 2


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


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda ids, learn: None, "gives None back: return a list"),
        (lambda ids, learn: ids.clear(), "You changed the list ids itself"),
        (lambda ids, learn: __import__("torch").tensor([-100, -100, 7, 8]), "that is a Tensor: return a list"),
        (lambda ids, learn: tuple(ids), "return a list with one label"),
        (lambda ids, learn: learn, "that is learn itself"),
        (lambda ids, learn: [-100] * len(ids), "now nothing is learnt"),
        (lambda ids, learn: ids, "now the questions are learnt, too"),
    ],
)
def test_hints_of_the_loss_mask(answer, hint):
    assert hint in lesson_09.exercise_1(answer)


@pytest.mark.parametrize(("answer", "hint"), [(5760, "rank 1"), (184320, "rank 32"), (4450304, "only what is trained"),
                                              (69730304, "16 matrices"), (92160.0, None)])  # fmt: skip
def test_hints_of_the_count(answer, hint):
    said = lesson_09.exercise_3(answer)
    assert said is None if hint is None else hint in said


def test_every_flag_that_the_lesson_names_exists(monkeypatch):
    """The commands for a GPU are not run anywhere; at least ms-swift must know each of their words."""
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    from swift import ExportArguments, InferArguments, SftArguments

    text = "\n".join(cell.source for cell in read(ROOT / "notebooks" / "09_finetune.ipynb").cells)
    text, old = text.split("## Coming from an older tutorial?")
    known = {field.name for arguments in (SftArguments, ExportArguments, InferArguments) for field in fields(arguments)}
    named = set(re.findall(r"--([a-z_]+)", text))
    assert len(named) > 20 and named <= known
    for row in re.findall(r"^\| `--.+$", old, re.MULTILINE):
        before, now = (set(re.findall(r"--([a-z_]+)", column)) for column in row.split("|")[1:3])
        assert now <= known and not (before - {"model_type"}) & known
