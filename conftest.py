"""What pytest leaves out, and what it calls the cells of lesson 10.

Lesson 7 needs onnxruntime-genai, which has no wheels for Python 3.10. The cells of lesson 10 under the heading of an
entry carry its id in their name, so that a text which a new version has changed fails as "Cell 42, entry D7".
"""

import os
import re
import sys

import pytest

OLD = sys.version_info < (3, 11)
collect_ignore = ["notebooks/07_speed_and_memory.ipynb"] if OLD else []


def pytest_report_header(config):
    return "Lesson 7 is left out: onnxruntime-genai has no wheels for Python 3.10." if OLD else None


def pytest_itemcollected(item):
    if item.path.name != "10_troubleshooting.ipynb":
        return
    entry, section = heading_of(item.cell, item.parent.nb.cells)
    if entry:
        item.name += f", entry {entry}"
        item._nodeid += f", entry {entry}"
    if "PaddleNLP" in section and not has_paddle() and not os.environ.get("CI"):
        item.add_marker(pytest.mark.skip(reason="it needs the kernel qwen-paddle: `python course.py`"))


def heading_of(cell, cells):
    """(id of the entry or "", title of the section) of a code cell."""
    entry = section = ""
    for other in cells:
        if other is cell:
            break
        for line in other.source.splitlines() if other.cell_type == "markdown" else []:
            if line.startswith("## "):
                entry, section = "", line
            elif found := re.match(r"### (?:([A-Z]\d+) )?", line):
                entry = found[1] or ""
    return entry, section


def has_paddle():
    from jupyter_client.kernelspec import KernelSpecManager

    return "qwen-paddle" in KernelSpecManager().find_kernel_specs()
