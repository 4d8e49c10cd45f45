"""V: a server and its client. The client is the real one; servers that refuse stand for real ones (lesson 10)."""

import asyncio
import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = b'{"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "course"}]}'


@contextmanager
def server(status_of, seconds=0):
    """The address of a server that waits, then lists its models or refuses, as `status_of(self)` says."""

    def answer(self):
        time.sleep(seconds)
        status = status_of(self)
        if status == 200:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(MODELS)
        else:
            self.send_error(status)

    handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": answer, "log_message": lambda *_: None})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    running.handle_error = lambda *_: None  # a client that hangs up early
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()


def client(address="http://127.0.0.1:9", **settings):
    """A client of the server at `address`; nothing listens on port 9."""
    import openai

    return openai.OpenAI(base_url=f"{address}/v1", **{"api_key": "EMPTY", "max_retries": 0, "timeout": 5, **settings})


async def serve(port):
    (await asyncio.start_server(lambda *_: None, "127.0.0.1", port)).close()


def raises_V1(the):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        asyncio.run(serve(taken.getsockname()[1]))


def cures_V1(the):
    asyncio.run(serve(0))  # any free port


def raises_V2(the):
    client().models.list()


def cures_V2(the):
    """Ask the port before you ask the model."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 9)) != 0
    with the.hub() as hub, socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", hub.port)) == 0


def raises_V3(the):
    """A proxy that answers 502 to everything catches 127.0.0.1."""
    with server(lambda self: 502) as proxy:
        os.environ["HTTP_PROXY"], os.environ["NO_PROXY"], os.environ["no_proxy"] = proxy, "", ""
        client().models.list()


def cures_V3(the):
    import requests

    with server(lambda self: 502) as proxy, the.hub() as hub:
        os.environ["HTTP_PROXY"], os.environ["NO_PROXY"] = proxy, "127.0.0.1,localhost"
        assert requests.get(hub.url, timeout=5).status_code != 502


def raises_V4(the):
    import openai

    os.environ.pop("OPENAI_API_KEY", None)
    openai.OpenAI(base_url="http://127.0.0.1:9/v1")


def cures_V4(the):
    assert client(api_key="EMPTY").api_key == "EMPTY"


def raises_V5(the):
    import openai

    openai.OpenAI(api_key="EMPTY", proxies={"http": "http://127.0.0.1:9"})


def cures_V5(the):
    import httpx

    assert type(client(http_client=httpx.Client(proxy="http://127.0.0.1:9"))).__name__ == "OpenAI"


def names(address, **settings):
    return [model.id for model in client(address, **settings).models.list()]


def with_a_key():
    return server(lambda self: 200 if self.headers["Authorization"] == "Bearer right" else 401)


def raises_V6(the):
    with with_a_key() as address:
        names(address, api_key="wrong")


def cures_V6(the):
    with with_a_key() as address:
        assert names(address, api_key="right") == ["tiny"]


def with_v1():
    return server(lambda self: 200 if self.path == "/v1/models" else 404)


def raises_V7(the):
    """A path that the server does not know, or a model."""
    with with_v1() as address:
        names(f"{address}/api")


def cures_V7(the):
    """The address ends in /v1, and the name of the model is one of these."""
    with with_v1() as address:
        assert names(address) == ["tiny"] and client(address).base_url.path == "/v1/"


def slow():
    return server(lambda self: 200, seconds=1)


def raises_V8(the):
    with slow() as address:
        names(address, timeout=0.5)


def cures_V8(the):
    with slow() as address:
        assert names(address, timeout=600) == ["tiny"]


def raises_V9(the):
    import openai

    openai.ChatCompletion.create(model="Qwen", messages=the.messages)


def cures_V9(the):
    """Today's call is a method of a client."""
    assert type(client().chat.completions).__name__ == "Completions"
