"""What is wrong here? `doctor()` reports on this computer and, with a model folder, on its silent troubles.

The report can be pasted into a question: your user name, this computer's name and the path of your home folder are
masked. Of the environment it shows whether a few variables are set, and the value only of QWEN_MODEL and
MODELSCOPE_CACHE. Nothing is sent anywhere.

Silent troubles raise no error. In a folder the small files, the tokenizer and the headers of the weights are read, and
of weights up to 4 GB every number, for inf and NaN. What only an answer can show (C10, C11, S2) is not found here.
"""

import contextlib
import getpass
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from qwen_helpers.columns import left
from qwen_helpers.folder_check import (
    ModelFolderError,
    check_folder,
    read_json_if_there,
    safetensors_header,
    weight_files,
)
from qwen_helpers.folders import course_root, find_folder, model_folder
from qwen_helpers.language import N_, _

MODEL_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "peft", "modelscope", "ms-swift")
PADDLE_PACKAGES = ("paddlepaddle", "paddlenlp", "aistudio-sdk", "pyarrow", "tokenizers", "safetensors")  # lesson 7
# No lesson needs these, and the wrong version of one stops an import of transformers or a model on the GPU.
GPU_PACKAGES = ("torchvision", "triton-windows" if sys.platform == "win32" else "triton", "flash-attn", "bitsandbytes")
OTHER_PACKAGES = ("numpy", "psutil", "jupyterlab", "ipykernel", "ipywidgets", "matplotlib")
# A proxy's address may hold a password, so of these only "set" is shown; the two others are paths or names of models.
SECRET_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT")
OPEN_VARIABLES = ("QWEN_MODEL", "MODELSCOPE_CACHE")
FLOATS = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000)}  # bytes, bits of the exponent
SCANNED = 4e9  # bytes of weights that are read, 0.4 s per GB if the disk is fast enough
PIECE = 4_000_000  # numbers at a time, so that little memory is taken
CPU_BUILD = N_("built for the CPU")
HEALTHY = N_("no silent trouble found in its files, tokenizer, rope_theta, stop tokens and numbers")


def doctor(model_dir=None):
    """Print the report; with a folder or the id of a downloaded model, then a line for each silent trouble in it."""
    print(report())
    if model_dir is not None:
        found = folder_findings(model_dir)
        healthy = _("{folder}: {healthy}.").format(folder=mask(str(model_dir)), healthy=_(HEALTHY))
        print("\n".join(f"! {mask(sentence)}" for sentence in found) or healthy)


def main(arguments: list[str]) -> None:
    doctor(*arguments[:1])


def report():
    """The report as text. Takes a few seconds, most of them for importing torch; a probe that fails says so."""
    probes = {
        N_("system"): _system, "CPU": _cpu, N_("memory"): _memory, "GPU": _gpu, N_("disk"): _disk, "Python": _python,
        N_("kernel"): _kernel, "PyTorch": _torch, N_("model"): lambda: mask(str(model_folder())),
        N_("variables"): _variables,
    }  # fmt: skip
    found = {name: _value_or_why_not(probe) for name, probe in probes.items()}
    return "\n".join([*(f"{left(_(name), 10)} {value}" for name, value in found.items()), *_packages(), *_hints(found)])


def _value_or_why_not(probe):
    try:
        return probe()
    except Exception as error:  # a report with a gap helps more than none
        unknown = _("unknown ({kind}: {error})").format(kind=type(error).__name__, error=error)
        return mask(unknown.replace("\n", " "))


def _system():
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}, {platform.machine()}"
    if sys.platform == "win32":
        return f"Windows {platform.release()} ({platform.version()}), {platform.machine()}"
    name = _("unknown distribution")
    with contextlib.suppress(OSError, KeyError):
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{name}, Linux {mask(platform.release())}, {platform.machine()}"


