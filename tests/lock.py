"""Look up the newest versions that pyproject.toml allows, and write them down: `python tests/lock.py`.

uv finds them for Python 3.10 to 3.12 on all systems at once. lock.txt and lock-paddle.txt hold them with the hashes of
their files, for course.py; constraints.txt and constraints-paddle.txt without, for conda and for pip, which refuses
hashes beside "-e .". `--keep` changes only what pyproject.toml has changed.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# The exact versions that {what} tested with: Python 3.10 to 3.12 on Linux, Windows and macOS.\n"
HEAD += "# Written by `python tests/lock.py`.\n"
# name: (for what, extras, what is needed beside them)
LOCKS = {
    "": ("this course was", ["lab", "fast", "test", "site"], ["pip", "uv"]),
    "-paddle": ("the lesson on PaddleNLP was", ["paddle"], ["pip", "paddle2onnx>=2.1"]),
}


def write(name: str, keep: bool) -> None:
    what, extras, more = LOCKS[name]
    lock, constraints = ROOT / f"lock{name}.txt", ROOT / f"constraints{name}.txt"
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.10", "--no-annotate"]
    command += ["--no-header", "--no-emit-index-url", "--generate-hashes", "--quiet", "pyproject.toml", "-"]
    command += [word for extra in extras for word in ("--extra", extra)]
    command += ["-c", constraints.name] if keep else ["--upgrade"]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(more), stdout=subprocess.PIPE, text=True, check=True)
    # The CPU build of PyTorch has other hashes than the default one, and the same version.
    text = re.sub(r"(?m)^(torch==[^\s\\]+[^\\\n]*?) \\\n(?:    --hash=.*\n)+", r"\1\n", done.stdout)
    lock.write_text(HEAD.format(what=what) + text, encoding="utf-8")
    plain = re.sub(r" \\\n(?:    --hash=.*\n)+", "\n", text)
    constraints.write_text(HEAD.format(what=what) + plain, encoding="utf-8")


if __name__ == "__main__":
    for name in LOCKS:
        write(name, keep="--keep" in sys.argv[1:])
