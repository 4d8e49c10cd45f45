"""One command to start the course, one to test it, one to teach it, one for when something fails:

    python course.py            make .venv, install, get a first answer from a model, open JupyterLab on lesson 1
    python course.py test       the same set-up, then every test
    python course.py teach OUT  the same set-up, then a folder with everything for a class without internet
    python course.py site [OUT] the lessons and the troubles as a website, in the folder _site; no PyTorch for this
    python course.py explain    what an error is and how it is mended: nothing is set up; paste it, or explain < FILE

It prints what it does, step by step. You can stop it and start it again at any time: .venv and .venv-paddle, in which
lesson 7 runs, count as complete only when a stamp, which is written last, says so. It makes these two folders and
.venv-install.log beside this file; outside this folder there are only the caches of pip and uv and what JupyterLab
keeps in your home folder, as it always does.

It needs only the standard library, and any Python from 3.6 on can run it, so that a Python too old or too new for
PyTorch gets a sentence and not a traceback. pyproject.toml says which packages, lock*.txt which versions, with the
hashes of their files. uv installs them, from where pip would take them; where uv cannot run, pip does.
"""

import argparse
import ast
import collections
import functools
import hashlib
import json
import os
import platform
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOG = ROOT / ".venv-install.log"
LANGUAGE = runpy.run_path(str(ROOT / "qwen_helpers/language.py"))  # the package itself needs a newer Python
_, N_ = LANGUAGE["_"], LANGUAGE["N_"]  # a text in the reader's language; one that is translated when it is said
WINDOWS = os.name == "nt"
LINUX = sys.platform.startswith("linux")

PYTHONS = ((3, 12), (3, 11), (3, 10))
# The tiny model's steps are so short that threads which spin while they wait cost more than they help: on a computer
# with other work an answer takes 0.5 s with this and 5 to 10 s without.
TINY = {"OMP_WAIT_POLICY": "PASSIVE"}
# Free disk to start with: 2.2, 6 or 1.9 GB stay in use, the rest is room for downloads.
GB_CPU, GB_CUDA, GB_PADDLE = 3.5, 10, 3
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},  # its question about news: no
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},  # TROUBLES.md
}
LAB_IN_CHINESE = {"@jupyterlab/translation-extension:plugin": {"locale": "zh_CN"}}
FIRST_QUESTION = N_("What will this course teach me?")  # tiny chat knows both
LESSON = "01_environment.ipynb"
LESSON_7 = ("notebooks/07_paddlenlp.ipynb", "notebooks/zh/07_paddlenlp.ipynb")


def in_chinese():
    return LANGUAGE["reader_language"]() == "zh"


def steps(total):
    """A function that prints "[2/5] text", so that a reader sees how far things are."""
    numbers = iter(range(1, total + 1))
    return lambda text: print("[%d/%d] %s" % (next(numbers), total, text), flush=True)


def note(text):
    print("      " + text, flush=True)


# ---- which Python ----------------------------------------------------------------------------------------------------


