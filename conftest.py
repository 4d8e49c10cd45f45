"""What pytest leaves out: lesson 7 needs onnxruntime-genai, which has no wheels for Python 3.10."""

import sys

collect_ignore = ["notebooks/07_speed_and_memory.ipynb"] if sys.version_info < (3, 11) else []
