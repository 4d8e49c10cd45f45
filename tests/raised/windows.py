"""W: what Windows does otherwise, as far as another system can show it."""

from qwen_helpers.labs.other_python import fresh

PANDA = "print('Hello \N{PANDA FACE}')"
FOR_WINDOWS = ("--platform=win_amd64", "--only-binary=:all:")


def raises_W3(the):
    """The console's code page is not UTF-8."""
    fresh(PANDA, PYTHONIOENCODING="gbk")


def cures_W3(the):
    fresh(PANDA, PYTHONIOENCODING="utf-8")


def shows_W4(the):
    """vllm has packages for Linux only."""
    return the.pip(*FOR_WINDOWS, "vllm")[-1]


def cures_W4(the):
    """An engine that Windows has."""
    assert the.pip(*FOR_WINDOWS, "transformers") == ["Would install tokenizers-0.23.3 transformers-5.19.0"]
