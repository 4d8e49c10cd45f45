"""The process of a class's server, which `serve.py` starts: gateway and engine together, so that neither outlives the
other. The engine is llama.cpp's server in threads of this process, or with `--engine` another program."""

import argparse
import logging
import os
import threading

import psutil
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from qwen_helpers.labs.class_list import Results, read_keys
from qwen_helpers.labs.gateway import READ_S, Gateway
from qwen_helpers.labs.question import MAX_TOKENS
from qwen_helpers.labs.room_engine import Engine

MAX_PROMPT = int(os.environ.get("QWEN_SERVER_MAX_PROMPT", 2048))  # tokens of all messages together


class Impatient(H11Protocol):
    """uvicorn's protocol, for which a connection without a whole request may stay open for ever."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.loop.call_later(READ_S, lambda: self.cycle or transport.close())


def end_with(process: psutil.Process) -> None:
    """End this server as soon as `process` has ended, a notebook's kernel for instance, however that ended."""
    process.wait()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="a GGUF file; with --engine the name that the engine gives its model")
    for name in ("name", "keys", "results", "host", "engine"):
        parser.add_argument(f"--{name}")
    for name in ("port", "places"):
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if parent := os.environ.get("QWEN_SERVER_PARENT"):
        threading.Thread(target=end_with, args=(psutil.Process(int(parent)),), daemon=True).start()
    if options.engine:
        engine, most = Engine(options.engine, os.environ.get("QWEN_ENGINE_KEY", ""), options.model), MAX_PROMPT
    else:
        from qwen_helpers.engines.llama_cpp import start

        server = start(options.model, MAX_PROMPT + MAX_TOKENS, options.places)
        engine = Engine(server.url, server.key, options.name)
        # Half of a model's context at least, if that is short: a long answer then ends where the context does.
        most = min(MAX_PROMPT, max(server.context - MAX_TOKENS, server.context // 2))
        engine.penalty = "repeat_penalty"
    gateway = Gateway(engine, options.name, read_keys(options.keys), Results(options.results), options.places, most)
    uvicorn.run(
        gateway.app, host=options.host, port=options.port, http=Impatient, log_config=None, access_log=False,
        headers=[("connection", "close")], server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
