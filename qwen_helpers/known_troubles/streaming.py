"""Troubles with answers that arrive piece by piece."""

from qwen_helpers.known_troubles.trouble import Trouble

TROUBLES = (
    Trouble(
        "S1", "a staircase of half answers", (),
        "No error. A print that begins with \\r goes back to the start of the line, not of a text of several lines.",
        "Print only what is new.",
        'for piece in streamer:\n    print(piece, end="", flush=True)',
        4,
    ),
    Trouble(
        "S2", "the second answer lacks its first characters", (),
        "No error. The count of characters that were printed (before_len) still holds the first answer's length.",
        "Set it to 0 before each answer, or let a streamer do the counting.",
        'streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)\n'
        'for piece in streamer:\n    print(piece, end="", flush=True)',
        4,
    ),
    Trouble(
        "S3", "question marks in place of Chinese characters or emoji", (),
        "No error. A character can be several tokens, and half a character was decoded and printed.",
        "Wait for the other half, as the streamers of transformers do.",
        'text = tokenizer.decode(tokens, skip_special_tokens=True)\nif not text.endswith("\\ufffd"):\n    print(text)',
        4, threads=("vllm-project/vllm#931", "huggingface/text-generation-inference#333", "mlc-ai/mlc-llm#2978"),
    ),
    Trouble(
        "S4", "a stream hangs for ever or ends in Empty",
        ("Exception in thread Thread-* (generate)",),
        "generate died in its thread, and the streamer waits for the next piece. The thread's own traceback, further "
        "up, says why. A slow machine can also need longer than the timeout for its first token.",
        "Give the streamer a timeout, and find the error by calling generate without a thread.",
        "streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)\n"
        'settings = {**inputs, "max_new_tokens": 512, "streamer": streamer}  # what the thread gets\n'
        'model.generate(**{**settings, "streamer": None})  # the same settings, without a thread: the real error',
        4, inside={"transformers": ("\n_queue.Empty\n", "\nEmpty\n"), "swift": ("\n_queue.Empty\n", "\nEmpty\n")},
        threads=("huggingface/transformers#22576", "modelscope/ms-swift#10133"),
    ),
    Trouble(
        "S5", "the stream of ms-swift is not what you expected",
        ("'generator' object has no attribute 'choices'", "was never awaited",
         "'async_generator' object is not iterable"),
        "infer(..., stream=True) of ms-swift returns a list with one generator per question.",
        "Take the first of the list and walk through it.",
        'for chunk in engine.infer([request], config)[0]:\n    print(chunk.choices[0].delta.content or "", end="")',
        4, inside={"swift": ("'generator' object is not subscriptable",)},
        older=("TypeError: 'generator' object is not subscriptable",),
    ),
    Trouble(
        "S6", "the prompt is longer than the context",
        ("MaxLengthError: Current length of row(", "is larger than the max_length("),
        "ms-swift counts the prompt before it answers; transformers does not and answers badly (C10).",
        "Drop the oldest turns, or shorten the prompt.",
        'first = 1 if messages[0]["role"] == "system" else 0\n'
        "if len(messages) > first + 1:\n"
        "    del messages[first : first + 2]  # the oldest question and its answer",
        4, older=("This model's maximum context length is",),
    ),
)  # fmt: skip
