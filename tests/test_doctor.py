"""doctor: what the report holds, what it hides, and that it survives whatever is missing."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from qwen_helpers import diagnosis


@pytest.fixture
def person(alone, monkeypatch):
    """Call it with user, host and home to be that person on that computer."""

    def become(user="wanglei", host="lab-07", home=None):
        monkeypatch.setattr(diagnosis.getpass, "getuser", lambda: user)
        monkeypatch.setattr(diagnosis.socket, "gethostname", lambda: host)
        monkeypatch.setenv("HOME", home or f"/home/{user}")
        monkeypatch.setenv("USERPROFILE", home or f"/home/{user}")
        monkeypatch.setattr(diagnosis.os.path, "realpath", lambda path: path)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)

    become()
    return become


def line(name, text=None):
    """The report's line that begins with `name`, without it."""
    found = [part for part in (text or diagnosis.report()).splitlines() if part.split()[:1] == [name]]
    assert len(found) == 1
    return found[0].removeprefix(name).strip() if not found[0].startswith(" ") else found[0].split(maxsplit=1)[1]


def test_report_has_every_line_and_no_gap(person, monkeypatch, qwen2_folder):
    monkeypatch.setenv("QWEN_MODEL", str(qwen2_folder))
    start = time.perf_counter()
    text = diagnosis.report()
    assert time.perf_counter() - start < 10  # mostly the import of torch
    names = ["system", "CPU", "memory", "GPU", "disk", "Python", "kernel", "PyTorch", "model", "variables", "packages"]
    assert [part.split()[0] for part in text.splitlines()[:11]] == names
    assert "unknown" not in text.split("packages")[0]
    assert platform.python_version() in line("Python", text)
    assert re.fullmatch(r"[\d.]+ GB, [\d.]+ GB free", line("memory", text))
    assert line("kernel", text) == "not in Jupyter"
    assert line("PyTorch", text).startswith("built for ")
    assert line("model", text).endswith("qwen2")


def test_doctor_prints_the_report(person, monkeypatch, capsys):
    monkeypatch.setattr(diagnosis, "report", lambda: "the report")
    diagnosis.doctor()
    assert capsys.readouterr().out == "the report\n"


def test_command_line(person, monkeypatch, capsys):
    diagnosis.main([])
    assert capsys.readouterr().out.startswith("system")


# What is hidden


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/home/wanglei", "~"),
        ("/home/wanglei/models/Qwen2.5-0.5B", "~/models/Qwen2.5-0.5B"),
        ("/data/wanglei/models", "/data/<user>/models"),
        ("/data/WANGLEI-models", "/data/<user>-models"),
        ("/scratch/wanglei_qwen", "/scratch/<user>_qwen"),
        ("/data/wangleitao", "/data/wangleitao"),
        ("/home/wangleitao/x", "/home/<user>/x"),
        ("/Users/someone else/x", "/Users/<user>/x"),
        ("no '/home/someone': correct it", "no '/home/<user>': correct it"),
        (r"C:\Users\WANGLE~1\AppData", r"C:\Users\<user>\AppData"),
        ("on lab-07, by wanglei@lab-07.example.org", "on <host>, by <user>@<host>.example.org"),
        ("/net/lab-07/share", "/net/<host>/share"),
        ("slab-07 lab-077", "slab-07 lab-077"),
        ("mnt/home/wanglei", "mnt/home/<user>"),
    ],
)
def test_mask(person, text, masked):
    assert diagnosis.mask(text) == masked


def test_host_with_a_domain(person):
    person(host="gpu12.cs.example.edu")
    assert diagnosis.mask("gpu12.cs.example.edu gpu12 gpu123") == "<host> <host> gpu123"


def test_short_user_name_garbles_nothing(person):
    person(user="a", host="b")
    assert diagnosis.mask("/home/a/b/a data") == "~/b/a data"
    assert diagnosis.mask("/data/home/ab and a cat") == "/data/home/<user> and a cat"
    person(user="a", host="b", home="/a")
    assert diagnosis.mask("/a/models /data/a /abc a") == "~/models /data/a /abc a"
    person(user="李明", host="b", home="/h")
    assert diagnosis.mask("/data/李明/models") == "/data/<user>/models"  # two characters make a whole Chinese name


