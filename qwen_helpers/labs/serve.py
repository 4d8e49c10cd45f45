"""Server: a model behind an address, for a class. `swift deploy` as a child process that is started, watched and ended.

The address speaks OpenAI's chat API, as vLLM, Ollama and the paid services do. `python -m qwen_helpers serve` serves
until Ctrl-C; with `--host 0.0.0.0` to a room.
"""

import argparse
import atexit
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qwen_helpers.engines.swift import as_text
from qwen_helpers.folder_check import check_folder
from qwen_helpers.folders import TINY_CHAT, find_folder, model_folder
from qwen_helpers.labs.hub import room_address


class Server:
    """A running server. Use it in a `with` block, or call `close()`; it ends with this Python at the latest.

    `url` (".../v1"), `api_key` and `model` are what a client needs; `log` is the file with its output, `process` the
    child. Limits: `serve_process.py`.
    """

    def __init__(self, model_dir=None, host="127.0.0.1", port=None, api_key=None, max_batch_size=8, ready_s=300):
        """Start it with `model_dir` (default: the lessons' model) and wait until it answers, `ready_s` seconds at most.

        `host="0.0.0.0"` opens it to the room. Left out, `port` is a free one and `api_key` a random one, which is the
        safe choice: whoever has the key can use the machine. `max_batch_size` answers are written at the same time.
        Raises ModelFolderError if something is missing in the folder, OSError if the port is in use, and RuntimeError,
        with the end of the log, if the server does not come up.
        """
        folder = check_folder(find_folder(model_folder() if model_dir is None else model_dir))
        self.port = free_port(host, port)
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}/v1"
        self.api_key = api_key or "sk-" + secrets.token_urlsafe(24)
        self.model = f"tiny-{folder.name}" if folder.parent == TINY_CHAT.parent else folder.name
        kind = [word for name, value in as_text(folder).items() for word in (f"--{name}", value)]
        # Not the program `swift`: it starts this one as a child of its own, which lives on when `swift` is ended.
        self.command = [
            sys.executable, "-m", "qwen_helpers.labs.serve_process",
            "--model", str(folder), "--served_model_name", self.model,
            # Else both are guessed from the folder's name. "dummy" is ms-swift's word for the folder's own template.
            *kind, "--template", "dummy",
            "--infer_backend", "transformers", "--max_batch_size", str(max_batch_size),
            "--host", host, "--port", str(self.port),
            "--verbose", "false", "--log_interval", "-1",  # what students write is nobody's business
        ]  # fmt: skip
        own = {"QWEN_SERVER_KEY": self.api_key, "QWEN_SERVER_PARENT": str(os.getpid()), "PYTHONUTF8": "1"}
        # A new file that only this user can read: a fixed name in a shared folder may be somebody else's.
        handle, name = tempfile.mkstemp(prefix="qwen-server-", suffix=".log")
        self.log = Path(name)
        with open(handle, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **own}
            )
        atexit.register(self.close)
        try:
            self._wait(ready_s)
        except BaseException:
            self.close()
            raise

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (served := served_models(self.url)) is None:
            if self.process.poll() is not None or time.monotonic() > end:
                state = f"did not answer within {seconds:.0f} s" if self.process.poll() is None else "ended"
                lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = lines[-1][:300] if lines else "nothing"
                raise RuntimeError(f"The server {state} while it started. The last line of {self.log}: {last}")
            time.sleep(0.1)
        if self.process.poll() is not None or self.model not in served:
            raise OSError(f"Port {self.port} was taken by another program in the meantime: start the server again.")

    def close(self) -> None:
        """End the server. Answers that are being written are cut."""
        atexit.unregister(self.close)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:  # it waits for an open stream
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        state = "running" if self.process.poll() is None else "ended"
        return f"Server({self.model!r} at {self.url}, {state})"  # without the key: outputs are shared


def free_port(host: str, port: int | None = None) -> int:
    """`port` if it is free, or any free one. Raises OSError, in one sentence, if it is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # a port that a server has left is free at once; on Windows this would allow two servers
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port or 0))
        except (OSError, OverflowError) as error:
            raise OSError(
                f"The server cannot listen on {host}, port {port} ({error}): end the program that uses the port, or "
                "leave `port` out for a free one; `host` is 127.0.0.1 for this computer or 0.0.0.0 for a room."
            ) from None
        return probe.getsockname()[1]


def served_models(url: str) -> list[str] | None:
    """The names of the models that the server at `url` offers; None if nothing answers there."""
    import httpx

    try:  # trust_env=False: a proxy in HTTP_PROXY must not be asked for a page of this computer
        answer = httpx.get(f"{url}/models", timeout=5, trust_env=False)
        return [model["id"] for model in answer.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers serve", description="Serve a model to a class.")
    parser.add_argument("model", nargs="?", help="a model folder (default: the one the lessons use)")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for a room (default: this computer only)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max_batch_size", type=int, default=8)
    options = parser.parse_args(arguments)
    key = os.environ.get("QWEN_SERVER_KEY")
    try:
        server = Server(options.model, options.host, options.port, key, options.max_batch_size)
    except RuntimeError as error:  # it has not come up; the sentence says why
        sys.exit(str(error))
    with server:
        address = f"http://{room_address()}:{server.port}/v1" if options.host == "0.0.0.0" else server.url
        print(f"Serving {server.model}. Students write in a notebook:\n\nfrom qwen_helpers import Chat\n")
        print(f'chat = Chat("{address}", api_key="{server.api_key}")\n')
        print("Ctrl-C ends it. The key is a new one each time; set QWEN_SERVER_KEY to choose your own.", flush=True)
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print("\nEnded.")
            return
        sys.exit(f"The server ended by itself: see {server.log}")