def _cpu():
    name = _output_of("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else platform.machine()
    if sys.platform == "win32":
        import winreg

        key = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0")
        name = winreg.QueryValueEx(key, "ProcessorNameString")[0].strip()
    elif Path("/proc/cpuinfo").is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1] if found else name
    import psutil

    return _("{name}, {cores} cores, {threads} threads").format(
        name=name, cores=psutil.cpu_count(logical=False), threads=psutil.cpu_count()
    )


def _gpu():
    if sys.platform == "darwin":
        return "Apple GPU (MPS)" if platform.machine() == "arm64" else _("none that PyTorch can use")
    if not shutil.which("nvidia-smi"):
        return _("no NVIDIA driver found")
    query = "--query-gpu=name,memory.total,driver_version"
    return _output_of("nvidia-smi", query, "--format=csv,noheader").replace("\n", "; ")


def _output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[:200]
        raise RuntimeError(_("{program} says: {said}").format(program=command[0], said=said))
    return done.stdout.strip()


def _memory():
    import psutil

    memory = psutil.virtual_memory()
    return _("{total:.1f} GB, {free:.1f} GB free").format(total=memory.total / 1e9, free=memory.available / 1e9)


def _disk():
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return _("{free:.1f} GB free at {folder}").format(free=free, folder=mask(str(Path.cwd())))


def _python():
    conda = (Path(sys.prefix) / "conda-meta").is_dir()
    kind = _("conda environment") if conda else _("no virtual environment")
    kind = _("virtual environment") if sys.prefix != sys.base_prefix else kind
    where = _("{version} at {path} ({kind})")
    return where.format(version=platform.python_version(), path=mask(sys.executable), kind=kind)


def _kernel():
    kernel = sys.modules.get("ipykernel.kernelapp")
    if not kernel or not kernel.IPKernelApp.initialized():
        return _("not in Jupyter")
    connection = json.loads(Path(kernel.IPKernelApp.instance().abs_connection_file).read_text())
    return mask(connection["kernel_name"])


def _torch():
    try:
        import torch
    except ModuleNotFoundError:
        return _("missing, and not needed beside PaddleNLP") if _installed("paddlenlp") else _("missing")
    build = _(CPU_BUILD)
    if torch.version.cuda:
        build = _("built for CUDA {version} ({archs})")
        build = build.format(version=torch.version.cuda, archs=" ".join(torch.cuda.get_arch_list()))
    available = torch.cuda.is_available()
    cards = [_capability(torch, number) for number in range(torch.cuda.device_count())] if available else []
    sees = _("torch.cuda.is_available() is {available}").format(available=available)
    return _(", ").join([build, sees, *cards])


def _capability(torch, number):
    """ "this GPU is sm_89", or what to do if this build holds no code that it can run.

    A GPU runs code for its own major version up to its minor one (sm_), and code that is translated on it from any
    earlier version (compute_): https://docs.nvidia.com/cuda/cuda-programming-guide/, "Compute Capabilities".
    """
    major, minor = torch.cuda.get_device_capability(number)
    for name in torch.cuda.get_arch_list():
        kind, digits = re.fullmatch(r"(sm|compute)_(\d+)[af]?", name).groups()
        built = divmod(int(digits), 10)
        if built == (major, minor) or built < (major, minor) and (kind == "compute" or built[0] == major):
            return _("GPU {number} is sm_{major}{minor}").format(number=number, major=major, minor=minor)
    return _(
        "G7: GPU {number} is sm_{major}{minor}, for which this build holds no code: install another build of PyTorch"
    ).format(number=number, major=major, minor=minor)


def _variables():
    secret = [name for name in SECRET_VARIABLES if os.environ.get(name) or os.environ.get(name.lower())]
    found = [_("{name} is set").format(name=name) for name in secret]
    shown = {name: mask(os.environ[name]) for name in OPEN_VARIABLES if os.environ.get(name)}
    found += [_("{name} is {value}").format(name=name, value=value) for name, value in shown.items()]
    return _(", ").join(found) or _("none of {names}").format(names=_(", ").join((*SECRET_VARIABLES, *OPEN_VARIABLES)))


