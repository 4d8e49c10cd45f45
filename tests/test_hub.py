"""The hub: what it serves, what it never serves, and forty clients at once."""

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from qwen_helpers.folder_check import ModelFolderError
from qwen_helpers.folders import TINY_CHAT
from qwen_helpers.labs.hub import (
    CHUNK,
    KEPT,
    SHOWN,
    Hub,
    Request,
    for_the_room,
    id_and_folder,
    print_request,
    room_address,
)
from qwen_helpers.tools import measure_hub

ID = "Qwen/Qwen2.5-0.5B-Instruct"
ROOT = Path(__file__).resolve().parent.parent
ODD = "文件 #1+x%20.txt"
posix = pytest.mark.skipif(os.name == "nt", reason="needs links or signals as Linux and macOS have them")


@pytest.fixture
def folder(tmp_path):
    """The tiny model, with more files beside it that a test may change."""
    folder = shutil.copytree(TINY_CHAT, tmp_path / "outer" / "model")
    (folder / "digits.txt").write_text("0123456789")
    (folder / ODD).write_text("odd", encoding="utf-8")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "sub folder").mkdir()
    (folder / "sub folder" / "inner.json").write_text("{}")
    return folder


@pytest.fixture
def hub(folder):
    with Hub({ID: folder}) as hub:
        yield hub


def get(hub, path, method="GET", connection=None, **headers):
    """(status, headers, body) of one request; `path` is sent as it stands."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def file_url(path):
    return f"/api/v1/models/{ID}/repo?Revision=master&FilePath={quote(path, safe='')}"


def listed(hub):
    status, _, body = get(hub, f"/api/v1/models/{ID}/repo/files?Revision=master&Recursive=True")
    assert status == 200
    return {entry["Path"]: entry for entry in json.loads(body)["Data"]["Files"]}


def test_every_listed_file_is_served_with_its_size_and_sum(hub, folder):
    files = listed(hub)
    assert {"config.json", "empty.txt", ODD, "sub folder/inner.json"} <= files.keys()
    for path, entry in files.items():
        for url in (file_url(path), f"/{ID}/resolve/main/{quote(path)}"):  # ModelScope, Hugging Face
            status, headers, body = get(hub, url)
            assert (status, body) == (200, (folder / path).read_bytes())
            assert int(headers["Content-Length"]) == len(body) == entry["Size"]
            assert hashlib.sha256(body).hexdigest() == entry["Sha256"] == headers["ETag"].strip('"')
            assert "Content-Range" not in headers


@pytest.mark.parametrize(
    ("asked", "status", "body", "range_"),
    [
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=2-400", 206, b"23456789", "bytes 2-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=4-2", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("pages=1-2", 200, b"0123456789", None),
        ("bytes=" + "9" * 5000 + "-", 200, b"0123456789", None),
    ],
)
def test_ranges(hub, asked, status, body, range_):
    found = get(hub, file_url("digits.txt"), Range=asked)
    assert found[0] == status and found[1]["Content-Range"] == range_
    if body is not None:
        assert found[2] == body


def test_a_resume_of_another_version_gets_the_whole(hub):
    tag = get(hub, file_url("digits.txt"), "HEAD")[1]["ETag"]
    assert get(hub, file_url("digits.txt"), Range="bytes=7-", If_Range=tag)[2] == b"789"
    assert get(hub, file_url("digits.txt"), Range="bytes=7-", If_Range='"other"')[2] == b"0123456789"


def test_one_connection_carries_many_requests(hub):
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.connect()
    own = connection.sock
    for path in ("digits.txt", "missing.txt", "empty.txt", "digits.txt"):
        get(hub, file_url(path), connection=connection)
        assert get(hub, file_url(path), "HEAD", connection=connection)[2] == b""
    assert connection.sock is own
    assert [request.sent for request in hub.requests if request.what == "digits.txt"] == [10, 0, 10, 0]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(hub, folder, method):
    before = (folder / "digits.txt").read_bytes()
    assert get(hub, file_url("digits.txt"), method)[0] == 501
    assert (folder / "digits.txt").read_bytes() == before


def raw(hub, line, *headers):
    """(status, body) of what is answered to a request line and headers as they stand, in bytes."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as client:
        client.sendall(b"\r\n".join([line, *headers, b"Connection: close", b"", b""]))
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert status, f"no status in {answer[:80]!r}"
    return int(status[1]), answer.partition(b"\r\n\r\n")[2]


