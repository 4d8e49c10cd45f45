"""S: what goes wrong while an answer appears piece by piece."""

import shutil
import threading
import warnings
from pathlib import Path
from unittest.mock import patch

from qwen_helpers import TINY_CHAT, Chat
from raised.the import HELLO


def shows_S1(the):
    r"""The whole text at every step, after a \r, which goes back to the start of the line: old lines stay."""
    steps = ["One.", "One.\nTwo.", "One.\nTwo. Three.", "One.\nTwo. Three.\nFour."]
    screen = "".join("\r" + text for text in steps)
    assert (screen.count("\n") + 1, steps[-1].count("\n") + 1) == (5, 3)


def cures_S1(the):
    """Only what is new."""
    steps, screen = ["One.", "One.\nTwo.", "One.\nTwo. Three.", "One.\nTwo. Three.\nFour."], ""
    for text in steps:
        screen += text[len(screen) :]
    assert screen == steps[-1]


TURNS = (["Hangzhou", "Hangzhou has a lake."], ["In", "In spring, before the rain."])


def shows_S2(the):
    """A counter that is never set back."""
    before, screens = 0, []
    for turn in TURNS:
        screen = ""
        for text in turn:
            screen += text[before:]
            before = len(text)
        screens.append(screen)
    assert screens == ["Hangzhou has a lake.", " spring, before the rain."]


def cures_S2(the):
    screens = []
    for turn in TURNS:
        before, screen = 0, ""
        for text in turn:
            screen += text[before:]
            before = len(text)
        screens.append(screen)
    assert screens == ["Hangzhou has a lake.", "In spring, before the rain."]


def shows_S3(the):
    """A panda is four tokens, and one by one each is a part of a character."""
    ids = the.tokenizer("\N{PANDA FACE}!")["input_ids"]
    assert "".join(the.tokenizer.decode([i]) for i in ids) == "\ufffd\ufffd\ufffd\ufffd!"


def cures_S3(the):
    """Decode all so far, and hold back while it ends in the replacement character."""
    ids, shown = the.tokenizer("\N{PANDA FACE}!")["input_ids"], ""
    for end in range(1, len(ids) + 1):
        text = the.tokenizer.decode(ids[:end])
        if not text.endswith("\ufffd"):
            shown += text[len(shown) :]
    assert shown == "\N{PANDA FACE}!"


def raises_S4(the):
    """generate dies in its thread, and the loop waits for text that never comes."""
    from transformers import TextIteratorStreamer

    failed = []
    streamer = TextIteratorStreamer(the.tokenizer, skip_prompt=True, timeout=1)
    settings = {**the.prompt, "streamer": streamer, "max_new_tokens": 20, "do_sample": True, "temperature": -1.0}
    with patch.object(threading, "excepthook", failed.append):
        thread = threading.Thread(target=the.model.generate, kwargs=settings)
        thread.start()
        try:
            "".join(streamer)
        finally:
            thread.join()
            assert [each.exc_type for each in failed] == [ValueError]


def cures_S4(the):
    """The course's Chat raises the thread's own error; with settings that are right it answers."""
    assert "".join(Chat(TINY_CHAT, do_sample=False).stream("Hello!")) == HELLO


def swift_engine(the):
    """An engine that is told both types, since args.json, which names them, is left out."""
    from swift import TransformersEngine

    folder = Path(shutil.copytree(TINY_CHAT, the.disk / "my_model", dirs_exist_ok=True))
    (folder / "args.json").unlink()
    return TransformersEngine(str(folder), model_type="qwen2", template_type="qwen2_5")


def asked(content="Hello!", **settings):
    """A request and its settings, as `infer` takes them."""
    from swift import InferRequest, RequestConfig

    return [InferRequest(messages=[{"role": "user", "content": content}])], RequestConfig(**settings)


STREAM = {"max_tokens": 40, "temperature": 0, "stream": True}


def raises_S5(the):
    """A list of streams, one for each request; and a stream has no index."""
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
    swift_engine(the).infer(*asked(**STREAM))[0][0]


def cures_S5(the):
    (stream,) = swift_engine(the).infer(*asked(**STREAM))
    assert "".join(chunk.choices[0].delta.content for chunk in stream) == HELLO


def raises_S6(the):
    """ms-swift checks the length of the prompt; transformers does not (C10)."""
    swift_engine(the).infer(*asked("word " * 5000, max_tokens=20))


def cures_S6(the):
    (answer,) = swift_engine(the).infer(*asked(max_tokens=40, temperature=0))
    assert answer.choices[0].message.content == HELLO
