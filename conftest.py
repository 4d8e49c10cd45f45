"""What pytest leaves out: lesson 7 needs onnxruntime-genai, which has no wheels for Python 3.10."""

import sys

OLD = sys.version_info < (3, 11)
collect_ignore = ["notebooks/07_speed_and_memory.ipynb"] if OLD else []


def pytest_report_header(config):
    return "Lesson 7 is left out: onnxruntime-genai has no wheels for Python 3.10." if OLD else None
