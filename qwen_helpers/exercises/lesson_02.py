"""Lesson 2's exercises."""

from pathlib import Path

from qwen_helpers.folder_check import ModelFolderError, check_folder
from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.language import _
from qwen_helpers.models import CATALOGUE


def exercise_1(answer):
    catalogue = {model.id: model for model in CATALOGUE}
    fitting = [model for model in CATALOGUE if model.kind == "instruct" and model.weight_bytes("bfloat16") < 12e9]
    right = max(fitting, key=lambda model: model.parameters).id
    if answer == right:
        return None
    if answer in CATALOGUE:
        return _("that is the whole row of the catalogue: give its id, with .id at the end.")
    if answer in [model.id for model in fitting]:
        return _("{answer} fits, but there is a larger one that fits too.").format(answer=answer)
    if answer in catalogue and catalogue[answer].kind != "instruct":
        return _("{answer} is a base model: take those whose kind is instruct.").format(answer=answer)
    if answer in catalogue:
        return _("the weights of {answer} take {size:.1f} GB, which is 12 GB or more.").format(
            answer=answer, size=catalogue[answer].weight_bytes() / 1e9
        )
    if f"Qwen/{answer}" in catalogue:
        return _("write the owner before the name: Qwen/{answer}. Then check again.").format(answer=answer)
    return _("give the id as the catalogue writes it, such as Qwen/Qwen3.5-0.8B.")


def exercise_2(answer):
    if not isinstance(answer, list | tuple | set):
        return _("give the names as a list of texts.")
    names, first, second = set(answer), "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    if names == {first, second}:
        return None
    if second + ".incomplete" in names:
        return _("leave .incomplete out: name the file that it will become when it is whole.")
    if first not in names:
        return _("look at the size of {first}: weights are never that small.").format(first=first)
    if second not in names:
        return _("{second} has not arrived; only a part of it has.").format(second=second)
    return _("{name} is whole: that is the size such a file has.").format(name=min(names - {first, second}))


def exercise_3(answer):
    """A copy of tiny chat that `check_folder` takes for whole, though its weights are no longer the same."""
    if not isinstance(answer, str | Path) or not Path(answer).is_dir():
        return _("give the folder of the copy, which the lesson calls copy.")
    if Path(answer).resolve() == TINY_CHAT:
        return _("that is the course's own model, which the lessons need: damage the copy.")
    try:
        check_folder(answer)
    except ModelFolderError as error:
        return _("check_folder has noticed it: {error} Change some bytes, and leave their number as it is.").format(
            error=error
        )
    mine, original = (Path(folder) / "model.safetensors" for folder in (answer, TINY_CHAT))
    if not mine.is_file() or mine.stat().st_size != original.stat().st_size:
        return _("that is another model: take the copy of the tiny one.")
    if mine.read_bytes() == original.read_bytes():
        return _("the fingerprint of model.safetensors is still the right one: write other bytes into that file.")
    return None
