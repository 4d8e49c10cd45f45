"""A class against a server, with a stopwatch: `python -m qwen_helpers measure class`.

It starts a server with the lessons' model, or measures the one at `--url`.
"""

import contextlib
import statistics
from types import SimpleNamespace

import psutil

from qwen_helpers.labs.class_load import ANSWERS, HEAD, SHORT, class_plan, run_class, summary, summary_row
from qwen_helpers.labs.serve import Server, served_models


def class_or_memory(requests=None, **settings) -> dict:
    """What `measure class` does: the class of `classes`, or with `requests` the memory of `many`."""
    if requests:
        return many(requests, settings["students"][-1], settings["places"])
    return classes(**settings)


def classes(students=(40,), questions=2, think=2.0, places=8, url=None, api_key=None, compare=True, rounds=3) -> dict:
    """Measure classes of the sizes in `students`, the largest one last; its figures, and `rows` with all.

    Each round of a class has other questions. Figures are medians over the rounds and counts are sums.
    `compare=False` is for another model than the tiny one, whose answers nobody knows beforehand.
    """
    rows, expected = [], ANSWERS if compare else None
    with served(url, api_key, max(students), places) as server:
        print(f"{server.model}: {rounds} rounds, {questions} questions each, {think} s to think\n{HEAD}", flush=True)
        for size in sorted(students):
            found = []
            for seed in range(rounds):
                answers = run_class(server.url, server.keys, server.model, class_plan(size, questions, think, seed))
                for error in sorted({answer.error for answer in answers if answer.error})[:3]:
                    print(f"         {error}")
                found.append(summary(answers, expected))
            rows.append(medians_and_sums(found))
            print(summary_row(rows[-1]), flush=True)
    return {**rows[-1], "rows": rows}


def medians_and_sums(rounds: list[dict]) -> dict:
    """Of figures their median over the rounds, of counts their sum; None stays None."""
    result = {}
    for name in rounds[-1]:
        values = [figures[name] for figures in rounds if figures.get(name) is not None]
        if name in ("requests", "failures", "errors", "wrong", "mixed"):
            result[name] = sum(values) if values else None
        else:
            result[name] = statistics.median(values)
    return result


def many(requests=2000, students=40, places=8, rounds=10) -> dict:
    """The server's memory over many short questions, read after each of `rounds` equal parts, in bytes.

    `growth` is from the end of the third part to the end of the last: before that, allocators fill their pools.
    """
    each = max(1, round(requests / rounds / students))
    memory, failures, done = [], 0, 0
    with served(None, None, students, places) as server:
        for part in range(rounds):
            people = class_plan(students, each, 0, seed=part, texts=SHORT)
            found = summary(run_class(server.url, server.keys, server.model, people))
            memory.append(resident(server.process))
            failures, done = failures + found["failures"], done + found["requests"]
            print(f"{done:6} requests, {failures} failures, server {memory[-1] / 1e6:7.1f} MB", flush=True)
    return {"requests": done, "failures": failures, "memory": memory, "growth": memory[-1] - memory[2]}


def resident(process) -> int:
    """Resident memory of a process and its children, in bytes."""
    parent = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in [parent, *parent.children(recursive=True)])


@contextlib.contextmanager
def served(url, api_key, students: int, places: int):
    """The server at `url`, or one of our own for as long as the block lasts; `keys` are its students'."""
    if url is None:
        with Server(students=[f"student {number}" for number in range(students)], places=places) as server:
            yield SimpleNamespace(
                url=server.url, keys=list(server.keys.values()), model=server.model, process=server.process
            )
        return
    models = served_models(url)
    if not models:
        raise SystemExit(f"Nothing answers at {url}/models: start the server, or check the address, which ends in /v1.")
    yield SimpleNamespace(url=url, keys=api_key or "none", model=models[0], process=None)
