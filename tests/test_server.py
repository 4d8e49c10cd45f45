"""A server for a class: the same answers as on one's own machine, clear sentences. Attacks: test_gateway.py."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time

import openai
import psutil
import pytest
from engine_checks import GREETING, answers_every_dialogue_word_for_word, keeps_two_chats_apart

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.engines.server import ServerEngine, ServerError
from qwen_helpers.labs.class_list import make_keys
from qwen_helpers.labs.serve import Server, served_models
from qwen_helpers.thoughts import Thought

STORY = "讲一个长故事。"


@pytest.fixture(scope="module")
def server():
    with Server(TINY_CHAT) as server:
        yield server


@pytest.fixture(scope="module")
def engine(server):
    return ServerEngine(server.url, server.api_key)


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url, api_key=server.api_key, max_retries=0)


def ask(client, server, **settings):
    hello = {"model": server.model, "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}
    return client.chat.completions.create(**{**hello, **settings})


def test_all_dialogues_of_the_course_are_answered_word_for_word(engine):
    answers_every_dialogue_word_for_word(engine)


def test_two_chats_at_once_are_kept_apart(engine):
    keeps_two_chats_apart(engine)


def test_chat_takes_an_address(server):
    chat = Chat(server.url, api_key=server.api_key, do_sample=False)
    assert chat.ask("Hello!") == GREETING and len(chat.history) == 2
    assert (chat.reply.finish_reason, chat.reply.prompt_tokens, chat.reply.completion_tokens) == ("stop", 33, 27)
    chat.ask("Hello!", max_new_tokens=5)
    assert (chat.reply.finish_reason, chat.reply.completion_tokens) == ("length", 5)


def test_the_chat_box_takes_it_too(engine):
    from qwen_helpers.chat_box import ChatBox

    box = ChatBox(Chat(engine=engine, do_sample=False))
    box.ask("Hello!")
    box.thread.join(30)
    assert box.chat.history[-1]["content"] == GREETING
    assert "tiny-chat" in box.children[0].value and "27 tokens" in box.status.value


def test_an_answer_that_nobody_reads_on_leaves_no_turn(engine):
    chat = Chat(engine=engine, do_sample=False)
    pieces = chat.stream(STORY)
    next(pieces)
    pieces.close()
    assert chat.history == [] and chat.ask("Hello!") == GREETING


def test_other_ways_in_are_closed(server):
    import httpx

    head = {"Authorization": f"Bearer {server.api_key}"}
    root = server.url.removesuffix("/v1")
    for path in ("/infer/", "/completion", "/slots", "/props", "/v1/embeddings", "/apply-template", "/metrics"):
        answer = httpx.post(f"{root}{path}", json={}, headers=head)
        assert answer.status_code == 404 and "offers /v1/chat/completions only" in answer.text


def test_the_key_is_in_no_log_and_no_list_of_processes(server):
    assert server.api_key not in server.log.read_text(encoding="utf-8") + repr(server)
    assert server.api_key not in " ".join(psutil.Process(server.process.pid).cmdline())
    assert "Hello!" not in server.log.read_text(encoding="utf-8"), "what students write is nobody's business"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a user's temporary folder to himself")
def test_log_keys_and_results_are_this_user_s_own(server):
    """A name that can be guessed, in a folder that all users share, may be somebody else's file."""
    assert server.log.parent.stat().st_mode & 0o077 == 0
    assert {file.name for file in server.log.parent.iterdir()} >= {"server.log", "keys.csv", "results.sqlite"}


def test_it_listens_to_this_computer_only(server):
    sockets = psutil.Process(server.process.pid).net_connections("inet")
    assert {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_wrong_key_is_one_sentence(server):
    chat = Chat(server.url, api_key="sk-wrong")
    with pytest.raises(ServerError, match=r"does not accept the key: pass its own, api_key="):
        chat.ask("Hello!")
    assert chat.history == []


def test_a_server_that_is_not_there_is_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match="does not answer: start it, or check the address and the port"):
        Chat(f"http://127.0.0.1:{port}/v1")


def test_a_port_in_use_is_one_sentence(server):
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {server.port} .*end the program that uses"):
        Server(TINY_CHAT, port=server.port)


def test_a_proxy_in_the_environment_does_not_catch_this_computer(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert Chat(server.url, api_key=server.api_key, do_sample=False).ask("Hello!") == GREETING
    assert served_models(server.url) == [server.model]


class Stub:
    """A server that answers as a test wants, and remembers what it was asked."""

    def __init__(self, answer):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(200, {"data": [{"id": "m", "object": "model"}], "object": "list"})

            def do_POST(self):
                asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                answer(self)

            def reply(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, *chunks):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                for chunk in chunks:
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.flush()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def chunk(text, reason=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}], "usage": None}