MALFORMED = [
    b"", b"   ", b"GARBAGE", b"GET", b"GET / HTTP/1.1 more", b"GET / HTTP/abc", b"GET /x", b"POST /x",
    b"GET http://[bad/x HTTP/1.1", b"HEAD http://[bad/x HTTP/1.1", b"GET http://[::1/x HTTP/1.1",
    b"GET http://x]/ HTTP/1.1", b"GET foo HTTP/1.1", b"GET mailto:x HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\xfc", b"\xff\xfe",
]  # fmt: skip


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_request_line_is_answered_with_400(hub, capfd, line):
    host = [] if line == b"GET /x" else [b"Host: 127.0.0.1"]  # HTTP/0.9 had none
    assert raw(hub, line, *host)[0] == 400
    assert get(hub, file_url("digits.txt"))[2] == b"0123456789"
    assert capfd.readouterr() == ("", "")  # no traceback


OWN_NAMES = ["127.0.0.1", "localhost", "LocalHost:8765", "192.168.1.20:80", "[::1]:8765", "{name}", "{name}.local:1"]
FOREIGN = [
    "rebound.example", "rebound.example:8765", "127.0.0.1.rebound.example", "localhost.rebound.example", "0x7f.1",
    "x@127.0.0.1", "127.0.0.1@x", "127.0.0.1/x", "127.0.0.1, x", "[::1", "", ":80", "b\xfcro.example",
]  # fmt: skip


@pytest.mark.parametrize("host", OWN_NAMES)
@pytest.mark.parametrize("way", ["header", "address"])  # a proxy is sent the whole address in the request line
def test_the_hub_answers_to_its_own_names(hub, host, way):
    host = host.format(name=socket.gethostname()).encode()
    target = b"http://" + host if way == "address" else b""
    line = b"GET " + target + file_url("digits.txt").encode() + b" HTTP/1.1"
    assert raw(hub, line, b"Host: " + (host if way == "header" else b"ignored.example")) == (200, b"0123456789")


@pytest.mark.parametrize("host", FOREIGN)
def test_a_page_that_has_its_own_name_lead_here_reads_nothing(hub, host):
    """DNS rebinding: the browser takes the page's name for this computer's, and sends it as Host."""
    for line in (file_url("digits.txt"), f"/api/v1/models/{ID}/repo/files", f"/{ID}/resolve/main/digits.txt"):
        status, body = raw(hub, f"GET {line} HTTP/1.1".encode(), b"Host: " + host.encode("latin-1"))
        assert status == 421 and b"0123456789" not in body and b"config.json" not in body
    assert json.loads(body)["Message"] == f"this hub is not {host}: ask it by its address in numbers"


def test_a_request_names_its_host_once(hub):
    line = f"GET {file_url('digits.txt')} HTTP/1.1".encode()
    assert raw(hub, line)[0] == 400
    assert raw(hub, line, b"Host: 127.0.0.1", b"Host: rebound.example")[0] == 400
    line = f"GET http://rebound.example{file_url('digits.txt')} HTTP/1.1".encode()
    assert raw(hub, line, b"Host: 127.0.0.1")[0] == 421  # the address counts


