"""Lesson 1's exercises."""

import re
from importlib.metadata import version

from packaging.requirements import Requirement

from qwen_helpers.language import _

# Exercise 3: what was released between its bounds (pypi.org/project/numpy, "Release history"); 2.0 is 2.0.0.
NUMPYS = {"2.0.0", "2.0.1", "2.0.2", "2.1.0", "2.1.1", "2.1.2", "2.1.3"} | {f"2.2.{patch}" for patch in range(7)}


def exercise_1(answer):
    right = version("tokenizers")
    if answer == right:
        return None
    if callable(answer):
        return _('call it: version("tokenizers"), with the name in brackets, returns the text.')
    if right in str(answer):
        return _("{answer!r} holds the right version; give the version alone, as a text.").format(answer=answer)
    others = [name for name in ("torch", "transformers", "modelscope") if version(name).split("+")[0] == str(answer)]
    if others:
        return _("{answer} is the version of {other}; ask for tokenizers.").format(answer=answer, other=others[0])
    if re.fullmatch(r"\d[\w.+]*", str(answer)):
        return _("{answer} is a version, but not the one that is installed here; let Python look it up.").format(
            answer=answer
        )
    return _('ask the Python of this notebook: from importlib.metadata import version; version("...").')


def exercise_2(answer: dict):
    if not isinstance(answer, dict):
        return _("keep the dict of the cell, and put one word behind each machine.")
    hints = {
        "laptop without NVIDIA card, Windows": (
            "cpu",
            _("without an NVIDIA card there is nothing for CUDA to run on."),
        ),
        "MacBook with an M3": ("mps", _("Apple's own graphics processor is called mps in PyTorch.")),
        "Linux server with an NVIDIA H200": ("cuda", _("an NVIDIA card is called cuda in PyTorch.")),
    }
    for machine, (right, hint) in hints.items():
        word = answer.get(machine)
        if str(word).lower() in ("cpu", "cuda", "mps") and str(word) != str(word).lower():
            return _("fill in {machine!r} in lower case, as PyTorch writes it: {right!r}.").format(
                machine=machine, right=str(word).lower()
            )
        if re.fullmatch(r"(cuda|mps):\d+", str(word)):
            return _(
                "fill in {machine!r} without a number: {word!r} is one card among several, the device is the word."
            ).format(machine=machine, word=word)
        if str(word) not in ("cpu", "cuda", "mps"):
            return _('fill in {machine!r}: it is one of "cpu", "cuda" and "mps".').format(machine=machine)
        if str(word) != right:
            return _("look at {machine!r} again: {hint}").format(machine=machine, hint=hint)
    return None


def exercise_3(answer):
    """Any released version that both requirements of the exercise accept."""
    first, second = Requirement("numpy<=2.3"), Requirement("numpy>=2.0,!=2.3")
    if not isinstance(answer, str) or not re.fullmatch(r"\d+(\.\d+)+", answer):
        return _('one version, as a text with dots and in quotes, such as "2.1".')
    if second.specifier.contains(answer) and first.specifier.contains(answer):
        known = answer in NUMPYS or f"{answer}.0" in NUMPYS
        unknown = _("both would accept {answer}, but there is no such numpy; take a shorter one.")
        return None if known else unknown.format(answer=answer)
    if not first.specifier.contains(answer):
        broken = _("A allows nothing above 2.3, not even 2.3.1")
    elif Requirement("numpy>=2.0").specifier.contains(answer):
        broken = _("B excludes exactly 2.3")
    else:
        broken = _("B begins at 2.0")
    return _("{answer} must satisfy both {first} and {second}: {broken}.").format(
        answer=answer, first=first, second=second, broken=broken
    )
