"""What the tests of the lessons share: reading notebooks, finding cells by tag, running a notebook."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in LESSONS]


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