def _packages():
    paddle, tested = _installed("paddlenlp"), {}
    with contextlib.suppress(OSError, ImportError):  # no constraints.txt beside an installed package, or no `packaging`
        tested = _tested_versions("constraints-paddle.txt" if paddle else "constraints.txt")
    yield _("packages")
    gpu = tuple(name for name in GPU_PACKAGES if _installed(name))
    for name in (PADDLE_PACKAGES if paddle else MODEL_PACKAGES + gpu) + OTHER_PACKAGES:
        version = _installed(name)
        here = left(version or _("missing"), 14)
        yield f"  {name:<13} {here} {_compare(version, tested.get(name))}".rstrip()
    if absent := [name for name in GPU_PACKAGES if name not in gpu]:
        yield _("  not here, and needed by no lesson: {names}").format(names=_(", ").join(absent))


def _import_error(name):
    """The first line of the error that importing `name` gives, in a Python of its own; empty if there is none."""
    done = subprocess.run(
        [sys.executable, "-c", f"import torch, {name}"], capture_output=True, text=True, errors="replace", timeout=60
    )
    return done.stderr.strip().splitlines()[-1][:120] if done.returncode else ""


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
    """How an installed version stands to the tested one. One that someone named as they liked is not compared."""
    if not tested:
        return ""
    said = _("(tested: {tested})")
    if version:
        from packaging.version import Version

        with contextlib.suppress(ValueError):
            here, there = Version(Version(version).public), Version(tested)  # torch's "2.13.0+cpu" counts as 2.13.0
            if here == there:
                return _("as tested")
            said = _("newer (tested: {tested})") if here > there else _("older (tested: {tested})")
    return said.format(tested=tested)


def _misfits(names):
    """What each of these packages asks of packages that are installed in another version, or not at all."""
    from packaging.requirements import Requirement

    for name in filter(_installed, names):
        for wanted in map(Requirement, importlib.metadata.requires(name) or []):
            if not wanted.marker or wanted.marker.evaluate({"extra": ""}):
                here = _installed(wanted.name)
                if here is None or not wanted.specifier.contains(here, prereleases=True):
                    wants = _("{name} {version} wants {wanted} ({here} here)")
                    here = here or _("missing")
                    yield wants.format(
                        name=name, version=_installed(name), wanted=f"{wanted.name}{wanted.specifier}", here=here
                    )


def _hints(found):
    with contextlib.suppress(ImportError):  # no `packaging`
        misfits = list(_misfits(GPU_PACKAGES if _installed("paddlenlp") else MODEL_PACKAGES + GPU_PACKAGES))
        if misfits:
            yield _("! These do not fit together: {misfits}. Install what belongs together in one command.").format(
                misfits="; ".join(misfits)
            )
    if _installed("flash-attn") and (error := _import_error("flash_attn_2_cuda")):
        yield _("! flash-attn cannot be loaded with this PyTorch ({error}): pip uninstall flash-attn.").format(
            error=mask(error)
        )
    if _installed("swift"):
        yield _(
            "! The package swift {version} is OpenStack's file store, not ms-swift: pip uninstall swift, then "
            "pip install --force-reinstall ms-swift."
        ).format(version=_installed("swift"))
    yield from (f"! {mask(sentence)}" for sentence in kernel_findings())
    if "MiB" in found["GPU"] and _(CPU_BUILD) in found["PyTorch"]:
        yield _("! There is an NVIDIA GPU, but this PyTorch is built for the CPU: lesson 1 shows how to change that.")


