"""Lesson 8's exercises."""

from qwen_helpers.exercises import call
from qwen_helpers.language import N_, _

CACHE = 2 * 28 * 4 * 128 * 2 * 8192  # Qwen2.5-7B: keys and values, layers, KV heads, head_dim, bytes, tokens
WRONG_CACHES = {
    CACHE / 2: N_("half of it: there is a 2 for keys and values, and another 2 for the bytes of a number in bfloat16."),
    CACHE / 4: N_("a quarter of it: keys and values, and 2 bytes per number, are two factors of 2."),
    CACHE * 2: N_("twice of it: bfloat16 has 2 bytes per number, and keys and values are one more factor of 2."),
    CACHE * 7: N_("the cache counts the 4 KV heads (num_key_value_heads), not the 28 attention heads."),
    CACHE * 3.5: N_("the cache counts the 4 KV heads and not all 28; and keys and values are a factor of 2."),
    CACHE / 8192: N_("that is for one token; multiply by 8192."),
    CACHE / 28: N_("that is one layer; there are 28."),
    CACHE / 128: N_("each head keeps head_dim numbers per token, here 128, and not one."),
    CACHE * 8: N_("that is bits: bfloat16 has 16 bits, which are 2 bytes."),
}


def is_number(answer) -> bool:
    return isinstance(answer, (int, float)) and not isinstance(answer, bool)


def exercise_1(answer):
    if not is_number(answer):
        return _("give a number of bytes, not a text or a list.")
    if answer == CACHE:
        return None
    for wrong, hint in WRONG_CACHES.items():
        if answer == wrong:
            return hint
    if abs(answer / CACHE - 1) < 0.01:
        return _("nearly: give the exact product, not rounded.")
    for unit in (1e3, 1e6, 1e9, 2**10, 2**20, 2**30):
        if answer and abs(answer / (CACHE / unit) - 1) < 0.1:
            return _("the size is right, the unit is not: give bytes, the product as it is, not MB or GB.")
    return _("multiply 2, layers, KV heads, head_dim, bytes per number and tokens.")


def exercise_2(function):
    """The ceiling: bytes per second over bytes per token."""
    cases = [
        (0.5e9, 16, 50, _("0.5 billion weights of 2 bytes are 1 GB, which 50 GB/s reads 50 times per second")),
        (0.5e9, 4, 50, _("with 4 bits the weights are a quarter of that, 0.25 GB: 8 bits are a byte")),
        (7e9, 16, 900, _("7 billion weights of 2 bytes are 14 GB")),
    ]
    for parameters, bits, speed, why in cases:
        right = speed * 1e9 / (parameters * bits / 8)
        asked = _("for {parameters:g}, {bits}, {speed} ").format(parameters=parameters, bits=bits, speed=speed)
        answer = call(function, parameters, bits, speed, asked=asked)
        slips = {
            right / 8: _("the weights are counted in bits, the bandwidth in bytes: divide the bits by 8."),
            right / 1e9: _("a GB is 1e9 bytes: multiply the GB per second by 1e9."),
            right / 8e9: _("a GB is 1e9 bytes, and 8 bits are a byte: multiply by 1e9, and divide the bits by 8."),
            right * 2**30 / 1e9: _("a GB of memory's speed is 1e9 bytes, not 2**30."),
            1 / right: _("these are seconds per token: turn the fraction over."),
        }
        for wrong, slip in slips.items():
            if is_number(answer) and abs(answer - wrong) <= 0.01 * wrong:
                return slip
        if not is_number(answer) or abs(answer - right) > 0.01 * right:
            returned = "" if is_number(answer) else _(" (yours did not return a number: is there a `return`?)")
            return _(
                "for {parameters:g} weights, {bits} bits, {speed} GB/s it is {right:.1f} tokens/s{returned}: {why}."
            ).format(parameters=parameters, bits=bits, speed=speed, right=right, returned=returned, why=why)
    return None


def exercise_3(function):
    """Drop the warm-up, take the median, of the seconds or of the rates."""
    cases = [
        ([9.0, 2.0, 2.0, 2.0], (32.0,), _("the first run warms up and does not count")),
        ([9.0, 2.0, 2.0, 2.0, 8.0], (32.0,), _("one slow run must not move the result: take the median, not the mean")),
        ([9.0, 4.0, 4.0, 2.0], (16.0,), _("neither must a fast one: take the median, not the best")),
        ([0.1, 4.0, 2.0, 4.0, 4.0], (16.0,), _("it is the first run that warms up, slow or not: leave out that one")),
        ([9.0, 2.0, 4.0], (64 / 3, 24.0), _("the first run warms up, so the median is that of 2 and 4, which is 3")),
    ]
    for seconds, right, why in cases:
        answer = call(function, list(seconds), 64, asked=_("for {seconds} ").format(seconds=seconds))
        if not is_number(answer):
            return _("your function must return a number, tokens per second: is there a `return`?")
        if any(abs(answer - 64 / rate) < 1e-6 for rate in right):
            return _("these are seconds: divide the 64 tokens by them.")
        if any(abs(answer - 1 / rate) < 1e-6 for rate in right):
            return _("these are seconds per token: turn the fraction over.")
        if not any(abs(answer - rate) < 0.01 for rate in right):
            return _("for 64 tokens in {seconds} seconds it is {right:.1f} tokens/s: {why}.").format(
                seconds=seconds, right=right[0], why=why
            )
    return None
