"""The models on this disk, with their sizes and what is half downloaded: `python -m qwen_helpers.caches`.

It looks where lesson 2 downloads to, and into the caches of ModelScope and Hugging Face. `delete` removes one of them.
"""

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from qwen_helpers.folders import ModelFolderError, check_folder, course_root


@dataclass(frozen=True)
class Cached:
    """One model on the disk."""

    name: str
    path: Path  # what `delete` takes: all that belongs to the model
    bytes: int
    half: int  # of these bytes, those in half downloaded files
    problem: str  # why it can't be loaded, in one sentence; empty if it is whole

    def __str__(self):
        state = f"not whole: {self.problem}" if self.problem else "whole"
        half = f" ({self.half / 1e6:,.1f} MB of half downloaded files)" if self.half else ""
        return f"{self.bytes / 1e6:10,.1f} MB  {self.name}\n{'':15}{self.path}\n{'':15}{state}{half}"


def caches():
    """The models on this disk, a list of `Cached`, the largest first."""
    places = {path.resolve(): (name, path) for name, path in _candidates()}
    found = [
        Cached(name, path, _size(path), _size(path, "*.incomplete"), _problem(path)) for name, path in places.values()
    ]
    return sorted(found, key=lambda cached: -cached.bytes)


def delete(path):
    """Delete one model that `caches()` lists, by its path, for good; returns the bytes that this has freed.

    Raises ValueError, and deletes nothing, for any other path.
    """
    wanted = os.path.abspath(os.path.expanduser(path))
    for cached in caches():
        if os.path.abspath(cached.path) == wanted:
            shutil.rmtree(wanted)
            return cached.bytes
    raise ValueError(
        f"{path} is not one of the downloaded models, so nothing was deleted: copy a path from the list that "
        "`python -m qwen_helpers.caches` prints."
    )


def _candidates():
    """(name, path) of every folder that looks like a downloaded model."""
    folders = [root / "models" for root in (Path.cwd(), course_root(), course_root() / "notebooks")]
    cache = Path(os.path.expanduser(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope"))
    for folder in folders:  # local_dir="models/NAME"
        yield from ((path.name, path) for path in _inside(folder) if _is_model(path))
    for base in (*folders, cache):  # modelscope 1.38 and later
        yield from ((path.name.replace("--", "/"), path) for path in _inside(base / "models") if "--" in path.name)
    for base in (*folders, cache / "models", cache / "hub" / "models", cache, cache / "hub"):  # before 1.38
        for path in [path for owner in _inside(base) for path in _inside(owner) if _is_model(path)]:
            yield f"{path.parent.name}/{path.name.replace('___', '.')}", path
    home = Path(os.path.expanduser(os.environ.get("HF_HOME") or "~/.cache/huggingface"))
    for path in _inside(Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or home / "hub"))):
        if path.name.startswith("models--"):
            yield path.name.removeprefix("models--").replace("--", "/"), path


def _inside(folder):
    """The folders in a folder, without hidden ones and links: what a link leads to is not this program's to delete."""
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name[0] != ".")
    except OSError:  # no such folder, or not ours to read
        return []


def _is_model(path):
    """Has a model's files, or the beginning of one: never a folder of the user's that only happens to lie here."""
    return any(any(path.glob(name)) for name in ("config.json", "*.safetensors", "*.incomplete"))


def _size(path, pattern="*"):
    """Bytes of the files; links, of which Hugging Face's cache is full, count nothing."""
    return sum(file.stat().st_size for file in path.rglob(pattern) if file.is_file() and not file.is_symlink())


def _problem(path):
    try:
        for folder in _inside(path / "snapshots") or [path]:
            check_folder(folder)
    except ModelFolderError as error:
        return str(error)
    return ""


def main():
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers.caches", description="The models on this disk.")
    parser.add_argument("--delete", metavar="PATH", help="delete one model, by its path in the list")
    path = parser.parse_args().delete
    if path:
        print(f"Deleted {path}: {delete(path) / 1e6:,.1f} MB are free again.")
        return
    found = caches()
    print("\n".join(str(cached) for cached in found) or "No model is downloaded yet.")
    if found:
        print(f"{sum(cached.bytes for cached in found) / 1e6:10,.1f} MB  in all")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
