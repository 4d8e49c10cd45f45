"""`check` tells a reader whether an exercise is solved, and gives a hint when it is not.

One file per lesson holds the checks: a function per exercise that returns None for a right answer, else the hint.
"""

from importlib import import_module


def check(name: str, *answers) -> None:
    """Check exercise `name`, such as "3.1", and print one line. Three dots left in the cell count as not yet tried."""
    try:
        lesson, number = str(name).split(".")
        solved = getattr(import_module(f"qwen_helpers.exercises.lesson_{lesson:0>2}"), f"exercise_{number}")
    except (ValueError, ModuleNotFoundError, AttributeError):
        raise ValueError(
            f'There is no exercise {name!r}: leave the name as it was in the cell, such as "3.1".'
        ) from None
    untried = any(answer is ... for answer in answers)
    hint = "replace the three dots by your answer." if untried else solved(*answers)
    print(f"Exercise {name}: " + ("right!" if hint is None else f"not yet. Hint: {hint}"))
