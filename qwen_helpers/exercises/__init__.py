"""`check` tells a reader whether an exercise is solved, and gives a hint when it is not.

One file per lesson holds the checks: a function per exercise that returns None for a right answer, else the hint.
"""

from importlib import import_module


def check(name: str, *answers) -> None:
    """Check exercise `name`, such as "3.1", and print one line. Three dots left in the cell count as not yet tried."""
    lesson, _, number = str(name).partition(".")
    module = f"qwen_helpers.exercises.lesson_{lesson:0>2}"
    try:
        solved = getattr(import_module(module), f"exercise_{number}")
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != module:  # a package that the check itself needs
            raise
        raise ValueError(
            f'There is no exercise {name!r}: leave the name as it was in the cell, such as "3.1".'
        ) from None
    untried = any(answer is ... for answer in answers)
    try:
        hint = "replace the three dots by your answer." if untried else solved(*answers)
    except Stopped as stop:
        hint = str(stop)
    print(f"Exercise {name}: " + ("right!" if hint is None else f"not yet. Hint: {hint}"))


class Stopped(Exception):
    """The reader's function stopped with an error. The message is the hint."""


def call(function, *arguments, asked: str = ""):
    """What the reader's function returns; Stopped, with the error as the hint, if it stops. `asked` says for what."""
    try:
        return function(*arguments)
    except Exception as error:
        raise Stopped(f"{asked}your function stopped with {type(error).__name__}: {error}.") from error
