"""Helpers of the course: what a lesson has shown once, ready to be used again.

Each file holds one idea; its name says which. Importing the package is quick, since PyTorch is loaded only when a model
is.
"""

import warnings

from qwen_helpers.chat import Chat
from qwen_helpers.doctor import doctor
from qwen_helpers.exercises import check
from qwen_helpers.models import TINY_BASE, TINY_CHAT, model_folder, use_model
from qwen_helpers.preflight import preflight
from qwen_helpers.troubles import explain

__all__ = ["TINY_BASE", "TINY_CHAT", "Chat", "check", "doctor", "explain", "model_folder", "preflight", "use_model"]

# `python -m qwen_helpers.doctor` finds its module already imported by the lines above, and would say so each time.
warnings.filterwarnings("ignore", message="'qwen_helpers.*found in sys.modules", category=RuntimeWarning)

explain.on()  # in a notebook, a line under each traceback
