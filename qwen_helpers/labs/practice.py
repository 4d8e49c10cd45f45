"""A place to practise in: lesson 2's own hub where ModelScope can't be reached, and empty packages for pip to fail on.

On the own hub the tiny model stands in for the real one, in a folder that is thrown away, so that practice can never
overwrite a model of yours.
"""

import atexit
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from qwen_helpers.download import endpoint_in_use, site_answers
from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.labs.hub import Hub
from qwen_helpers.language import _


def modelscope_or_practice(model_id: str) -> bool:
    """True if ModelScope answers within three seconds: then nothing changes but NO_PROXY, which gets this computer.

    Else False, and practice begins: the course's hub serves the tiny model as `model_id`, the current folder becomes a
    temporary one, and MODELSCOPE_CACHE, MODELSCOPE_HOME and MODELSCOPE_ENDPOINT point to it and to the hub. Call it
    before the client's first use: it reads them once. A hub on this computer that is already in MODELSCOPE_ENDPOINT is
    practice too.
    """
    proxied = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    os.environ["NO_PROXY"] = ",".join(filter(None, [proxied, "127.0.0.1,localhost"]))  # a hub here needs no proxy
    own = "//127.0.0.1" in endpoint_in_use()
    if not own and site_answers():
        print(_("ModelScope answers."))
        return True
    folder = Path(tempfile.mkdtemp(prefix="qwen-practice-"))
    atexit.register(throw_away, folder, Path.cwd())
    os.chdir(folder)
    os.environ["MODELSCOPE_CACHE"] = os.environ["MODELSCOPE_HOME"] = str(folder / "modelscope")
    if not own:
        os.environ["MODELSCOPE_ENDPOINT"] = Hub({model_id: TINY_CHAT}).start().url  # it ends with the kernel
        print(_("ModelScope does not answer. Check your connection if you want the real model."))
    print(_("Practice: the course's own hub, the tiny model under the real name, a folder that is thrown away."))
    return False


def throw_away(folder: Path, back: Path) -> None:
    """Delete the practice folder when the kernel ends; Windows wants it left first."""
    os.chdir(back)
    shutil.rmtree(folder, ignore_errors=True)


def empty_wheel(folder, name: str, version: str, requires: list[str]) -> None:
    """Write a wheel (a package as pip installs it) with nothing in it but its requirements, to try pip's resolver on.

    Format: the Python packaging guide's "Binary distribution format".
    """
    about = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {requirement}" for requirement in requires)]
    files = {
        "METADATA": "\n".join(["Metadata-Version: 2.1", *about, ""]),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: course\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(Path(folder) / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{name}-{version}.dist-info/{file}", text)