def test_home_that_is_the_root_is_left_alone(person):
    person(user="root", home="/")
    assert diagnosis.mask("at / or /opt/venv/bin/python") == "at / or /opt/venv/bin/python"


def test_user_without_a_name(person, monkeypatch):
    def fails():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(diagnosis.getpass, "getuser", fails)
    assert diagnosis.mask("/home/wanglei/x wanglei") == "~/x <user>"  # the home folder's name still tells


def test_user_called_user_is_masked_once(person):
    person(user="user")
    assert diagnosis.mask("/data/user/x and /home/another/x") == "/data/<user>/x and /home/<user>/x"


def test_windows_home_in_either_slash_and_case(person, monkeypatch):
    monkeypatch.setattr(diagnosis.sys, "platform", "win32")
    person(user="Li Lei", home=r"C:\Users\Li Lei")
    monkeypatch.setattr(diagnosis.os.path, "expanduser", lambda path: r"C:\Users\Li Lei")
    for path in (r"C:\Users\Li Lei\qwen\python.exe", r"c:\users\li lei\qwen\python.exe"):
        assert diagnosis.mask(path) == r"~\qwen\python.exe"
    assert diagnosis.mask("C:/Users/Li Lei/qwen") == "~/qwen"
    assert diagnosis.mask(r"D:\Li Lei\qwen") == r"D:\<user>\qwen"


def test_report_names_nobody(person, monkeypatch, qwen2_folder):
    """Everything that can hold a path, seen through the whole report."""
    monkeypatch.setattr(diagnosis.sys, "executable", "/home/wanglei/course/.venv/bin/python")
    monkeypatch.setattr(diagnosis.platform, "release", lambda: "6.1.0-wanglei")
    monkeypatch.setenv("QWEN_MODEL", "/data/wanglei/qwen")
    monkeypatch.setenv("MODELSCOPE_CACHE", "/home/wanglei/cache")
    monkeypatch.setenv("HTTP_PROXY", "http://wanglei:secret@proxy.lab-07:8080")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    text = diagnosis.report()
    assert not re.search("wanglei|lab-07|secret", text.replace(str(Path.cwd()), ""))
    assert "at ~/course/.venv/bin/python (" in line("Python", text)
    assert line("variables", text) == (
        "HTTP_PROXY is set, QWEN_MODEL is /data/<user>/qwen, MODELSCOPE_CACHE is ~/cache"
    )
    assert line("model", text) == (
        "unknown (ModelFolderError: QWEN_MODEL is set, but: There is no folder '/data/<user>/qwen': correct the path, "
        "or download the model as lesson 2 shows.)"
    )


def test_model_is_masked(person, monkeypatch, model_copy):
    person(home=str(model_copy.parent))
    monkeypatch.setenv("QWEN_MODEL", str(model_copy))
    assert line("model") == f"~{os.sep}model"


def test_variables(person, monkeypatch):
    monkeypatch.delenv("MODELSCOPE_CACHE")
    assert line("variables").startswith("none of HTTP_PROXY, HTTPS_PROXY, NO_PROXY, HF_ENDPOINT, QWEN_MODEL, MODELS")
    if os.name != "nt":  # names of variables know no case there
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:7890")
        assert line("variables") == "HTTPS_PROXY is set"


# Versions


@pytest.fixture
def installed(alone, monkeypatch):
    """Pretend that only the packages of a dict are installed."""

    def pretend(versions):
        def version(name):
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(diagnosis.importlib.metadata, "version", version)

    return pretend


def constraints(alone, *lines):
    (alone / "repository" / "constraints.txt").write_text("\n".join(lines), encoding="utf-8")


def packages():
    return {part.split()[0]: " ".join(part.split()[1:]) for part in diagnosis._packages()}


