"""Server: a model behind an address, for a class. A child process that is started, watched and ended.

The address speaks OpenAI's chat API, as vLLM, Ollama and the paid services do. `python -m qwen_helpers serve` serves
until Ctrl-C; with `--host 0.0.0.0` to a room.
"""

import argparse
import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qwen_helpers.engines.llama_cpp import convert
from qwen_helpers.folders import TINY_CHAT, find_folder, model_folder
from qwen_helpers.labs.class_list import TEACHER, make_keys, read_keys
from qwen_helpers.labs.hub import room_address
from qwen_helpers.language import _


class Server:
    """A running server. Use it in a `with` block, or call `close()`; it ends with this Python at the latest.

    `url` (".../v1"), `model` and `keys` ({name: key}) are what clients need, `api_key` is the first student's;
    `teacher_key` opens the page `teacher_url`. `log` is the file with its output, `process` the child. What a question
    may say: `question.py`.
    """

    def __init__(
        self, model=None, students=("you",), host="127.0.0.1", port=None, places=8, results=None, engine=None,
        ready_s=300,
    ):  # fmt: skip
        """Start it and wait until it answers, `ready_s` seconds at most.

        `model` is a model folder (default: the lessons' model), which is first written to a GGUF file in 8 bits, or
        such a file. `students` are names, each of which gets a key, or a file of keys from `class_list.make_keys`.
        `host="0.0.0.0"` opens the server to the room; `port` is a free one if left out. `places` answers are written
        at a time. `results` is the SQLite file that keeps what `check` says; left out, it is kept until the end.
        `engine` is the address of a vLLM that runs already, without /v1, if that shall answer; its key is in the
        environment variable QWEN_ENGINE_KEY, and `model` is the name that it gives its model.
        Raises ModelFolderError if the model cannot be served, OSError if the port is in use, and RuntimeError, with
        the end of the log, if the server does not come up.
        """
        self.work = tempfile.TemporaryDirectory(prefix="qwen-server-", ignore_cleanup_errors=True)  # this user's alone
        work = Path(self.work.name)
        file = Path(model_folder() if model is None else model).expanduser()
        if engine:
            self.model, file = str(model), model
        elif file.suffix == ".gguf":
            self.model = file.stem
        else:
            folder = find_folder(file)
            self.model = f"tiny-{folder.name}" if folder.parent == TINY_CHAT.parent else folder.name
            file = convert(folder, work / f"{self.model}.gguf", "q8_0")
        if isinstance(students, str | os.PathLike):
            key_file = Path(students).expanduser()
            keys = read_keys(key_file)
        else:
            key_file = work / "keys.csv"
            keys = make_keys(students, key_file)
        self.teacher_key = keys.pop(TEACHER)
        self.keys, self.api_key = keys, next(iter(keys.values()))
        self.port = free_port(host, port)
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}/v1"
        self.teacher_url = self.url.replace("/v1", "/teacher")
        self.command = [
            sys.executable, "-X", "utf8", "-m", "qwen_helpers.labs.serve_process", str(file), "--name", self.model,
            "--keys", str(key_file), "--results", str(results or work / "results.sqlite"),
            "--host", host, "--port", str(self.port), "--places", str(places),
            *(["--engine", engine] if engine else []),
        ]  # fmt: skip
        self.log = work / "server.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "QWEN_SERVER_PARENT": str(os.getpid())},
            )  # fmt: skip
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
                state = _("did not answer within {seconds:.0f} s").format(seconds=seconds)
                state = state if self.process.poll() is None else _("ended")
                lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = lines[-1][:300] if lines else _("nothing")
                failed = _("The server {state} while it started. The last line of {log}: {last}")
                raise RuntimeError(failed.format(state=state, log=self.log, last=last))
            time.sleep(0.1)
        if self.process.poll() is not None or self.model not in served:
            taken = _("Port {port} was taken by another program in the meantime: start the server again.")
            raise OSError(taken.format(port=self.port))

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
        self.work.cleanup()

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
                _(
                    "The server cannot listen on {host}, port {port} ({error}): end the program that uses the port, "
                    "or leave `port` out for a free one; `host` is 127.0.0.1 for this computer or 0.0.0.0 for a room."
                ).format(host=host, port=port, error=error)
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
    parser = argparse.ArgumentParser(prog="python -m qwen_helpers serve", description=_("Serve a model to a class."))
    parser.add_argument("model", nargs="?", help=_("a model folder or a GGUF file (default: the model of the lessons)"))
    parser.add_argument("--keys", help=_("the file of `python -m qwen_helpers keys`, with a key for each student"))
    parser.add_argument("--results", default="class.sqlite", help=_("keeps what the exercises' check says"))
    parser.add_argument("--host", default="127.0.0.1", help=_("0.0.0.0 for a room (default: this computer only)"))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--places", type=int, default=8, help=_("answers that are written at a time"))
    parser.add_argument(
        "--engine", metavar="URL", help=_("a vLLM that runs already and answers instead; MODEL is its model's name")
    )
    options = parser.parse_args(arguments)
    if options.engine and not options.model:
        parser.error(_("--engine needs the name that the engine gives its model (--served-model-name), before it"))
    students = options.keys or ["you"]
    try:
        server = Server(
            options.model, students, options.host, options.port, options.places, options.results, options.engine
        )
    except RuntimeError as error:  # it has not come up; the sentence says why
        sys.exit(str(error))
    with server:
        here = f"{room_address()}:{server.port}" if options.host == "0.0.0.0" else f"127.0.0.1:{server.port}"
        print(_("Serving {model}. Students write in a notebook:").format(model=server.model))
        print("\nfrom qwen_helpers import Chat\n")
        key = _("THEIR KEY") if options.keys else server.api_key
        print(f'chat = Chat("http://{here}/v1", api_key="{key}")\n')
        teacher = _("in {file}").format(file=options.keys) if options.keys else server.teacher_key
        page = _("Who asks, who waits, who has solved what: {url}; the teacher's key is {teacher}.")
        print(page.format(url=server.teacher_url, teacher=teacher))
        print(_("Ctrl-C ends it."), flush=True)
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print("\n" + _("Ended."))
            return
        last = (server.log.read_text(encoding="utf-8").strip().splitlines() or [_("nothing")])[-1]
        sys.exit(_("The server ended by itself. The last line of its log: {last}").format(last=last))
