"""The package as others install it: built as a wheel, put into an environment with nothing else, and run there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from lessons import ROOT

LOOK = """
import sys
from pathlib import Path
import qwen_helpers
from qwen_helpers.folder_check import check_folder
from qwen_helpers.tiny import HERE, dialogues
here = Path(qwen_helpers.__file__).parent
print(here, check_folder(qwen_helpers.TINY_CHAT), check_folder(qwen_helpers.TINY_BASE), sep="\\n")
print(len(dialogues()), (HERE / "prose.txt").is_file(), (here / "tools" / "teach_page.md").is_file())
print(sorted({"torch", "transformers", "psutil", "numpy"} & {*sys.modules}))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of an environment that holds this package alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files behind, which the next one would take for the package's own
    shutil.copytree(ROOT / "qwen_helpers", source / "qwen_helpers", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    (wheel,) = folder.glob("qwen_helpers-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(subprocess.check_output([python, "-c", purelib], text=True).strip())
    return python


def run(bare, *arguments, **options):
    return subprocess.run([bare, "-I", *arguments], capture_output=True, text=True, encoding="utf-8", **options)


def test_it_holds_every_file_that_it_needs_and_imports_none_but_its_own(bare):
    done = run(bare, "-c", LOOK)
    assert done.stderr == ""
    here, chat, base, counts, heavy = done.stdout.splitlines()
    assert str(ROOT) not in done.stdout and Path(chat).parent == Path(base).parent == Path(here) / "tiny"
    assert counts.endswith("True True") and int(counts.split()[0]) >= 60 and heavy == "[]"


def test_an_installation_that_failed_can_ask_what_its_error_is(bare):
    done = run(bare, "-m", "qwen_helpers", "explain", "KeyError: 'qwen2'")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("I4  transformers is too old")


def test_commands_are_listed_and_an_unknown_one_is_said_to_be_one(bare):
    assert "preflight" in run(bare, "-m", "qwen_helpers").stdout
    done = run(bare, "-m", "qwen_helpers", "prefight")
    assert done.returncode == 1 and done.stderr.startswith("There is no command 'prefight'.")
