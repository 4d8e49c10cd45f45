"""Lesson 10's exercises: a refusal that is told, questions at the same time, how many students."""

import asyncio
import inspect
import math
import threading
import traceback

from qwen_helpers.engines.server import ServerError
from qwen_helpers.exercises import UNTRIED, call
from qwen_helpers.language import N_, _

PATIENCE = 5  # seconds; a right answer takes 0.05
UNAWAITED = N_("nobody has waited for the answers: write await before asyncio.gather.")


def exercise_1(function):
    class Refusing:
        def ask(self, question):
            if question == "too much":
                raise ServerError("The server refuses: too much.")
            return f"Answer to {question}"

    answer = call(function, Refusing(), "Hello!")
    try:
        refusal = function(Refusing(), "too much")
    except ServerError:
        return _("your function still stops with a ServerError: catch it with try and except.")
    if answer != "Answer to Hello!":
        return _("for a question that is answered it should return the answer; it returned {answer!r}.").format(
            answer=answer
        )
    if isinstance(refusal, ServerError):
        return _("return the sentence and not the error: str(error).")
    if refusal == "The server refuses: too much.":
        return None
    return _("return the error's sentence, not {refusal!r}.").format(refusal=refusal)


def exercise_2(function):
    if not callable(function):
        return _("give check the function itself, without brackets behind its name.")
    if inspect.isasyncgenfunction(function):
        return _("return all answers as one list, instead of a yield for each.")
    if not inspect.iscoroutinefunction(function):
        return _("begin with async def, as the cell did: only such a function may wait, with await.")
    waiting, most, asked, result = 0, 0, [], []

    async def answer(question):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.05 if question == "first" else 0.01)  # the first answer is the last to arrive
        waiting -= 1
        return question.upper()

    def ask(question):
        if not isinstance(question, str):
            raise ValueError(_("ask takes one question: call it once for each"))
        asked.append(answer(question))
        return asked[-1]

    async def quietly():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the hint says it, and no traceback below
        return await function(ask, ["first", "second", "third"])

    def run():  # in a thread of its own, since a notebook has a running event loop
        try:
            result.append(asyncio.run(quietly()))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)  # daemon: an endless loop must not keep the kernel from ending
    thread.start()
    thread.join(PATIENCE)
    if not result:
        return _(
            "your function did not end within {seconds} seconds, and still runs: look for a loop without an "
            "end, then restart the kernel."
        ).format(seconds=PATIENCE)
    for coroutine in asked:
        coroutine.close()  # else Python warns about each that nobody has awaited, which the hint says
    return _stopped(result[0]) if isinstance(result[0], Exception) else _answers(result[0], most)


def _stopped(error):
    """The hint for a function that stopped with `error`."""
    gathering = "gather" in (frame.name for frame in traceback.extract_tb(error.__traceback__))
    # Before Python 3.12 gather takes a generator of coroutines for a coroutine, and stops at what it yields.
    if isinstance(error, TypeError) and gathering or "bad yield" in str(error):
        return _(
            "asyncio.gather takes what ask(question) gives, without await, each as an argument of its own: "
            "put a star before a list of such calls, not before the questions."
        )
    if "await wasn't used" in str(error):
        return UNAWAITED
    if "running event loop" in str(error):
        return _("leave asyncio.run out: your function already runs in an event loop, so await is enough.")
    return _("your function stopped with {kind}: {error}.").format(kind=type(error).__name__, error=error)


def _answers(answers, most):
    """None if these are the three answers, up to `most` of them waited for at the same time; else the hint."""
    if answers is ...:
        return UNTRIED
    answers = list(answers) if isinstance(answers, list | tuple) else answers
    if any(map(inspect.isawaitable, answers if isinstance(answers, list) else [answers])):
        return UNAWAITED
    if answers != ["FIRST", "SECOND", "THIRD"]:
        return _("return a list with the three answers in the order of the questions; it returned {answers!r}.").format(
            answers=answers
        )
    if most < 3:
        return _("each question waits for the answer before it: start all of them, then wait, with asyncio.gather.")
    return None


def exercise_3(students):
    if not isinstance(students, int | float):
        return _("the answer is a number.")
    if math.isclose(students, 1008, rel_tol=0.005):
        return None
    for wrong, hint in (
        (1440, _("that keeps the GPU busy all the time, and the queue grows without end: take 70 % of it.")),
        (2057, _("dividing by 0.7 promises more than the GPU has: 70 % of it is 0.7 times its 2,400 tokens.")),
        (432, _("that is the share that stays free: the GPU is busy for the other 70 %.")),
        (24, _("a student asks every 3 minutes, which are 180 seconds; and 70 % of the GPU is allowed.")),
        (16.8, _("a student asks every 3 minutes, which are 180 seconds.")),
        (5.6, _("that is the number of answers per second: each student asks only every 180 seconds.")),
        (
            8,
            _(
                "that is the number of answers per second: each student asks only every 180 seconds, and 70 % is "
                "allowed."
            ),
        ),
    ):
        if math.isclose(students, wrong, rel_tol=0.005):
            return hint
    return _("a student needs 300 tokens in 180 seconds; how often does that go into 70 % of 2,400 tokens per second?")
