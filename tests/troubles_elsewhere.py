"""Troubles that lesson 11 does not raise in its own cells, each with the lines that raise it and those that cure it.

`HERE` runs in CI with today's versions (test_troubles_raised.py). `environments()` need packages of other versions,
which record_troubles.py installs into folders of their own. Both are recorded in known_troubles/recorded.json.
"""

import sys
from dataclasses import dataclass

from lessons import python_of


@dataclass(frozen=True)
class Snippet:
    """`raises` stops with the trouble, `cure` does the same thing and does not. `hide`: packages missing for `raises`.

    `local` is the part of the text that depends on the operating system, so that only the type is compared elsewhere.
    """

    raises: str
    cure: str
    hide: tuple = ()
    local: bool = False


LOAD = "from qwen_helpers import TINY_CHAT\nfrom transformers import AutoModelForCausalLM as Auto\n"
SERVE = (
    "import asyncio, socket\ntaken = socket.socket()\ntaken.bind(('127.0.0.1', 0))\ntaken.listen()\n"
    "async def serve(port):\n    (await asyncio.start_server(lambda *_: None, '127.0.0.1', port)).close()\n"
)
SHELF = """
import subprocess, sys, tempfile
from pathlib import Path
from qwen_helpers.labs.practice import empty_wheel
shelf = tempfile.mkdtemp(prefix="qwen-practice-")
empty_wheel(shelf, "transformers", "5.19.0", [])
empty_wheel(shelf, "vllm", "0.25.0", [])
wheel = Path(shelf, "vllm-0.25.0-py3-none-any.whl")
wheel.rename(wheel.with_name("vllm-0.25.0-py3-none-manylinux_2_31_x86_64.whl"))
def pip(package):
    options = ["--no-index", "--find-links", shelf, "--dry-run", "--target", shelf, "--no-color"]
    command = [sys.executable, "-m", "pip", "install", *options, "--platform", "win_amd64", "--only-binary=:all:"]
    done = subprocess.run([*command, package], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
"""
HUB = (
    "import os, tempfile\nfrom qwen_helpers import TINY_CHAT\nfrom qwen_helpers.labs.hub import Hub\n"
    "from modelscope import snapshot_download\nhub = Hub({'Qwen/Qwen2.5-0.5B-Instruct': TINY_CHAT}).start()\n"
    "cache = tempfile.mkdtemp(prefix='qwen-practice-')\nos.environ['NO_PROXY'] = '127.0.0.1'\n"
    "same = {'model_id': 'Qwen/Qwen2.5-0.5B-Instruct', 'cache_dir': cache, 'endpoint': hub.url}\n"
    "snapshot_download(**same)\nhub.close()\n"
)
HERE = {
    "I9": Snippet(
        LOAD + "Auto.from_pretrained(TINY_CHAT, device_map='cpu')",
        LOAD + "Auto.from_pretrained(TINY_CHAT, device_map='cpu')",
        hide=("accelerate",),
    ),
    "G1": Snippet("import torch\ntorch.zeros(1).cuda()", "import torch\ntorch.zeros(1).to('cpu')"),
    "G8": Snippet(
        "import torch\ntorch.empty(10**15)",
        "from qwen_helpers import TINY_CHAT, preflight\nassert 'It fits.' in str(preflight(TINY_CHAT))",
        local=True,
    ),
    "J3": Snippet(
        "from tqdm.notebook import tqdm\nlist(tqdm(range(2)))",
        "from tqdm import tqdm\nlist(tqdm(range(2)))",
        hide=("ipywidgets",),
    ),
    "J4": Snippet(
        "from qwen_helpers.labs.other_python import SecondKernel\nkernel = SecondKernel('python3')\n"
        "try:\n    kernel.run('input()')\nfinally:\n    kernel.close()",
        "questions = iter(['Hello!'])\nassert next(questions) == 'Hello!'",
    ),
    "V1": Snippet(
        SERVE + "asyncio.run(serve(taken.getsockname()[1]))",
        SERVE + "asyncio.run(serve(0))",  # any free port
        local=True,
    ),
    "T6": Snippet(
        "import onnxruntime_genai as og\nfrom qwen_helpers import TINY_CHAT\nog.Model(str(TINY_CHAT))",
        # test_onnx.py converts, and runs the result
        "import onnxruntime_genai\nfrom qwen_helpers.engines.onnx import convert",
    ),
    "D4": Snippet(HUB + "snapshot_download(**same)", HUB + "snapshot_download(**same, local_files_only=True)"),
    "W4": Snippet(SHELF + "pip('vllm')", SHELF + "pip('transformers')"),
}


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
