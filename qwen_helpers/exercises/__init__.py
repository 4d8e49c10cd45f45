"""`check` tells a reader whether an exercise is solved, and gives a hint when it is not.

One file per lesson holds the checks: a function per exercise that returns None for a right answer, else the hint, a
sentence in the reader's language or one that `check` translates.

In a class whose teacher wants to see the results, `course.py --class URL --key KEY` sets the environment variables
QWEN_CLASS, the server's address, and QWEN_CLASS_KEY, the student's key. `check` then tells each result to that server,
and says so. Without QWEN_CLASS it tells nobody.
"""

import os
from importlib import import_module

from qwen_helpers.language import N_, _

UNTRIED = N_("replace the three dots by your answer.")


def check(name: str, *answers) -> None:
    """Check exercise `name`, such as "3.1", and print one line. Three dots left in the cell count as not yet tried."""
    lesson, dot, number = str(name).partition(".")
    module = f"qwen_helpers.exercises.lesson_{lesson:0>2}"
    try:
        solved = getattr(import_module(module), f"exercise_{number}")
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != module:  # a package that the check itself needs
            raise
        raise ValueError(
            _('There is no exercise {name!r}: leave the name as it was in the cell, such as "3.1".').format(name=name)
        ) from None
    untried = any(answer is ... for answer in answers)
    try:
        hint = UNTRIED if untried else solved(*answers)
    except Stopped as stop:
        hint = str(stop)
    said = _("Exercise {name}: right!") if hint is None else _("Exercise {name}: not yet. Hint: {hint}")
    print(said.format(name=name, hint=hint and _(hint)))  # some hints stand in tables, not translated yet
    if os.environ.get("QWEN_CLASS") and hint != UNTRIED:
        print(tell_class(str(name), hint is None))


def tell_class(exercise: str, passed: bool) -> str:
    """Post one result to the class's server, which counts the tries. Returns the line that tells the reader so."""
    import httpx  # only who is in a class needs it

    try:
        answer = httpx.post(
            os.environ["QWEN_CLASS"].rstrip("/").removesuffix("/v1") + "/class/check",
            json={"exercise": exercise, "passed": passed},
            headers={"Authorization": "Bearer " + os.environ.get("QWEN_CLASS_KEY", "none")},
            timeout=2,  # seconds: a lesson must not wait for a server that is not there
            trust_env=False,  # a computer in the room is asked directly, whatever proxy the environment names
        )
        name = answer.raise_for_status().json()["name"]
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        why = _("it answers with status {code}").format(code=code)
        why = _("it does not take your key") if code in (401, 403) else why
    except httpx.TransportError:
        why = _("it does not answer")
    except (httpx.InvalidURL, ValueError, LookupError, TypeError):  # mistyped, or another program answers
        why = _("QWEN_CLASS is not its address or QWEN_CLASS_KEY not a key")
    else:
        told = _("Told to your class as {name}: exercise {exercise}, right.")
        told = told if passed else _("Told to your class as {name}: exercise {exercise}, not yet.")
        return told.format(name=name, exercise=exercise)
    return _("Your class's server was not told, since {why}; the result above stands all the same.").format(why=why)


class Stopped(Exception):
    """The reader's function gave no answer. The message is the hint."""


def call(function, *arguments, asked: str = ""):
    """What the reader's function returns. `asked` says for what.

    Raises Stopped, with a hint, if it stops with an error, or still returns the three dots.
    """
    try:
        answer = function(*arguments)
    except Exception as error:
        raise Stopped(
            _("{asked}your function stopped with {kind}: {error}.").format(
                asked=asked, kind=type(error).__name__, error=error
            )
        ) from error
    if answer is ...:
        raise Stopped(UNTRIED)
    return answer
