"""Is a model's folder whole? `check_folder` finds out before a library does, and says what to do.

It reads the small files and only the first kilobytes of the weights, so it takes well under a second even for a large
model. What only an answer would show, such as a lost rotary base, is looked for in `diagnosis.py`.
"""

import json
import os
import re
import struct
from pathlib import Path

AGAIN = "run the same download again, it continues where it stopped"
ANEW = "delete it and run the same download again"
LFS = b"version https://git-lfs"  # what a git clone without git-lfs leaves in place of a large file


class ModelFolderError(ValueError):
    """A model folder cannot be found or loaded. The message is one sentence that says why and what to do."""


def check_folder(folder, weights=True):
    """Return `folder` as a Path if transformers can load it; raise ModelFolderError if not.

    Checks that the folder is there, config.json, the weights' files and their length (not with weights=False), and
    the tokenizer, without which transformers 5 would silently build an empty one. Never reads the weights themselves.
    """
    text = str(folder)
    if re.search(r"[\x00-\x1f]", text):
        raise _lost_backslashes(text)
    path = Path(os.path.expanduser(text))
    if path.is_file():
        raise ModelFolderError(f"{path} is a file: give the folder that it is in, {path.parent}.")
    if not path.is_dir():
        raise _no_folder(text)
    for part in sorted(path.glob("*.incomplete")):  # modelscope's name for a file that it is still downloading
        if not part.with_suffix("").exists():
            raise ModelFolderError(f"{part.stem} in {path} is only half downloaded: {AGAIN}.")
    if not (path / "config.json").is_file():
        raise ModelFolderError(f"{path} holds no config.json: give the folder that does, or {AGAIN}.")
    _read_json(path / "config.json")
    if weights:
        for file in weight_files(path):
            if file.suffix == ".safetensors":
                safetensors_header(file)
    _check_tokenizer(path)
    return path


def weight_files(folder):
    """The files of the weights, in the order in which transformers prefers them. Raises ModelFolderError."""
    safe, old = "model.safetensors", "pytorch_model.bin"
    for name in (safe, f"{safe}.index.json", old, f"{old}.index.json"):
        file = Path(folder) / name
        if not file.is_file():
            continue
        if file.suffix != ".json":
            return [file]
        shards = _read_json(file).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelFolderError(f"{file} names no weights: {ANEW}.")
        files = [Path(folder) / shard for shard in sorted(set(shards.values()))]
        for shard in files:
            if not shard.is_file():
                raise ModelFolderError(f"{shard.name} is missing from {folder}, though {name} names it: {AGAIN}.")
        return files
    raise ModelFolderError(f"{folder} holds no weights, neither {safe} nor {safe}.index.json with its parts: {AGAIN}.")


def safetensors_header(file):
    """The header of a .safetensors file: {tensor name: {"dtype", "shape", "data_offsets"}}. Raises ModelFolderError.

    The file begins with the header's length in 8 bytes (little-endian), then the header as JSON, then the data, whose
    offsets count from the end of the header; so the header says how long the file must be.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if LFS.startswith(start) and size > 0:
            raise _pointer(file)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = stream.read(length) if length <= 100_000_000 else b"-"  # the format's own limit
    if size < 8 + length and length <= 100_000_000:
        raise ModelFolderError(f"{file} is cut off in its first bytes ({size:,} bytes): {ANEW}.")
    try:
        header = json.loads(header)
        header.pop("__metadata__", None)
        end = 8 + length + max(tensor["data_offsets"][1] for tensor in header.values())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ModelFolderError(f"{file} is not safetensors (a saved error page?): {ANEW}.") from None
    if size != end:
        raise ModelFolderError(f"{file} has {size:,} bytes but should have {end:,}: {ANEW}.")
    return header


def check_tokenizer(tokenizer, model_dir) -> None:
    """Raise ModelFolderError for a loaded tokenizer without vocabulary, which transformers 5 builds without a word."""
    if len(tokenizer) < 1000 or tokenizer.chat_template is None:
        raise ModelFolderError(
            f"The tokenizer in {model_dir} has {len(tokenizer)} tokens and "
            f"{'no' if tokenizer.chat_template is None else 'a'} chat template: download the folder again."
        )


def read_json_if_there(file: Path) -> dict:
    """What a small file of a folder says; {} if there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _check_tokenizer(folder):
    tokenizer, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if (folder / "tokenizer_config.json").is_file():
        _read_json(folder / "tokenizer_config.json")
    if tokenizer.is_file():
        _read_json(tokenizer)
    elif vocabulary.is_file() and merges.is_file():
        _read_json(vocabulary)
        _read(merges)
    else:
        raise ModelFolderError(
            f"{folder} holds no tokenizer (tokenizer.json, or vocab.json and merges.txt), and "
            f"transformers 5 would silently build an empty one: {AGAIN}."
        )


def _read_json(file):
    data = _read(file)
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{file} is not whole JSON (cut off, or a saved error page?): {ANEW}.")
    return value


def _read(file):
    data = file.read_bytes()
    if data.startswith(LFS):
        raise _pointer(file)
    if not data.strip():
        raise ModelFolderError(f"{file} is empty: {ANEW}.")
    return data


def _pointer(file):
    return ModelFolderError(
        f"{file} is only a git-lfs pointer, {file.stat().st_size} bytes in place of the real file: "
        "run `git lfs pull` in that folder, or download the model as lesson 2 shows."
    )


def _lost_backslashes(text):
    return ModelFolderError(
        f"The path {text!r} has lost its backslashes, because Python and the shell give some of "
        r'them another meaning: write it as r"D:\new\tiny" or as "D:/new/tiny".'
    )


def _no_folder(text):
    if re.match(r"[A-Za-z]:(?![\\/])", text):
        return _lost_backslashes(text)
    if re.fullmatch(r"(?i)qwen/[\w.-]+", text):
        name = text.split("/")[1]
        return ModelFolderError(
            f"{text} is a model's id and not a folder: download it with snapshot_download("
            f'"{text}", local_dir="models/{name}") as lesson 2 shows, and give that folder.'
        )
    here = "" if os.path.isabs(text) else f" in {Path.cwd()}"
    return ModelFolderError(
        f"There is no folder {text!r}{here}: correct the path, or download the model as lesson 2 shows."
    )