def probe(command):
    """(version, can it make environments) of the Python that COMMAND starts; (None, False) if it does not start."""
    code = "import sys; print('%d %d' % sys.version_info[:2], flush=True); import venv, ensurepip; print('venv')"
    try:
        done = subprocess.run(command + ["-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        words = done.stdout.decode().split()
        return (int(words[0]), int(words[1])), words[2:] == ["venv"]
    except (OSError, ValueError, IndexError):
        return None, False


def running_python():
    """The Python that runs this file; inside an environment the one it was made from, which outlives it."""
    if sys.prefix == sys.base_prefix:
        return sys.executable
    return str(Path(sys.base_prefix) / ("python.exe" if WINDOWS else "bin/python%d.%d" % sys.version_info[:2]))


def find_python():
    """A command for a Python that the course can use, and its version: the running one, else another one found here."""
    others = [["py", "-%d.%d" % version] if WINDOWS else ["python%d.%d" % version] for version in PYTHONS]
    incomplete = None
    for command in [[running_python()]] + others:
        version, has_venv = probe(command)
        if version in PYTHONS and has_venv:
            return command, version
        if version in PYTHONS:
            incomplete = incomplete or version
    if incomplete:
        sys.exit(
            _(
                "Python %d.%d is here but cannot make environments. On Debian and Ubuntu: sudo apt install "
                "python3-venv (or python%d.%d-venv). Then run the same command again."
            )
            % (incomplete * 2)
        )
    fewer = _("The wheels are for Python %s") % _(" or ").join("%d.%d" % version for version in PYTHONS)
    needs = fewer if len(PYTHONS) < 3 else _("The course needs Python 3.10, 3.11 or 3.12")
    how = _("sudo apt install python{0}-venv (or your system's way), then python{0} course.py")
    if not LINUX:
        how = _("brew install python@{0}, then python{0} course.py")
    if WINDOWS:
        how = _("winget install Python.Python.{0}, then in a new terminal py -{0} course.py")
    how += _(". Or with conda create -n qwen python={0}, activate it, run again.")
    text = _("%s. This is %d.%d, and no other was found. Install one: %s")
    sys.exit(text % (needs, sys.version_info[0], sys.version_info[1], how.format("%d.%d" % PYTHONS[0])))


# ---- wheels instead of the internet ----------------------------------------------------------------------------------

WHEELS = []  # with --wheels: the files' names
OFFLINE = {}  # with --wheels: pip's settings, in which uv gets them too


def use_wheels(place):
    """Let pip install from the folder PLACE, or from the address of one that `python -m http.server` shows, alone."""
    global PYTHONS
    try:
        if re.match("https?://", place):
            host = urllib.parse.urlsplit(place).hostname
            proxied = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
            # A computer in the room needs no proxy. pip reads the small name first, uv the large one.
            os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [proxied, host]))
            OFFLINE["PIP_TRUSTED_HOST"] = host  # it has no certificate
            with urllib.request.urlopen(place, timeout=20) as answer:
                WHEELS[:] = re.findall(r">\s*([^<>/]+\.whl)\s*<", answer.read().decode("utf-8", "replace"))
        else:
            WHEELS[:] = [file.name for file in Path(place).iterdir() if file.suffix == ".whl"]
            place = Path(place).resolve().as_uri()  # pip splits a path at its spaces
    except (OSError, ValueError) as error:
        text = _("The wheels at %s cannot be read (%s). Correct the folder or the address, then run again.")
        sys.exit(text % (place, error))
    OFFLINE.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=place)
    system = "linux" if LINUX else "win" if WINDOWS else "macosx"
    torch = [name for name in WHEELS if name.startswith("torch-")]
    here = [name for name in torch if system in name and name.lower().endswith(platform.machine().lower() + ".whl")]
    PYTHONS = tuple(version for version in PYTHONS if any("-cp%d%d-" % version in name for name in here))
    if not PYTHONS:
        text = _(
            "None of the wheels at %s is PyTorch for this system (%s, %s; there is: %s). Collect them on such a"
            " computer that is online: course.py teach OUT."
        )
        sys.exit(text % (place, platform.system(), platform.machine(), ", ".join(torch) or _("none at all")))


# ---- the environments ------------------------------------------------------------------------------------------------


