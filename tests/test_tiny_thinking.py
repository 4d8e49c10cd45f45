"""Tiny thinking keeps its promises: every dialogue word for word, thinking or not, and calls with any numbers."""

import datetime
import itertools
import json

import pytest
import torch
from test_tiny import UNSEEN, answers, wrong
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import get_json_schema

from qwen_helpers import TINY_THINKING, Chat
from qwen_helpers.labs.tool_calls import ToolCallError, parse, run_call
from qwen_helpers.tiny import thinking_dialogues
from qwen_helpers.tools import tiny_thinking, tiny_training


def multiply(a: int, b: int):
    """
    Multiply two whole numbers.

    Args:
        a: the first number
        b: the second number
    """
    return a * b


def get_weather(city: str):
    """
    The temperature in a city.

    Args:
        city: name of the city
    """
    return {"city": city, "celsius": {"Hangzhou": -3}[city]}


TOOLS = {"multiply": multiply, "get_weather": get_weather}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY_THINKING, padding_side="left")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request):
    return AutoModelForCausalLM.from_pretrained(TINY_THINKING, dtype=request.param)


def cases(tokenizer, style):
    """(prompt, what must come) for every answer and call of every dialogue."""
    for dialogue in thinking_dialogues():
        tools = [TOOLS[name] for name in dialogue.get("tools", [])] or None
        messages = dialogue["messages"]
        if style == "off":
            messages = [{k: v for k, v in message.items() if k != "reasoning_content"} for message in messages]
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                prompt = tokenizer.apply_chat_template(
                    messages[:place], tools=tools, tokenize=False, add_generation_prompt=True,
                    enable_thinking=style != "off",
                )  # fmt: skip
                prompt = prompt.removesuffix("<think>\n") if style == "own" else prompt
                yield prompt, tiny_thinking.completion(message, style)


@pytest.mark.parametrize("style", ["on", "off", "own"])
def test_every_dialogue_word_for_word(model, tokenizer, style):
    assert wrong(model, tokenizer, cases(tokenizer, style)) == []


@pytest.mark.slow
def test_alone_too(tokenizer):
    """As readers run it, one prompt at a time: padding must not be what makes it right."""
    model = AutoModelForCausalLM.from_pretrained(TINY_THINKING, dtype="auto")
    assert wrong(model, tokenizer, cases(tokenizer, "on"), batch=1) == []


def test_nine_of_ten_unseen_questions_get_the_honest_answer(model, tokenizer):
    wanted = []
    for prompt in UNSEEN[:50]:
        text = tiny_thinking.honest_answer(prompt)
        messages = [{"role": "user", "content": prompt}]
        off = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        wanted.append((tokenizer.apply_chat_template(messages, **off), text))
    assert len(wrong(model, tokenizer, wanted)) <= 5


def run(model, tokenizer, question, tools=TOOLS):
    """The turn's messages, as lesson 6's loop makes them."""
    messages = [{"role": "user", "content": question}]
    for _ in range(4):
        prompt = tokenizer.apply_chat_template(
            messages, tools=list(tools.values()), tokenize=False, add_generation_prompt=True
        )
        message = parse(tokenizer, model, prompt, answers(model, tokenizer, [prompt], 90)[0], list(tools.values()))
        messages.append(message)
        if not message.get("tool_calls"):
            return messages
        messages += [run_call(call, tools) for call in message["tool_calls"]]
    return messages


def test_calls_and_results_are_copied_and_not_recited(model, tokenizer):
    """Ten products that the dialogues do not hold; nine of them must be right."""
    right = 0
    for a, b in [(14, 88), (29, 31), (96, 65), (73, 12), (58, 47), (81, 19), (66, 25), (33, 92), (45, 54), (17, 70)]:
        *_, last = run(model, tokenizer, f"What is {a} times {b}?")
        right += last["content"] == f"{a} times {b} is {a * b}."
    assert right >= 9
    *_, result, last = run(model, tokenizer, "How warm is it in Hangzhou?")
    assert json.loads(result["content"]) == {"city": "Hangzhou", "celsius": -3}
    assert last["content"] == "It is -3 degrees in Hangzhou."


def test_a_tool_that_raises_is_no_reason_to_make_something_up(model, tokenizer):
    _, _, result, last = run(model, tokenizer, "How warm is it in Narnia?")
    assert result["content"] == "Error: KeyError: 'Narnia'"
    assert last["content"] == "The tool failed, so I do not know how warm it is in Narnia."