@pytest.mark.parametrize(
    ("wanted", "here", "said"),
    [
        ("torch==2.12.0", "2.13.0+cpu", "torchvision 0.28.0 wants torch==2.12.0 (2.13.0+cpu here)"),
        ("torch==2.13.0", "2.13.0+cpu", None),
        ("torch>=2.10", None, "torchvision 0.28.0 wants torch>=2.10 (missing here)"),
        ("torch==2.12.0; extra == 'test'", "2.13.0", None),
    ],
)
def test_packages_that_do_not_fit_together(installed, monkeypatch, wanted, here, said):
    installed({"torchvision": "0.28.0", **({"torch": here} if here else {})})
    asked = {"torchvision": [wanted]}
    monkeypatch.setattr(diagnosis.importlib.metadata, "requires", lambda name: asked.get(name))
    hints = list(diagnosis._hints({"GPU": "", "PyTorch": ""}))
    assert hints == (
        [f"! These do not fit together: {said}. Install what belongs together in one command."] if said else []
    )
    assert packages()["torchvision"] == "0.28.0"
    assert packages()["not"] == "here, and needed by no lesson: triton, flash-attn, bitsandbytes"


def test_a_flash_attn_that_was_built_for_another_torch(installed, monkeypatch):
    installed({"flash-attn": "2.8.3"})
    monkeypatch.setattr(diagnosis.importlib.metadata, "requires", lambda name: None)
    hints = list(diagnosis._hints({"GPU": "", "PyTorch": ""}))
    assert hints == [  # it is not installed at all here, so the import fails in its own way
        "! flash-attn cannot be loaded with this PyTorch (ModuleNotFoundError: No module named 'flash_attn_2_cuda'): "
        "pip uninstall flash-attn."
    ]


@pytest.mark.parametrize(
    ("capability", "fits"),
    [
        ((8, 9), True),
        ((8, 6), True),
        ((9, 0), True),
        ((7, 5), False),
        ((12, 0), True),
        ((6, 1), False),
        ((8, 0), False),
    ],
)
def test_a_gpu_that_this_build_has_no_code_for(capability, fits):
    """sm_86 runs on 8.6 and 8.9, sm_90 on 9.0, and compute_90 is translated on anything from 9.0 on."""
    cuda = types.SimpleNamespace(
        get_device_capability=lambda number: capability, get_arch_list=lambda: ["sm_86", "sm_90", "compute_90"]
    )
    said = diagnosis._capability(types.SimpleNamespace(cuda=cuda), 0)
    assert said.startswith("G7: GPU 0 is sm_") != fits
    assert f"sm_{capability[0]}{capability[1]}" in said


def test_versions_against_the_tested_ones(alone, installed):
    constraints(
        alone,
        "# the tested versions",
        "torch==2.13.0",
        "transformers==5.19.0  # a comment",
        "",
        "tokenizers==0.23.3",
        f"numpy==2.4.6 ; python_full_version >= '3.4' and sys_platform == '{sys.platform}'",
        "numpy==2.2.6 ; python_full_version < '3.4'",
        "ipykernel==7.4.0",
        "accelerate==1.15.0",
    )
    installed({"torch": "2.13.0+cu130", "transformers": "5.21", "tokenizers": "0.9", "numpy": "2.4.6",
               "accelerate": "my-own-build", "psutil": "7.2"})  # fmt: skip
    found = packages()
    assert found["torch"] == "2.13.0+cu130 as tested"
    assert found["transformers"] == "5.21 newer (tested: 5.19.0)"
    assert found["tokenizers"] == "0.9 older (tested: 0.23.3)"  # as numbers, not as text
    assert found["numpy"] == "2.4.6 as tested"  # the pin for this Python
    assert found["ipykernel"] == "missing (tested: 7.4.0)"
    assert found["accelerate"] == "my-own-build (tested: 1.15.0)"
    assert found["psutil"] == "7.2" and found["peft"] == "missing"  # not pinned


