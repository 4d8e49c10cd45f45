"""Run a few lines in a fresh Python.

An error over there is raised here, under its own name and with its own text, so that it looks as if it had happened in
this notebook. Knows nothing of models.
"""

import json
import os
import subprocess
import sys

from qwen_helpers.language import _

# Packages in `hidden` are missing for the lines that follow, as in an environment where nobody installed them.
HIDE = """
import importlib.util, sys
hidden, find_spec = {hidden!r}, importlib.util.find_spec
class Hide:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
importlib.util.find_spec = lambda name, *rest: None if name.split(".")[0] in hidden else find_spec(name, *rest)
"""
RUN = """
import json, os, sys, traceback
sys.path.insert(0, os.getcwd())
try:
    exec(compile({code!r}, "<fresh>", "exec"), {{"__name__": "__main__"}})
except BaseException as error:
    sys.stdout.flush()
    sys.stderr.write("\\n" + json.dumps([type(error).__name__, str(error), traceback.format_exc()]) + "\\n")
    sys.exit(1)
"""


def arrived(name: str, text: str, traceback: str) -> Exception:
    """An exception whose class is called `name`, for one in another process; `traceback` is the one over there."""
    return type(name, (Exception,), {"__module__": "builtins", "traceback": traceback})(text)


def fresh(code: str, hide=(), folder=None, python=sys.executable, **variables) -> None:
    """Run `code` in a fresh Python in `folder` and print what it prints. Takes as long as its imports do.

    `hide` names packages that are missing there, `variables` are added to the environment. Raises the error with which
    the code stopped, and RuntimeError with what it wrote last if it ended without one (a crash, a kill).
    """
    lines = (HIDE.format(hidden=set(hide)) if hide else "") + RUN.format(code=code)
    done = subprocess.run(
        [python, "-X", "utf8", "-c", lines], capture_output=True, cwd=folder, env={**os.environ, **variables},
        encoding="utf-8", errors="replace", timeout=120,
    )  # fmt: skip
    print(done.stdout, end="")
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [""]
        told = [line for line in said if line.startswith('["')]  # a destructor may write after it
        if not told:
            raise RuntimeError(
                _("Python stopped with the code {code}: {line}").format(code=done.returncode, line=said[-1])
            )
        raise arrived(*json.loads(told[-1]))