def test_settings_get_the_names_of_the_api():
    stub = Stub(lambda handler: handler.stream(chunk("Hi"), chunk("", "stop")))
    chat = Chat(stub.url, enable_thinking=False, top_k=5, temperature=0.3, do_sample=True, max_new_tokens=7)
    assert chat.ask("Hello!") == "Hi"
    sent = stub.asked[0]
    assert (sent["max_tokens"], sent["temperature"], sent["top_k"]) == (7, 0.3, 5)
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert sent["messages"] == [{"role": "user", "content": "Hello!"}] and "do_sample" not in sent
    chat.ask("Again?", do_sample=False)
    assert stub.asked[1]["temperature"] == 0 and len(stub.asked[1]["messages"]) == 3
    with pytest.raises(ValueError, match="no setting min_new_tokens"):
        chat.ask("Hello!", min_new_tokens=5)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_that_the_server_sends_apart_stay_apart(name):
    def thought(text):
        return {"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}], "usage": None}

    stub = Stub(lambda h: h.stream(thought("\nOne, "), thought("two."), chunk("\n\nThree"), chunk("!", "stop")))
    chat = Chat(stub.url)
    pieces = list(chat.stream("How many?"))
    assert [piece for piece in pieces if isinstance(piece, Thought)] == ["One,", " two.", "\n\n"]
    assert chat.reply.thoughts == "One, two." and chat.history[1]["content"] == "Three!"
    stub = Stub(lambda h: h.stream(thought("One."), chunk("Three"), thought("four"), chunk("!", "stop")))
    assert Chat(stub.url).ask("How many?") == "Three!", "a later thought is no part of the answer"
    stub = Stub(lambda h: h.stream(thought("One, "), thought("two."), {**chunk("", "length")}))
    chat = Chat(stub.url)
    assert chat.ask("How many?") == "" and chat.history == [] and chat.reply.thoughts == "One, two."


def test_a_server_that_cannot_list_its_models_needs_a_name():
    stub = Stub(lambda h: h.stream(chunk("Hi", "stop")))
    stub.server.RequestHandlerClass.do_GET = lambda h: h.reply(500, {})
    assert Chat(engine=ServerEngine(stub.url, model="m")).ask("Hello!") == "Hi"
    with pytest.raises(ServerError, match="refuses"):
        ServerEngine(stub.url)


BROKEN = {
    "cut": (lambda h: h.stream(chunk("Half an ans")), "broke off in the middle of the answer"),
    "proxy": (lambda h: h.reply(502, {}), "a proxy answers .502.: add the server's address to .* NO_PROXY"),
    "stuck": (lambda h: time.sleep(1.5), "silent for too long"),
    "said": (lambda h: h.reply(422, {"message": "no such thing"}), "refuses: no such thing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_goes_wrong_on_the_way_is_one_sentence(name):
    answer, sentence = BROKEN[name]
    stub = Stub(answer)
    chat = Chat(engine=ServerEngine(stub.url, timeout=1))
    chat.history = before = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(ServerError, match=sentence):
        chat.ask("Hello!")
    assert chat.history == before and len(stub.asked) == 1, "asked once, and nothing half-done in the history"


def test_a_model_that_is_not_offered():
    with pytest.raises(ServerError, match=r"offers \['m'\], and not 'x'"):
        ServerEngine(Stub(None).url, model="x")


def test_a_server_that_cannot_start_says_why(tmp_path, monkeypatch):
    (tmp_path / "uvicorn.py").write_text("raise ImportError('no uvicorn today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="ended while it started.*no uvicorn today"):
        Server(TINY_CHAT)


def test_it_ends_with_the_program_that_started_it():
    """Even if that was killed and could not clean up."""
    start = "from qwen_helpers.labs.serve import Server; print(Server('tiny').process.pid, flush=True)"
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    done = subprocess.run([sys.executable, "-c", f"{start}; {kill}"], capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout, done.stderr
    end = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not psutil.pid_exists(int(done.stdout))


def test_killed_in_mid_answer_and_back_again(tmp_path):
    keys = make_keys(["Lin"], tmp_path / "class.csv")
    server = Server(TINY_CHAT, students=tmp_path / "class.csv")
    chat = Chat(server.url, api_key=keys["Lin"], do_sample=False)
    chat.ask("Hello!")
    pieces = chat.stream("What is a token?")
    next(pieces)
    server.process.kill()
    with pytest.raises(ServerError, match="broke off in the middle of the answer: ask again"):
        list(pieces)
    assert len(chat.history) == 2 and chat.history[1]["content"] == GREETING
    with pytest.raises(ServerError, match="does not answer"):
        chat.ask(STORY)
    server.close()
    with Server(TINY_CHAT, tmp_path / "class.csv", port=server.port):
        assert len(chat.ask(STORY)) > 100 and len(chat.history) == 4
