"""Lesson 8's instruments: the memory's bandwidth, the most memory used, rates in alternating rounds, one timed answer.

They know no library of models; what the figures should be is in `sizes.py`.
"""

import re
import sys
import threading
import time
from pathlib import Path

import psutil

LINUX = sys.platform.startswith("linux")


def bandwidth(device: str = "cpu", megabytes: int = 400, rounds: int = 7) -> dict[str, float]:
    """GB/s (1e9 bytes) of `device`, "cpu" or "cuda", in four loops over arrays of `megabytes` each, and their `best`.

    Copy and triad, a = b + 3 * c, are those of the STREAM benchmark (McCalpin, 1995), counted as there: each array
    that is read or written counts once, and of `rounds` runs the best. `read` is a dot product, which only reads, as a
    model does with its weights. No loop finds the limit on every machine, so the highest is taken for it. The arrays
    must be larger than the processor's cache; numpy makes them, because it asks the system for large memory pages.
    """
    import numpy
    import torch

    count = megabytes * 1_000_000 // 4
    arrays = [numpy.ones(count, dtype=numpy.float32) for _ in range(3)]  # written once: now the memory is really there
    a, b, c = (torch.from_numpy(array).to(device) for array in arrays)
    loops = {
        "read": (2, lambda: torch.dot(b, c)),
        "copy": (2, lambda: a.copy_(b)),
        "triad": (3, lambda: torch.add(b, c, alpha=3, out=a)),
    }
    if device == "cpu":
        loops["copy, numpy"] = (2, lambda: numpy.copyto(arrays[0], arrays[1]))  # one core, without reading the target
    rates = dict.fromkeys(loops, 0.0)
    for _ in range(rounds):  # alternating: a slow second of a busy machine hits all of them
        for name, (touched, loop) in loops.items():
            start = time.perf_counter()
            loop()
            if device == "cuda":
                torch.cuda.synchronize()
            rates[name] = max(rates[name], touched * count * 4 / (time.perf_counter() - start) / 1e9)
    return {**rates, "best": max(rates.values())}


class Peak:
    """The highest resident memory of this process since the last `reset`, in bytes.

    Linux keeps that figure itself; elsewhere a thread looks every 2 ms. Not `ru_maxrss`: on Linux a new process begins
    with that of the one which started it.
    """

    def __init__(self):
        self.process, self.seen = psutil.Process(), 0
        self.reset()
        if not LINUX:
            threading.Thread(target=self._watch, daemon=True).start()

    def reset(self) -> None:
        self.seen = 0
        if LINUX:
            Path("/proc/self/clear_refs").write_text("5")  # man proc: resets the peak

    @property
    def bytes(self) -> int:
        if LINUX:
            return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
        return self.seen

    def _watch(self) -> None:
        while True:
            self.seen = max(self.seen, self.process.memory_info().rss)
            time.sleep(0.002)


def alternate(runs: dict, rounds: int) -> dict[str, list[float]]:
    """The rates of each of `runs`, {name: function that runs once and returns its rate}, in `rounds` rounds.

    Every round calls all of them, in an order that is turned round each time. One more round before them warms up.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name in sorted(runs, reverse=bool(number % 2)):
            rate = runs[name]()
            rates[name] += [rate] if number else []
    return rates


def timed_answer(engine, messages, tokens: int, **settings) -> tuple[str, int, float, float]:
    """(text, number of tokens, seconds to the first piece, seconds in all) of one greedy answer."""
    start, first, text = time.perf_counter(), None, ""
    stream = engine.stream(messages, {}, max_new_tokens=tokens, do_sample=False, **settings)
    while True:
        try:
            text += next(stream)
        except StopIteration as end:
            seconds = time.perf_counter() - start
            return text, end.value.completion_tokens, seconds if first is None else first, seconds
        first = first or time.perf_counter() - start
