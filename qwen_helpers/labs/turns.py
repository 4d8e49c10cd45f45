"""Whose turn it is at a class's server: students, and the order in which their questions reach the engine."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Student:
    """One student, since the server began. Times in seconds; `first_s` are the last hundred waits for a first word."""

    name: str
    open: int = 0  # questions that have come and are not answered yet
    running: int = 0  # of these, with the engine
    turn: float = 0.0  # when the last one began
    questions: int = 0
    tokens: int = 0
    first_s: deque = field(default_factory=lambda: deque(maxlen=100))
    dropped: bool = False
    answers: set = field(default_factory=set)  # asyncio tasks


class Turns:
    """At most `places` questions are with the engine. The next one is the student's who has the fewest there; among
    equals the one whose last turn is longest ago."""

    def __init__(self, places: int):
        self.free, self.waiting, self.paused = places, [], False

    @contextlib.asynccontextmanager
    async def turn(self, student: Student):
        mine = asyncio.get_running_loop().create_future()
        self.waiting.append((student, mine))
        self.next()
        try:
            await mine
            yield
        finally:
            if mine.done() and not mine.cancelled():  # it was given a place
                self.free, student.running = self.free + 1, student.running - 1
            else:
                self.waiting.remove((student, mine))
            self.next()

    def next(self) -> None:
        while self.free and self.waiting and not self.paused:
            chosen = min(self.waiting, key=lambda each: (each[0].running, each[0].turn))
            self.waiting.remove(chosen)
            student, place = chosen
            self.free, student.running, student.turn = self.free - 1, student.running + 1, time.monotonic()
            place.set_result(None)
