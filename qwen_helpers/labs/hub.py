"""A hub: serves model folders to ModelScope's client, and to huggingface_hub, on this computer or in a room.

`python -m qwen_helpers hub FOLDER` gives a class one download to share; `with Hub({id: folder}) as hub` is the hub of a
lesson or a test. It serves nothing but the files that it found when it started, and answers the few routes that the two
clients ask for when they download, measured with modelscope 1.40 and huggingface_hub 1.33.
"""

import argparse
import contextlib
import hashlib
import ipaddress
import json
import os
import re
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from urllib.parse import parse_qs, unquote, urlsplit

from qwen_helpers.folder_check import ModelFolderError, check_folder, weight_files
from qwen_helpers.folders import find_folder
from qwen_helpers.language import _

BAR_FROM = 500_000_000  # bytes from which the start shows a progress bar: SHA-256 takes 1 to 4 seconds per GB
CHUNK = 1 << 20  # bytes read or sent at once
KEPT = 1000  # requests that a hub remembers; a client that asks without end must not fill the memory
SHOWN = 200  # letters of an address that was refused; one may have 65,000


@dataclass
class Request:
    """One request that a hub has had."""

    client: str  # the address of the computer that asked
    what: str  # "listing", the path of a file in its folder, or the beginning of the URL that was refused
    status: int  # 200 the whole, 206 a part, 400 no address, 404 not here, 416 no such part, 421 not this computer
    start: int = 0  # the first byte that was asked for: above 0, a download goes on where it stopped
    size: int = 0  # bytes to send
    sent: int = 0  # bytes sent so far: fewer than `size` in the end if the client was closed


class Answers(BaseHTTPRequestHandler):
    """Answers the requests of one connection, and only GET and HEAD.

    A path in a request never touches the disk: it is looked up among those that the hub found when it started.
    """

    protocol_version = "HTTP/1.1"  # a client may keep its connection, so every answer says how long it is
    default_request_version = "HTTP/1.1"  # of a line without one: for HTTP/0.9 an answer 400 would not say that it is
    disable_nagle_algorithm = True  # else a small file waits 40 ms behind its own headers
    timeout = 60  # seconds without a byte moving, after which the connection is closed
    hub = property(lambda self: self.server.hub)

    def parse_request(self):
        """http.server's own reading of a request, which leaves an empty line without an answer."""
        readable = super().parse_request()
        if not readable and not self.requestline.strip():
            self.send_error(400, "an empty line is no request")
        return readable

    def do_GET(self):
        try:
            url = urlsplit(self.path)
        except ValueError:  # http://[bad/x
            return self.refuse(400, "this is no address", "")
        hosts = [url.netloc] if url.netloc else self.headers.get_all("Host", [])
        if len(hosts) != 1 or not (url.netloc or self.path.startswith("/")):
            return self.refuse(400, "a request has one Host header and an address that begins with /", "")
        if not self.hub.is_called(hosts[0]):
            return self.refuse(421, f"this hub is not {hosts[0][:SHOWN]}: ask it by its address in numbers", "")
        query = parse_qs(url.query, keep_blank_values=True)
        for pattern, answer in ROUTES:
            found = re.fullmatch(pattern, unquote(url.path))
            if found and found[1] in self.hub.models:
                path = found[2] if found.re.groups > 1 else query.get("FilePath", [""])[0]
                return getattr(self, answer)(found[1], path)
            if found:
                return self.refuse(404, f"this hub has no model {found[1]}", "RepoNotFound")
        return self.refuse(404, "this hub has only model files", "")

    do_HEAD = do_GET

    def listing(self, model, path):
        """ModelScope's list of files; its client compares size and SHA-256 (lower case) with what arrives."""
        files = self.hub.models[model].items()
        entries = [{"Path": path, "Size": f.size, "Sha256": f.sha256, "Type": "blob"} for path, f in files]
        self.json({"Code": 200, "Success": True, "Data": {"Files": entries}}, "listing")

    def tree(self, model, path):
        """Hugging Face's list of files."""
        files = self.hub.models[model].items()
        self.json([{"type": "file", "path": p, "size": f.size, "oid": f.sha256[:40]} for p, f in files], "listing")

    def revision(self, model, path):
        self.json({"id": model, "sha": self.commit(model)}, "revision")

    def commit(self, model):
        """Stands for a git commit in Hugging Face's protocol: it changes when a file does."""
        sums = "".join(path + file.sha256 for path, file in self.hub.models[model].items())
        return hashlib.sha256(sums.encode()).hexdigest()[:40]

    def file(self, model, path):
        """A file, or with a Range header the part of it that the client still lacks."""
        if path not in self.hub.models[model]:
            return self.refuse(404, f"{model} has no file {path}", "EntryNotFound")
        file = self.hub.models[model][path]
        if file.changed():
            return self.refuse(500, f"{path} has changed on the hub's disk: start the hub again", "")
        headers = {"ETag": f'"{file.sha256}"', "Accept-Ranges": "bytes", "X-Repo-Commit": self.commit(model)}
        part = self.part(file)
        start, end = part or (0, file.size)
        if part and start >= end:
            return self.refuse(416, f"{path} has {file.size} bytes", "", {"Content-Range": f"bytes */{file.size}"})
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        request = self.head(206 if part else 200, path, "application/octet-stream", end - start, headers)
        request.start, request.size = start, end - start
        if self.command == "HEAD":
            return None
        try:
            with file.real.open("rb") as stream:
                self.body(request, stream, end)
        finally:
            self.hub.report(request)
        return None

    def part(self, file):
        """(start, end) of a Range header, end not included; None where the whole file is the right answer."""
        match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", self.headers.get("Range", ""))  # one range, not several
        same = self.headers.get("If-Range") in (None, f'"{file.sha256}"')
        if not match or not any(match.groups()) or not same:
            return None
        first, last = match.groups()
        if not first:  # "-5" means the last five bytes
            return max(0, file.size - int(last)), file.size
        return int(first), min(file.size, int(last) + 1) if last else file.size

    def body(self, request, stream, end):
        """Send the file from `request.start` to `end`; where the system can, the bytes do not pass through Python."""
        position, rate = request.start, self.hub.rate
        stream.seek(position)
        while position < end:
            count = min(max(1, int(rate / 20)) if rate else CHUNK, end - position)  # a slow line: 20 steps per second
            if hasattr(os, "sendfile"):
                count = self.connection.sendfile(stream, position, count)
            else:
                self.wfile.write(stream.read(count))
            if not count:
                raise ConnectionError("the file has become shorter")
            position += count
            request.sent += count
            if rate:
                time.sleep(count / rate)

    def json(self, value, what, status=200, headers=()):
        data = json.dumps(value, ensure_ascii=False).encode()
        request = self.head(status, what, "application/json", len(data), headers)
        request.size = len(data)
        if self.command == "GET":
            request.sent = self.wfile.write(data)
        self.hub.report(request)

    def refuse(self, status, why, code, headers=()):
        """Say no so that both clients understand: ModelScope's reads Message, Hugging Face's X-Error-Code."""
        headers = {**dict(headers), "X-Error-Code": code}
        self.json({"Code": status, "Success": False, "Message": why}, self.path[:SHOWN], status, headers)

    def head(self, status, what, kind, length, headers):
        request = Request(self.client_address[0], what, status)
        self.hub.requests.append(request)
        del self.hub.requests[:-KEPT]
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": length, **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        return request

    def log_message(self, *_):
        """http.server's own lines are left out: `Hub.report` says what was fetched."""


