"""Load on a server: real streams at once, each asked, timed and counted by the `openai` client.

It knows the OpenAI API and nothing of a certain server or model; `students.py` says who asks what.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from qwen_helpers.engine_server import on_this_computer
from qwen_helpers.students import Answered

MAX_TOKENS = 256  # the longest of the tiny model's answers has 182


def run_class(url, api_key, model, students, timeout=60.0, limit=300.0, own_settings=False) -> list[Answered]:
    """Let every student of `students` (from `plan`) think, ask and read, all at the same time; the answers.

    A question is given up after `timeout` seconds, and the class ends `limit` seconds after it began, whatever the
    server does; what is missing then comes back with an `error`. With `own_settings` each student asks for another
    `max_tokens`, which is reason enough for ms-swift to batch nobody.
    """

    async def lesson():
        async with client(url, api_key, timeout) as openai:
            begin = time.perf_counter()

            async def student(number: int, questions):
                answers = []
                for think, question in questions:
                    left = limit - (time.perf_counter() - begin)
                    await asyncio.sleep(min(think, max(left, 0)))
                    asked_s = time.perf_counter() - begin
                    longest = MAX_TOKENS + (number if own_settings else 0)
                    patience = min(timeout, limit - asked_s) if think < left else 0.0
                    answers.append(await ask(openai, model, number, question, asked_s, longest, patience))
                return answers

            return await asyncio.gather(*(student(*each) for each in enumerate(students)))

    return [answer for answers in apart(lesson()) for answer in answers]


def apart(coroutine):
    """Run it in a thread: a notebook has an event loop of its own, which cannot run a second one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def client(url: str, api_key: str, timeout: float):
    import openai

    http = openai.DefaultAsyncHttpxClient(trust_env=not on_this_computer(url), timeout=timeout)
    return openai.AsyncOpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=timeout, http_client=http)


async def ask(openai, model, student, question, asked_s=0.0, max_tokens=MAX_TOKENS, patience=60.0, seen=None):
    """One streamed answer, as an `Answered`. An error is not raised but told in it, since it is what is counted.

    `seen` collects (time, tokens so far) for each piece.
    """
    start, text, first, tokens, first_tokens, ended = time.perf_counter(), "", None, 0, 1, False

    async def read():
        nonlocal text, first, tokens, first_tokens, ended
        stream = await openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], stream=True, temperature=0,
            max_tokens=max_tokens, stream_options={"include_usage": True},
        )  # fmt: skip
        async for chunk in stream:
            now = time.perf_counter()
            if chunk.usage:  # ms-swift counts in each piece, others in the last one
                tokens = chunk.usage.completion_tokens
                if seen is not None:
                    seen.append((now, tokens))
            for choice in chunk.choices:
                if choice.delta.content and first is None:
                    first, first_tokens = now - start, max(tokens, 1)
                text += choice.delta.content or ""
                ended = ended or choice.finish_reason is not None

    error = None
    try:
        await asyncio.wait_for(read(), patience)
        if not ended:
            error = "the stream broke off"
    except asyncio.TimeoutError:  # noqa: UP041, another class before Python 3.11
        error = f"no whole answer within {patience:.1f} s" if patience > 0 else "the class was over"
    except Exception as raised:  # of any kind: the class goes on without this answer
        error = f"{type(raised).__name__}: {raised}"
    total = time.perf_counter() - start
    if first is None and error is None:  # an answer without any text
        first = total
    return Answered(student, question, asked_s, first, total, tokens, first_tokens, text, error)
