"""A class that asks one server at the same time: who asks what and when, real streams, and the figures that sum it up.

The questions are asked, timed and counted by the `openai` client; nothing is known of a certain server.
"""

import asyncio
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from qwen_helpers.engines.server import on_this_computer
from qwen_helpers.language import _
from qwen_helpers.tiny import dialogues

# The first questions of the tiny model's dialogues with their exact answers.
ANSWERS = {dialogue[0]["content"]: dialogue[1]["content"] for dialogue in dialogues() if dialogue[0]["role"] == "user"}
SHORT = ("Name three colours.", "说三种水果。", "What is 12 times 12?", "My name is Lin.")  # 8 to 13 tokens
MAX_TOKENS = 256  # the longest of the tiny model's answers has 182


@dataclass(frozen=True)
class Answered:
    """One question of one student, and what became of it. Times in seconds."""

    student: int
    question: str
    asked_s: float  # since the class began
    first_s: float | None = None  # from the question to the first visible text; None if none came
    total_s: float = 0.0  # from the question to the end
    tokens: int = 0  # of the answer
    first_tokens: int = 1  # that had been written when the first text became visible: a stream holds half words back
    text: str = ""
    error: str | None = None  # why there is no whole answer


def class_plan(students: int, questions: int = 2, think: float = 2.0, seed: int = 0, texts=tuple(ANSWERS)):
    """What each student does: a list per student of (seconds of thinking, question).

    The thinking times are exponential with a mean of `think` seconds, the field's first guess for people who act
    independently of each other. The same `seed` gives the same class.
    """
    if students < 1 or questions < 1 or think < 0:
        raise ValueError(_("A class has at least 1 student with 1 question, and a thinking time of 0 seconds or more."))
    chance = random.Random(seed)
    texts = list(texts)

    def thinking() -> float:
        return chance.expovariate(1 / think) if think else 0.0

    return [[(thinking(), chance.choice(texts)) for _ in range(questions)] for _ in range(students)]


def percentile(values, share: int) -> float:
    """The value that `share` of 100 stay below, between neighbours in proportion; nan for no values."""
    values = list(values)
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def summary(answers: list[Answered], expected: dict[str, str] | None = ANSWERS) -> dict:
    """The figures of one class.

    `tokens_per_s` is that of the server: all tokens, divided by the time from the first question to the last answer.
    `stream_tokens_per_s` is what one reader sees after the first text, and 95 of 100 see at least `stream_p95`.
    `failures` counts questions without a whole and right answer: `errors`, and `wrong` ones, which differ from
    `expected` (None: not compared). Of these, `mixed` are those that belong to another question.
    """
    whole = [answer for answer in answers if answer.error is None]
    firsts = [answer.first_s for answer in whole]
    speeds = [
        (answer.tokens - answer.first_tokens) / (answer.total_s - answer.first_s)
        for answer in whole
        if answer.total_s > answer.first_s and answer.tokens > answer.first_tokens
    ]
    wrong = [answer for answer in whole if expected is not None and answer.text != expected.get(answer.question)]
    others = set((expected or {}).values())
    errors = len(answers) - len(whole)
    span = max((a.asked_s + a.total_s for a in whole), default=0) - min((a.asked_s for a in whole), default=0)
    return {
        "students": len({answer.student for answer in answers}),
        "requests": len(answers),
        "failures": errors + len(wrong),
        "errors": errors,
        "wrong": None if expected is None else len(wrong),
        "mixed": None if expected is None else sum(answer.text in others for answer in wrong),
        "ttft_median_s": percentile(firsts, 50),
        "ttft_p95_s": percentile(firsts, 95),
        "tokens_per_s": sum(answer.tokens for answer in whole) / span if span else 0.0,
        "stream_tokens_per_s": percentile(speeds, 50),
        "stream_p95_tokens_per_s": percentile(speeds, 5),
        "seconds": span,
    }


HEAD = "students requests failures  first text     95 %       server      reader    95 %"


def summary_row(figures: dict) -> str:
    """One line under HEAD."""
    return (
        f"{figures['students']:8} {figures['requests']:8} {figures['failures']:8} {figures['ttft_median_s']:9.2f} s"
        f" {figures['ttft_p95_s']:6.2f} s {figures['tokens_per_s']:8.0f} t/s"
        f" {figures['stream_tokens_per_s']:7.0f} t/s {figures['stream_p95_tokens_per_s']:7.0f}"
    )


