"""Lesson 8's exercises."""

from qwen_helpers.exercises import call

CACHE = 2 * 28 * 4 * 128 * 2 * 8192  # Qwen2.5-7B: keys and values, layers, KV heads, head_dim, bytes, tokens


def exercise_1(answer):
    if not isinstance(answer, (int, float)):
        return "give a number of bytes."
    if answer == CACHE:
        return None
    if answer == CACHE // 2:
        return "that is the keys or the values: the cache holds both, hence the 2 in front."
    if answer == CACHE // 4:
        return "a key and a value, each with 2 bytes per number: two factors of 2."
    if answer == CACHE * 7:
        return "the cache counts the 4 KV heads (num_key_value_heads), not the 28 attention heads."
    if answer == CACHE // 8192:
        return "that is for one token; multiply by 8192."
    return "multiply 2, layers, KV heads, head_dim, bytes per number and tokens."


def exercise_2(function):
    """The ceiling: bytes per second over bytes per token."""
    cases = [
        (0.5e9, 16, 50, 50.0, "0.5 billion weights of 2 bytes are 1 GB, which 50 GB/s reads 50 times per second"),
        (0.5e9, 4, 50, 200.0, "with 4 bits the weights are a quarter of that, 0.25 GB: 8 bits are a byte"),
        (7e9, 16, 900, 900 / 14, "7 billion weights of 2 bytes are 14 GB"),
    ]
    for parameters, bits, speed, right, why in cases:
        answer = call(function, parameters, bits, speed, asked=f"for {parameters:g}, {bits}, {speed} ")
        if not isinstance(answer, (int, float)) or abs(answer - right) > 0.01 * right:
            return f"for {parameters:g} weights, {bits} bits, {speed} GB/s it is {right:.1f} tokens/s: {why}."
    return None


def exercise_3(function):
    """Drop the warm-up, take the median."""
    cases = [
        ([9.0, 2.0, 2.0, 2.0], 64, 32.0, "the first run warms up and does not count"),
        ([9.0, 2.0, 2.0, 2.0, 8.0], 64, 32.0, "one slow run must not move the result: take the median, not the mean"),
        ([0.1, 4.0, 2.0, 4.0, 4.0], 64, 16.0, "neither must a fast one: take the median, not the best"),
        ([9.0, 2.0, 4.0], 64, 64 / 3, "the first run warms up, so the median is that of 2 and 4"),
    ]
    for seconds, tokens, right, why in cases:
        answer = call(function, seconds, tokens, asked=f"for {seconds} ")
        if not isinstance(answer, (int, float)) or abs(answer - right) > 0.01:
            return f"for {tokens} tokens in {seconds} seconds it is {right:.1f} tokens/s: {why}."
    return None