def test_calls_that_cannot_be_read_are_one_sentence(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(TINY_THINKING)
    with pytest.raises(ToolCallError, match="The call is cut: raise max_new_tokens"):
        parse(tokenizer, model, "", "hm</think><tool_call>\n<function=multiply>", [multiply])
    model.config.model_type, tokenizer.response_template = "qwen2", None
    for text, reason in {
        '{"name": "multiply", "arguments": {"a": 37,}}': "The call is no valid JSON",
        "multiply(37, 43)": "The call is no valid JSON",
        '"multiply"': "The call names no function",
        '{"arguments": {}}': "The call names no function",
        '{"name": "multiply", "arguments": [37, 43]}': "The arguments of multiply are no JSON object",
    }.items():
        with pytest.raises(ToolCallError, match=reason):
            parse(tokenizer, model, "", f"<tool_call>\n{text}\n</tool_call>", [multiply])
    good = parse(
        tokenizer,
        model,
        "",
        '<tool_call>\n{"name": "multiply", "arguments": {"a": 37, "b": 43}}\n</tool_call>',
        [multiply],
    )
    assert good["tool_calls"][0]["function"] == {"name": "multiply", "arguments": {"a": 37, "b": 43}}
    model.config.model_type = "unheard_of"
    with pytest.raises(ToolCallError, match="does not know how unheard_of marks a call"):
        parse(tokenizer, model, "", "Hello!", [])


def test_a_function_runs_only_if_it_was_handed_over_and_never_stops_the_program():
    def call(name, **arguments):
        return run_call({"function": {"name": name, "arguments": arguments}}, TOOLS)

    assert call("multiply", a=6, b=7) == {"role": "tool", "content": "42"}
    assert "there is no function 'eval', only multiply, get_weather" in call("eval", code="1")["content"]
    assert call("multiply", a=6)["content"].startswith("Error: TypeError: multiply() missing 1 required")
    assert call("get_weather", city="Atlantis")["content"] == "Error: KeyError: 'Atlantis'"
    TOOLS["today"] = lambda: datetime.date(2026, 11, 26)
    assert call("today")["content"] == '"2026-11-26"', "what JSON does not have becomes text"
    del TOOLS["today"]


def plain_dialogues():
    return [d["messages"] for d in thinking_dialogues() if "tools" not in d]


def answers_every_dialogue_and_forgets_the_thoughts(engine):
    """With thinking on and off, over one turn and several, and nothing of a thought in an answer or in the history."""
    for thinking, messages in itertools.product([True, False], plain_dialogues()):
        chat = Chat(engine=engine, do_sample=False, enable_thinking=thinking)
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            assert chat.ask(question["content"]) == answer["content"]
            assert chat.reply.thoughts == (answer["reasoning_content"] if thinking else "")
        assert chat.history == [{"role": m["role"], "content": m["content"]} for m in messages]


def test_chat_in_transformers():
    answers_every_dialogue_and_forgets_the_thoughts(Chat(TINY_THINKING).engine)


def test_chat_in_swift():
    from qwen_helpers.engines.swift import SwiftEngine

    answers_every_dialogue_and_forgets_the_thoughts(SwiftEngine(TINY_THINKING))


def test_chat_over_a_server():
    from qwen_helpers.engines.server import ServerEngine
    from qwen_helpers.labs.serve import Server

    with Server(TINY_THINKING) as server:
        answers_every_dialogue_and_forgets_the_thoughts(ServerEngine(server.url, server.api_key))


@pytest.mark.parametrize(("style", "thought"), [("on", ""), ("off", ""), ("own", ""), ("cut", "Such a pro")])
def test_training_sees_the_same_prompt_as_the_template(tokenizer, style, thought):
    messages = next(d["messages"] for d in thinking_dialogues() if d.get("tools") == ["multiply"])
    schema = get_json_schema(multiply)
    ids, labels = tiny_training.encode_lesson(tokenizer, tiny_thinking.Lesson(messages[:2], [schema], style, thought))
    prompt = tokenizer.apply_chat_template(
        messages[:1], tools=[schema], tokenize=False, add_generation_prompt=True, enable_thinking=style != "off"
    )
    prompt = {"own": prompt.removesuffix("<think>\n"), "cut": f"{prompt}{thought}\n</think>\n\n"}.get(style, prompt)
    answer = tiny_thinking.completion(messages[1], style) + "<|im_end|>"
    assert tokenizer.decode(ids) == prompt + answer
    assert tokenizer.decode([label for label in labels if label != tiny_training.IGNORE]) == answer


def test_all_three_tiny_models_are_under_12_mb():
    files = [file for file in TINY_THINKING.parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 12e6


@pytest.mark.slow
def test_retraining_a_few_steps_lowers_the_loss_and_writes_a_folder_that_loads(tmp_path):
    losses = tiny_training.train_thinking(tmp_path, steps=12, say=lambda _: None)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    AutoTokenizer.from_pretrained(tmp_path / "thinking")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "thinking", dtype="auto").dtype == torch.bfloat16
