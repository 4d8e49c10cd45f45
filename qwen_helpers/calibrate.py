"""The `Rates` of a running server, measured in a few seconds: what `capacity.py` needs to simulate it."""

import asyncio
import random
import statistics

from qwen_helpers.capacity import Rates
from qwen_helpers.load import apart, ask, client
from qwen_helpers.students import ANSWERS, SHORT, Answered

STORY = "讲一个长故事。"  # 182 tokens


def calibrate(url, api_key, model, sizes=(1, 2, 4, 8), rounds=2, seed=1) -> Rates:
    """Measure batches of each size, without a class.

    ms-swift takes what has gathered while it was busy. So a first request keeps it busy until all of a batch have been
    sent; the batch begins where that one ends. Raises RuntimeError if a request fails.
    """
    texts, chance = [text for text in ANSWERS if text != STORY], random.Random(seed)

    async def told(request) -> Answered:
        answer = await request
        if answer.error:
            raise RuntimeError(f"The server could not be measured: {answer.error}")
        return answer

    async def batch(openai, size: int) -> tuple[int, float, float]:
        busy, seen = [], []
        first = asyncio.create_task(told(ask(openai, model, 0, STORY, max_tokens=16 + 4 * size, seen=busy)))
        while not busy and not first.done():
            await asyncio.sleep(0.001)
        await asyncio.gather(
            first, *(told(ask(openai, model, 0, chance.choice(texts), seen=seen)) for _ in range(size))
        )
        (begin, one), (end, longest) = min(seen), max(seen)
        step = (end - begin) / max(longest - one, 1)
        return size, begin - max(busy)[0] - (one - 1) * step, step

    async def everything():
        async with client(url, api_key, 60) as openai:
            await told(ask(openai, model, 0, SHORT[0]))  # warms up
            batches = [await batch(openai, size) for _ in range(rounds) for size in sizes]
            return batches, [await told(ask(openai, model, 0, text)) for text in SHORT]

    batches, alone = apart(everything())
    columns = list(zip(*batches, strict=True))
    (prefill_each, prefill), (step_each, step) = (statistics.linear_regression(columns[0], y) for y in columns[1:])
    rates = Rates(max(prefill, 0), max(prefill_each, 0), max(step, 0), max(step_each, 0))
    # What a question to an idle server takes longer than one that has been waiting in its queue.
    ways = [a.first_s - rates.prefill_s(1) - (a.first_tokens - 1) * rates.step_s(1) for a in alone]
    return Rates(rates.prefill, rates.prefill_each, rates.step, rates.step_each, max(statistics.median(ways), 0))


def lengths(answers: list[Answered]) -> dict[str, tuple[int, int]]:
    """What `simulate` wants to know of each question, read off real answers: (tokens, those before the first text)."""
    return {answer.question: (answer.tokens, answer.first_tokens) for answer in answers if answer.error is None}
