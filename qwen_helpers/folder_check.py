"""Is a model's folder whole? `check_folder` finds out before a library does, and says what to do.

It reads the small files and only the first kilobytes of the weights, so it takes well under a second even for a large
model. What only an answer would show, such as a lost rotary base, is looked for in `diagnosis.py`.
"""

import json
import os
import re
import struct
from pathlib import Path

from qwen_helpers.language import N_, _

AGAIN = N_("run the same download again, it continues where it stopped")
ANEW = N_("delete it and run the same download again")
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
        raise ModelFolderError(
            _("{path} is a file: give the folder that it is in, {folder}.").format(path=path, folder=path.parent)
        )
    if not path.is_dir():
        raise _no_folder(text)
    for part in sorted(path.glob("*.incomplete")):  # modelscope's name for a file that it is still downloading
        if not part.with_suffix("").exists():
            raise ModelFolderError(
                _("{file} in {path} is only half downloaded: {again}.").format(
                    file=part.stem, path=path, again=_(AGAIN)
                )
            )
    if not (path / "config.json").is_file():
        raise ModelFolderError(
            _("{path} holds no config.json: give the folder that does, or {again}.").format(path=path, again=_(AGAIN))
        )
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
            raise ModelFolderError(_("{file} names no weights: {anew}.").format(file=file, anew=_(ANEW)))
        files = [Path(folder) / shard for shard in sorted(set(shards.values()))]
        for shard in files:
            if not shard.is_file():
                raise ModelFolderError(
                    _("{shard} is missing from {folder}, though {name} names it: {again}.").format(
                        shard=shard.name, folder=folder, name=name, again=_(AGAIN)
                    )
                )
        return files
    raise ModelFolderError(
        _("{folder} holds no weights, neither {safe} nor {safe}.index.json with its parts: {again}.").format(
            folder=folder, safe=safe, again=_(AGAIN)
        )
    )


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
        raise ModelFolderError(
            _("{file} is cut off in its first bytes ({size:,} bytes): {anew}.").format(
                file=file, size=size, anew=_(ANEW)
            )
        )
    try:
        header = json.loads(header)
        header.pop("__metadata__", None)
        end = 8 + length + max(tensor["data_offsets"][1] for tensor in header.values())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ModelFolderError(
            _("{file} is not safetensors (a saved error page?): {anew}.").format(file=file, anew=_(ANEW))
        ) from None
    if size != end:
        raise ModelFolderError(
            _("{file} has {size:,} bytes but should have {end:,}: {anew}.").format(
                file=file, size=size, end=end, anew=_(ANEW)
            )
        )
    return header


def check_tokenizer(tokenizer, model_dir) -> None:
    """Raise ModelFolderError for a loaded tokenizer without vocabulary, which transformers 5 builds without a word."""
    if len(tokenizer) < 1000 or tokenizer.chat_template is None:
        template = _("no") if tokenizer.chat_template is None else _("a")
        raise ModelFolderError(
            _(
                "The tokenizer in {model_dir} has {count} tokens and {template} chat template: download the "
                "folder again."
            ).format(model_dir=model_dir, count=len(tokenizer), template=template)
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
            _(
                "{folder} holds no tokenizer (tokenizer.json, or vocab.json and merges.txt), and transformers 5 "
                "would silently build an empty one: {again}."
            ).format(folder=folder, again=_(AGAIN))
        )


def _read_json(file):
    data = _read(file)
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ModelFolderError(
            _("{file} is not whole JSON (cut off, or a saved error page?): {anew}.").format(file=file, anew=_(ANEW))
        )
    return value


def _read(file):
    data = file.read_bytes()
    if data.startswith(LFS):
        raise _pointer(file)
    if not data.strip():
        raise ModelFolderError(_("{file} is empty: {anew}.").format(file=file, anew=_(ANEW)))
    return data


def _pointer(file):
    return ModelFolderError(
        _(
            "{file} is only a git-lfs pointer, {size} bytes in place of the real file: run `git lfs pull` in "
            "that folder, or download the model as lesson 2 shows."
        ).format(file=file, size=file.stat().st_size)
    )


def _lost_backslashes(text):
    return ModelFolderError(
        _(
            "The path {text!r} has lost its backslashes, because Python and the shell give some of them "
            'another meaning: write it as r"D:\\new\\tiny" or as "D:/new/tiny".'
        ).format(text=text)
    )


def _no_folder(text):
    if re.match(r"[A-Za-z]:(?![\\/])", text):
        return _lost_backslashes(text)
    if re.fullmatch(r"(?i)qwen/[\w.-]+", text):
        name = text.split("/")[1]
        return ModelFolderError(
            _(
                '{text} is a model\'s id and not a folder: download it with snapshot_download("{text}", '
                'local_dir="models/{name}") as lesson 2 shows, and give that folder.'
            ).format(text=text, name=name)
        )
    here = "" if os.path.isabs(text) else _(" in {folder}").format(folder=Path.cwd())
    return ModelFolderError(
        _("There is no folder {text!r}{here}: correct the path, or download the model as lesson 2 shows.").format(
            text=text, here=here
        )
    )
