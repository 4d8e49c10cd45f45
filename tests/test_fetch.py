"""fetch_model and the list of downloads, without the network; test_download_faults.py has the real client."""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from faulty_hub import Fault, FaultyHub

from qwen_helpers import download
from qwen_helpers import folders as module
from qwen_helpers.download import FetchError, fetch_model, site_answers
from qwen_helpers.folders import TINY_CHAT, delete, downloads
from qwen_helpers.troubles import catalogue, first_that_fits

ID = "Qwen/Qwen2.5-0.5B-Instruct"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def hub(alone, monkeypatch):
    """A hub with the tiny model under the name of a real one, and an empty current folder."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with FaultyHub({ID: TINY_CHAT}) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def client(monkeypatch):
    """Stands in for modelscope: notes its arguments, and does what `client.does` says."""
    client = types.SimpleNamespace(calls=[], does=lambda **options: shutil.copytree(TINY_CHAT, options["local_dir"]))

    def snapshot_download(model_id, **options):
        client.calls.append((model_id, options))
        client.does(**options)

    monkeypatch.setitem(sys.modules, "modelscope", types.SimpleNamespace(snapshot_download=snapshot_download))
    return client


def sentence(*arguments, **options):
    with pytest.raises(FetchError) as caught:
        fetch_model(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text and text.endswith("."), text
    return text


def test_the_folder_and_what_the_client_is_asked_for(hub, client, alone):
    folder = fetch_model(ID, max_workers=2)
    assert folder.absolute() == alone / "models" / "Qwen2.5-0.5B-Instruct"
    [(name, options)] = client.calls
    assert (name, options["endpoint"], options["max_workers"]) == (ID, hub.url, 2)
    assert sorted(options["allow_patterns"]) == sorted(path.name for path in TINY_CHAT.iterdir())


def test_patterns_choose_files(hub, client):
    client.does = lambda **options: [(Path(options["local_dir"]) / p).write_text("{}") for p in wanted]
    wanted = ["config.json"]
    (folder := Path("some")).mkdir()
    for path in wanted:
        hub.models[ID][path] = hub.models[ID][path].__class__(TINY_CHAT / path, 2, 0, "")
    fetch_model(ID, folder, allow_patterns="*.json", ignore_patterns=["t*", "v*", "args.json", "gen*"])
    assert client.calls[0][1]["allow_patterns"] == ["config.json"]


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/x", "//host/x", "C:/x", "C:x", "..\\x", "a\\..\\..\\x", "a//x", "..", "x/..",
     "a\nb", "a:b"],
)  # fmt: skip
def test_a_path_that_escapes_is_refused_before_anything_is_written(hub, client, alone, path):
    hub.models[ID][path] = hub.models[ID]["config.json"]
    assert "leads out of the folder" in sentence(ID)
    assert client.calls == [] and not (alone / "models").exists()


def test_odd_names_that_stay_inside_are_taken(hub, client):
    for path in ("文件 #1+x%20.txt", "sub folder/..x", "[a]*?.txt"):
        hub.models[ID][path] = hub.models[ID]["config.json"]
    assert "is not there" in sentence(ID)  # since the stand-in does not bring them
    assert "[[]a][*][?].txt" in client.calls[0][1]["allow_patterns"]


def test_a_full_disk_is_seen_before_the_download(hub, client, alone, monkeypatch):
    total = sum(file.size for file in hub.models[ID].values())
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=total - 1))
    text = sentence(ID)
    assert f"{total / 1e6:,.1f} MB are missing and only" in text and "the disk is full; make room" in text
    assert client.calls == []
    folder = alone / "models" / "Qwen2.5-0.5B-Instruct"
    folder.mkdir(parents=True)
    (folder / "model.safetensors.incomplete").write_bytes(b"1")  # what is there already need not fit again
    client.does = lambda **options: shutil.copytree(TINY_CHAT, folder, dirs_exist_ok=True)
    assert fetch_model(ID).absolute() == folder


def test_the_result_is_checked(hub, client):
    def short(local_dir, **_):
        shutil.copytree(TINY_CHAT, local_dir)
        (Path(local_dir) / "vocab.json").write_text("{}")

    client.does = short
    assert re.search(
        r"vocab.json has 2 bytes instead of the \d+ that the hub lists\): the hub's list and", sentence(ID)
    )


def test_a_model_that_cannot_be_loaded_is_told(hub, client):
    del hub.models[ID]["model.safetensors"]

    def without_weights(local_dir, **_):
        shutil.copytree(TINY_CHAT, local_dir)
        (Path(local_dir) / "model.safetensors").unlink()

    client.does = without_weights
    assert "has arrived as the hub lists it, but" in (text := sentence(ID)) and "holds no weights" in text


@pytest.mark.parametrize("name", ["", "Qwen", "Qwen/", "../x", "a/..", "a/b/c", "https://modelscope.cn/models/Qwen/x"])
def test_a_bad_id(hub, name):
    assert "is no model id" in sentence(name) and hub.requests == []


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ({"Data": {"Files": []}}, "not a hub for models"),
        ({"Data": None}, "not a hub for models"),
        ({"Data": {"Files": [{"Name": "x"}]}}, "not a hub for models"),
        (["x"], "not a hub for models"),
        ("<html>Log in</html>", "not a hub for models"),
    ],
)
def test_what_is_not_a_hub(hub, client, monkeypatch, value, cause):
    def answer(handler, *_):
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        handler.head(200, "listing", "text/html", len(data), {})
        handler.wfile.write(data)

    monkeypatch.setattr(hub.answers, "listing", answer)
    assert cause in sentence(ID) and client.calls == []


def test_a_bare_list_without_sizes_is_enough(hub, client, monkeypatch):
    entries = [{"Path": path} for path in hub.models[ID]] + [{"Path": "folder", "Type": "tree"}]
    monkeypatch.setattr(hub.answers, "listing", lambda handler, *_: handler.json({"Data": entries}, "bare"))
    assert fetch_model(ID).is_dir()


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        ("http://127.0.0.1:9", "nothing listens at the hub's address"),
        ("127.0.0.1:8765", "the hub's address is not one"),
    ],
)
def test_addresses_that_do_not_answer(alone, client, monkeypatch, endpoint, cause):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", endpoint)
    start = time.monotonic()
    assert cause in sentence(ID)
    assert not site_answers() and time.monotonic() - start < 20


def test_a_name_that_is_not_known(alone, client, monkeypatch):
    def getaddrinfo(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert "name is not known here, so this computer is offline" in sentence(ID, endpoint="http://some.example")


def test_a_proxy_that_is_dead(alone, client, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "the proxy in HTTP_PROXY or HTTPS_PROXY refuses" in sentence(ID, endpoint="http://192.0.2.1:8765")


def test_a_secure_connection_to_a_hub_that_has_none(hub, client):
    assert "the secure connection fails" in sentence(ID, endpoint=hub.url.replace("http:", "https:"))


@pytest.fixture
def silent():
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_nobody_waits_for_a_site_that_is_silent(silent, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    start = time.monotonic()
    assert not site_answers(silent, timeout=0.5)
    assert time.monotonic() - start < 1.5


def test_nobody_waits_for_a_name_that_is_not_found(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20) and [])
    start = time.monotonic()
    assert not site_answers("http://some.example", timeout=0.5)
    assert time.monotonic() - start < 1.5
    release.set()


def test_a_hub_that_answers(hub, silent):
    assert site_answers() and site_answers(hub.url)
    hub.faults = [Fault("status", 500, "listing", times=2)]
    assert site_answers()


def test_the_variable_is_read_as_it_is_now(alone, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:1/")
    assert download.endpoint_in_use() == "http://127.0.0.1:1"
    monkeypatch.delenv("MODELSCOPE_ENDPOINT")
    assert download.endpoint_in_use() == "https://modelscope.cn"


def test_the_stop_button_passes(hub, client):
    def stop(**_):
        raise KeyboardInterrupt

    client.does = stop
    with pytest.raises(KeyboardInterrupt):
        fetch_model(ID)


def test_the_clients_own_error_is_kept_as_the_cause(hub, client):
    def fail(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    client.does = fail
    with pytest.raises(FetchError, match="the folder cannot be written; give a local_dir inside") as caught:
        fetch_model(ID)
    assert isinstance(caught.value.__cause__, OSError)


def test_patterns_that_match_nothing_download_nothing(hub, client, alone):
    """An empty list of files would make the client download all of them."""
    text = sentence(ID, allow_patterns="*.gguf")
    assert "no file matches {'allow_patterns': '*.gguf'" in text and "nothing was downloaded" in text
    assert "leave none of the files" in sentence(ID, ignore_patterns=["*"])
    assert "leave none of the files" in sentence(ID, allow_patterns=[])
    assert client.calls == [] and not (alone / "models").exists()


def test_a_misspelt_option_is_no_trouble_of_the_line(hub, alone, monkeypatch):
    """With the real client, which knows its options."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_worker'"):
        fetch_model(ID, max_worker=1)
    assert not (alone / "models").exists()


