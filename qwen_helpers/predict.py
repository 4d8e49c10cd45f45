"""What a model will need and how fast it can be, before it is loaded: memory, bytes per token, the ceiling.

The sizes of weights and cache are the catalogue's; the speed is one division.
"""

from qwen_helpers.models import Model
from qwen_helpers.preflight import WORK

# Bytes: Python, torch and transformers after a short prompt, measured; preflight allows a little more, to be safe.
LIBRARIES = 460_000_000

# Bits per weight. One float32 scale belongs to each block of 128 weights, as `qwen_helpers.fast` makes them.
BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "int8": 8 + 32 / 128, "int4": 4 + 32 / 128}


def bits(precision: str) -> float:
    """Bits per weight. Raises ValueError for a precision that is not in BITS."""
    if precision not in BITS:
        raise ValueError(f"Unknown precision {precision!r}: use one of {', '.join(BITS)}.")
    return BITS[precision]


def weight_bytes(model: Model, precision: str) -> int:
    """Bytes of all weights."""
    return round(model.parameters * bits(precision) / 8)


def kv_bytes(model: Model, precision: str, tokens: int) -> int:
    """Bytes of the KV cache: `Model.kv_bytes_per_token` each, in bfloat16 where only the weights have fewer bits."""
    return tokens * model.kv_bytes_per_token(precision if bits(precision) >= 16 else "bfloat16")


def peak_bytes(model: Model, precision: str, prompt: int, answer: int) -> int:
    """Peak memory of the process on a CPU while it reads `prompt` tokens and writes `answer` tokens.

    Weights, KV cache, LIBRARIES, and preflight.WORK numbers per prompt token and column of the MLP: intermediate
    results, which are there only while the prompt is read, since all of it goes through a layer at once.
    """
    work = WORK * model.intermediate * round(max(16, bits(precision)) / 8) * prompt
    return weight_bytes(model, precision) + kv_bytes(model, precision, prompt + answer) + LIBRARIES + work


def bytes_per_token(model: Model, precision: str, context: int) -> int:
    """Bytes that must be read to write one token, with `context` tokens before it: the weights and the KV cache.

    Of an embedding that is not tied to the output layer only one row is read, so it does not count.
    """
    read = model.body_parameters + model.vocabulary * model.hidden
    return round(read * bits(precision) / 8) + kv_bytes(model, precision, context)


def ceiling(model: Model, precision: str, context: int, gb_per_s: float) -> float:
    """Tokens per second that no engine can pass with memory of `gb_per_s` (1e9 bytes per second), one answer at a time.

    A model so small that the processor's cache holds it reads from there, and this ceiling says nothing about it.
    """
    return gb_per_s * 1e9 / bytes_per_token(model, precision, context)
