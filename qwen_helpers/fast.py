"""Convert a model to 4 bits per weight for ONNX Runtime GenAI: `python -m qwen_helpers.fast MODEL_DIR OUT_DIR`.

The work is that library's own builder, which lesson 7 calls by hand; here it runs offline, quietly, and into a folder
that gets its name only when it is whole. `qwen_helpers.engine_onnx` runs the result.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from qwen_helpers.folders import ModelFolderError, check_folder
from qwen_helpers.models import find_folder

BLOCK = 128  # weights that share one scale; the builder's own 32 reads 17 % more bytes per token


def check_library() -> None:
    """Raise ModelFolderError if onnxruntime-genai is missing, as it is on Python 3.10."""
    if not find_spec("onnxruntime_genai"):
        raise ModelFolderError(
            "onnxruntime-genai is not installed. It needs Python 3.11 or 3.12: delete the folder .venv, run course.py "
            "with one of these; if you have one, run course.py again."
        )


def convert(model_dir, out_dir, precision: str = "int4") -> Path:
    """Write `model_dir`, a folder or the id of a downloaded model, to `out_dir` as int4 or int8; return that folder.

    Needs the disk of the result, and about twice the model's weights in memory. An interrupted run leaves
    `OUT_DIR.incomplete`, which the next one deletes. Raises ModelFolderError if `out_dir` is there already, if the
    model is not whole, or if the builder fails, with its last line.
    """
    check_library()
    source, out = check_folder(find_folder(model_dir)), Path(out_dir).expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelFolderError(f"{out} is there already: use it, delete it, or give another name.")
    part = out.with_name(out.name + ".incomplete")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    command = [sys.executable, "-X", "utf8", "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", part]
    command += ["-p", precision, "-e", "cpu", "-c", part / "cache", "--extra_options", f"block_size={BLOCK}"]
    done = subprocess.run(
        [*map(str, command), "hf_token=false"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode or not (part / "genai_config.json").is_file():
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        shutil.rmtree(part)
        raise ModelFolderError(f"The builder of onnxruntime-genai could not convert {source}: {last}")
    shutil.rmtree(part / "cache", ignore_errors=True)
    if out.exists():  # empty
        out.rmdir()
    os.replace(part, out)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers.fast", description="Convert a model to 4 bits.")
    parser.add_argument("model_dir", help="a model folder, or the id of a downloaded model")
    parser.add_argument("out_dir", help="a folder that does not exist yet")
    parser.add_argument("--precision", choices=["int4", "int8"], default="int4")
    args = parser.parse_args()
    start = time.perf_counter()
    try:
        out = convert(args.model_dir, args.out_dir, args.precision)
    except ValueError as error:
        sys.exit(str(error))
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:,.1f} MB, {args.precision}, made in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
