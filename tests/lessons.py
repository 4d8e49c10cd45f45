"""What the tests of the lessons share: reading notebooks, finding cells by tag, running a notebook."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KERNELS = {"07_paddlenlp": {"display_name": "Python (qwen-paddle)", "language": "python", "name": "qwen-paddle"}}
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in LESSONS]
ZH = ROOT / "notebooks" / "zh"


def read(path: Path):
    return nbformat.read(path, as_version=4)


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def tagged(notebook, tag: str) -> list:
    return [cell for cell in notebook.cells if tag in tags(cell)]


def run(notebook, path: Path):
    """Execute a notebook where it lies. An error stops it, unless the cell is tagged `raises-exception`."""
    return NotebookClient(notebook, timeout=300, resources={"metadata": {"path": path.parent}}).execute()


def printed(cell) -> str:
    return "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")


def python_of(name: str) -> str:
    """The Python of a lesson's kernel. Skips the test of a lesson that cannot run in it.

    Where lesson 7's kernel was not made, its tests are skipped; in CI they fail.
    """
    if name == "08_speed_and_memory" and sys.version_info < (3, 11):
        pytest.skip("Lesson 8 needs onnxruntime-genai, which has no wheels for Python 3.10.")
    paddle = KERNELS["07_paddlenlp"]["name"]
    if name not in KERNELS:
        return sys.executable
    try:
        return KernelSpecManager().get_kernel_spec(paddle).argv[0]
    except NoSuchKernel:
        reason = f"The kernel {paddle} is missing: run `python course.py` without --no-paddle."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
