"""Lessons 1 and 2: a hint of its own for each wrong answer that a newcomer gives."""

import shutil
from importlib.metadata import version

import pytest

from qwen_helpers import TINY_CHAT
from qwen_helpers.exercises import lesson_01, lesson_02
from qwen_helpers.models import CATALOGUE

DEVICES = {
    "laptop without NVIDIA card, Windows": "cpu",
    "MacBook with an M3": "mps",
    "Linux server with an NVIDIA H200": "cuda",
}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("exercise", "answer", "hint"),
    [
        (lesson_01.exercise_1, f"tokenizers {version('tokenizers')}", "the version alone"),
        (lesson_01.exercise_1, [version("tokenizers")], "the version alone"),
        (lesson_01.exercise_1, version("transformers"), "the version of transformers"),
        (lesson_01.exercise_1, version, "call it"),
        (lesson_01.exercise_2, {**DEVICES, "laptop without NVIDIA card, Windows": "CPU"}, "in lower case"),
        (lesson_01.exercise_2, {**DEVICES, "Linux server with an NVIDIA H200": "cuda:0"}, "without a number"),
        (lesson_01.exercise_2, {**DEVICES, "MacBook with an M3": "metal"}, "it is one of"),
        (lesson_01.exercise_3, 2.2, "in quotes"),
        (lesson_01.exercise_3, "2.2.77", "there is no such numpy"),
        (lesson_01.exercise_3, "2.3", "B excludes exactly 2.3"),
        (lesson_01.exercise_3, "2.3.0", "B excludes exactly 2.3"),
        (lesson_01.exercise_3, "2.3.1", "A allows nothing above 2.3"),
        (lesson_01.exercise_3, "1.26.4", "B begins at 2.0"),
        (lesson_02.exercise_1, max(CATALOGUE, key=lambda model: model.parameters), "with .id"),
        (lesson_02.exercise_1, "Qwen/Qwen2.5-7B", "is a base model"),
        (lesson_02.exercise_1, "Qwen/Qwen2.5-7B-Instruct", "take 15.2 GB"),
        (lesson_02.exercise_1, "Qwen3.5-4B", "write the owner"),
        (lesson_02.exercise_2, f"{FIRST} {SECOND}", "as a list"),
        (lesson_02.exercise_2, [FIRST, SECOND, "tokenizer.json"], "tokenizer.json is whole"),
        (lesson_02.exercise_3, "weights", "the folder of the copy"),
        (lesson_02.exercise_3, TINY_CHAT, "damage the copy"),
    ],
)
def test_each_mistake_is_named(exercise, answer, hint):
    assert hint in exercise(answer)


@pytest.mark.parametrize("answer", ["2.0", "2.0.2", "2.1", "2.2", "2.2.6"])
def test_every_numpy_that_fits_is_right(answer):
    assert lesson_01.exercise_3(answer) is None


def test_damage_that_only_a_fingerprint_shows(tmp_path):
    copy = shutil.copytree(TINY_CHAT, tmp_path / "copy")
    assert "fingerprint of model.safetensors is still" in lesson_02.exercise_3(copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"oops")
    assert lesson_02.exercise_3(copy) is None and lesson_02.exercise_3(str(copy)) is None
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b"oops")
    assert "leave their number" in lesson_02.exercise_3(copy)
