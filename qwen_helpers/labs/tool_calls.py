"""Lesson 6's tools, to be used again in lesson 10: a model's answer taken apart, and a function run that it asks for.

transformers takes the answer apart; what is added here is that a mistake of the model's becomes a sentence, for the
reader or for the model itself. No code runs but the functions that the reader has handed over.
"""

import json

from qwen_helpers.language import _


class ToolCallError(ValueError):
    """A model has written a call that cannot be read. The message is one sentence, which the model may be told, too."""


def parse(tokenizer, model, prompt: str, text: str, tools) -> dict:
    """The message that `text`, written after `prompt`, is: `content`, `reasoning_content`, `tool_calls`, where present.

    `tools` are functions with type hints and a docstring, as for the chat template; arguments get the types that they
    ask for. How thoughts and calls are marked says the tokenizer's `response_template`, or, for folders without one,
    what `transformers serve` takes for such a model. Raises ToolCallError for a call that is cut or no JSON, and for a
    model of which transformers does not know the marks.
    """
    from transformers.cli.serving.utils import get_response_template

    marks = get_response_template(tokenizer, model)
    if marks is None:
        raise ToolCallError(
            _("transformers does not know how {kind} marks a call: parse it yourself.").format(
                kind=model.config.model_type
            )
        )
    last = text.rpartition("</think>")[2].rpartition("<tool_call>\n")
    if last[1] and "</tool_call>" not in last[2]:
        raise ToolCallError(_("The call is cut: raise max_new_tokens, or ask again."))
    try:
        message = tokenizer.parse_response(text, marks, prefix=prompt, tools=tools)
    except ValueError as error:
        reason = error.__cause__ or error
        raise ToolCallError(_("The call is no valid JSON ({reason}): ask again.").format(reason=reason)) from error
    for call in message.get("tool_calls", []):
        function = call["function"]
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ToolCallError(_("The call names no function: ask again."))
        if not isinstance(function.setdefault("arguments", {}), dict):
            raise ToolCallError(
                _("The arguments of {name} are no JSON object: ask again.").format(name=function["name"])
            )
    if "thinking" in message:
        message["reasoning_content"] = message.pop("thinking")  # the name that chat templates read
    return {"content": "", **message}


def run_call(call: dict, functions: dict) -> dict:
    """The message with the role "tool" that answers `call`: the function's result as text, or its error.

    `functions` is {name: function}; a name that is not in it is refused. An error goes to the model, which may call
    again with other arguments: it is what the model has to know, in English as Python's own, and no reason to stop.
    """
    function = call["function"]
    try:
        if function["name"] not in functions:
            raise NameError(f"there is no function {function['name']!r}, only {', '.join(functions)}")
        result = functions[function["name"]](**function["arguments"])
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    except Exception as error:
        return {"role": "tool", "content": f"Error: {type(error).__name__}: {error}"}
    return {"role": "tool", "content": text}