ROUTES = (
    (r"/api/v1/models/([^/]+/[^/]+)/repo/files", "listing"),  # ModelScope
    (r"/api/v1/models/([^/]+/[^/]+)/repo", "file"),
    (r"/api/models/([^/]+/[^/]+)/revision/[^/]+", "revision"),  # Hugging Face
    (r"/api/models/([^/]+/[^/]+)/tree/[^/]+", "tree"),
    (r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", "file"),
)


class HubServer(ThreadingHTTPServer):
    request_queue_size = 128  # a whole class presses Enter at once; the default of 5 would turn some away
    allow_reuse_address = sys.platform != "win32"  # on Windows it would let two hubs share a port

    def __init__(self, *arguments):
        self.connections = set()
        super().__init__(*arguments)

    def server_bind(self):
        TCPServer.server_bind(self)  # HTTPServer's own looks up the host's name, which takes seconds without a network

    def get_request(self):
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # an OSError is a client that was closed, which is no fault here
            super().handle_error(request, client_address)


class Hub:
    """Serve `folders`, {model id: folder}, from `with` to its end; any folder that `find_folder` takes.

    `port=0` takes a free port. `mbit_per_s` holds every connection back, to show what a slow line does. `url` is what
    MODELSCOPE_ENDPOINT (for huggingface_hub HF_ENDPOINT) is set to. Every `Request` is given to `report` when it has
    ended, and the newest `KEPT` are in `requests`.

    Every file is read once at the start, for its SHA-256. Raises ModelFolderError for a folder that is not whole,
    ValueError for an id that is none, OSError for a host or port that this computer cannot offer.
    """

    answers = Answers

    def __init__(self, folders, host="127.0.0.1", port=0, mbit_per_s=None, report=lambda request: None):
        self.report, self.rate = report, mbit_per_s and mbit_per_s * 1e6 / 8  # rate: bytes per second
        self.requests, self.models = [], {}
        own = socket.gethostname().lower()
        self.names = {"localhost", host.lower(), own, f"{own}.local"}
        for name, folder in folders.items():
            if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
                wrong = _("{name!r} is no model id: write Owner/Name, such as Qwen/Qwen2.5-0.5B-Instruct.")
                raise ValueError(wrong.format(name=name))
            self.models[name] = read_folder(check_folder(find_folder(folder)))
        try:
            self.server = HubServer((host, port), self.answers)
        except (OSError, OverflowError) as error:
            raise OSError(
                _(
                    "The hub cannot listen on {host}, port {port} ({error}): choose another port, and as host "
                    "127.0.0.1 for this computer only or 0.0.0.0 for a room."
                ).format(host=host, port=port, error=error)
            ) from None
        self.server.hub = self
        self.port = self.server.server_address[1]
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}"

    def is_called(self, host):
        """Whether `host`, as a client's Host header has it, means this computer: a name of its own, or any numbers.

        A page in a student's browser can let its own name lead to the hub (DNS rebinding) and would then read all that
        is served; but the browser still sends that name. Numbers lead nowhere else. They need not be this computer's:
        behind a container or a virtual machine the room knows the hub by those of the machine around it.
        """
        name = re.sub(r":\d*$", "", host).lower()
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name in self.names
        return True

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
                _(
                    "{file} is a link that leads out of the folder, as in Hugging Face's cache, and is not served: "
                    "give a folder that holds the files themselves, such as lesson 2 downloads with local_dir."
                ).format(file=file)
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
    import psutil

    cards = [address for card in psutil.net_if_addrs().values() for address in card]  # a room without a router
    found = [a.address for a in cards if a.family == socket.AF_INET and not a.address.startswith("127.")]
    return found[0] if found else "127.0.0.1"


