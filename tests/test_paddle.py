"""PaddleNLP beside transformers: the tests of .venv-paddle, one by one, and the comparison across environments."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from lessons import ROOT, python_of

from qwen_helpers import TINY_CHAT
from qwen_helpers.engines.paddle import PaddleEngine
from qwen_helpers.engines.transformers import TransformersEngine
from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.labs import side_by_side
from qwen_helpers.labs.side_by_side import Run, comparison_table, first_difference, python_for, run_engine
from qwen_helpers.tiny import dialogues

SIDE = Path(__file__).with_name("paddle_side.py")
NAMES = re.findall(r"^def (test_\w+)", SIDE.read_text(encoding="utf-8"), re.M)
STORY = [{"role": "user", "content": "讲一个长故事。"}]


@pytest.fixture(scope="module")
def paddle_python():
    return python_of("07_paddlenlp")


def random_case(folder) -> dict:
    engine = TransformersEngine(folder, dtype="float32", device="cpu")
    messages = [{"role": "user", "content": "hello there"}]
    inputs = engine.encode(messages, {})
    with torch.no_grad():
        logits = engine.model(**inputs).logits
    answer = engine.model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return {
        "folder": str(folder), "messages": messages, "prompt": inputs["input_ids"][0].tolist(),
        "logits": logits.tolist(), "answer": answer.tolist(),
        "rope_theta": engine.model.config.rope_parameters["rope_theta"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(paddle_python, rotated_folder, rotated_sharded_folder, qwen3_folder, tmp_path_factory):
    """{name of a test in paddle_side.py: None if it passed, else what it printed}."""
    folder = tmp_path_factory.mktemp("paddle")
    engine = TransformersEngine(TINY_CHAT)
    systems = ([], [{"role": "system", "content": "Answer briefly."}])
    prompts = [head + d[: i + 1] for d in dialogues() for head in systems for i in range(0, len(d) - 1, 2)]
    prompts = [p for p in prompts if [m["role"] for m in p].count("system") < 2 and p[-1]["role"] == "user"]
    reference = {
        "prompts": [(messages, engine.encode(messages, {})["input_ids"][0].tolist()) for messages in prompts],
        "random": {
            "saved by transformers 5": random_case(rotated_folder),
            "in several files": random_case(rotated_sharded_folder),
        },
        "qwen3": str(qwen3_folder),
    }
    (folder / "reference.json").write_text(json.dumps(reference), encoding="utf-8")
    command = [paddle_python, "-X", "utf8", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SIDE)]
    done = subprocess.run(
        [*command, f"--junit-xml={folder / 'report.xml'}"], cwd=ROOT, capture_output=True, encoding="utf-8",
        env=child_environment(folder / "reference.json"), timeout=400,
    )  # fmt: skip
    assert (folder / "report.xml").exists(), done.stdout + done.stderr
    found: dict[str, str | None] = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        name = case.get("name").split("[")[0]
        found[name] = found.get(name) or next((part.text for part in case), None)
    assert found, done.stdout + done.stderr
    return found


def child_environment(reference) -> dict:
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return {**kept, "PADDLE_REFERENCE": str(reference)}


@pytest.mark.parametrize("name", NAMES)
def test_in_the_paddle_environment(name, outcomes):
    assert name in outcomes and outcomes[name] is None, outcomes.get(name, "it was not run")


def test_three_libraries_write_the_same_tokens(paddle_python):
    reference = run_engine("transformers", TINY_CHAT, STORY)
    assert len(reference.answer) == 182 and reference.logits.shape == (182, 2048)
    for engine in ("ms-swift", "paddlenlp"):
        other = run_engine(engine, TINY_CHAT, STORY, like=reference)
        assert (other.prompt, other.answer) == (reference.prompt, reference.answer)
        assert np.abs(other.logits - reference.logits).max() < 1e-4
        assert 0.2e9 < other.peak_bytes < 3e9 and other.tokens_per_s > 0


def test_a_library_that_fails_is_quoted(qwen3_folder, paddle_python):
    with pytest.raises(RuntimeError, match=r"paddlenlp stopped with: [\s\S]*of the type qwen3, and PaddleNLP"):
        run_engine("paddlenlp", qwen3_folder, STORY)
    with pytest.raises(ModelFolderError, match="nowhere"):
        run_engine("paddlenlp", "nowhere", STORY)


def test_the_environment_is_named_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(side_by_side, "course_root", lambda: tmp_path)
    with pytest.raises(RuntimeError, match="paddlenlp needs the environment .venv-paddle: type `python course.py`"):
        python_for("paddlenlp")
    with pytest.raises(ValueError, match="no engine 'llama': choose transformers, ms-swift or paddlenlp"):
        python_for("llama")


def test_paddle_engine_in_the_wrong_kernel_says_what_to_do():
    with pytest.raises(ModuleNotFoundError, match=r"choose Kernel > Change Kernel > Python \(qwen-paddle\); if that"):
        PaddleEngine(TINY_CHAT)


def made(engine, answer, logits=0.0):
    return Run(engine, [1, 2], answer, np.full((3, 4), logits, "float32"), 12.5, 1_500_000_000)


def test_the_table_says_what_differs():
    text = comparison_table(
        made("transformers", [5, 6, 7]), made("same", [5, 6, 7], 1e-5), made("other", [5, 9, 7], 0.25)
    )
    reference, same, other = text.splitlines()[1:]
    assert reference.split() == ["transformers", "2", "3", "12.5", "1.50", "GB"]
    assert same.split() == ["same", "equal", "equal", "none", "1.0e-05", "12.5", "1.50", "GB"]
    assert other.split() == ["other", "equal", "DIFFERS", "at", "position", "1", "2.5e-01", "12.5", "1.50", "GB"]


def test_difference():
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2], [1, 3]) == 1
    assert first_difference([1, 2], [1]) == 1
    assert first_difference([], [4]) == 0
