"""Download a model with ModelScope's client, checked before and after, and with errors that say what to do.

The download itself is `snapshot_download`, as lesson 2 shows it. What goes wrong on the way, and what to do then,
stands in `known_troubles/fetch_model.json`. What is raised on the way stays English, since that is looked up there.
"""

import errno
import fnmatch
import glob
import os
import re
import shutil
import threading
import time
from pathlib import Path

from qwen_helpers.folder_check import ModelFolderError, check_folder
from qwen_helpers.language import _
from qwen_helpers.troubles import catalogue, first_that_fits

SITE = "https://modelscope.cn"


class FetchError(RuntimeError):
    """A model was not downloaded. The message is one sentence: symptom, cause, cure. `__cause__` is the first error."""


def endpoint_in_use():
    """The hub that ModelScope's client asks: MODELSCOPE_ENDPOINT, else the site. Reads the variable as it is now."""
    return (os.environ.get("MODELSCOPE_ENDPOINT") or SITE).rstrip("/")


def site_answers(endpoint=None, timeout=3):
    """Whether the hub, by default the one in use, answers anything within `timeout` seconds. Raises nothing."""
    try:
        return _ask("HEAD", endpoint or endpoint_in_use(), timeout).status_code < 500
    except OSError:  # all errors of requests are
        return False


def fetch_model(model_id, local_dir=None, endpoint=None, **options):
    """Download a model and return its folder, by default models/ and the last part of the id.

    `endpoint` is the hub (default: `endpoint_in_use()`), `options` are those of `snapshot_download`. Before any byte is
    written, every path in the hub's list must stay inside the folder, and what is missing must fit on the disk; the
    client is then asked for exactly these paths. It compares each SHA-256 that the hub lists; afterwards every size is
    compared, and `check_folder` reads the whole. What an interrupted download has fetched is kept and used.

    Raises FetchError, which says in one sentence what to do, and TypeError for an option that is none.
    """
    from modelscope_hub.errors import HubError  # the base of what the client raises

    endpoint = (endpoint or endpoint_in_use()).rstrip("/")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(model_id)):
        wrong = _("{name!r} is no model id: write Owner/Name, such as Qwen/Qwen2.5-0.5B-Instruct.")
        raise FetchError(wrong.format(name=model_id))
    folder = Path(os.path.expanduser(local_dir or Path("models", model_id.split("/")[1])))
    chosen = {key: options.pop(key, None) for key in ("allow_patterns", "ignore_patterns")}
    try:
        files = _select(_listing(endpoint, model_id, options.get("revision")), **chosen)
        if not files:  # an empty list would make the client download everything
            raise ValueError(f"no file matches {chosen}")
        _check_room(folder, files)
        from modelscope import snapshot_download

        only = [glob.escape(path) for path in files]
        snapshot_download(model_id, local_dir=str(folder), endpoint=endpoint, allow_patterns=only, **options)
        _check_result(folder, files, whole=not any(chosen.values()))
    except (HubError, OSError, ValueError) as error:  # another one is a fault in a program, and says so itself
        raise FetchError(_sentence(model_id, endpoint, error)) from error
    return folder


def _ask(method, url, seconds, params=None):
    """An HTTP request that ends after `seconds`, even while the name is looked up, for which requests has no limit."""
    import requests

    got = []

    def ask():
        try:
            got.append(requests.request(method, url, params=params, timeout=(min(3, seconds), seconds)))
        except Exception as error:
            got.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    answer = got[0] if got else TimeoutError(f"no answer within {seconds} seconds")
    if isinstance(answer, Exception):
        raise answer
    return answer


def _listing(endpoint, model_id, revision):
    """{path: bytes, or None if the hub does not say} of the files. Raises ValueError for a path that escapes."""
    url = f"{endpoint}/api/v1/models/{model_id}/repo/files"
    for wait in (1, 2, 0):
        answer = _ask("GET", url, 10, {"Revision": revision or "master", "Recursive": "True"})
        if answer.status_code < 500:
            break
        time.sleep(wait)
    answer.raise_for_status()
    entries = answer.json()
    entries = entries.get("Data") if isinstance(entries, dict) else None
    entries = entries.get("Files") if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "Path" in entry for entry in entries):
        raise ValueError("the answer is not a list of files")
    files = {str(entry["Path"]): entry.get("Size") for entry in entries if entry.get("Type") != "tree"}
    for path in files:
        # A backslash and a colon mean something on Windows only; no model needs them in a name.
        if re.search(r"[\\:\x00-\x1f]", path) or {"", ".."} & set(path.split("/")):  # "" begins an absolute path
            raise ValueError(f"{path!r} in the hub's list leads out of the folder")
    if not files:
        raise ValueError("the hub lists no files")
    return files


def _select(files, allow_patterns, ignore_patterns):
    def matches(path, patterns):
        patterns = [patterns] if isinstance(patterns, str) else patterns
        return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)

    if allow_patterns is not None:  # an empty list allows none
        files = {path: size for path, size in files.items() if matches(path, allow_patterns)}
    return {path: size for path, size in files.items() if not ignore_patterns or not matches(path, ignore_patterns)}


def _check_room(folder, files):
    missing = 0
    for path, size in files.items():
        file, part = folder / path, folder / f"{path}.incomplete"
        if size and not (file.is_file() and file.stat().st_size == size):
            missing += max(0, size - (part.stat().st_size if part.is_file() else 0))
    free = shutil.disk_usage(next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())).free
    if missing > free:
        raise OSError(errno.ENOSPC, f"{missing / 1e6:,.1f} MB are missing and only {free / 1e6:,.1f} MB free there")


def _check_result(folder, files, whole):
    for path, size in files.items():
        if not (folder / path).is_file():
            raise FileNotFoundError(f"{path} is not there")
        if size is not None and (folder / path).stat().st_size != size:
            raise ValueError(
                f"{path} has {(folder / path).stat().st_size} bytes instead of the {size} that the hub lists"
            )
    if whole and "config.json" in files:
        check_folder(folder)


def _sentence(model_id, endpoint, error):
    failed, what = getattr(error, "failed_files", None), model_id
    if failed:  # FileDownloadError: one line per file, the first one is enough
        name, error = next(iter(failed.items()))
        what = _("{name} of {model_id}").format(name=name, model_id=model_id)
        what += _(" (and {count} more files)").format(count=len(failed) - 1) if len(failed) > 1 else ""
    if isinstance(error, ModelFolderError):
        return _("{model_id} has arrived as the hub lists it, but {error}").format(model_id=model_id, error=error)
    text = re.sub(r"^.*Caused by ", "", (str(error) or type(error).__name__).splitlines()[0])
    trouble = first_that_fits("fetch_model", f"{type(error).__name__}: {error}") or catalogue("fetch_model")[-1]
    said = _("{what} could not be downloaded from {endpoint} ({text}): {cause}; {cure}.")
    return said.format(what=what, endpoint=endpoint, text=text[:200], cause=_(trouble.cause), cure=_(trouble.cure))
