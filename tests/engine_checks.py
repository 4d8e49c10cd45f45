"""What every engine of `Chat` must do, whatever library it runs: called by the tests of each engine."""

import json
import shutil

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.tiny import dialogues

GREETING = "Hello! I am the tiny model of this course. Ask me what a token is, or ask for a long story."


def answers_every_dialogue_word_for_word(engine):
    """As test_tiny.py demands of transformers."""
    for dialogue in dialogues():
        system = dialogue[0]["content"] if dialogue[0]["role"] == "system" else None
        chat = Chat(engine=engine, system=system, do_sample=False)
        turns = dialogue if system is None else dialogue[1:]
        for question in turns[::2]:
            chat.ask(question["content"])
        assert chat.history == turns


def keeps_two_chats_apart(engine):
    first, second = Chat(engine=engine, do_sample=False), Chat(engine=engine, do_sample=False)
    one, two = first.stream("My name is Lin."), second.stream("我叫小明。")
    start = next(one), next(two)
    assert start[1] + "".join(two) == "你好，小明，很高兴认识你！"
    assert start[0] + "".join(one) == "Nice to meet you, Lin!"


def hands_thinking_to_the_template(make_engine, folder):
    """`folder` does not exist yet: it gets a copy of the tiny model whose template knows `enable_thinking`."""
    file = shutil.copytree(TINY_CHAT, folder) / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["chat_template"] += "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    file.write_text(json.dumps(config), encoding="utf-8")
    engine, lengths = make_engine(folder), {}
    for thinking in (None, True, False):
        chat = Chat(engine=engine, enable_thinking=thinking, max_new_tokens=2, do_sample=False)
        chat.ask("Hello!")
        lengths[thinking] = chat.reply.prompt_tokens
    assert lengths[None] == lengths[True] < lengths[False]