def mask(text):
    """`text` with the home folder as ~, and user and host name as <user> and <host> where they stand as whole words.

    Names of one or two letters are left alone outside the home path: as words they would hit too much else.
    """
    home = os.path.expanduser("~")
    for folder in {home, os.path.realpath(home)} - {Path(home).anchor}:  # not "/", or every slash would become ~
        whole = r"(?<![\w.~-])" + re.escape(folder).replace(r"\\", r"[\\/]") + r"(?![\w.-])"
        text = re.sub(whole, "~", text, flags=re.IGNORECASE if sys.platform == "win32" else 0)
    others = r"""(?i)([\\/](?:home|users)[\\/])([^\\/\n'":;,]+(?=[\\/])|[^\\/\s'":;,]+)"""  # homes of other people
    text = re.sub(others, r"\1<user>", text)
    host = socket.gethostname()
    names = {host: "<host>", host.split(".")[0]: "<host>", Path(home).name: "<user>"}
    with contextlib.suppress(OSError, KeyError, ImportError):  # in some containers the user has a number but no name
        names[getpass.getuser()] = "<user>"
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= 3 or (len(name) == 2 and not name.isascii()):  # many Chinese names have two characters
            text = re.sub(rf"(?i)(?<![^\W_])(?<!<){re.escape(name)}(?![^\W_])", names[name], text)
    return text


def folder_findings(model_dir) -> list[str]:
    """What would go wrong with this folder (or whatever `find_folder` takes): sentences that begin with an entry's id.

    Empty for a chat model that is whole. What `check_folder` raises comes first, and then alone.
    """
    try:
        folder = check_folder(find_folder(model_dir))
    except ModelFolderError as error:
        from qwen_helpers.troubles import find  # here and not on top: the catalogue is read only when it is needed

        return [f"{trouble.id}: {error}" for trouble in find(error)[:1]] or [str(error)]
    config = read_json_if_there(folder / "config.json")
    config = config.get("text_config", config)  # from Qwen3.5 on, which also read pictures
    looks = (
        _tokenizer_findings(folder, config),
        _rope_findings(config),
        _stop_token_findings(folder, config),
        _number_findings(folder),
    )
    return [sentence for look in looks for sentence in look]


def _tokenizer_findings(folder, config):
    tokenizer = read_json_if_there(folder / "tokenizer.json")
    vocabulary = tokenizer.get("model", {}).get("vocab", []) if tokenizer else read_json_if_there(folder / "vocab.json")
    size, rows = len(vocabulary), config.get("vocab_size")
    if size < 1000:
        yield _(
            "D10: the tokenizer has only {size} tokens, so that prompts come out empty: download the folder again."
        ).format(size=size)
    elif rows and size > rows:
        yield _(
            "L8: the tokenizer has {size} tokens and the model {rows}: they belong to two models, download one anew."
        ).format(size=size, rows=rows)


def _rope_findings(config):
    theta = (config.get("rope_parameters") or {}).get("rope_theta")
    old = config.get("rope_theta")
    newer = "linear_num_value_heads" in config  # than all libraries that know only the old way
    if theta and (old or 10000) != theta and not newer:  # 10000 is what libraries take that find no rope_theta
        yield _(
            "L5: config.json says rope_theta in transformers 5's way only ({theta:g}); older versions and "
            'PaddleNLP would take {old:g} and answer worse: write "rope_theta": {theta:g} into it.'
        ).format(theta=theta, old=old or 10000)
    elif not theta and not old and str(config.get("model_type")).startswith("qwen"):
        yield _(
            "L5: config.json has lost rope_theta, so 10000 is taken and answers get worse: copy config.json "
            "from the original (Qwen2.5 and Qwen3 have 1000000)."
        )


