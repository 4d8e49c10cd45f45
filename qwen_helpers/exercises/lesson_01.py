"""Lesson 1's exercises."""

from importlib.metadata import version

from packaging.requirements import Requirement


def exercise_1(answer):
    if answer == version("tokenizers"):
        return None
    return 'ask the Python of this notebook: from importlib.metadata import version; version("...").'


def exercise_2(answer: dict):
    hints = {
        "laptop without NVIDIA card, Windows": ("cpu", "without an NVIDIA card there is nothing for CUDA to run on."),
        "MacBook with an M3": ("mps", "Apple's own graphics processor is called mps in PyTorch."),
        "Linux server with an NVIDIA H200": ("cuda", "an NVIDIA card is called cuda in PyTorch."),
    }
    for machine, (right, hint) in hints.items():
        if answer.get(machine) is ...:
            return f"fill in {machine!r}: it is one of cpu, cuda and mps."
        if answer.get(machine) != right:
            return f"look at {machine!r} again: {hint}"
    return None


def exercise_3(answer):
    """Any version that both requirements of the exercise accept."""
    first, second = Requirement("numpy<=2.3"), Requirement("numpy>=2.0,!=2.3")
    try:
        fits = first.specifier.contains(str(answer)) and second.specifier.contains(str(answer))
    except ValueError:
        return 'a version is text with dots, such as "2.1".'
    return None if fits else f"{answer} must satisfy both {first} and {second}; try a version between 2.0 and 2.3."
