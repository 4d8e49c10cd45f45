"""A hub: serves model folders to ModelScope's client, and to huggingface_hub, on this computer or in a room.

`python -m qwen_helpers.hub FOLDER` gives a class one download to share; `with Hub({id: folder}) as hub` is the hub of a
lesson or a test. It serves nothing but the files that it found when it started; `hub_answers.py` holds the protocol.
"""

import argparse
import contextlib
import hashlib
import re
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from qwen_helpers.folders import ModelFolderError, check_folder, weight_files
from qwen_helpers.hub_answers import CHUNK, Answers, Server
from qwen_helpers.models import find_folder

BAR_FROM = 500_000_000  # bytes from which the start shows a progress bar: SHA-256 takes 1 to 4 seconds per GB


class Hub:
    """Serve `folders`, {model id: folder}, from `with` to its end; any folder that `find_folder` takes.

    `port=0` takes a free port. `mbit_per_s` holds every connection back, to show what a slow line does. `url` is what
    MODELSCOPE_ENDPOINT (for huggingface_hub HF_ENDPOINT) is set to. Every `Request` is kept in `requests` and, when it
    has ended, given to `report`.

    Every file is read once at the start, for its SHA-256. Raises ModelFolderError for a folder that is not whole,
    ValueError for an id that is none, OSError for a host or port that this computer cannot offer.
    """

    answers = Answers

    def __init__(self, folders, host="127.0.0.1", port=0, mbit_per_s=None, report=lambda request: None):
        self.report, self.rate = report, mbit_per_s and mbit_per_s * 1e6 / 8  # rate: bytes per second
        self.requests, self.models = [], {}
        for name, folder in folders.items():
            if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
                raise ValueError(f"{name!r} is no model id: write Owner/Name, such as Qwen/Qwen2.5-0.5B-Instruct.")
            self.models[name] = read_folder(check_folder(find_folder(folder)))
        try:
            self.server = Server((host, port), self.answers)
        except (OSError, OverflowError) as error:
            raise OSError(
                f"The hub cannot listen on {host}, port {port} ({error}): choose another port, and as host 127.0.0.1 "
                "for this computer only or 0.0.0.0 for a room."
            ) from None
        self.server.hub = self
        self.port = self.server.server_address[1]
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}"

    def start(self):
        """Serve from now on, in a thread; `with` does it, too. Returns the hub."""
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop at once, in the middle of a file too."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.server.connections):
            with contextlib.suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class File:
    """A file as it was when the hub started."""

    real: Path  # where it is, all links followed
    size: int  # bytes
    time: int  # of its last change, in nanoseconds
    sha256: str

    def changed(self):
        """Whether the file is another one by now, so that clients would wait for bytes that cannot be right."""
        try:
            now = self.real.stat()
        except OSError:
            return True
        return (now.st_size, now.st_mtime_ns) != (self.size, self.time)


def read_folder(folder):
    """{path as the listing shows it: `File`} of all that is served from a folder.

    Left out are hidden files (.git), half downloaded ones (*.incomplete) and links that lead out of the folder.
    Raises ModelFolderError if that leaves out config.json or weights.
    """
    from tqdm.auto import tqdm

    root, found = folder.resolve(), {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".incomplete"):
        real, path = file.resolve(), file.relative_to(folder)
        if root in real.parents and not any(part[0] == "." for part in path.parts + real.relative_to(root).parts):
            found[path.as_posix()] = real
    for file in (folder / "config.json", *weight_files(folder)):
        if file.relative_to(folder).as_posix() not in found:
            raise ModelFolderError(
                f"{file} is a link that leads out of the folder, as in Hugging Face's cache, and is not served: "
                "give a folder that holds the files themselves, such as lesson 2 downloads with local_dir."
            )
    total = sum(real.stat().st_size for real in found.values())
    with tqdm(total=total, unit="B", unit_scale=True, desc=f"SHA-256, {folder.name}", disable=total < BAR_FROM) as bar:
        return {path: _read_file(real, bar) for path, real in found.items()}


def _read_file(real, bar):
    state, digest = real.stat(), hashlib.sha256()
    with real.open("rb") as stream:
        while data := stream.read(CHUNK):
            digest.update(data)
            bar.update(len(data))
    return File(real, state.st_size, state.st_mtime_ns, digest.hexdigest())


def room_address():
    """This computer's address in the local network. Nothing is sent: connecting a UDP socket only chooses a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # an address kept for documentation
        return probe.getsockname()[0]
    cards = [address for card in psutil.net_if_addrs().values() for address in card]  # a room without a router
    found = [a.address for a in cards if a.family == socket.AF_INET and not a.address.startswith("127.")]
    return found[0] if found else "127.0.0.1"


def for_the_room(address, port):
    """The lines that students paste, each for another terminal."""
    url = f"http://{address}:{port}"
    return f"""Students run one of these lines, then start Python or Jupyter in the same terminal:
  Linux, macOS   export MODELSCOPE_ENDPOINT={url} NO_PROXY={address}
  PowerShell     $env:MODELSCOPE_ENDPOINT="{url}"; $env:NO_PROXY="{address}"
  Windows cmd    set "MODELSCOPE_ENDPOINT={url}" & set "NO_PROXY={address}"
NO_PROXY keeps a proxy out of the way. If they get no answer, let port {port} through this computer's firewall."""


def show(request):
    """Print who fetched what."""
    if request.status in (200, 206) and request.what not in ("listing", "revision"):
        how = f"resumed at {request.start / 1e6:,.1f} MB" if request.start else "from the beginning"
        how += ", then cut off" if request.sent < request.size else ""
        print(f"{request.client:<15} {request.what}  {request.sent / 1e6:,.1f} MB, {how}", flush=True)
    elif "/repo/files" in request.what or request.status == 500:
        print(f"{request.client:<15} was refused ({request.status}): {request.what[:200]!r}", flush=True)


def model_id(folder):
    """(id, folder) of what stands on the command line: ID=FOLDER, or FOLDER, whose name follows "Qwen/"."""
    name, equals, path = folder.partition("=")
    if equals and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and not Path(folder).exists():
        return name, path
    path = Path(find_folder(folder)).resolve()
    if path.parent.name == "snapshots":  # ModelScope's cache: Qwen--Qwen2.5-0.5B-Instruct/snapshots/master
        return path.parent.parent.name.replace("--", "/"), folder
    return f"Qwen/{path.name.replace('___', '.')}", folder  # Qwen2___5 in its cache of 2024


def main():
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers.hub", description="Serve model folders to a room.")
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a model folder, or ID=FOLDER")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for a room (default: this computer only)")
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    pairs = [model_id(folder) for folder in options.folders]
    folders = dict(pairs)
    if len(folders) < len(pairs):
        raise ValueError("Two of the folders have the same id: name them apart, as in Qwen/another=FOLDER.")
    with Hub(folders, options.host, options.port, report=show) as hub:
        for name, files in hub.models.items():
            print(f"{name}: {len(files)} files, {sum(file.size for file in files.values()) / 1e6:,.1f} MB")
        if options.host in ("127.0.0.1", "localhost"):
            print(f"Serving on {hub.url}, for this computer only; --host 0.0.0.0 is for a room. Ctrl-C ends it.")
        else:
            print(for_the_room(room_address() if options.host == "0.0.0.0" else options.host, hub.port))
            print("Serving. Ctrl-C ends it.", flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # our own sentences
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("\nEnded.")
