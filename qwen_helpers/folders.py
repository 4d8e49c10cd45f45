"""Model folders on this disk: which one the lessons use, where a downloaded one lies, which there are.

`model_folder()` is the folder that lessons load, `use_model(...)` changes it, `downloads()` lists what is here. Nothing
uses the network, and no folder is read further than `folder_check.py` does.
"""

import argparse
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from qwen_helpers.folder_check import ModelFolderError, check_folder
from qwen_helpers.language import _
from qwen_helpers.models import CATALOGUE, meant, suggestion

TINY_CHAT = Path(__file__).resolve().parent / "tiny" / "chat"  # the course's own tiny models, part of the repository
TINY_BASE = TINY_CHAT.with_name("base")
TINY_THINKING = TINY_CHAT.with_name("thinking")


def course_root():
    """The repository, or the current folder if the package was installed without it."""
    repository = Path(__file__).resolve().parent.parent
    return repository if (repository / "pyproject.toml").is_file() else Path.cwd()


def model_folder():
    """The folder of the model that lessons load, as an absolute path, checked by `check_folder`.

    `QWEN_MODEL` (whatever `find_folder` takes) if that variable is set, else what `use_model` remembered, else the
    course's tiny chat model. Raises ModelFolderError.
    """
    wanted = os.environ.get("QWEN_MODEL")
    if wanted:
        try:
            return check_folder(find_folder(wanted))
        except ModelFolderError as error:  # say where the name comes from: it may have been set long ago
            raise ModelFolderError(_("QWEN_MODEL is set, but: {error}").format(error=error)) from None
    if not chosen_file().is_file():
        return check_folder(TINY_CHAT)
    remembered = chosen_file().read_text(encoding="utf-8").strip()
    if not remembered or not Path(remembered).is_dir():
        cure = _('choose one again with use_model(...), or go back to the tiny model with use_model("tiny")')
        raise ModelFolderError(
            _("The model you chose is no longer at {remembered!r}: {cure}.").format(remembered=remembered, cure=cure)
        )
    return check_folder(remembered)


def use_model(what):
    """Make `model_folder()` return this model from now on, also in other notebooks and after a restart.

    `what` is anything that `find_folder` takes; "tiny" goes back to the course's own model. Returns the folder.
    Raises ModelFolderError, and then remembers nothing.
    """
    folder = check_folder(find_folder(what))
    try:
        if folder == TINY_CHAT:
            chosen_file().unlink(missing_ok=True)
        else:
            chosen_file().write_text(f"{folder}\n", encoding="utf-8")
    except OSError as error:
        cure = _("set the environment variable QWEN_MODEL to {folder} instead").format(folder=folder)
        raise ModelFolderError(
            _("{file} cannot be written ({why}): {cure}.").format(file=chosen_file(), why=error.strerror, cure=cure)
        ) from error
    if os.environ.get("QWEN_MODEL"):
        warning = _("Saved, but QWEN_MODEL is set to {model} and wins until you unset it.")
        print(warning.format(model=os.environ["QWEN_MODEL"]))
    return folder


def find_folder(what):
    """The folder that `what` means: "tiny", "tiny-base", "tiny-thinking", a folder, or the id of a downloaded model.

    A relative folder counts from the current one. An id, as ModelScope writes it, is looked up where lesson 2 downloads
    to and in ModelScope's cache; nothing is downloaded. Raises ModelFolderError for an id that is not there; returns a
    folder unchecked.
    """
    text = str(what)
    tiny = {"tiny": TINY_CHAT, "tiny-base": TINY_BASE, "tiny-thinking": TINY_THINKING}
    folder = tiny.get(text) or Path(os.path.expanduser(text))
    if folder.exists():
        return folder.absolute()
    if text in tiny or not re.fullmatch(r"(?!models/|notebooks/)[\w-][\w.-]*(/[\w.-]+)?", text):
        return folder  # no id, so a folder that check_folder will complain of
    if "/" not in text:
        raise ModelFolderError(
            _("There is no folder {text!r} in {folder}, and no such model{meant}").format(
                text=text, folder=Path.cwd(), meant=suggestion(text, *tiny)
            )
        )
    for place in places(*text.split("/")):
        if place.is_dir() and any(place.iterdir()):
            return place.absolute()
    download = f'snapshot_download("{text}", local_dir="models/{text.split("/")[1]}")'
    if all(model.id != text for model in CATALOGUE) and meant(text):
        raise ModelFolderError(
            _("{text!r} is not downloaded, and not in the course's catalogue{meant}").format(
                text=text, meant=suggestion(text)
            )
        )
    here = _("There is no folder {text!r} in {folder}, and the model ").format(text=text, folder=Path.cwd())
    here = "" if text.startswith("Qwen/") else here
    size = "" if any(model.id == text for model in CATALOGUE) else _(", and its size is not in the course's catalogue")
    raise ModelFolderError(
        _("{here}{text} is not downloaded yet{size}: run {download}, as lesson 2 shows.").format(
            here=here, text=text, size=size, download=download
        )
    )


