"""Troubles of other versions: the packages that each needs, and the lines that raise it. CI does not run them.

record_troubles.py installs the packages into folders of their own and records the texts in raised/recorded.json.
"""

import sys
from dataclasses import dataclass

from lessons import python_of


@dataclass(frozen=True)
class Environment:
    """`packages` are installed into a folder that comes first on the path of `python`, then `raises` is run."""

    packages: tuple
    raises: str
    python: str
    versions: str


def environments() -> dict[str, list[Environment]]:
    """{id: its environments}; the first gives the entry's text, the others its older spellings."""
    main, paddle, tiny = sys.executable, python_of("07_paddlenlp"), "from qwen_helpers import TINY_CHAT\n"
    old = ("--no-deps", "transformers==4.32.0", "tokenizers<0.14", "huggingface_hub<0.17")
    hub_0 = ("--no-deps", "transformers==4.57.6", "tokenizers<0.23", "huggingface_hub<1")
    broken = "partially initialized module 'charset_normalizer' has no attribute 'md__mypyc'"
    fake = f"""
import sys, tempfile
from pathlib import Path
fake = Path(tempfile.mkdtemp(), "charset_normalizer")
fake.mkdir()
(fake / "__init__.py").write_text({f"raise AttributeError({broken!r})"!r})
sys.path.insert(0, str(fake.parent))
from huggingface_hub import create_repo
"""
    stream = "import transformers_stream_generator"
    return {
        "I1": [Environment(("--no-deps", "swift"), "from swift import TransformersEngine", main, "swift 2.38.3")],
        "I2": [
            Environment(("--no-deps", "ms-swift==3.12.6"), "from swift.llm import inference_stream", main, "3.12.6"),
            Environment(("--no-deps", "ms-swift==2.6.1"), "from swift.llm import inference_stream", main, "2.6.1"),
        ],
        "I3": [Environment(hub_0, stream, main, "transformers 4.57.6")],
        "I4": [
            Environment(
                old, tiny + "from transformers import AutoConfig\nAutoConfig.from_pretrained(TINY_CHAT)", main,
                "transformers 4.32.0",
            ),
            Environment(
                old, tiny + "from transformers import AutoTokenizer\nAutoTokenizer.from_pretrained(TINY_CHAT)", main,
                "transformers 4.32.0",
            ),
        ],
        "I7": [Environment(hub_0, fake, main, "transformers 4.57.6, huggingface_hub 0.36")],
        "I11": [
            Environment(
                ("--no-deps", "pandas==2.1.4", "pytz"), "import pandas", main, "pandas 2.1.4 with NumPy 2",
            ),
        ],
        "P1": [
            Environment(
                ("--no-deps", "aistudio-sdk==0.3.9"), "import paddlenlp", paddle,
                "paddlenlp 3.0.0b4, aistudio-sdk 0.3.9",
            )
        ],
        "P2": [
            Environment(
                ("--no-deps", "pyarrow==26.0.1"), "import paddlenlp", paddle, "paddlenlp 3.0.0b4, pyarrow 26.0.1"
            )
        ],
    }  # fmt: skip