def test_in_lesson_7_s_environment_its_own_packages_are_compared(alone, installed):
    constraints(alone, "tokenizers==0.23.3")
    pins = "paddlenlp==3.0.0b4\ntokenizers==0.21.4"
    (alone / "repository" / "constraints-paddle.txt").write_text(pins, encoding="utf-8")
    installed({"paddlenlp": "3.0.0b4", "tokenizers": "0.21.4"})
    found = packages()
    assert found["paddlenlp"] == "3.0.0b4 as tested" and found["tokenizers"] == "0.21.4 as tested"
    assert "ms-swift" not in found and found["pyarrow"] == "missing"


def test_versions_without_constraints_or_packaging(alone, installed, monkeypatch):
    installed({"torch": "2.13.0"})
    assert packages()["torch"] == "2.13.0"
    constraints(alone, "torch==2.13.0")
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert packages()["torch"] == "2.13.0"


def test_constraints_of_this_repository_are_understood():
    if (diagnosis.course_root() / "constraints.txt").is_file():
        tested = diagnosis._tested_versions("constraints.txt")
        for name in ("torch", "transformers", "modelscope", "ms-swift"):
            assert re.fullmatch(r"\d+\.\d+\.\d+", tested[name])


def test_wrong_swift(installed, person, monkeypatch):
    monkeypatch.setattr(diagnosis.importlib.metadata, "requires", lambda name: None)
    installed({"swift": "2.38.3", "ms-swift": "4.6.0"})
    assert diagnosis.report().splitlines()[-1] == (
        "! The package swift 2.38.3 is OpenStack's file store, not ms-swift: pip uninstall swift, then pip install "
        "--force-reinstall ms-swift."
    )
    installed({"ms-swift": "4.6.0"})
    assert "!" not in diagnosis.report()


# Other computers


def test_without_torch(person, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert line("PyTorch") == "missing"


def test_torch_that_cannot_be_loaded(person, monkeypatch):
    def fails(name, *rest, **options):
        if name == "torch":
            raise OSError("[WinError 126] C:\\Users\\wanglei\\torch\\lib\\fbgemm.dll\nmore")
        return real(name, *rest, **options)

    real = __import__
    monkeypatch.setattr("builtins.__import__", fails)
    told = r"unknown (OSError: [WinError 126] C:\Users\<user>\torch\lib\fbgemm.dll more)"
    assert diagnosis._value_or_why_not(diagnosis._torch) == told


def smi(monkeypatch, out="", err="", code=0):
    """Pretend that nvidia-smi says this."""
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: f"/usr/bin/{name}")
    done = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(diagnosis.subprocess, "run", lambda command, **options: done)
    monkeypatch.setattr(diagnosis.sys, "platform", "linux")


def test_nvidia(person, monkeypatch):
    import torch

    smi(monkeypatch, "NVIDIA GeForce RTX 4090, 24564 MiB, 550.54\nNVIDIA T4, 15360 MiB, 550.54\n")
    monkeypatch.setattr(torch.version, "cuda", None)
    text = diagnosis.report()
    assert line("GPU", text) == "NVIDIA GeForce RTX 4090, 24564 MiB, 550.54; NVIDIA T4, 15360 MiB, 550.54"
    assert line("PyTorch", text).startswith("built for the CPU, ")
    assert text.splitlines()[-1].startswith("! There is an NVIDIA GPU, but this PyTorch is built for the CPU")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    text = diagnosis.report()
    assert line("PyTorch", text).startswith("built for CUDA 13.0 (), torch.cuda.is_available() is ")
    assert "!" not in text


def test_nvidia_driver_that_fails(person, monkeypatch):
    smi(monkeypatch, out="Failed to initialize NVML: Driver/library version mismatch\n", code=18)
    assert line("GPU") == (
        "unknown (RuntimeError: nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch)"
    )

    def hangs(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(diagnosis.subprocess, "run", hangs)
    assert line("GPU").endswith("timed out after 5 seconds)")


def test_no_nvidia_driver(person, monkeypatch):
    monkeypatch.setattr(diagnosis.sys, "platform", "linux")
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: None)
    assert diagnosis._gpu() == "no NVIDIA driver found"


