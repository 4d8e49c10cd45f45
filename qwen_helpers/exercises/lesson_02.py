"""Lesson 2's exercises."""

from qwen_helpers.models import CATALOGUE


def exercise_1(answer):
    fitting = [model for model in CATALOGUE if model.kind == "instruct" and model.weight_bytes("bfloat16") < 12e9]
    right = max(fitting, key=lambda model: model.parameters).id
    if answer == right:
        return None
    if answer in [model.id for model in fitting]:
        return f"{answer} fits, but there is a larger one that fits too."
    if answer in [model.id for model in CATALOGUE]:
        return f"{answer} is a base model, or its weights take 12 GB or more."
    return "give the id as the catalogue writes it, such as Qwen/Qwen3.5-0.8B."


def exercise_2(answer):
    if not isinstance(answer, list | tuple | set):
        return "give the names as a list of texts."
    names, first, second = set(answer), "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    if names == {first, second}:
        return None
    if second + ".incomplete" in names:
        return "leave .incomplete out: name the file that it will become when it is whole."
    if first not in names:
        return f"look at the size of {first}: weights are never that small."
    if second not in names:
        return f"{second} has not arrived; only a part of it has."
    return "one of the names is of a file that is whole."
