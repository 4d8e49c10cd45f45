"""Warnings of transformers about kernels that a computer cannot have, taken out of the output of the first answer.

Three of four layers of Qwen3.5 and later have linear attention. Its fast kernels are two packages for NVIDIA GPUs;
without them transformers computes the same in PyTorch, and writes four warnings. Where there is no GPU, nothing else
exists, so they are dropped. A reader with a GPU is told once, and what to install.
"""

import logging
import sys

from qwen_helpers.language import N_, _

SAYS = "is falling back to its reference PyTorch implementation"
ADVICE = N_(
    "This model is computed by PyTorch code, which can take about twice the time of the kernels for "
    "your GPU: pip install flash-linear-attention causal-conv1d"
)


class Once(logging.Filter):
    """Drops the warnings that say SAYS; where PyTorch sees a GPU, the first of them becomes ADVICE."""

    told = False

    def filter(self, record: logging.LogRecord) -> bool:
        if SAYS not in record.getMessage():
            return True
        torch = sys.modules.get("torch")  # whoever writes such a warning has imported it
        if self.told or torch is None or not torch.cuda.is_available():
            return False
        self.told, record.msg, record.args = True, _(ADVICE), ()
        return True


_once, _logger = Once(), logging.getLogger("transformers.integrations.hub_kernels")


def on() -> None:
    """Begin; a second call changes nothing. `import qwen_helpers` does it. transformers is not imported for it."""
    _logger.addFilter(_once)


def off() -> None:
    """End: transformers' own texts come through."""
    _logger.removeFilter(_once)