def plot_classes(classes: list[dict]):
    """Two pictures of summaries over the number of students: the wait for the first text, and the tokens per second."""
    import matplotlib.pyplot as plt

    figure, (wait, speed) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    sizes = [figures["students"] for figures in classes]
    for name, label, axis in (
        ("ttft_median_s", "median", wait), ("ttft_p95_s", "95 %", wait),
        ("tokens_per_s", "server", speed), ("stream_tokens_per_s", "one reader", speed),
    ):  # fmt: skip
        axis.plot(sizes, [figures[name] for figures in classes], "o-", label=label)
    wait.set_ylabel("wait for the first text, s")
    speed.set_ylabel("tokens/s")
    for axis in (wait, speed):
        axis.set_xlabel("students")
        axis.set_ylim(0)
        axis.legend()
    return figure


def run_class(url, keys, model, students, timeout=60.0, limit=300.0) -> list[Answered]:
    """Let every student of `students` (from `class_plan`) think, ask and read, all at the same time; the answers.

    `keys` is a key for each student, or one for all. A question is given up after `timeout` seconds, and the class ends
    `limit` seconds after it began, whatever the server does; what is missing then comes back with an `error`.
    """
    keys = [keys] * len(students) if isinstance(keys, str) else list(keys)
    if len(keys) < len(students):
        raise ValueError(
            _("{students} students have {keys} keys: start the server with a name for each.").format(
                students=len(students), keys=len(keys)
            )
        )

    async def lesson():
        async with async_client(url, keys[0], timeout) as openai:
            begin = time.perf_counter()

            async def student(number: int, questions):
                answers, mine = [], openai.with_options(api_key=keys[number])
                for think, question in questions:
                    left = limit - (time.perf_counter() - begin)
                    await asyncio.sleep(min(think, max(left, 0)))
                    asked_s = time.perf_counter() - begin
                    patience = min(timeout, limit - asked_s) if think < left else 0.0
                    answers.append(await ask(mine, model, number, question, asked_s, patience))
                return answers

            return await asyncio.gather(*(student(*each) for each in enumerate(students)))

    return [answer for answers in run_in_thread(lesson()) for answer in answers]


def run_in_thread(coroutine):
    """Run it in a thread: a notebook has an event loop of its own, which cannot run a second one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def async_client(url: str, api_key: str, timeout: float):
    import openai

    http = openai.DefaultAsyncHttpxClient(trust_env=not on_this_computer(url), timeout=timeout)
    return openai.AsyncOpenAI(base_url=url, api_key=api_key, max_retries=0, timeout=timeout, http_client=http)


async def ask(openai, model, student, question, asked_s=0.0, patience=60.0):
    """One streamed answer, as an `Answered`. An error is not raised but told in it, since it is what is counted."""
    start, text, first, tokens, first_tokens, ended = time.perf_counter(), "", None, 0, 1, False

    async def read():
        nonlocal text, first, tokens, first_tokens, ended
        stream = await openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], stream=True, temperature=0,
            max_tokens=MAX_TOKENS, stream_options={"include_usage": True},
        )  # fmt: skip
        async for chunk in stream:
            now = time.perf_counter()
            if chunk.usage:  # ms-swift counts in each piece, others in the last one
                tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                if choice.delta.content and first is None:
                    first, first_tokens = now - start, max(tokens, 1)
                text += choice.delta.content or ""
                ended = ended or choice.finish_reason is not None

    error = None
    try:
        await asyncio.wait_for(read(), patience)
        if not ended:
            error = _("the stream broke off")
    except asyncio.TimeoutError:  # noqa: UP041, another class before Python 3.11
        late = _("no whole answer within {patience:.1f} s").format(patience=patience)
        error = late if patience > 0 else _("the class was over")
    except Exception as raised:  # of any kind: the class goes on without this answer
        error = f"{type(raised).__name__}: {raised}"
    total = time.perf_counter() - start
    if first is None and error is None:  # an answer without any text
        first = total
    return Answered(student, question, asked_s, first, total, tokens, first_tokens, text, error)