def for_the_room(address, port):
    """The lines that students paste, each for another terminal."""
    url = f"http://{address}:{port}"
    run = _("Students run one of these lines, then start Python or Jupyter in the same terminal:")
    why = _("NO_PROXY keeps a proxy out of the way. If they get no answer, let port {port} through your firewall.")
    return f"""{run}
  Linux, macOS   export MODELSCOPE_ENDPOINT={url} NO_PROXY={address}
  PowerShell     $env:MODELSCOPE_ENDPOINT="{url}"; $env:NO_PROXY="{address}"
  Windows cmd    set "MODELSCOPE_ENDPOINT={url}" & set "NO_PROXY={address}"
{why.format(port=port)}"""


def print_request(request):
    """Print who fetched what."""
    if request.status in (200, 206) and request.what not in ("listing", "revision"):
        how = _("resumed at {start:,.1f} MB").format(start=request.start / 1e6)
        how = how if request.start else _("from the beginning")
        how += _(", then cut off") if request.sent < request.size else ""
        print(f"{request.client:<15} {request.what}  {request.sent / 1e6:,.1f} MB, {how}", flush=True)
    elif "/repo/files" in request.what or request.status in (421, 500):
        refused = _("{client:<15} was refused ({status}): {what!a}")  # a: any console
        print(refused.format(client=request.client, status=request.status, what=request.what), flush=True)


def id_and_folder(argument):
    """(id, folder) of what stands on the command line: ID=FOLDER, or FOLDER, whose name follows "Qwen/"."""
    name, equals, path = argument.partition("=")
    if equals and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and not Path(argument).exists():
        return name, path
    path = Path(find_folder(argument)).resolve()
    if path.parent.name == "snapshots":  # ModelScope's cache: Qwen--Qwen2.5-0.5B-Instruct/snapshots/master
        return path.parent.parent.name.replace("--", "/"), argument
    return f"Qwen/{path.name.replace('___', '.')}", argument  # Qwen2___5 in its cache of 2024


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers hub", description=_("Serve model folders to a room."))
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help=_("a model folder, or ID=FOLDER"))
    parser.add_argument("--host", default="127.0.0.1", help=_("0.0.0.0 for a room (default: this computer only)"))
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args(arguments)
    pairs = [id_and_folder(argument) for argument in options.folders]
    folders = dict(pairs)
    if len(folders) < len(pairs):
        raise ValueError(_("Two of the folders have the same id: name them apart, as in Qwen/another=FOLDER."))
    with contextlib.suppress(KeyboardInterrupt), Hub(folders, options.host, options.port, report=print_request) as hub:
        for name, files in hub.models.items():
            size = sum(file.size for file in files.values()) / 1e6
            print(_("{name}: {count} files, {size:,.1f} MB").format(name=name, count=len(files), size=size))
        if options.host in ("127.0.0.1", "localhost"):
            here = _("Serving on {url}, for this computer only; --host 0.0.0.0 is for a room. Ctrl-C ends it.")
            print(here.format(url=hub.url))
        else:
            print(for_the_room(room_address() if options.host == "0.0.0.0" else options.host, hub.port))
            print(_("Serving. Ctrl-C ends it."), flush=True)
        while True:
            time.sleep(1)
    print("\n" + _("Ended."))
