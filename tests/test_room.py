"""A class is set up with the outside line cut: in a network namespace that has nothing but loopback.

All that the student's side uses comes from the teacher's pack: the course, the wheels, the model. To keep the test
lean, the packages are those of the first answer and ModelScope's client, about 50 instead of 250: the extras `lab` and
`test` of pyproject.toml are shortened, and nothing else. course.py, the pins and PyTorch are the real ones. The full
set is what the course's own set-up has pip find, with the same requirements and the same pins.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from qwen_helpers.tools.teach import collect_wheels, write_pack

IN_CI_AS_ROOT = bool(os.environ.get("CI")) and sys.platform == "linux" and os.geteuid() == 0
WITH_LOOPBACK_ONLY = """
import errno, fcntl, os, socket, struct, sys
with socket.socket() as probe:
    fcntl.ioctl(probe, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS: up
    probe.settimeout(5)
    if probe.connect_ex(("192.0.2.1", 80)) != errno.ENETUNREACH:  # an address kept for documentation
        sys.exit("the line is not cut")
if sys.argv[1:]:
    os.execv(sys.argv[1], sys.argv[1:])
"""
FETCH = """
from modelscope import snapshot_download
from qwen_helpers.labs.hub import Hub

with Hub({"Qwen/Qwen2.5-0.5B-Instruct": "../models/tiny-chat"}) as hub:
    snapshot_download("Qwen/Qwen2.5-0.5B-Instruct", local_dir="fetched", endpoint=hub.url)
"""


@pytest.fixture(scope="module")
def cut():
    """The command that runs another one without a network."""
    if sys.platform != "linux":
        pytest.skip("network namespaces are Linux's")
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        done = subprocess.run([*command, sys.executable, "-c", WITH_LOOPBACK_ONLY], capture_output=True, text=True)
        if done.returncode == 0:
            return command
    reason = f"this system allows no network namespace: {done.stderr}"
    return pytest.fail(reason) if IN_CI_AS_ROOT else pytest.skip(reason)


@pytest.fixture(scope="module")
def students(cut, tmp_path_factory):
    """What the class gets, in a folder with a space in its name."""
    students = write_pack(tmp_path_factory.mktemp("room") / "my pack", wheels=False, say=lambda text: None) / "students"
    project = students / "course/pyproject.toml"
    text = project.read_text(encoding="utf-8")
    text = re.sub(
        r"(?s)^lab = \[.*?^\]", 'lab = ["qwen-helpers[chat]", "modelscope>=1.40,<2"]', text, flags=re.MULTILINE
    )
    text = re.sub(r"(?s)^test = \[.*?^\]", "test = []", text, flags=re.MULTILINE)
    project.write_text(text, encoding="utf-8")
    if "+cpu" not in version("torch"):
        pytest.skip("this environment has the default build of PyTorch, 3 GB to collect; CI has the CPU build")
    collect_wheels(students / "course", students / "wheels", [("lab,test", "constraints.txt")], lambda text: None)
    return students


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_class_is_set_up_with_the_line_cut(cut, students):
    own = ("PIP_", "UV_", "MODELSCOPE_", "QWEN_", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    env["PIP_CONFIG_FILE"] = os.devnull  # no other place for packages than the pack's
    env.update(PIP_NO_CACHE_DIR="1", PIP_NO_COMPILE="1", HOME=str(students.parent))  # .pyc for all would only cost time
    folder = students / "course"

    def run(*command):
        line = [*cut, sys.executable, "-c", WITH_LOOPBACK_ONLY, *command]
        done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8", timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run(sys.executable, "course.py", "--wheels", "../wheels", "--no-lab", "--no-paddle", "--cpu")
    assert "installing, from the wheels" in said and "You will set up Python" in said and "Ready." in said
    assert "uv, the quick installer, does not run here" not in said
    log = (folder / ".venv-install.log").read_text(encoding="utf-8")
    assert set(re.findall(r"Looking in .*", log)) == {f"Looking in links: {(students / 'wheels').as_uri()}"}, "pip"
    assert re.search(r"Installed \d\d packages", log), "uv"
    run(str(folder / ".venv/bin/python"), "-c", FETCH)
    for file in (folder / "qwen_helpers/tiny/chat").iterdir():  # the model that has just answered
        assert (folder / "fetched" / file.name).read_bytes() == file.read_bytes()