def test_mac(person, monkeypatch):
    monkeypatch.setattr(diagnosis.sys, "platform", "darwin")
    monkeypatch.setattr(diagnosis.platform, "mac_ver", lambda: ("15.5", ("", "", ""), "arm64"))
    monkeypatch.setattr(diagnosis.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(diagnosis, "_output_of", lambda *command: "Apple M2")
    monkeypatch.setattr(diagnosis.Path, "is_file", lambda path: False)  # there is no /proc/cpuinfo
    assert diagnosis._system() == "macOS 15.5, arm64"
    assert diagnosis._cpu().startswith("Apple M2, ")
    assert diagnosis._gpu() == "Apple GPU (MPS)"
    monkeypatch.setattr(diagnosis.platform, "machine", lambda: "x86_64")
    assert diagnosis._gpu() == "none that PyTorch can use"


def test_windows(person, monkeypatch):
    winreg = types.SimpleNamespace(
        HKEY_LOCAL_MACHINE=None, OpenKey=lambda *key: key, QueryValueEx=lambda key, name: ("Intel(R) Core(TM) i7  ", 1)
    )
    monkeypatch.setitem(sys.modules, "winreg", winreg)
    monkeypatch.setattr(diagnosis.sys, "platform", "win32")
    monkeypatch.setattr(diagnosis.platform, "release", lambda: "11")
    monkeypatch.setattr(diagnosis.platform, "version", lambda: "10.0.26100")
    monkeypatch.setattr(diagnosis.platform, "machine", lambda: "AMD64")
    assert diagnosis._system() == "Windows 11 (10.0.26100), AMD64"
    assert diagnosis._cpu().startswith("Intel(R) Core(TM) i7, ")


def test_linux_without_names(person, monkeypatch):
    def missing():
        raise OSError

    monkeypatch.setattr(diagnosis.sys, "platform", "linux")
    monkeypatch.setattr(diagnosis.platform, "freedesktop_os_release", missing)
    monkeypatch.setattr(diagnosis.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(diagnosis.Path, "is_file", lambda path: False)
    assert diagnosis._system().startswith("unknown distribution, Linux ")
    assert diagnosis._cpu().startswith("aarch64, ")


def test_kinds_of_environment(person, monkeypatch, tmp_path):
    monkeypatch.setattr(diagnosis.sys, "prefix", str(tmp_path))
    assert diagnosis._python().endswith("(virtual environment)")
    monkeypatch.setattr(diagnosis.sys, "base_prefix", str(tmp_path))
    assert diagnosis._python().endswith("(no virtual environment)")
    (tmp_path / "conda-meta").mkdir()
    assert diagnosis._python().endswith("(conda environment)")


def test_a_probe_that_fails_leaves_a_gap(person, monkeypatch):
    def fails():
        raise PermissionError("no such luck, wanglei")

    monkeypatch.setattr(diagnosis, "_memory", fails)
    assert line("memory") == "unknown (PermissionError: no such luck, <user>)"


def test_kernel_name(person, monkeypatch, tmp_path):
    connection = tmp_path / "kernel-1.json"
    connection.write_text(json.dumps({"key": "secret", "kernel_name": "qwen-course"}))
    app = types.SimpleNamespace(initialized=lambda: True, instance=lambda: types.SimpleNamespace(
        abs_connection_file=str(connection)))  # fmt: skip
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", types.SimpleNamespace(IPKernelApp=app))
    assert diagnosis._kernel() == "qwen-course"


def test_kernel_name_in_a_real_kernel():
    jupyter_client = pytest.importorskip("jupyter_client")
    pytest.importorskip("ipykernel")
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3", cwd=str(diagnosis.course_root()))
    try:
        code = "import importlib; print(importlib.import_module('qwen_helpers.diagnosis')._kernel())"
        said = []
        reply = client.execute_interactive(
            code, timeout=60, output_hook=lambda m: said.append(m["content"].get("text"))
        )
        assert reply["content"]["status"] == "ok" and "python3\n" in said
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
