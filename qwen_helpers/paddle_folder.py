"""A model folder as PaddleNLP needs it, made beside the original, which stays as it is.

PaddleNLP 3.0.0b4 is from the time of transformers 4. It does not know the names that transformers 5 has changed, in one
case without a word, and it writes a second copy of the weights into the folder that it reads. So it gets a folder of
its own: links to the large files, small files in which the old names stand beside the new ones, and an empty file in
place of the second copy. transformers 5 reads it just as well.
"""

import json
import os
import shutil
import zlib
from pathlib import Path

from qwen_helpers.folders import ModelFolderError, check_folder, course_root, weight_files
from qwen_helpers.models import find_folder

FAMILIES = ("qwen2", "qwen2_moe")  # of the Qwen models, those that PaddleNLP 3.0.0b4 knows
LINKED = ("model.safetensors.index.json", "tokenizer.json", "vocab.json", "merges.txt")


def paddle_folder(model_dir, target=None) -> Path:
    """Return a folder that PaddleNLP loads as transformers loads `model_dir`, with the same tokens and logits.

    It lies in models/paddle of the course, or is `target`, and takes a few kilobytes: weights and vocabulary are links
    (copies only where the system allows no link). Making it again is quick and changes nothing. Raises
    ModelFolderError for a folder that is not whole, or whose model PaddleNLP does not know.
    """
    source = check_folder(find_folder(model_dir)).resolve()
    config = _read(source, "config.json")
    if config.get("model_type") not in FAMILIES:
        raise ModelFolderError(
            f"{source} holds a model of the type {config.get('model_type')}, and PaddleNLP 3.0.0b4, its last release, "
            "knows only Qwen2 and Qwen2.5: choose one of those."
        )
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise ModelFolderError(
            f"{source} stretches its positions (rope scaling), which PaddleNLP would ignore: use the plain config.json."
        )
    if target is None:  # a number from the path, since many folders are called "master"
        target = course_root() / "models" / "paddle" / f"{source.name}-{zlib.crc32(str(source).encode()):08x}"
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    for file in [*weight_files(source), *(source / name for name in LINKED)]:
        if file.is_file():
            _link(file, target / file.name)
    # The values are there, under the names of transformers 5. Without the first, PaddleNLP takes 10000, silently.
    old_names = {"rope_theta": rope.get("rope_theta"), "torch_dtype": config.get("dtype")}
    _write(target / "config.json", {**{name: value for name, value in old_names.items() if value}, **config})
    if generation := _read(source, "generation_config.json"):
        generation.pop("_from_model_config", None)  # it would make PaddleNLP drop the list of stop tokens
        _write(target / "generation_config.json", generation)
    tokenizer = _read(source, "tokenizer_config.json")
    template = source / "chat_template.jinja"
    if template.is_file() and not tokenizer.get("chat_template"):
        tokenizer["chat_template"] = template.read_text(encoding="utf-8")
    tokenizer["tokenizer_class"] = "Qwen2Tokenizer"  # transformers 5 may write a name that PaddleNLP has not
    _write(target / "tokenizer_config.json", tokenizer)
    # PaddleNLP's conversion ends by writing all weights once more under this name, unless the file is there.
    (target / "model_state.pdparams").touch()
    return target


def _link(file: Path, link: Path) -> None:
    if link.exists() and link.samefile(file):
        return
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(file)
    except OSError:  # Windows asks for a privilege; a hard link needs none, but the same drive
        try:
            os.link(file, link)
        except OSError:
            shutil.copy2(file, link)


def _read(folder: Path, name: str) -> dict:
    file = folder / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _write(file: Path, content: dict) -> None:
    """Whole or not at all: another notebook may be reading the file."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)
