"""A real class against a real server, and the same class simulated: `python -m qwen_helpers measure class`.

It starts a server with the lessons' model, or measures the one at `--url`.
"""

import contextlib
import statistics
from types import SimpleNamespace

import psutil

from qwen_helpers.labs.capacity import answer_lengths, calibrate, simulate
from qwen_helpers.labs.class_load import ANSWERS, HEAD, SHORT, class_plan, run_class, summary, summary_row
from qwen_helpers.labs.serve import Server, served_models

COMPARED = ("ttft_median_s", "ttft_p95_s", "tokens_per_s")


def class_or_memory(requests=None, **settings) -> dict:
    """What `measure class` does: the class of `classes`, or with `requests` the memory of `many`."""
    if requests:
        return many(requests, settings["students"][-1], settings["max_batch_size"])
    return classes(**settings)


def classes(
    students=(40,), questions=2, think=2.0, max_batch_size=8, url=None, api_key=None, compare=True, rounds=3
) -> dict:
    """Measure classes of the sizes in `students`, the largest one last; its figures, and `rows` with all.

    Each round of a class has other questions, and rates that are measured before and after it for its simulation.
    Figures are medians over the rounds and counts are sums; `sim_<figure>_ratio` is simulated divided by measured.
    `compare=False` is for another model than the tiny one, whose answers nobody knows beforehand.
    """
    rows, expected = [], ANSWERS if compare else None
    sizes = sorted({1, 2, min(4, max_batch_size), max_batch_size})
    with served(url, api_key, max_batch_size) as server:
        at = (server.url, server.api_key, server.model)
        print(f"{server.model}: {rounds} rounds, {questions} questions each, batches of {max_batch_size};")
        print(f"{think} s to think; below each class what the simulation says\n{HEAD}", flush=True)
        before = calibrate(*at, sizes)
        for size in sorted(students):
            found, guessed = [], []
            for seed in range(rounds):
                people = class_plan(size, questions, think, seed)
                answers = run_class(*at, people)
                for error in sorted({answer.error for answer in answers if answer.error})[:3]:
                    print(f"         {error}")
                if any(answer.error for answer in answers):
                    found.append(summary(answers, expected))
                    continue
                after = calibrate(*at, sizes)
                guess = summary(simulate(people, before.mean(after), max_batch_size, answer_lengths(answers)), None)
                real, before = summary(answers, expected), after
                ratios = {f"sim_{name}_ratio": guess[name] / real[name] for name in COMPARED}
                found.append(real | {f"sim_{name}": guess[name] for name in COMPARED} | ratios)
                guessed.append(guess)
            rows.append({**medians_and_sums(found), "max_batch_size": max_batch_size, "rates": vars(before)})
            print(summary_row(rows[-1]))
            if guessed:
                print(summary_row({**medians_and_sums(guessed), "students": "sim", "failures": ""}), flush=True)
    last = rows[-1]
    ratios = [f"{name} {last[f'sim_{name}_ratio']:.2f}" for name in COMPARED if f"sim_{name}_ratio" in last]
    print("simulated / measured: " + (", ".join(ratios) or "nothing, since questions failed"))
    return {**last, "rows": rows}


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


def many(requests=2000, students=40, max_batch_size=8, rounds=10) -> dict:
    """The server's memory over many short questions, read after each of `rounds` equal parts, in bytes.

    `growth` is from the end of the third part to the end of the last: before that, allocators fill their pools.
    """
    each = max(1, round(requests / rounds / students))
    memory, failures, done = [], 0, 0
    with served(None, None, max_batch_size) as server:
        for part in range(rounds):
            people = class_plan(students, each, 0, seed=part, texts=SHORT)
            found = summary(run_class(server.url, server.api_key, server.model, people))
            memory.append(resident(server.process))
            failures, done = failures + found["failures"], done + found["requests"]
            print(f"{done:6} requests, {failures} failures, server {memory[-1] / 1e6:7.1f} MB", flush=True)
    return {"requests": done, "failures": failures, "memory": memory, "growth": memory[-1] - memory[2]}


def resident(process) -> int:
    """Resident memory of a process and its children, in bytes."""
    parent = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in [parent, *parent.children(recursive=True)])


@contextlib.contextmanager
def served(url, api_key, max_batch_size):
    """The server at `url`, or one of our own for as long as the block lasts."""
    if url is None:
        with Server(max_batch_size=max_batch_size) as server:
            yield server
        return
    models = served_models(url)
    if not models:
        raise SystemExit(f"Nothing answers at {url}/models: start the server, or check the address, which ends in /v1.")
    yield SimpleNamespace(url=url, api_key=api_key or "none", model=models[0], process=None)
