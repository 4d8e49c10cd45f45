"""What this computer has, in a form that can be pasted into a question: `doctor()` or `python -m qwen_helpers.doctor`.

With a model folder it also says what that folder would do wrong without an error: `doctor("models/...")`.
Your user name, this computer's name and the path of your home folder are masked. Of the environment it shows whether a
few variables are set, and the value only of QWEN_MODEL and MODELSCOPE_CACHE. Nothing is sent anywhere.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from qwen_helpers.folders import course_root
from qwen_helpers.masking import mask
from qwen_helpers.models import model_folder
from qwen_helpers.silent import HEALTHY, folder_findings, kernel_findings

MODEL_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "peft", "modelscope", "ms-swift")
PADDLE_PACKAGES = ("paddlepaddle", "paddlenlp", "aistudio-sdk", "pyarrow", "tokenizers", "safetensors")  # lesson 6
OTHER_PACKAGES = ("numpy", "psutil", "jupyterlab", "ipykernel", "ipywidgets", "matplotlib")
# A proxy's address may hold a password, so of these only "set" is shown; the two others are paths or names of models.
SECRET_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT")
OPEN_VARIABLES = ("QWEN_MODEL", "MODELSCOPE_CACHE")


def doctor(model_dir=None):
    """Print the report; with a folder or the id of a downloaded model, then a line for each silent trouble in it."""
    print(report())
    if model_dir is not None:
        found = folder_findings(model_dir)
        print("\n".join(f"! {mask(sentence)}" for sentence in found) or f"{mask(str(model_dir))}: {HEALTHY}.")


def report():
    """The report as text. Takes a few seconds, most of them for importing torch; a probe that fails says so."""
    probes = {
        "system": _system, "CPU": _cpu, "memory": _memory, "GPU": _gpu, "disk": _disk, "Python": _python,
        "kernel": _kernel, "PyTorch": _torch, "model": lambda: mask(str(model_folder())), "variables": _variables,
    }  # fmt: skip
    found = {name: _attempt(probe) for name, probe in probes.items()}
    return "\n".join([*(f"{name:<10} {value}" for name, value in found.items()), *_packages(), *_hints(found)])


def _attempt(probe):
    try:
        return probe()
    except Exception as error:  # a report with a gap helps more than none
        return mask(f"unknown ({type(error).__name__}: {error})".replace("\n", " "))


def _system():
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}, {platform.machine()}"
    if sys.platform == "win32":
        return f"Windows {platform.release()} ({platform.version()}), {platform.machine()}"
    name = "unknown distribution"
    with contextlib.suppress(OSError, KeyError):
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{name}, Linux {mask(platform.release())}, {platform.machine()}"


def _cpu():
    name = _run("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else platform.machine()
    if sys.platform == "win32":
        import winreg

        key = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0")
        name = winreg.QueryValueEx(key, "ProcessorNameString")[0].strip()
    elif Path("/proc/cpuinfo").is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1] if found else name
    return f"{name}, {psutil.cpu_count(logical=False)} cores, {psutil.cpu_count()} threads"


def _gpu():
    if sys.platform == "darwin":
        return "Apple GPU (MPS)" if platform.machine() == "arm64" else "none that PyTorch can use"
    if not shutil.which("nvidia-smi"):
        return "no NVIDIA driver found"
    query = "--query-gpu=name,memory.total,driver_version"
    return _run("nvidia-smi", query, "--format=csv,noheader").replace("\n", "; ")


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5)
    if done.returncode:
        raise RuntimeError(f"{command[0]} says: {(done.stdout + done.stderr).strip()[:200]}")
    return done.stdout.strip()


def _memory():
    memory = psutil.virtual_memory()
    return f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free"


def _disk():
    return f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB free at {mask(str(Path.cwd()))}"


def _python():
    kind = "conda" if (Path(sys.prefix) / "conda-meta").is_dir() else "no virtual"
    kind = "virtual" if sys.prefix != sys.base_prefix else kind
    return f"{platform.python_version()} at {mask(sys.executable)} ({kind} environment)"


def _kernel():
    kernel = sys.modules.get("ipykernel.kernelapp")
    if not kernel or not kernel.IPKernelApp.initialized():
        return "not in Jupyter"
    connection = json.loads(Path(kernel.IPKernelApp.instance().abs_connection_file).read_text())
    return mask(connection["kernel_name"])


def _torch():
    try:
        import torch
    except ModuleNotFoundError:
        return "missing, and not needed beside PaddleNLP" if _installed("paddlenlp") else "missing"
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    return f"built for {build}, torch.cuda.is_available() is {torch.cuda.is_available()}"


def _variables():
    found = [f"{name} is set" for name in SECRET_VARIABLES if os.environ.get(name) or os.environ.get(name.lower())]
    found += [f"{name} is {mask(os.environ[name])}" for name in OPEN_VARIABLES if os.environ.get(name)]
    return ", ".join(found) or "none of " + ", ".join((*SECRET_VARIABLES, *OPEN_VARIABLES))


def _packages():
    paddle, tested = _installed("paddlenlp"), {}
    with contextlib.suppress(OSError, ImportError):  # no constraints.txt beside an installed package, or no `packaging`
        tested = _tested_versions("constraints-paddle.txt" if paddle else "constraints.txt")
    yield "packages"
    for name in (PADDLE_PACKAGES if paddle else MODEL_PACKAGES) + OTHER_PACKAGES:
        version = _installed(name)
        yield f"  {name:<13} {version or 'missing':<14} {_compare(version, tested.get(name))}".rstrip()


def _installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tested_versions(file):
    """{package: version} from the pins of a constraints file that hold for this Python and system."""
    from packaging.requirements import Requirement

    lines = re.sub("#.*", "", (course_root() / file).read_text(encoding="utf-8")).splitlines()
    pins = [Requirement(line) for line in lines if line.strip()]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in pins if not pin.marker or pin.marker.evaluate()}


def _compare(version, tested):
    mark = ""
    if tested and version:
        from packaging.version import Version

        with contextlib.suppress(ValueError):  # a version that someone built and named as they liked gets no mark
            here, there = Version(Version(version).public), Version(tested)  # torch's "2.13.0+cpu" counts as 2.13.0
            mark = "as tested" if here == there else "newer " if here > there else "older "
    return mark if mark == "as tested" or not tested else f"{mark}(tested: {tested})"


def _hints(found):
    if _installed("swift"):
        cure = "pip uninstall swift, then pip install --force-reinstall ms-swift"
        yield f"! The package swift {_installed('swift')} is OpenStack's file store, not ms-swift: {cure}."
    yield from (f"! {mask(sentence)}" for sentence in kernel_findings())
    if "MiB" in found["GPU"] and "built for the CPU" in found["PyTorch"]:
        yield "! There is an NVIDIA GPU, but this PyTorch is built for the CPU: lesson 1 shows how to change that."


if __name__ == "__main__":
    doctor(*sys.argv[1:2])