def _stop_token_findings(folder, config):
    added = read_json_if_there(folder / "tokenizer.json").get("added_tokens", [])
    decoder = read_json_if_there(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    added += [{"id": int(number), **token} for number, token in decoder.items()]
    end = {token["id"] for token in added if token["content"] == "<|im_end|>"}
    stops = read_json_if_there(folder / "generation_config.json").get("eos_token_id", config.get("eos_token_id"))
    if not end or end & set(stops if isinstance(stops, list) else [stops]):
        return
    if read_json_if_there(folder / "tokenizer_config.json").get("eos_token") == "<|im_end|>":
        yield (  # as the small models of Qwen3.5, which are published without generation_config.json
            _(
                "C3: only the tokenizer says that <|im_end|> ends an answer, and generate does not ask it: Chat "
                "does, else pass eos_token_id=tokenizer.eos_token_id."
            )
        )
    else:
        yield _(
            "C3: <|im_end|> is no stop token of this model, so it is a base model, which continues text: "
            "take the -Instruct model for answers, or give generate its eos_token_id."
        )


def _number_findings(folder):
    files = [file for file in weight_files(folder) if file.suffix == ".safetensors"]
    headers = {file: safetensors_header(file) for file in files}
    if any(tensor["dtype"] == "F16" for header in headers.values() for tensor in header.values()):
        yield _(
            "G5: the weights are float16, whose numbers end at 65504; if an answer is !!!! or probabilities "
            "are NaN, load with dtype=torch.bfloat16 or torch.float32."
        )
    if importlib.util.find_spec("numpy") and sum(file.stat().st_size for file in files) <= SCANNED:
        broken = [name for file, header in headers.items() for name in _not_finite(file, header)]
        if broken:
            more = _(" and {count} more").format(count=len(broken) - 1) if broken[1:] else ""
            spoilt = _("G5: {name}{more} holds inf or NaN, so every answer is spoilt: download the weights again.")
            yield spoilt.format(name=broken[0], more=more)


def _not_finite(file, header):
    """Names of the tensors that hold inf or NaN: numbers whose exponent is all ones (IEEE 754)."""
    import numpy

    data = numpy.memmap(file, mode="r")
    start = len(data) - max(tensor["data_offsets"][1] for tensor in header.values())
    for name, tensor in header.items():
        if tensor["dtype"] in FLOATS:
            kind, exponent = FLOATS[tensor["dtype"]]
            begin, end = tensor["data_offsets"]
            numbers = data[start + begin : start + end].view(kind)
            pieces = (numbers[at : at + PIECE] for at in range(0, len(numbers), PIECE))
            if any(((piece & exponent) == exponent).any() for piece in pieces):
                yield name


def kernel_findings() -> list[str]:
    """J1, if this Python has none of the libraries that load a model."""
    if any(importlib.util.find_spec(name) for name in ("transformers", "paddlenlp")):
        return []
    course = course_root() / ".venv"
    where = _("choose the course's kernel, whose Python lies in {course}").format(course=course)
    where = where if course.is_dir() else _("run `python course.py`")
    alien = _("J1: {python} has neither transformers nor PaddleNLP, so the kernel is not the course's: {where}.")
    return [alien.format(python=sys.executable, where=where)]


def check_model(model) -> None:
    """Print what is wrong with a loaded model (torch): layers that were moved out (G2), float16, inf and NaN (G5)."""
    print(
        "\n".join(model_findings(model))
        or _("Nothing found: no layer is moved out, all weights are finite, none is float16.")
    )


def model_findings(model) -> list[str]:
    """A sentence for each, beginning with the entry's id. Weights that were moved out are not read for inf and NaN."""
    found, weights = [], list(model.parameters())
    away = sum(weight.numel() for weight in weights if weight.device.type == "meta")
    if away:
        share = away / sum(weight.numel() for weight in weights)
        found.append(
            _(
                "G2: {share:.0%} of the weights were moved out to memory or disk and are fetched for every "
                'token: take a smaller model, 4 bits, or dtype="auto".'
            ).format(share=share)
        )
    here = [weight for weight in weights if weight.device.type != "meta"]
    if any(str(weight.dtype) == "torch.float16" for weight in weights):
        found.append(_("G5: the model computes in float16, which ends at 65504: take bfloat16 if the answer is !!!!."))
    if not all(weight.isfinite().all() for weight in here):
        found.append(
            _("G5: there are weights that are inf or NaN, so every answer is spoilt: download the model again.")
        )
    return found
