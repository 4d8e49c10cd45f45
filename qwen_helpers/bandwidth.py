"""How fast this machine reads its memory: the speed limit of a language model that writes one answer."""

import time


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
