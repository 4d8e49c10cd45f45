"""Lesson 10's exercises: a refusal that is told, questions at the same time, how many students."""

import asyncio
import math
import threading

from qwen_helpers.engines.server import ServerError
from qwen_helpers.exercises import Stopped, call

PATIENCE = 5  # seconds; a right answer takes 0.05


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
        return "your function still stops with a ServerError: catch it with try and except."
    if answer != "Answer to Hello!":
        return f"for a question that is answered it should return the answer; it returned {answer!r}."
    if isinstance(refusal, ServerError):
        return "return the sentence and not the error: str(error)."
    return None if refusal == "The server refuses: too much." else f"return the error's sentence, not {refusal!r}."


def exercise_2(function):
    waiting, most, result = 0, 0, []

    async def ask(question):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.05 if question == "first" else 0.01)  # the first answer is the last to arrive
        waiting -= 1
        return question.upper()

    def run():  # in a thread of its own, since a notebook has a running event loop
        try:
            result.append(call(lambda: asyncio.run(function(ask, ["first", "second", "third"]))))
        except Stopped as stop:
            result.append(stop)

    thread = threading.Thread(target=run, daemon=True)  # daemon: an endless loop must not keep the kernel from ending
    thread.start()
    thread.join(PATIENCE)
    if not result:
        return (
            f"your function did not end within {PATIENCE} seconds, and still runs: look for a loop without an end, "
            "then restart the kernel."
        )
    if isinstance(result[0], Stopped):
        raise result[0]
    if result[0] is ...:
        return "replace the three dots by your answer."
    answers = list(result[0]) if isinstance(result[0], list | tuple) else result[0]
    if answers != ["FIRST", "SECOND", "THIRD"]:
        return f"return a list with the three answers in the order of the questions; it returned {answers!r}."
    if most < 3:
        return "each question waits for the answer before it: start all of them, then wait, with asyncio.gather."
    return None


def exercise_3(students):
    if not isinstance(students, int | float):
        return "the answer is a number."
    if math.isclose(students, 1008, rel_tol=0.005):
        return None
    for wrong, hint in (
        (1440, "that keeps the GPU busy all the time, and the queue grows without end: take 70 % of it."),
        (16.8, "a student asks every 3 minutes, which are 180 seconds."),
        (5.6, "that is the number of answers per second: each student asks only every 180 seconds."),
        (8, "that is the number of answers per second: each student asks only every 180 seconds, and 70 % is allowed."),
    ):
        if math.isclose(students, wrong, rel_tol=0.005):
            return hint
    return "a student needs 300 tokens in 180 seconds; how often does that go into 70 % of 2,400 tokens per second?"