def chosen_file() -> Path:
    """Where `use_model` keeps its choice."""
    return course_root() / ".qwen_model"


# How each place for downloads names the folder of owner/name. The first that exists counts.
LAYOUTS = {
    "local_dir": lambda owner, name: [name],  # local_dir="models/NAME", as lesson 2 downloads
    "modelscope": lambda owner, name: [f"{owner}--{name}/snapshots/master"],  # modelscope 1.38 and later
    "old modelscope": lambda owner, name: [f"{owner}/{name.replace('.', '___')}", f"{owner}/{name}"],  # before 1.38
}


def download_places():
    """(folder, layout) of every place that a download may lie in, a key of LAYOUTS or "huggingface"."""
    folders = [root / "models" for root in (Path.cwd(), course_root(), course_root() / "notebooks")]
    cache = Path(os.path.expanduser(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope"))
    home = Path(os.path.expanduser(os.environ.get("HF_HOME") or "~/.cache/huggingface"))
    yield from ((folder, "local_dir") for folder in folders)
    yield from ((base / "models", "modelscope") for base in (*folders, cache))
    olds = (*folders, cache / "models", cache / "hub" / "models", cache, cache / "hub")
    yield from ((base, "old modelscope") for base in olds)
    yield Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or home / "hub")), "huggingface"


def places(owner, name):
    """Where the model owner/name may be. Hugging Face's cache is left out: its folders are not made for other tools."""
    for folder, layout in download_places():
        if layout in LAYOUTS:
            yield from (folder / path for path in LAYOUTS[layout](owner, name))


@dataclass(frozen=True)
class Download:
    """One model on the disk, whole or half."""

    name: str
    path: Path  # what `delete` takes: all that belongs to the model
    bytes: int
    half: int  # of these bytes, those in half downloaded files
    problem: str  # why it can't be loaded, in one sentence; empty if it is whole

    def __str__(self):
        state = _("not whole: {problem}").format(problem=self.problem) if self.problem else _("whole")
        half = _(" ({half:,.1f} MB of half downloaded files)").format(half=self.half / 1e6) if self.half else ""
        return f"{self.bytes / 1e6:10,.1f} MB  {self.name}\n{'':15}{self.path}\n{'':15}{state}{half}"


def downloads():
    """The models on this disk, a list of `Download`, the largest first.

    It looks where lesson 2 downloads to, and into the caches of ModelScope and Hugging Face.
    """
    found = {path.resolve(): (name, path) for name, path in _downloaded_folders()}
    listed = [
        Download(name, path, _size(path), _size(path, "*.incomplete"), _problem(path)) for name, path in found.values()
    ]
    return sorted(listed, key=lambda download: -download.bytes)


def delete(path):
    """Delete one model that `downloads()` lists, by its path, for good; returns the bytes that this has freed.

    Raises ValueError, and deletes nothing, for any other path.
    """
    wanted = os.path.abspath(os.path.expanduser(path))
    for download in downloads():
        if os.path.abspath(download.path) == wanted:
            shutil.rmtree(wanted)
            return download.bytes
    raise ValueError(
        _(
            "{path} is not one of the downloaded models, so nothing was deleted: copy a path from the list "
            "that `python -m qwen_helpers downloads` prints."
        ).format(path=path)
    )


def _downloaded_folders():
    """(name, path) of every folder that looks like a downloaded model."""
    for folder, layout in download_places():
        if layout == "local_dir":
            yield from ((path.name, path) for path in _inside(folder) if _is_model(path))
        elif layout == "modelscope":
            found = [path for path in _inside(folder) if "--" in path.name and (path / "snapshots").is_dir()]
            yield from ((path.name.replace("--", "/"), path) for path in found)
        elif layout == "old modelscope":
            owners = [owner for owner in _inside(folder) if not _is_model(owner)]  # a model's checkpoints are its own
            for path in [path for owner in owners for path in _inside(owner) if _is_model(path)]:
                yield f"{path.parent.name}/{path.name.replace('___', '.')}", path
        else:
            for path in _inside(folder):
                if path.name.startswith("models--"):
                    yield path.name.removeprefix("models--").replace("--", "/"), path


def _inside(folder):
    """The folders in a folder, without hidden ones and links: what a link leads to is not this program's to delete."""
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name[0] != ".")
    except OSError:  # no such folder, or not ours to read
        return []


def _is_model(path):
    """Has a model's files, or the beginning of one: no folder that only happens to lie here."""
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


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers downloads", description=_("The models on this disk."))
    parser.add_argument("--delete", metavar="PATH", help=_("delete one model, by its path in the list"))
    path = parser.parse_args(arguments).delete
    if path:
        print(_("Deleted {path}: {size:,.1f} MB are free again.").format(path=path, size=delete(path) / 1e6))
        return
    found = downloads()
    print("\n".join(str(download) for download in found) or _("No model is downloaded yet."))
    if found:
        print(_("{size:10,.1f} MB  in all").format(size=sum(download.bytes for download in found) / 1e6))
