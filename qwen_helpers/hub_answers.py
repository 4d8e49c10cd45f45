"""What a hub answers: the few routes that ModelScope's client and huggingface_hub ask for when they download.

Measured with modelscope 1.40 and huggingface_hub 1.33. `hub.py` reads the folders and starts the server.
"""

import hashlib
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1 << 20  # bytes read or sent at once


@dataclass
class Request:
    """One request that a hub has had."""

    client: str  # the address of the computer that asked
    what: str  # "listing", the path of a file in its folder, or the URL that was refused
    status: int  # 200 the whole, 206 a part, 404 not here, 416 no such part
    start: int = 0  # the first byte that was asked for: above 0, a download goes on where it stopped
    size: int = 0  # bytes to send
    sent: int = 0  # bytes sent so far: fewer than `size` in the end if the client was closed


class Answers(BaseHTTPRequestHandler):
    """Answers the requests of one connection, and only GET and HEAD.

    A path in a request never touches the disk: it is looked up among those that the hub found when it started.
    """

    protocol_version = "HTTP/1.1"  # a client may keep its connection, so every answer says how long it is
    disable_nagle_algorithm = True  # else a small file waits 40 ms behind its own headers
    timeout = 60  # seconds without a byte moving, after which the connection is closed
    hub = property(lambda self: self.server.hub)

    def do_GET(self):
        url = urlsplit(self.path)
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

    def listing(self, model, _):
        """ModelScope's list of files; its client compares size and SHA-256 (lower case) with what arrives."""
        files = self.hub.models[model].items()
        entries = [{"Path": path, "Size": f.size, "Sha256": f.sha256, "Type": "blob"} for path, f in files]
        self.json({"Code": 200, "Success": True, "Data": {"Files": entries}}, "listing")

    def tree(self, model, _):
        """Hugging Face's list of files."""
        files = self.hub.models[model].items()
        self.json([{"type": "file", "path": p, "size": f.size, "oid": f.sha256[:40]} for p, f in files], "listing")

    def revision(self, model, _):
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
        self.json({"Code": status, "Success": False, "Message": why}, self.path, status, headers)

    def head(self, status, what, kind, length, headers):
        request = Request(self.client_address[0], what, status)
        self.hub.requests.append(request)
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


class Server(ThreadingHTTPServer):
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
