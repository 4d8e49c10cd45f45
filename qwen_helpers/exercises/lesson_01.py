"""Lesson 1's exercises."""

import re
from importlib.metadata import version

from packaging.requirements import Requirement


def exercise_1(answer):
    if answer == version("tokenizers"):
        return None
    if re.fullmatch(r"[\d.]+", str(answer)):
        return f"{answer} is a version, but not the one that is installed here; let Python look it up."
    return 'ask the Python of this notebook: from importlib.metadata import version; version("...").'


def exercise_2(answer: dict):
    if not isinstance(answer, dict):
        return "keep the dict of the cell, and put one word behind each machine."
    hints = {
        "laptop without NVIDIA card, Windows": ("cpu", "without an NVIDIA card there is nothing for CUDA to run on."),
        "MacBook with an M3": ("mps", "Apple's own graphics processor is called mps in PyTorch."),
        "Linux server with an NVIDIA H200": ("cuda", "an NVIDIA card is called cuda in PyTorch."),
    }
    for machine, (right, hint) in hints.items():
        if answer.get(machine) not in ("cpu", "cuda", "mps"):
            return f'fill in {machine!r}: it is one of "cpu", "cuda" and "mps".'
        if answer.get(machine) != right:
            return f"look at {machine!r} again: {hint}"
    return None


def exercise_3(answer):
    """Any version that both requirements of the exercise accept."""
    first, second = Requirement("numpy<=2.3"), Requirement("numpy>=2.0,!=2.3")
    if not re.fullmatch(r"\d+(\.\d+)+", str(answer)):
        return 'a version is text with dots, such as "2.1".'
    fits = first.specifier.contains(str(answer)) and second.specifier.contains(str(answer))
    return None if fits else f"{answer} must satisfy both {first} and {second}; try a version between 2.0 and 2.3."
