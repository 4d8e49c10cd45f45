"""Helpers of the course: what a lesson has shown once, ready to be used again.

A lesson imports the names below from here, and all others from the file whose name says what they are for. Importing
the package is quick and needs the standard library only: PyTorch is loaded when a model is. CONTRIBUTING.md shows the
rooms: the core in this folder, `engines`, `labs` for a single lesson, `exercises`, and `tools`, which no lesson needs.
"""

from qwen_helpers import kernel_warnings
from qwen_helpers.chat import Chat
from qwen_helpers.diagnosis import doctor
from qwen_helpers.exercises import check
from qwen_helpers.folders import TINY_BASE, TINY_CHAT, TINY_THINKING, model_folder, use_model
from qwen_helpers.sizes import preflight
from qwen_helpers.troubles import explain

__all__ = [
    "TINY_BASE", "TINY_CHAT", "TINY_THINKING", "Chat", "check", "doctor", "explain", "model_folder", "preflight",
    "use_model",
]  # fmt: skip

explain.on()  # in a notebook, a line under each traceback
kernel_warnings.on()  # none of them where a computer cannot have the kernels