def test_the_name_that_was_given_as_host_is_its_own(folder, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Teacher-PC")
    with Hub({ID: folder}, "localhost") as hub:
        assert raw(hub, b"GET / HTTP/1.1", b"Host: localhost:80")[0] == 404
        assert raw(hub, b"GET / HTTP/1.1", b"Host: teacher-pc:80")[0] == 404
        assert raw(hub, b"GET / HTTP/1.1", b"Host: pupil-pc:80")[0] == 421


def test_what_it_remembers_does_not_grow(hub):
    """A client that asks for long addresses without end: at most KEPT requests are kept, and a short piece of each."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    for number in range(KEPT + 50):
        assert get(hub, f"/{number}/" + 20_000 * "x", connection=connection)[0] == 404
    assert get(hub, file_url("digits.txt"))[0] == 200
    assert [len(hub.requests), hub.requests[0].what[:4], hub.requests[-1].what] == [KEPT, "/51/", "digits.txt"]
    assert max(len(request.what) for request in hub.requests) == SHOWN
    connection.close()
    end = time.monotonic() + 5
    while hub.server.connections and time.monotonic() < end:
        time.sleep(0.01)
    assert not hub.server.connections


OUTSIDE = [
    "../secret.txt", "..", "/etc/passwd", "sub folder/../../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt",
    "..\\secret.txt", "./digits.txt", "sub folder", "", ".git/config", "half.bin.incomplete", "link.txt",
    "linked/secret.txt", "inner link.txt", "C:/secret.txt", "//secret.txt", "digits.txt\x00.json",
]  # fmt: skip


@pytest.fixture
def full_folder(folder):
    """A folder with all that must not be served."""
    (folder.parent / "secret.txt").write_text("secret")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / "half.bin.incomplete").write_text("secret")
    (folder / "half.bin").write_text("here")
    if os.name != "nt":
        (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
        (folder / "linked").symlink_to(folder.parent)
        (folder / "inner link.txt").symlink_to(folder / ".git" / "config")
        (folder / "good link.txt").symlink_to("digits.txt")
        (folder / "loop").symlink_to("loop")
    return folder


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_else_is_served(full_folder, path):
    with Hub({ID: full_folder}) as hub:
        assert path not in listed(hub)
        raw = path.replace(" ", "%20").replace("\x00", "%00").replace("\\", "%5c")
        for url in (file_url(path), f"/api/v1/models/{ID}/repo?FilePath={raw}", f"/{ID}/resolve/main/{raw}"):
            status, _, body = get(hub, url)
            assert status == 404 and b"secret" not in body.replace(b"secret.txt", b"")
            assert get(hub, url, Range="bytes=0-")[0] == 404
        assert get(hub, f"/{raw}")[0] == 404


@posix
def test_a_link_within_the_folder_is_served(full_folder):
    with Hub({ID: full_folder}) as hub:
        assert get(hub, file_url("good link.txt"))[2] == b"0123456789"


@posix
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_of_links_is_refused(folder, name):
    shutil.move(folder / name, folder.parent / "blob")
    (folder / name).symlink_to(folder.parent / "blob")
    with pytest.raises(ModelFolderError, match=rf"{name} is a link that leads out .*: give a folder that holds"):
        Hub({ID: folder})


def test_a_folder_that_is_not_whole_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ModelFolderError, match="holds no config.json"):
        Hub({ID: folder})


@pytest.mark.parametrize("name", ["", "Qwen", "../x", "a/b/c", "Qwen/..", "Qwen/a b", "Qwen/a?b"])
def test_a_bad_id_is_refused(folder, name):
    with pytest.raises(ValueError, match=r"is no model id: write Owner/Name, .*\.$"):
        Hub({name: folder})


def test_a_taken_port_and_a_foreign_host_are_refused(hub, folder):
    for host, port in (("127.0.0.1", hub.port), ("192.0.2.1", 0), ("127.0.0.1", 70000)):
        with pytest.raises(OSError, match=r"The hub cannot listen on .*: choose another port, .*\.$"):
            Hub({ID: folder}, host, port)


def test_a_file_that_changed_is_not_sent(hub, folder):
    (folder / "digits.txt").write_text("012345678")
    (folder / ODD).unlink()
    for path in ("digits.txt", ODD):
        status, _, body = get(hub, file_url(path))
        assert status == 500 and "start the hub again" in json.loads(body)["Message"]


def test_other_models_are_refused_in_the_clients_words(hub):
    status, headers, body = get(hub, "/api/v1/models/Qwen/Other/repo/files?Revision=master")
    assert status == 404 and headers["X-Error-Code"] == "RepoNotFound"
    assert json.loads(body)["Message"] == "this hub has no model Qwen/Other"


def test_two_models_at_once(hub, folder):
    with Hub({ID: folder, "Qwen/tiny": "tiny"}) as two:
        assert len(two.models["Qwen/tiny"]) < len(two.models[ID])
        assert get(two, f"/api/v1/models/Qwen/tiny/repo?FilePath={quote(ODD)}")[0] == 404


def test_after_its_end_nobody_is_served(folder):
    with Hub({ID: folder}) as hub:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
        assert get(hub, file_url("digits.txt"), connection=connection)[0] == 200
    with pytest.raises((OSError, http.client.HTTPException)):  # nor on a connection that is still open
        get(hub, file_url("digits.txt"), connection=connection)
    with pytest.raises(OSError):
        get(hub, file_url("digits.txt"))


@pytest.mark.parametrize("sendfile", [True, False])
def test_a_client_that_goes_away_is_no_news(folder, capfd, monkeypatch, sendfile):
    if not sendfile:
        monkeypatch.delattr(os, "sendfile", raising=False)  # as on Windows
    (folder / "big.bin").write_bytes(bytes(30_000_000))
    with Hub({ID: folder}) as hub:
        with socket.create_connection(("127.0.0.1", hub.port)) as client:
            client.sendall(f"GET {file_url('big.bin')} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert client.recv(1000)
        assert len(get(hub, file_url("big.bin"))[2]) == 30_000_000
    assert hub.requests[0].sent < hub.requests[0].size == 30_000_000 == hub.requests[1].sent
    assert capfd.readouterr() == ("", "")


def test_a_file_is_never_held_in_memory(folder, monkeypatch):
    monkeypatch.delattr(os, "sendfile", raising=False)  # as on Windows, where the bytes pass through Python
    (folder / "big.bin").write_bytes(bytes(30_000_000))
    with Hub({ID: folder}) as hub:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
        tracemalloc.start()
        connection.request("GET", file_url("big.bin"))
        answer = connection.getresponse()
        while answer.read(1 << 16):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * CHUNK  # of 30 MB


def test_a_slow_line(folder):
    (folder / "big.bin").write_bytes(bytes(500_000))
    with Hub({ID: folder}, mbit_per_s=8) as hub:
        start = time.monotonic()
        assert len(get(hub, file_url("big.bin"))[2]) == 500_000
        assert 0.4 < time.monotonic() - start < 3  # 0.5 s at 1 MB/s


@pytest.mark.slow
def test_a_file_of_1_gib_is_resumed(folder):
    with (folder / "large.bin").open("wb") as stream:  # mostly a hole, which takes no room on the disk
        stream.truncate(2**30 - 4)
        stream.seek(0, os.SEEK_END)
        stream.write(b"tail")
    with Hub({ID: folder}) as hub:
        status, headers, body = get(hub, file_url("large.bin"), Range=f"bytes={2**30 - 1_000_000}-")
    assert (status, len(body), body[-4:]) == (206, 1_000_000, b"tail")
    assert headers["Content-Range"] == f"bytes {2**30 - 1_000_000}-{2**30 - 1}/{2**30}"


def test_hugging_faces_client(hub, folder, tmp_path):
    code = f"import huggingface_hub; huggingface_hub.snapshot_download({ID!r}, local_dir={str(tmp_path / 'hf')!r})"
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "NO_PROXY": "127.0.0.1",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
    }
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, timeout=60)
    for path in listed(hub):
        assert (tmp_path / "hf" / path).read_bytes() == (folder / path).read_bytes()


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def command():
    """Call it with arguments to start `python -m qwen_helpers hub`; what still runs after the test is ended."""
    started = []

    def start(*arguments):
        line = [sys.executable, "-m", "qwen_helpers", "hub", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
        started.append(subprocess.Popen(line, cwd=ROOT, env={**os.environ, "PYTHONUTF8": "1"}, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@posix
def test_the_command_says_who_fetched_what_and_ends_at_ctrl_c(folder, command):
    process = command(f"{ID}={folder}", "--port", 0)
    lines = [process.stdout.readline() for _ in range(2)]
    assert re.fullmatch(rf"{ID}: \d+ files, [\d.]+ MB\n", lines[0])
    port = int(re.match(r"Serving on http://127.0.0.1:(\d+), for this computer only", lines[1])[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    get(None, file_url("tokenizer.json"), connection=connection)
    get(None, file_url("tokenizer.json"), connection=connection, Range="bytes=100000-")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 0
    size = (folder / "tokenizer.json").stat().st_size / 1e6
    assert output.splitlines() == [
        f"127.0.0.1       tokenizer.json  {size:.1f} MB, from the beginning",
        f"127.0.0.1       tokenizer.json  {size - 0.1:.1f} MB, resumed at 0.1 MB",
        "",
        "Ended.",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no/such/folder"], "There is no folder"),
        (["tiny", "--host", "192.0.2.1"], "The hub cannot listen on 192.0.2.1, port 8765"),
        (["Qwen/chat=tiny", "tiny"], "Two of the folders have the same id"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments, sentence, command):
    process = command(*arguments)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == 1 and output.count("\n") == 1 and sentence in output


def test_ids_on_the_command_line(tmp_path):
    new = tmp_path / "models" / "Qwen--Qwen3-0.6B" / "snapshots" / "master"
    old = tmp_path / "Qwen" / "Qwen2___5-0___5B"
    for place in (new, old):
        place.mkdir(parents=True)
    assert id_and_folder(str(new)) == ("Qwen/Qwen3-0.6B", str(new))
    assert id_and_folder(str(old)) == ("Qwen/Qwen2.5-0.5B", str(old))
    assert id_and_folder(f"me/mine={old}") == ("me/mine", str(old))
    assert id_and_folder("tiny") == ("Qwen/chat", "tiny")


def test_a_room_gets_lines_to_paste():
    text = for_the_room("192.168.1.5", 8765)
    assert "export MODELSCOPE_ENDPOINT=http://192.168.1.5:8765 NO_PROXY=192.168.1.5\n" in text
    assert '$env:MODELSCOPE_ENDPOINT="http://192.168.1.5:8765"' in text
    assert 'set "MODELSCOPE_ENDPOINT=http://192.168.1.5:8765"' in text


def test_the_address_in_the_room_is_one_of_this_computers(monkeypatch):
    own = {address.address for card in psutil.net_if_addrs().values() for address in card}
    assert room_address() in own

    class NoRoute(socket.socket):
        def connect(self, address):
            raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "socket", NoRoute)
    assert room_address() in own


def test_what_is_printed(capsys):
    print_request(Request("10.0.0.7", "model.safetensors", 206, 20_000_000, 988_000_000, 988_000_000))
    print_request(Request("10.0.0.7", "model.safetensors", 200, 0, 988_000_000, 3_000_000))
    print_request(Request("10.0.0.7", "/api/v1/models/Qwen/Other/repo/files?Revision=master", 404))
    print_request(Request("10.0.0.7", "/api/v1/models/Qwen/Other/repo?FilePath=\x1b[2J文件", 421))
    print_request(Request("10.0.0.7", "listing", 200))
    print_request(Request("10.0.0.7", "/api/v1/repos/internalAccelerationInfo", 404))
    assert capsys.readouterr().out.splitlines() == [
        "10.0.0.7        model.safetensors  988.0 MB, resumed at 20.0 MB",
        "10.0.0.7        model.safetensors  3.0 MB, from the beginning, then cut off",
        "10.0.0.7        was refused (404): '/api/v1/models/Qwen/Other/repo/files?Revision=master'",
        r"10.0.0.7        was refused (421): '/api/v1/models/Qwen/Other/repo?FilePath=\x1b[2J\u6587\u4ef6'",
    ]


# ---- a class ---------------------------------------------------------------------------------------------------------

CLIENT = """
import sys
from modelscope import snapshot_download
print("ready", flush=True)
sys.stdin.readline()
snapshot_download(sys.argv[1], local_dir=sys.argv[2])
"""


@pytest.mark.slow
def test_forty_clients_at_once(folder, tmp_path, command):
    """Three are ModelScope's client, the others plain HTTP: forty of the first would take 10 GB of memory."""
    data = os.urandom(50_000_000)
    (folder / "big.bin").write_bytes(data)
    server = command(f"{ID}={folder}", "--port", 0)
    server.stdout.readline()
    port = int(re.search(r":(\d+),", server.stdout.readline())[1])
    threading.Thread(target=server.stdout.read, daemon=True).start()
    clients, peak, done = [], [0], threading.Event()
    for number in range(3):
        env = {**os.environ, "MODELSCOPE_ENDPOINT": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1"}
        env |= {"MODELSCOPE_CACHE": str(tmp_path / f"c{number}"), "MODELSCOPE_HOME": str(tmp_path / f"h{number}")}
        env.pop("MODELSCOPE_API_TOKEN", None)
        arguments = [sys.executable, "-c", CLIENT, ID, str(tmp_path / f"real{number}")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        clients.append(subprocess.Popen(arguments, env=env, **pipes))
    for client in clients:
        assert client.stdout.readline() == "ready\n"

    def watch():
        process = psutil.Process(server.pid)
        while not done.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.02)

    def plain(_):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", file_url("big.bin"))
        answer, digest = connection.getresponse(), hashlib.sha256()
        while part := answer.read(1 << 18):
            digest.update(part)
        return digest.hexdigest()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(37) as pool:
            sums = pool.map(plain, range(37))
            for client in clients:
                client.stdin.write("\n")
                client.stdin.flush()
            assert list(sums) == [hashlib.sha256(data).hexdigest()] * 37
        for number, client in enumerate(clients):
            assert client.wait(timeout=60) == 0
            for file in folder.rglob("*"):
                copy = tmp_path / f"real{number}" / file.relative_to(folder)
                assert file.is_dir() or copy.read_bytes() == file.read_bytes()
    finally:
        done.set()
        watcher.join()
        server.kill()
        for client in clients:
            client.kill()
            client.communicate()
        server.wait()
        server.stdout.close()
    print(f"peak memory of the hub: {peak[0] / 1e6:.0f} MB")
    assert peak[0] < 150_000_000


# ---- the measurement -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_measuring_against_nginx(capsys):
    if not shutil.which("curl") or not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")):
        pytest.skip("nginx or curl is not installed")
    result = measure_hub.hub_beside_nginx(gigabytes=0.02, rounds=2)
    assert set(result) == {"gigabytes", "rounds", "hub_mb_per_s", "nginx_mb_per_s", "ratio"}
    assert result["ratio"] > 0.1 and "ratio" in capsys.readouterr().out


def test_measuring_without_nginx(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SystemExit, match="needs nginx and curl"):
        measure_hub.hub_beside_nginx()