def test_troubles_are_complete_and_in_order():
    troubles = catalogue("fetch_model")
    assert len({trouble.id for trouble in troubles}) == len(troubles) and troubles[-1].id == "unknown"
    for trouble in troubles:
        for text in (trouble.cause, trouble.cure):
            assert text and not text.endswith((".", ";")) and "\n" not in text
    assert first_that_fits("fetch_model", "ValueError: something new") is None


@pytest.mark.parametrize(
    ("error", "id"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
        (OSError(22, "There is not enough space on the disk"), "disk-full"),
        (PermissionError(errno.EACCES, "Permission denied"), "not-writable"),
        (TimeoutError("no answer within 10 seconds"), "slow"),
        (ValueError("invalid literal for int() with base 10: 'ERROR'"), "log-level"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "cut"),
    ],
)
def test_troubles_of_errors(error, id):
    assert first_that_fits("fetch_model", f"{type(error).__name__}: {error}").id == id


# ---- caches ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(alone, monkeypatch):
    """Models in every place and layout, and things beside them that are none."""
    monkeypatch.setattr(module, "course_root", lambda: alone / "repository")
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)

    def put(path):
        return shutil.copytree(TINY_CHAT, alone / path)

    put("models/local")
    put("models/models/Qwen--in-models/snapshots/master")
    put("repository/notebooks/models/from-a-lesson")
    put("cache/models/Qwen--new/snapshots/master")
    put("cache/models/Qwen/Qwen2___5-old")
    put("cache/hub/Qwen/older")
    (put("models/cut") / "model.safetensors").rename(alone / "models/cut/model.safetensors.incomplete")
    (put("models/wrong") / "model.safetensors").write_bytes(b"short")
    hf = alone / "home/.cache/huggingface/hub/models--Qwen--hf"
    put("home/.cache/huggingface/hub/models--Qwen--hf/snapshots/0123")
    (hf / "blobs").mkdir()
    (hf / "blobs/0abc.incomplete").write_bytes(bytes(1000))
    (alone / "models/my notes").mkdir()
    (alone / "models/my notes/thesis.txt").write_text("mine")
    (alone / "models/my--thesis").mkdir()
    (alone / "models/my--thesis/thesis.txt").write_text("mine")
    put("models/local/checkpoint-100")  # part of another model
    put("elsewhere")
    return alone


