"""How many students does a machine feed? A class and its server as a discrete-event simulation (离散事件仿真) in SimPy.

The server is four measured numbers, `Rates`, which `calibrate` takes from a running one in a few seconds.
"""

import asyncio
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from qwen_helpers.labs.class_load import ANSWERS, SHORT, Answered, ask, async_client, class_plan, run_in_thread, summary

STORY = "讲一个长故事。"  # 182 tokens


@dataclass(frozen=True)
class Rates:
    """What a server needs for a batch (批) of n answers, in seconds: two straight lines over n.

    The first token of all n is there after `prefill + n * prefill_each`, and each further step, which adds one token to
    each of the n, takes `step + n * step_each`. `transit` is the way of a question to the server.
    """

    prefill: float
    prefill_each: float
    step: float
    step_each: float
    transit: float = 0.0

    def mean(self, other: "Rates") -> "Rates":
        """Between two measurements, before and after."""
        return Rates(*((a + b) / 2 for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def prefill_s(self, batch: int) -> float:
        return self.prefill + batch * self.prefill_each

    def step_s(self, batch: int) -> float:
        return self.step + batch * self.step_each

    def tokens_per_s(self, batch: int) -> float:
        """What the machine writes at most with `batch` answers at a time, prompts not counted."""
        return batch / self.step_s(batch)


class Asked:
    """A question on its way through the simulation: `first` happens with its first text, `done` with its last."""

    def __init__(self, env, tokens: int, first_tokens: int):
        self.tokens, self.first_tokens = tokens, min(first_tokens, tokens)
        self.first, self.done = env.event(), env.event()

    def marks(self, step: int = 0):
        """What happens in which step, if its first token is written in `step`."""
        return (step + self.first_tokens - 1, self.first), (step + self.tokens - 1, self.done)


def static(env, queue, rates: Rates, max_batch_size: int):
    """ms-swift on transformers: nobody joins a batch that has begun, and the next one waits for its longest answer."""
    while True:
        batch = [(yield queue.get())]
        while queue.items and len(batch) < max_batch_size:
            batch.append((yield queue.get()))
        yield env.timeout(rates.prefill_s(len(batch)))
        marks, now = [mark for asked in batch for mark in asked.marks()], 0
        for step, event in sorted(marks, key=lambda mark: mark[0]):
            yield env.timeout((step - now) * rates.step_s(len(batch)))
            event.succeed()
            now = step


def continuous(env, queue, rates: Rates, max_batch_size: int):
    """vLLM and its like: a newcomer joins after the step that is being written, and an answer that ends leaves."""
    running, step, marks = 0, 0, defaultdict(list)
    while True:
        new = [] if running else [(yield queue.get())]
        while queue.items and running + len(new) < max_batch_size:
            new.append((yield queue.get()))
        if new:  # the others wait while the new prompts are read
            yield env.timeout(rates.prefill_s(len(new)))
        else:
            yield env.timeout(rates.step_s(running))
            step += 1
        for asked in new:
            for mark, event in asked.marks(step):
                marks[mark].append((event, event is asked.done))
        running += len(new)
        for event, leaves in marks.pop(step, ()):
            event.succeed()
            running -= leaves


def simulate(
    students: list[list[tuple[float, str]]],
    rates: Rates,
    max_batch_size: int,
    lengths: dict[str, tuple[int, int]] | Callable[[str], tuple[int, int]],
    server=static,
    seconds: float = math.inf,
) -> list[Answered]:
    """The answers that a class (`students`, from `class_plan`) gets in so many seconds: times and tokens, and no text.

    `lengths` gives for each question the tokens of its answer, and how many have been written when the first text
    becomes visible.
    """
    import simpy

    env, answers = simpy.Environment(), []
    queue = simpy.Store(env)
    length = lengths if callable(lengths) else lengths.__getitem__

    def student(number: int, questions):
        for think, question in questions:
            yield env.timeout(think)
            asked, start = Asked(env, *length(question)), env.now
            yield env.timeout(rates.transit)
            yield queue.put(asked)
            yield asked.first
            first = env.now - start
            yield asked.done
            times = {"asked_s": start, "first_s": first, "total_s": env.now - start}
            answers.append(
                Answered(number, question, tokens=asked.tokens, first_tokens=asked.first_tokens, **times)
            )  # fmt: skip

    env.process(server(env, queue, rates, max_batch_size))
    everybody = [env.process(student(number, questions)) for number, questions in enumerate(students)]
    env.run(env.all_of(everybody) | env.timeout(seconds))
    return answers


def class_of(
    students: int, rates: Rates, max_batch_size: int, lengths, server=static, think=30.0, seconds=600.0
) -> dict:
    """The summary of a simulated class of so many, who go on for `seconds` and think for `think` seconds on average."""
    enough = math.ceil(2 * seconds / think) + 20  # nobody runs out of questions
    people = class_plan(students, enough, think, seed=students)
    answers = simulate(people, rates, max_batch_size, lengths, server, seconds)
    return {**summary(answers, expected=None), "students": students, "max_batch_size": max_batch_size}


def most_students(limit_s: float, rates: Rates, max_batch_size: int, lengths, seconds=600.0, **settings) -> int:
    """The largest class in which 95 of 100 questions wait at most `limit_s` seconds for their first text; 0 if none.

    `seconds` and `settings` are those of `class_of`. It doubles the class until that is too slow, then halves the gap.
    Raises ValueError if a class that goes on for `seconds` could not see a wait of `limit_s`, however large it is.
    """
    if limit_s >= seconds / 2:
        raise ValueError(f"limit_s={limit_s} needs a class of more than {2 * limit_s:g} seconds: raise `seconds`.")

    def fed(students: int) -> bool:
        found = class_of(students, rates, max_batch_size, lengths, seconds=seconds, **settings)
        return found["ttft_p95_s"] <= limit_s

    low, high = 0, 1
    while fed(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 50):  # two per cent are finer than the rates are known
        middle = (low + high) // 2
        low, high = (middle, high) if fed(middle) else (low, middle)
    return low


def machines(students: int, per_machine: int) -> int:
    """How many equal machines behind one address a school needs, if the address shares the questions out evenly."""
    return math.ceil(students / per_machine)


def calibrate(url, api_key, model, sizes=(1, 2, 4, 8), rounds=2, seed=1) -> Rates:
    """Measure batches of each size, without a class.

    ms-swift takes what has gathered while it was busy. So a first request keeps it busy until all of a batch have been
    sent; the batch begins where that one ends. Raises RuntimeError if a request fails.
    """
    texts, chance = [text for text in ANSWERS if text != STORY], random.Random(seed)

    async def answered(request) -> Answered:
        answer = await request
        if answer.error:
            raise RuntimeError(f"The server could not be measured: {answer.error}")
        return answer

    async def batch(openai, size: int) -> tuple[int, float, float]:
        busy, seen = [], []
        first = asyncio.create_task(answered(ask(openai, model, 0, STORY, max_tokens=16 + 4 * size, seen=busy)))
        while not busy and not first.done():
            await asyncio.sleep(0.001)
        await asyncio.gather(
            first, *(answered(ask(openai, model, 0, chance.choice(texts), seen=seen)) for _ in range(size))
        )
        (begin, one), (end, longest) = min(seen), max(seen)
        step = (end - begin) / max(longest - one, 1)
        return size, begin - max(busy)[0] - (one - 1) * step, step

    async def everything():
        async with async_client(url, api_key, 60) as openai:
            await answered(ask(openai, model, 0, SHORT[0]))  # warms up
            batches = [await batch(openai, size) for _ in range(rounds) for size in sizes]
            return batches, [await answered(ask(openai, model, 0, text)) for text in SHORT]

    batches, alone = run_in_thread(everything())
    columns = list(zip(*batches, strict=True))
    (prefill_each, prefill), (step_each, step) = (statistics.linear_regression(columns[0], y) for y in columns[1:])
    rates = Rates(max(prefill, 0), max(prefill_each, 0), max(step, 0), max(step_each, 0))
    # What a question to an idle server takes longer than one that has been waiting in its queue.
    ways = [a.first_s - rates.prefill_s(1) - (a.first_tokens - 1) * rates.step_s(1) for a in alone]
    return Rates(rates.prefill, rates.prefill_each, rates.step, rates.step_each, max(statistics.median(ways), 0))


def answer_lengths(answers: list[Answered]) -> dict[str, tuple[int, int]]:
    """What `simulate` wants to know of each question, read off real answers: (tokens, those before the first text)."""
    return {answer.question: (answer.tokens, answer.first_tokens) for answer in answers if answer.error is None}
