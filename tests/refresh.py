"""Run lessons and store them with fresh outputs, ready to commit: `python tests/refresh.py [NAME ...]`.

NAME is a piece of a path, such as 03_ or zh/03; a lesson in `zh` runs with QWEN_LANG=zh, the others with en.
Outputs come from the tiny model. What differs by machine (paths, kernel, run times, ids of widgets) is taken out, so
that a diff shows only what has really changed. `test_structure.py` fails for a lesson that was stored another way.
"""

import os
import re
import sys
from pathlib import Path

import nbformat
from lessons import KERNEL, KERNELS, LESSONS, ROOT, ZH
from nbclient import NotebookClient

PATHS = [
    (re.compile(r"/\S*?/(\.venv[\w-]*)/\S*?site-packages/"), r"\1/site-packages/"),
    (re.compile(r"/\S*?/site-packages/"), ".venv/site-packages/"),
    (re.compile(r"/\S*?/lib/(python3\.\d+)/"), r"\1/"),
    (re.compile(r"[^\s'\"(`]*qwen-practice-\w+"), "practice"),  # as in nbval_sanitize.cfg
    (re.compile(re.escape(str(ROOT)) + "/?"), ""),
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "this cell"),
    (re.compile(re.escape(str(Path.home()))), "~"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:8765"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ \| "), ""),
]


def without_paths(text: str) -> str:
    for pattern, replacement in PATHS:
        text = pattern.sub(replacement, text)
    return text


def clean_output(output: dict) -> None:
    output.pop("transient", None)
    output["metadata"] = {}
    if output["output_type"] == "stream":
        del output["metadata"]
        output["text"] = without_paths(output["text"])
    elif output["output_type"] == "error":
        del output["metadata"]
        output["evalue"] = without_paths(output["evalue"])
        output["traceback"] = [without_paths(line) for line in output["traceback"]]
    else:
        for kind, text in output["data"].items():
            output["data"][kind] = without_paths(text) if isinstance(text, str) else text


def merge_streams(outputs: list[dict]) -> list[dict]:
    """One output for what a cell printed in pieces, and of a widget only its text: fewer lines in a diff."""
    merged: list[dict] = []
    for output in outputs:
        if output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None) and re.match(
            r"\w+\(", output["data"]["text/plain"]
        ):
            continue  # a progress bar: nothing to see without its kernel, and no text that says more than its class
        if merged and output["output_type"] == "stream" and merged[-1].get("name") == output["name"]:
            merged[-1]["text"] += output["text"]
        else:
            merged.append(output)
    return merged


def normalise(notebook, name: str) -> None:
    """Keep sources, tags, folded solutions and outputs; drop the rest."""
    notebook.metadata = {"kernelspec": KERNELS.get(name, KERNEL), "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03}"
        kept = {key: cell.metadata[key] for key in ("tags", "english") if cell.metadata.get(key)}
        if "solution" in kept.get("tags", []):
            kept["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
        cell.metadata = kept
        if cell.cell_type == "code":
            for output in cell.outputs:
                clean_output(output)
            cell.outputs = merge_streams(cell.outputs)


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    NotebookClient(notebook, timeout=300, record_timing=False, resources={"metadata": {"path": path.parent}}).execute()
    normalise(notebook, path.stem)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    if os.environ.pop("QWEN_MODEL", None) or (ROOT / ".qwen_model").exists():
        sys.exit('Outputs must come from the tiny model: run use_model("tiny") and unset QWEN_MODEL first.')
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]  # as course.py does
    for lesson in (*LESSONS, *sorted(ZH.glob("*.ipynb"))):
        if not sys.argv[1:] or any(name in lesson.as_posix() for name in sys.argv[1:]):
            print(f"running {lesson.relative_to(ROOT)}")
            os.environ["QWEN_LANG"] = "zh" if lesson.parent == ZH else "en"
            refresh(lesson)