def test_caches_lists_every_layout_and_what_is_not_whole(disk):
    found = {cached.name: cached for cached in downloads()}
    whole = {"local", "Qwen/in-models", "from-a-lesson", "Qwen/new", "Qwen/Qwen2.5-old", "Qwen/older", "Qwen/hf"}
    assert found.keys() == whole | {"cut", "wrong"}
    assert {name for name in found if not found[name].problem} == whole
    assert "half downloaded" in found["cut"].problem and "cut off in its first bytes" in found["wrong"].problem
    weights = (TINY_CHAT / "model.safetensors").stat().st_size
    assert (found["cut"].half, found["Qwen/hf"].half, found["local"].half) == (weights, 1000, 0)
    size = sum(file.stat().st_size for file in TINY_CHAT.iterdir())
    assert found["Qwen/hf"].bytes == size + 1000 and found["local"].bytes == 2 * size, "with its checkpoint"
    assert found["Qwen/new"].path == disk / "cache/models/Qwen--new"


def test_only_what_is_listed_and_named_is_deleted(disk):
    before = {cached.path for cached in downloads()}
    size = next(cached.bytes for cached in downloads() if cached.name == "Qwen/new")
    assert delete(disk / "cache/models/Qwen--new") == size
    assert delete("models/cut") > 0  # counted from the current folder
    assert {cached.path for cached in downloads()} == before - {disk / "cache/models/Qwen--new", disk / "models/cut"}


@pytest.mark.parametrize(
    "path",
    ["elsewhere", "models", "models/my notes", "models/my--thesis", "models/local/checkpoint-100", ".", "..", "",
     "models/none", "cache/models", "cache/models/Qwen", "cache/models/Qwen--new/snapshots/master",
     "models/local/config.json", "local", "models/*", "repository"],
)  # fmt: skip
def test_nothing_else_is_deleted(disk, path):
    before = sorted(disk.rglob("*"))
    with pytest.raises(ValueError, match=r"is not one of the downloaded models, so nothing was deleted: .*\.$"):
        delete(path)
    assert sorted(disk.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_neither_listed_nor_followed(disk):
    (disk / "models/link").symlink_to(disk / "elsewhere")
    assert disk / "models/link" not in [cached.path for cached in downloads()]
    (disk / "models/local/link").symlink_to(disk / "elsewhere")
    with pytest.raises(ValueError):
        delete("models/link")
    delete("models/local")
    assert (disk / "elsewhere/config.json").is_file() and not (disk / "models/local").exists()


def test_the_command_lists_and_deletes(disk):
    def run(*arguments):
        command = [sys.executable, "-m", "qwen_helpers", "downloads", *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        return subprocess.run(command, cwd=disk, env=env, capture_output=True, encoding="utf-8", timeout=60)

    listed = run().stdout
    assert str(disk / "models/local") in listed and "not whole: model.safetensors in" in listed and "in all" in listed
    assert "MB are free again" in run("--delete", str(disk / "models/local")).stdout
    assert not (disk / "models/local").exists()
    refused = run("--delete", str(disk / "models/local"))
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1


def test_an_empty_disk(alone, monkeypatch):
    monkeypatch.setattr(module, "course_root", lambda: alone / "repository")
    monkeypatch.setenv("HF_HUB_CACHE", str(alone))
    assert downloads() == []


def test_these_modules_import_neither_torch_nor_modelscope():
    code = "import sys, qwen_helpers.labs.hub, qwen_helpers.download, qwen_helpers.folders\n"
    code += "print({'torch', 'modelscope'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
