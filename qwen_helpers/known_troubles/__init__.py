"""The catalogue: every trouble that the course knows, as data, a module for each group. `troubles.py` searches it."""

from qwen_helpers.known_troubles import (
    chat,
    download,
    install,
    install_fit,
    jupyter,
    load,
    memory,
    paddle,
    serving,
    streaming,
    training,
    windows,
)  # fmt: skip

TROUBLES = (
    *install.TROUBLES, *install_fit.TROUBLES, *download.TROUBLES, *load.TROUBLES, *chat.TROUBLES, *streaming.TROUBLES,
    *memory.TROUBLES, *paddle.TROUBLES, *jupyter.TROUBLES, *windows.TROUBLES, *serving.TROUBLES, *training.TROUBLES,
)  # fmt: skip