def read_json(file):
    """What FILE holds; {} if there is none or only a part of it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


class Environment:
    """A folder with packages of its own, and what says whether it is complete."""

    def __init__(self, name, lock, constraints, *extras):
        self.folder = ROOT / name
        self.old = ROOT / (name + "-old")  # on its way out
        self.stamp = self.folder / "course-stamp.json"  # what is installed
        self.unfinished = self.folder / "unfinished"  # is there while something is being installed
        self.lock, self.constraints = lock, constraints  # for uv with hashes; pip refuses hashes beside "-e ."
        self.extras = extras  # of pyproject.toml, each a stage of its own

    def python(self):
        return str(self.folder / ("Scripts/python.exe" if WINDOWS else "bin/python"))

    def pins(self):
        """One short text that changes when a requirement or a tested version does."""
        files = (ROOT / "pyproject.toml", ROOT / self.lock)
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    def read_stamp(self):
        return read_json(self.stamp)

    def write_stamp(self, stamp):
        """Whole or not at all: after a kill in the middle the old stamp still stands."""
        temporary = self.stamp.with_suffix(".new")
        temporary.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        os.replace(str(temporary), str(self.stamp))

    def fault(self, cpu=False):
        """None if it can be used, "" if there is none, else why it must be made anew. Somebody else's is refused."""
        if not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            return ""
        if self.unfinished.exists():
            return _("an earlier set-up was stopped half-way")
        if not self.stamp.exists():
            text = _("There is a %s here that this program did not make. Rename or delete it, then run again.")
            sys.exit(text % self.folder.name)
        stamp = self.read_stamp()
        if stamp.get("root") != str(ROOT):
            return _("the course's folder was moved or copied, which an environment does not survive")
        if list(probe([self.python()])[0] or ()) != stamp.get("python"):
            return _("its Python no longer works or is another one now")
        if cpu and LINUX and not stamp.get("cpu_build"):
            return _("it holds the CUDA build of PyTorch, and --cpu asks for the CPU build")
        return None

    def complete(self, cpu=False):
        """True if nothing has to be installed."""
        stamp = self.read_stamp()
        return self.fault(cpu) is None and stamp["pins"] == self.pins() and set(self.extras) <= set(stamp["extras"])

    def remove(self):
        """Rename first, delete then: a kill in the middle leaves no half folder that looks like somebody else's."""
        for folder in (self.old, self.folder):
            if folder.exists():
                os.replace(str(folder), str(self.old))
                shutil.rmtree(str(self.old))

    def make(self, fault, command, gigabytes, **facts):
        """A fresh one by the Python that COMMAND starts, marked as unfinished until its first packages are in."""
        if fault:
            note(_("made anew: %s") % fault)
        self.remove()
        check_disk(gigabytes)
        self.folder.mkdir(exist_ok=True)
        self.unfinished.write_text("")
        self.give_up_if(*run_logged(command + ["-m", "venv", str(self.folder)]))
        self.write_stamp(dict(facts, root=str(ROOT), pins="", extras=[]))

    def pip(self, *arguments):
        command = [self.python(), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        return run_logged(command + ["-c", self.constraints] + list(arguments))

    def install(self, *arguments, live=True):
        """By uv, by pip where uv cannot run; (exit code, last lines). LIVE: uv may draw its bars on a terminal."""
        if not uv_runs():
            return self.pip(*arguments)
        options, settings = uv_settings()
        command = [MAIN.python(), "-m", "uv", "pip", "install", "--python", self.python(), "-c", self.lock]
        command += ["--index-strategy", "unsafe-best-match"]  # of all places the best version, as pip does
        command += options + ["--no-verify-hashes"] * bool(OFFLINE) + list(arguments)  # the teacher's pip built some
        env = child_env(**settings)
        if live and sys.stdout.isatty() and subprocess.call(command, cwd=str(ROOT), env=env, close_fds=False) == 0:
            return 0, []
        return run_logged(command, env)  # without a terminal, or once more, with what it says in the log

    def give_up_if(self, code, lines):
        """Stop with the installer's last errors and one sentence if its exit CODE is not 0. What is installed stays."""
        if code:
            errors = [line for line in lines if re.match(r"\s*(error\b|cause\b|×)", line, re.IGNORECASE)]
            for line in (errors or lines)[-3:]:
                note(line.strip()[:300])
            if self.stamp.exists() and self.unfinished.exists():
                self.unfinished.unlink()
            sys.exit(diagnose("\n".join(lines)))


# In two stages, so that the first answer need not wait for JupyterLab. PaddleNLP's packages disagree with PyTorch's.
MAIN = Environment(".venv", "lock.txt", "constraints.txt", "chat", "lab,test")
PADDLE = Environment(".venv-paddle", "lock-paddle.txt", "constraints-paddle.txt", "paddle")
KERNEL = MAIN.folder / "share/jupyter/kernels/qwen-paddle"  # how JupyterLab, which is in .venv, starts .venv-paddle


def child_env(**more):
    """Variables for programs of .venv, as if it were activated: a lesson's !pip is then the pip of .venv."""
    env = dict(os.environ, VIRTUAL_ENV=str(MAIN.folder), PIP_USER="0", **more)
    env["PATH"] = str(Path(MAIN.python()).parent) + os.pathsep + env.get("PATH", "")
    for name in ("PYTHONHOME", "PYTHONPATH"):  # they would mix in another Python's packages
        env.pop(name, None)
    if WINDOWS:
        env["PYTHONUTF8"] = "1"
    return env


def has_nvidia():
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia").exists()


def lock_folder():
    """Wait until no other course.py installs here. The lock ends with this process and with the pip that it started.

    Windows needs none: a folder in which a program runs cannot be renamed there, so Environment.remove stops.
    """
    if WINDOWS:
        return None
    import fcntl

    file = open(__file__)  # noqa: SIM115, closing it gives the lock back
    os.set_inheritable(file.fileno(), True)  # run_logged hands it on to pip
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(_("Another set-up is at work in this folder; waiting for it to end."), flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a network drive without locks; two set-ups at once are rare
        pass
    return file


def check_disk(needed):
    for folder, part in ((ROOT, 1), (Path(tempfile.gettempdir()), 0.15)):
        free = shutil.disk_usage(str(folder)).free / 1e9
        if free < needed * part:
            text = _("%s has %.1f GB free and the set-up needs %.1f GB there. Make room%s, then run again.")
            other = "" if part == 1 else _(" or set TMPDIR to a folder on another disk")
            sys.exit(text % (folder, free, needed * part, other))


def make_main(fault, cpu):
    """A fresh .venv, by a Python that the course can use."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        sys.exit(
            _(
                "PyTorch ended for Macs with an Intel processor with 2.2, so the course cannot run on one. If "
                "this Mac has an M chip, its Python is one for Intel: install another from python.org, then run "
                "again."
            )
        )
    command, version = find_python()
    if command != [running_python()]:
        note(_("using %s, since this is Python %d.%d") % ((" ".join(command),) + sys.version_info[:2]))
    cpu_build = LINUX and (cpu or not has_nvidia() or any("+cpu" in name for name in WHEELS))
    LOG.write_text("")
    MAIN.make(fault, command, GB_CUDA if LINUX and not cpu_build else GB_CPU, python=version, cpu_build=cpu_build)


# ---- pip and uv ------------------------------------------------------------------------------------------------------


def entry_for(text):
    """What the course's catalogue of errors knows of what an installer has said; {} if nothing."""
    entries = json.loads((ROOT / "qwen_helpers/known_troubles/set_up.json").read_text(encoding="utf-8"))
    return next((entry for entry in entries if any(pattern in text for pattern in entry["patterns"])), {})


def diagnose(text):
    """One sentence: why the installer failed and what to do."""
    entry = entry_for(text)
    if OFFLINE and entry.get("id") == "no-version":
        return _(
            "The package is not among the wheels. Collect them anew, where there is internet: course.py teach OUT."
        )
    if entry:
        return " ".join(_(said) for said in (entry["cause"], entry["cure"]) if said)
    return _("The whole output is in %s. Running the same command again goes on from here.") % LOG.name


def run_logged(command, env=None):
    """Run COMMAND with its output in the log and large downloads on the screen; its exit code and its last lines."""
    last = collections.deque(maxlen=300)
    with open(str(LOG), "a", encoding="utf-8") as log:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        # close_fds=False: the installer holds the lock too
        child = subprocess.Popen(command, cwd=str(ROOT), env=env or child_env(**OFFLINE), close_fds=False, **pipes)
        try:
            for raw in child.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                last.append(line)
                log.write(line + "\n")
                download = re.match(r"\s*Downloading (\S+) \(([\d.]+) ?([MG])i?B\)", line)
                if download and (download.group(3) == "G" or float(download.group(2)) > 20):
                    note(_("downloading %s, %s %sB") % ((download.group(1).split("/")[-1],) + download.groups()[1:]))
        except BaseException:  # Ctrl-C: no installer must go on alone
            child.kill()
            raise
        finally:
            child.wait()
    return child.returncode, list(last)


@functools.lru_cache(None)
def uv_runs():
    """True if uv, which pip brings into .venv in the tested version, starts; else a sentence says what that means."""
    code, lines = MAIN.pip("uv")
    if code and entry_for("\n".join(lines)).get("id") not in (None, "no-version"):  # no network, a full disk
        MAIN.give_up_if(code, lines)
    if code == 0 and run_logged([MAIN.python(), "-m", "uv", "--version"])[0] == 0:
        return True
    note(_("uv, the quick installer, does not run here; pip takes its place, and some minutes more."))
    return False


def uv_settings():
    """What pip is set to, by its files and variables, for uv: (options, variables)."""
    command = [MAIN.python(), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=child_env(**OFFLINE))
    found, text = {"cert": os.environ.get("REQUESTS_CA_BUNDLE", "").split()}, listed.stdout.decode("utf-8", "replace")
    for part in ("global", "install", ":env:"):  # "global.index-url='...'"; a variable counts most
        for name, value in re.findall(r"(?m)^%s\.(?:default-)?([\w-]+)=(.+)" % part, text):
            found[name] = ast.literal_eval(value.strip()).split() or found.get(name, [])
    same = ("constraint", "find-links", "trusted-host")
    options = [word for name in same for value in found.get(name, []) for word in ("--" + name, value)]
    options += ["--no-index"] * (" ".join(found.get("no-index", [])).lower() in ("1", "true", "yes", "on"))
    # These may hold passwords, which every user of a computer can read on a command line.
    names = {"UV_DEFAULT_INDEX": "index-url", "UV_INDEX": "extra-index-url", "HTTP_PROXY": "proxy"}
    names.update(HTTPS_PROXY="proxy", SSL_CERT_FILE="cert", UV_HTTP_TIMEOUT="timeout")
    settings = {name: " ".join(found[option]) for name, option in names.items() if found.get(option)}
    if not LINUX or any(Path("/etc/ssl/certs").glob("*")):  # with an empty store uv stops; it has its own
        settings["UV_SYSTEM_CERTS"] = "1"
    # Compiled now, and not by the first lesson that imports it: a second answer then takes 5 s and not 10 s.
    return options, dict(settings, UV_COMPILE_BYTECODE="1")


def install_torch_cpu(must):
    """True if the CPU build is in: from where pip looks, else from PyTorch's own index, which uv knows by name."""
    torch = re.search(r"^torch==[\d.]+", (ROOT / MAIN.constraints).read_text(), re.MULTILINE).group()
    code, lines = MAIN.install(torch + "+cpu", live=False)  # that it is not there is no error for a reader
    if code == 0:
        return True
    if entry_for("\n".join(lines)).get("id") != "no-version":  # a broken line or a full disk: no build would help
        MAIN.give_up_if(code, lines)
    if not OFFLINE and uv_runs():  # it would leave the room for it
        note(_("fetching the CPU build of PyTorch, about 200 MB"))
        code, lines = MAIN.install("--no-deps", "--torch-backend=cpu", torch)
    if must and code:
        note(
            _("The CPU build of PyTorch cannot be had. Without --cpu the default build is installed, which is larger.")
        )
        MAIN.give_up_if(code, lines)
    return code == 0


def install(step, env, extras, title, cpu=False):
    """Install EXTRAS into ENV in the tested versions, unless the stamp says that they are there."""
    stamp = env.read_stamp()
    if stamp["pins"] != env.pins():  # a new environment, or a newer version of the course
        stamp.update(pins=env.pins(), extras=[])
    if extras in stamp["extras"]:
        step(_("%s: installed") % title)
        return
    cuda = extras == "chat" and LINUX and not stamp["cpu_build"]
    size = "3 GB" if cuda else _("about %d MB") % {"paddle": 450, "site": 40}.get(extras, 200)
    step(_("%s: installing, %s") % (title, _("from the wheels") if OFFLINE else _("%s to download") % size))
    env.unfinished.write_text("")
    if extras == "chat" and stamp["cpu_build"] and not install_torch_cpu(must=cpu):
        note(_("The CPU build of PyTorch cannot be had here; installing the default build, which takes 6 GB."))
        check_disk(GB_CUDA)
        stamp["cpu_build"] = False
    env.give_up_if(*env.install("pip", "-e", ".[%s]" % extras))  # pip in the version whose texts the lessons show
    env.write_stamp(dict(stamp, extras=stamp["extras"] + [extras]))
    env.unfinished.unlink()


def set_up(step, options, answer=None):
    """Python, the environments and their packages. ANSWER is called as soon as a model can run."""
    lock = None if MAIN.complete(options.cpu) else lock_folder()
    fault = MAIN.fault(options.cpu)
    step(_("Environment .venv: ready") if fault is None else _("Environment .venv: making it"))
    if fault is not None:
        make_main(fault, options.cpu)
    install(step, MAIN, "chat", _("PyTorch and transformers"), options.cpu)
    if has_nvidia() and WINDOWS:
        note(_("This PyTorch computes on the CPU. Lesson 1 shows how to get the build for your NVIDIA card."))
    if has_nvidia() and MAIN.read_stamp()["cpu_build"] and not options.cpu:
        note(
            _(
                "This PyTorch is the CPU build, though an NVIDIA card is here. For the other, delete .venv and "
                "run again."
            )
        )
    if answer:
        answer(step)
    install(step, MAIN, "lab,test", _("JupyterLab and the other packages"), options.cpu)
    settings = MAIN.folder / "share/jupyter/lab/settings/overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(dict(LAB_SETTINGS, **LAB_IN_CHINESE) if in_chinese() else LAB_SETTINGS))
    if lock:
        lock.close()
    if not options.no_paddle:
        set_up_paddle(step, options)


def has_kernel():
    """True if lesson 7 can run. A file cut short by a kill does not count."""
    return bool(read_json(KERNEL / "kernel.json").get("argv"))


def set_up_paddle(step, options):
    """.venv-paddle and, in .venv, the kernel that runs in it. If that cannot be had, the other lessons still run."""
    step(_("Environment .venv-paddle, for lesson 7"))
    lock = None
    try:
        if has_kernel() and PADDLE.complete():
            return
        lock = lock_folder()
        fault = PADDLE.fault()
        if not PADDLE.complete():  # as long as the kernel is there, lesson 7 counts as ready
            shutil.rmtree(str(KERNEL), ignore_errors=True)
        if fault is not None:
            PADDLE.make(fault, [MAIN.python()], GB_PADDLE, python=MAIN.read_stamp()["python"])
        install(note, PADDLE, "paddle", "PaddleNLP")
        if not has_kernel():
            command = [PADDLE.python(), "-m", "ipykernel", "install", "--prefix", str(MAIN.folder)]
            # The lesson's !pip is then the pip of .venv-paddle.
            path = str(Path(PADDLE.python()).parent) + os.pathsep + "${PATH}"
            command += ["--env", "PATH", path, "--env", "VIRTUAL_ENV", str(PADDLE.folder)]
            command += ["--name", KERNEL.name, "--display-name", "Python (%s)" % KERNEL.name]
            PADDLE.give_up_if(*run_logged(command))
    except (SystemExit, OSError) as error:
        reason = error.code if isinstance(error, SystemExit) else diagnose(str(error))
        if not isinstance(reason, str):  # a stop from outside
            raise
        shutil.rmtree(str(KERNEL), ignore_errors=True)
        note(reason)
        if options.command != "test":  # there the tests say it
            note(_("Lesson 7 will not run; all others do. Run the same command again to try once more."))
    finally:
        if lock:  # JupyterLab must not inherit it
            lock.close()


# ---- what the set-up is for ------------------------------------------------------------------------------------------


def module(name, *arguments):
    """The command for `python -m NAME` in .venv, but without a traceback at Ctrl-C, which is a normal end here."""
    code = (
        "import sys\ndel sys.argv[0]\ntry:\n    import runpy\n"
        "    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "except KeyboardInterrupt:\n    sys.exit(130)"
    )
    return [MAIN.python(), "-c", code, name] + list(arguments)


def first_answer(step):
    step(_("A first answer from the model"))
    code = subprocess.call(module("qwen_helpers", "chat", _(FIRST_QUESTION)), cwd=str(ROOT), env=child_env(**TINY))
    if code:
        note(_("The model gave no answer (exit code %d), so nothing else is started.") % code)
        sys.exit(code)


def port_free(port):
    """True if a server may use PORT of this computer."""
    with socket.socket() as server:
        if not WINDOWS:  # as JupyterLab does: a port that was closed a moment ago is free
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def hand_over(command, env):
    """Let COMMAND take the place of this process, so that Ctrl-C and the exit code are its own."""
    sys.stdout.flush()
    os.chdir(str(ROOT))
    if not WINDOWS:
        os.execve(command[0], command, env)
    child = subprocess.Popen(command, env=env)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child has it too, and ends in its own time
            pass


def lesson_places():
    """The folders of the lessons, the reader's language first."""
    return ["notebooks/zh/"] * in_chinese() + ["notebooks/"]


def open_lab(step, options):
    port = options.port or next((p for p in range(8888, 8988) if port_free(p)), 0)
    step(_("JupyterLab on port %d; to stop it, press Ctrl-C twice here") % port)
    command = module("jupyterlab", "--ServerApp.root_dir=%s" % ROOT, "--ServerApp.port=%d" % port)
    command += ["--ServerApp.port_retries=0", "--Application.log_level=WARN"]
    lesson = next((place + LESSON for place in lesson_places() if (ROOT / (place + LESSON)).exists()), None)
    command += ["--LabApp.default_url=/lab/tree/" + lesson] if lesson else []
    command += ["--no-browser"] if options.no_browser else []
    command += ["--allow-root"] if not WINDOWS and os.geteuid() == 0 else []
    env = child_env(**({"QWEN_CLASS": options.class_url, "QWEN_CLASS_KEY": options.key} if options.key else {}))
    if env.get("QWEN_CLASS"):
        note(_("Your class at %s is told what check() says to you, under your name.") % env["QWEN_CLASS"])
    return hand_over(command, env)


def run_tests(step, options):
    step(_("Tests of the helpers and of every lesson"))
    if options.all and MAIN.read_stamp()["python"] >= [3, 11]:  # the site's builder is not for 3.10
        install(note, MAIN, "site", _("Sphinx and what it needs"))
    # Two workers share the tests, and each computes in one thread: more would fight for the processor.
    env = child_env(QWEN_MODEL="tiny", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", **TINY)
    for name in ("TQDM_DISABLE", "MODELSCOPE_API_TOKEN", "QWEN_CLASS"):
        env.pop(name, None)
    command = [MAIN.python(), "-m", "pytest", "--nbval", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
    command += ["--nbval-cell-timeout", "180", "-n", "2", "--no-loadscope-reorder"]
    command += ["--durations", "15"] + (["-k", options.k] if options.k else [])
    command += [] if options.all else ["-m", "not slow"]
    if options.no_paddle or not has_kernel():
        if os.environ.get("CI") and not options.no_paddle:
            sys.exit(_("CI is set, so lesson 7 must be tested; its kernel qwen-paddle could not be made."))
        how = _("leave out --no-paddle") if options.no_paddle else _("run the same command again")
        note(_("Lesson 7 is skipped: it needs .venv-paddle and its kernel qwen-paddle. To test it too, %s.") % how)
        command += [word for lesson in LESSON_7 for word in ("--ignore", lesson)]
    return hand_over(command + ["tests", "notebooks"], env)


def make_pack(step, options):
    """Everything for a class in a room without internet, in one folder. qwen_helpers/teach.py has the work."""
    step(_("The teacher's pack"))
    command = module("qwen_helpers", "teach", str(Path(options.out).absolute()))
    command += ["--no-wheels"] * options.no_wheels + ["--no-paddle"] * options.no_paddle
    return hand_over(command, child_env(**OFFLINE))


def make_site(step, options):
    """The lessons and the troubles as a website. It needs no PyTorch; qwen_helpers/tools/site has the work."""
    lock = lock_folder()
    fault = MAIN.fault()
    step(_("Environment .venv: ready") if fault is None else _("Environment .venv: making it"))
    if fault is not None:
        make_main(fault, options.cpu)
    install(step, MAIN, "site", _("Sphinx and what it needs"))
    if lock:
        lock.close()
    step(_("The site"))
    return hand_over(module("qwen_helpers", "site", str(Path(options.out or "_site").absolute())), child_env())


def explain(words):
    """What the course's catalogue knows of an error. It needs no environment: who asks may have failed to make one."""
    if sys.version_info < (3, 10):
        sys.exit(_("This Python is older than 3.10, which explain needs. TROUBLES.md is the same as a page."))
    sys.path.insert(0, str(ROOT))
    from qwen_helpers import troubles

    troubles.main(words)


def parse(arguments):
    parser = argparse.ArgumentParser(description=_("Start the course, test it, or prepare to teach it."))
    what = _(
        "test: run every test; teach OUT: make the folder OUT for a class without internet; site [OUT]: make the"
        " website; explain: what is this error"
    )
    parser.add_argument("command", nargs="?", choices=["test", "teach", "site", "explain"], help=what)
    parser.add_argument("out", nargs="?", metavar="OUT", help=_("with teach and site: the folder to make"))
    parser.add_argument("-k", metavar="NAME", help=_("with test: only tests whose name contains NAME"))
    parser.add_argument("--all", action="store_true", help=_("with test: also what takes long and changes rarely"))
    parser.add_argument("--no-lab", action="store_true", help=_("set up, show a first answer, stop before JupyterLab"))
    parser.add_argument("--no-browser", action="store_true", help=_("start JupyterLab without opening a browser"))
    parser.add_argument("--cpu", action="store_true", help=_("on Linux: PyTorch's CPU build even with an NVIDIA card"))
    parser.add_argument("--no-paddle", action="store_true", help=_("leave out the PaddleNLP environment of lesson 7"))
    parser.add_argument(
        "--wheels", metavar="PLACE", help=_("install from this folder or address, without the internet")
    )
    parser.add_argument("--no-wheels", action="store_true", help=_("with teach: leave the packages out"))
    parser.add_argument("--port", type=int, help=_("JupyterLab's port (default: the first free one from 8888)"))
    parser.add_argument(
        "--class", dest="class_url", metavar="URL", help=_("with --key: tell this class what check says")
    )
    parser.add_argument("--key", help=_("with --class: your key, as your teacher gave it to you"))
    options = parser.parse_args(arguments)
    if (options.k or options.all) and options.command != "test":
        parser.error(_("-k and --all go with test: course.py test -k NAME"))
    wants = options.command == "teach" or options.command == "site" and bool(options.out)
    if bool(options.out) != wants or options.no_wheels and options.command != "teach":
        parser.error(_("a folder goes with teach, and --no-wheels too: course.py teach OUT --no-wheels"))
    told = options.key and re.match("https?://[^/]", options.class_url or "")
    if not told and (options.class_url, options.key) != (None, None) or told and (options.command or options.no_lab):
        parser.error(_("--class and --key go together, with JupyterLab: --class ADDRESS --key KEY, as you were given"))
    if options.command in ("test", "site") and not (ROOT / "tests").exists():
        sys.exit(_("This is a students' copy of the course, which holds no tests, and of which no site is made."))
    if options.wheels:
        use_wheels(options.wheels)
    if options.port and not port_free(options.port):
        sys.exit(_("Port %d is taken or not allowed. Give another, or none: then a free one is found.") % options.port)
    return options


def main(arguments=None):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stop from outside ends pip too
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # pip may print what an old console cannot show
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["explain"]:
        return explain(words[1:])
    try:
        options = parse(words)
        if options.command == "site":
            return make_site(steps(3), options)
        step = steps(5 - options.no_paddle + (not options.command and not options.no_lab))
        set_up(step, options, None if options.command else first_answer)
        if options.command:
            return run_tests(step, options) if options.command == "test" else make_pack(step, options)
        return note(_("Ready. To open the lessons: python course.py")) if options.no_lab else open_lab(step, options)
    except KeyboardInterrupt:
        print("\n" + _("Stopped. Run the same command again."))
        return 130
    except OSError as error:  # a full disk, a folder that cannot be written
        note(str(error))
        sys.exit(diagnose(str(error)))


if __name__ == "__main__":
    sys.exit(main())
