"""Every fault of a download, with ModelScope's real client: the folder is right in the end, or an error says why.

"plain" is `snapshot_download` as lesson 2 shows it, "fetch" is `fetch_model`. The client runs in processes of its own,
started once, since importing it takes seconds; its waits between two attempts are shortened by its own settings.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faulty_hub import Fault, FaultyHub

from qwen_helpers.folder_check import AGAIN
from qwen_helpers.folders import TINY_CHAT

ID = "Qwen/Qwen2.5-0.5B-Instruct"
SIZE = 6_000_000  # bytes of big.bin
ODD = "文件 #1+x%20.txt"
CLIENT = """
import json, sys
from modelscope import snapshot_download
from qwen_helpers.download import fetch_model
print("ready", flush=True)
for line in sys.stdin:
    how, folder, options = json.loads(line)
    try:
        download = snapshot_download if how == "plain" else fetch_model
        answer = {"folder": str(download("Qwen/Qwen2.5-0.5B-Instruct", local_dir=folder, **options))}
    except BaseException as error:
        answer = {"error": type(error).__name__, "text": str(error), "cause": type(error.__cause__).__name__}
    print("answer " + json.dumps(answer), flush=True)
"""
both = pytest.mark.parametrize("how", ["plain", "fetch"])
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


class Client:
    """A process with the real client in it."""

    def __init__(self, port, home):
        env = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
        for name in ("MODELSCOPE_API_TOKEN", "MODELSCOPE_DOMAIN", "MODELSCOPE_LOG_LEVEL", "TQDM_DISABLE"):
            env.pop(name, None)
        env.update(
            MODELSCOPE_ENDPOINT=f"http://127.0.0.1:{port}", NO_PROXY="127.0.0.1,localhost", PYTHONUTF8="1",
            MODELSCOPE_CACHE=str(home / "cache"), MODELSCOPE_HOME=str(home / "home"),
            MODELSCOPE_DOWNLOAD_MAX_RETRIES="2", MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS="2",
        )  # fmt: skip
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        root = Path(__file__).resolve().parent.parent
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT], cwd=root, env=env, encoding="utf-8", errors="replace", **pipes
        )

    def read(self, word):
        """The rest of the next line that begins with `word`; a client that hangs is ended after a minute."""
        watch = threading.Timer(60, self.process.kill)
        watch.start()
        line = next((line for line in self.process.stdout if line.startswith(word)), None)
        watch.cancel()
        assert line, "the client ended without an answer"
        return line.removeprefix(word)

    def start(self, how, folder, **options):
        self.process.stdin.write(json.dumps([how, str(folder), options]) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.read("answer "))

    def download(self, how, folder, **options):
        self.start(how, folder, **options)
        return self.answer()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The tiny model, a large file and names that not every hub survives."""
    folder = shutil.copytree(TINY_CHAT, tmp_path_factory.mktemp("source") / "model")
    (folder / "big.bin").write_bytes(random.Random(0).randbytes(SIZE))
    (folder / ODD).write_text("odd", encoding="utf-8")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "sub folder").mkdir()
    (folder / "sub folder" / "inner.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def port(source):
    with FaultyHub({ID: source}) as hub:
        return hub.port


@pytest.fixture
def hub(source, port):
    with FaultyHub({ID: source}, port=port) as hub:
        yield hub


@pytest.fixture(scope="module")
def clients(port, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    clients = [Client(port, home) for _ in range(3)]
    for client in clients:
        client.read("ready")
    yield clients
    for client in clients:
        client.end()


@pytest.fixture
def client(clients):
    return clients[0]


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_identical(folder, source):
    here, there = contents(folder), contents(source)
    assert here.keys() == there.keys()
    assert [path for path in here if here[path] != there[path]] == []


def assert_nothing_wrong(folder, source):
    """No file has the name of one of the model's without its bytes."""
    there = contents(source)
    for path, data in contents(folder).items():
        assert path.endswith(".incomplete") or data == there[path], f"{path} looks whole but is not"


def assert_sentence(answer, cause):
    assert answer["error"] == "FetchError", answer
    text = answer["text"]
    assert "\n" not in text and text.endswith(".") and cause in text and ID in text, text
    assert answer["cause"] != "NoneType"


def wait_for_part(folder, size=1_000_000):
    """Wait until `size` bytes of big.bin are on the disk."""
    part, end = folder / "big.bin.incomplete", time.monotonic() + 20
    while time.monotonic() < end:
        if part.exists() and part.stat().st_size >= size:
            return part
        time.sleep(0.01)
    raise AssertionError("the download did not get far enough")


@both
def test_a_download_is_identical_and_the_second_asks_only_for_the_list(how, hub, client, source, tmp_path):
    assert client.download(how, tmp_path) == {"folder": str(tmp_path)}
    assert_identical(tmp_path, source)
    hub.requests.clear()
    assert client.download(how, tmp_path) == {"folder": str(tmp_path)}
    assert [request.what for request in hub.requests] == ["listing"] * (1 if how == "plain" else 2)


SURVIVED = {
    "cut once": Fault("cut", 2_000_000, times=1),
    "flip once": Fault("flip", 3_000_000, times=1),
    "listing 500 once": Fault("status", 500, "listing", times=1),
    "file 500 once": Fault("status", 500, times=1),
    "file 429 once": Fault("status", 429, times=1),
}


@both
@pytest.mark.parametrize("name", SURVIVED)
def test_survived(name, how, hub, client, source, tmp_path):
    fault = SURVIVED[name]
    hub.faults = [Fault(fault.kind, fault.value, fault.where, fault.times)]
    assert client.download(how, tmp_path) == {"folder": str(tmp_path)}
    assert hub.faults[0].times == 0
    assert_identical(tmp_path, source)
    if name == "cut once":
        assert hub.starts() == [0, 2_000_000]
    if name == "flip once":
        assert hub.starts() == [0, 0]


REFUSED = {  # fault: the plain client's error, words of fetch_model's sentence
    "cut always": (Fault("cut", 200_000), "FileDownloadError", "the connection broke off, again and again"),
    "flip always": (Fault("flip", 3_000_000), "FileDownloadError", "what arrives is not what the hub lists"),
    "wrong size listed": (Fault("size", 1), "FileDownloadError", "do not agree on the size"),
    "wrong size listed, smaller": (Fault("size", -1), "FileDownloadError", "do not agree on the size"),
    "listing 404": (Fault("status", 404, "listing"), "HTTPError", "no model or file of that name"),
    "listing 401": (Fault("status", 401, "listing"), "HTTPError", "the hub wants to know who you are"),
    "listing 403": (Fault("status", 403, "listing"), "HTTPError", "does not give this model or file to you"),
    "listing 500 always": (Fault("status", 500, "listing"), "ServerError", "the hub itself has a fault"),
    "file 404": (Fault("status", 404), "FileDownloadError", "no model or file of that name"),
    "file 401": (Fault("status", 401), "FileDownloadError", "the hub wants to know who you are"),
    "file 403": (Fault("status", 403), "FileDownloadError", "does not give this model or file to you"),
    "file 429 always": (Fault("status", 429), "FileDownloadError", "too many requests"),
    "file 500 always": (Fault("status", 500), "FileDownloadError", "the hub itself has a fault"),
}


@both
@pytest.mark.parametrize("name", REFUSED)
def test_a_clear_error_and_nothing_wrong_left(name, how, hub, client, source, tmp_path):
    fault, error, cause = REFUSED[name]
    hub.faults = [fault]
    answer = client.download(how, tmp_path)
    if how == "plain":
        assert answer.get("error") == error, answer
    else:
        assert_sentence(answer, cause)
        assert error != "FileDownloadError" or answer["text"].startswith(f"big.bin of {ID} could not be downloaded")
    assert_nothing_wrong(tmp_path, source)
    part = tmp_path / "big.bin.incomplete"
    kept = part.stat().st_size if part.exists() else 0
    assert kept == (600_000 if name == "cut always" else 0)

    hub.faults, begun = [], len(hub.starts())
    assert client.download(how, tmp_path) == {"folder": str(tmp_path)}  # the same call again, on a line that is mended
    assert hub.starts()[begun:] == [kept]
    assert_identical(tmp_path, source)


@both
def test_the_hub_dies_and_comes_back(how, source, port, client, tmp_path):
    with FaultyHub({ID: source}, port=port, mbit_per_s=40) as first:
        client.start(how, tmp_path)
        wait_for_part(tmp_path)
    assert 0 < first.requests[-1].sent < SIZE
    time.sleep(0.5)
    with FaultyHub({ID: source}, port=port) as second:
        assert client.answer() == {"folder": str(tmp_path)}
        assert second.starts()[0] >= 1_000_000
    assert_identical(tmp_path, source)


def test_the_hub_dies_for_good(source, port, client, tmp_path):
    with FaultyHub({ID: source}, port=port, mbit_per_s=40):
        client.start("fetch", tmp_path)
        part = wait_for_part(tmp_path)
    assert_sentence(client.answer(), "nothing listens at the hub's address")
    assert_nothing_wrong(tmp_path, source)
    kept = part.stat().st_size
    with FaultyHub({ID: source}, port=port) as second:
        assert client.download("fetch", tmp_path) == {"folder": str(tmp_path)}
        assert second.starts() == [kept]
    assert_identical(tmp_path, source)


def test_no_hub_at_all(port, client, tmp_path):
    start = time.monotonic()
    assert_sentence(client.download("fetch", tmp_path / "new"), "nothing listens at the hub's address")
    assert time.monotonic() - start < 3 and not (tmp_path / "new").exists()


@posix
def test_killed_in_the_middle_then_resumed(hub, port, client, source, tmp_path):
    hub.rate = 4e6  # bytes per second
    victim = Client(port, tmp_path / "victim")
    victim.read("ready")
    victim.start("plain", tmp_path / "plain")
    wait_for_part(tmp_path / "plain")
    victim.process.send_signal(signal.SIGKILL)
    victim.end()
    shutil.copytree(tmp_path / "plain", tmp_path / "fetch")
    hub.rate = None
    for how in ("plain", "fetch"):
        folder = tmp_path / how
        kept = (folder / "big.bin.incomplete").stat().st_size
        assert_nothing_wrong(folder, source)
        hub.requests.clear()
        assert client.download(how, folder) == {"folder": str(folder)}
        [big] = [request for request in hub.requests if request.what == "big.bin"]
        assert (big.status, big.start, big.sent) == (206, kept, SIZE - kept)
        assert_identical(folder, source)


@posix
@both
def test_ctrl_c_then_resumed(how, hub, client, source, tmp_path):
    hub.rate = 4e6
    client.start(how, tmp_path)
    part = wait_for_part(tmp_path)
    client.process.send_signal(signal.SIGINT)
    assert client.answer()["error"] == "KeyboardInterrupt"
    assert_nothing_wrong(tmp_path, source)
    kept = part.stat().st_size
    hub.rate = None
    hub.requests.clear()
    assert client.download(how, tmp_path) == {"folder": str(tmp_path)}
    assert hub.starts() == [kept]
    assert_identical(tmp_path, source)


@both
def test_three_at_once(how, hub, clients, source, tmp_path):
    hub.rate = 8e6
    for client in clients:
        client.start(how, tmp_path)
    assert [client.answer() for client in clients] == [{"folder": str(tmp_path)}] * 3
    assert hub.starts() == [0]  # downloaded once, by the one that had the lock
    assert_identical(tmp_path, source)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB, of which the model needs 10."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small disk can be made by root on Linux only")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk(hub, client, source, small_disk):
    answer = client.download("fetch", small_disk / "model")
    assert_sentence(answer, "the disk is full")
    missing = sum(len(data) for data in contents(source).values()) / 1e6
    assert f"{missing:.1f} MB are missing and only 8.4 MB free" in answer["text"]
    assert list(small_disk.iterdir()) == [] and [request.what for request in hub.requests] == ["listing"]

    answer = client.download("plain", small_disk / "model")  # does not look before it begins
    assert answer["error"] == "FileDownloadError" and "No space left on device" in answer["text"]
    assert_nothing_wrong(small_disk / "model", source)

    kept = {part.stem: part.stat().st_size for part in (small_disk / "model").glob("*.incomplete")}
    assert sum(kept.values()) > 1_000_000
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    hub.requests.clear()
    assert client.download("fetch", small_disk / "model") == {"folder": str(small_disk / "model")}
    assert all(hub.starts(path) == [size] for path, size in kept.items())
    assert_identical(small_disk / "model", source)


def test_a_path_that_leads_out_of_the_folder(hub, client, source, tmp_path):
    hub.models[ID]["../escaped.txt"] = hub.models[ID]["config.json"]
    folder = tmp_path / "fetch" / "model"
    assert_sentence(client.download("fetch", folder), "would be written outside the folder")
    assert not (tmp_path / "fetch").exists()

    folder = tmp_path / "plain" / "model"
    assert client.download("plain", folder) == {"folder": str(folder)}
    # A fact about the client, which the lesson tells. If this fails, it has been mended, and the lesson can say so.
    assert (tmp_path / "plain" / "escaped.txt").read_bytes() == (source / "config.json").read_bytes()


def test_a_list_that_changes_after_it_was_checked(hub, client, source, tmp_path):
    def add_an_escaping_path(request):
        hub.models[ID]["../escaped.txt"] = hub.models[ID]["config.json"]

    hub.report = add_an_escaping_path  # called when the first list has been sent
    folder = tmp_path / "fetch" / "model"
    assert client.download("fetch", folder) == {"folder": str(folder)}
    assert [path.name for path in (tmp_path / "fetch").iterdir()] == ["model"]
    assert_identical(folder, source)


def test_every_sentence_says_that_nothing_is_lost_where_that_is_so(hub, client, tmp_path):
    hub.faults = [Fault("cut", 200_000)]
    assert AGAIN in client.download("fetch", tmp_path)["text"]
