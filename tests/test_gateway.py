"""The class's server under attack: who has a key may not stop it, slow it down for others, or read what is not his."""

import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import psutil
import pytest
from engine_checks import GREETING

from qwen_helpers import TINY_CHAT, Chat
from qwen_helpers.engines.server import ServerError
from qwen_helpers.labs.class_list import TEACHER, Results, main, make_keys, read_keys
from qwen_helpers.labs.class_load import ANSWERS, SHORT, class_plan, run_class, summary
from qwen_helpers.labs.serve import Server
from qwen_helpers.labs.serve import main as serve
from qwen_helpers.tools.measure_class import resident

CLIENT = httpx.Client(trust_env=False)  # one: making a client takes longer than an answer
STORY = "讲一个长故事。"
NAMES = [f"student {number}" for number in range(40)]
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x"


@pytest.fixture(scope="module")
def server():
    with Server(TINY_CHAT, NAMES) as server:
        yield server


@pytest.fixture(scope="module")
def good(server):
    """The student who does nothing wrong, and asks beside all others."""
    return Chat(server.url, api_key=server.keys[NAMES[0]], do_sample=False)


def body(server, **settings):
    return {"model": server.model, "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, **settings}


def post(server, who=1, timeout=60, **settings):
    head = {"Authorization": f"Bearer {server.keys[NAMES[who]]}"}
    content = settings.pop("content", None) or json.dumps(body(server, **settings))
    return CLIENT.post(f"{server.url}/chat/completions", content=content, headers=head, timeout=timeout)


def said(answer) -> str:
    """The refusal's sentence; a failure of the test if there is none."""
    assert 400 <= answer.status_code < 500, answer.text
    sentence = answer.json()["error"]["message"]
    assert "Traceback" not in sentence and "\n" not in sentence and len(sentence) < 400
    return sentence


def seconds(good) -> float:
    start = time.perf_counter()
    assert good.ask("Hello!") == GREETING
    good.history = []
    return time.perf_counter() - start


def question(text):
    return {"messages": [{"role": "user", "content": text}]}


REFUSED = {
    "a template of one's own": ({"chat_template_kwargs": {"chat_template": ENDLESS}}, "kwargs.chat_template'"),
    "a template as a field": ({"chat_template": ENDLESS}, "takes no 'chat_template'"),
    "a file": ({"images": ["/etc/passwd"]}, "takes no 'images'"),
    "a picture": (question([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]), "takes text only"),
    "a number": (question(3), "takes text only"),
    "truncation": ({"chat_template_kwargs": {"truncation": True, "max_length": 5}}, "truncation'"),
    "probabilities": ({"logprobs": True, "top_logprobs": -1}, "takes no 'logprobs'"),
    "padding": ({"chat_template_kwargs": {"padding": "max_length"}}, "padding'"),
    "many answers": ({"n": 40}, "takes no 'n'"),
    "a grammar": ({"grammar": 'root ::= "a"*'}, "takes no 'grammar'"),
    "a schema": ({"response_format": {"type": "json_schema"}}, "takes no 'response_format'"),
    "a slot": ({"id_slot": 0}, "takes no 'id_slot'"),
    "a long answer": ({"max_tokens": 10_000}, "max_tokens: it should be less than or equal to 512 and not 10000"),
    "no answer": ({"max_tokens": 0}, "max_tokens: it should be greater than or equal to 1"),
    "an answer without end": ({"max_tokens": -1}, "max_tokens"),
    "no penalty": ({"repetition_penalty": 0.0}, "repetition_penalty: it should be greater than or equal to 0.5"),
    "a hot one": ({"temperature": 99}, "temperature: it should be less than or equal to 2"),
    "a huge prompt": (question("word " * 3000), "3034 tokens long; this server takes 2048 tokens"),
    "far too long": (question("word " * 20_000), "far too long"),
    "a megabyte": (question("word " * 250_000), "larger than 400 kB"),
    "nothing": ({"messages": []}, "messages: List should have at least 1 item"),
    "another model": ({"model": "another"}, "has the model 'tiny-chat' and no other"),
    "a stop as long as a book": ({"stop": "x" * 10_000}, "stop"),
    "a tool with a pattern": (
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {
            "x": {"type": "string", "pattern": "(a*)*b"}}}}}]}, "pattern'"),
    "a role": ({"messages": [{"role": "root", "content": "x"}]}, "messages.0.role"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_on_the_list_is_refused_in_one_sentence(server, name, stream):
    wish, sentence = REFUSED[name]
    assert sentence in said(post(server, stream=stream, **wish))


def test_refused_wishes_take_nobodys_turn_and_no_memory(server, good):
    usual, before = max(seconds(good) for _ in range(5)), resident(server.process)
    stop = threading.Event()

    def attack(number):
        wishes = list(REFUSED.values())
        while not stop.is_set():
            said(post(server, 1 + number % 3, **random.choice(wishes)[0]))

    with ThreadPoolExecutor(6) as attackers:
        attacks = [attackers.submit(attack, number) for number in range(6)]
        waits = []
        for _ in range(20):
            time.sleep(0.1)
            waits.append(seconds(good))
        stop.set()
        for each in attacks:
            each.result()
    assert sorted(waits)[10] < max(2 * usual, 0.5) and resident(server.process) - before < 200e6
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log and "word word" not in log


def test_keys(server):
    key = server.keys[NAMES[1]]
    for wrong in ("x", "sk-wrong", key[:-1], key + "x", key.upper(), "ключ", "\xff", "sk-" + "x" * 10_000):
        head = {"Authorization": f"Bearer {wrong}".encode()}
        answer = CLIENT.post(f"{server.url}/chat/completions", json=body(server), headers=head)
        assert answer.status_code == 401 and "not one of this class" in said(answer), wrong
    assert "teacher" in said(CLIENT.post(
        f"{server.url}/chat/completions", json=body(server), headers={"Authorization": f"Bearer {server.teacher_key}"}
    ))  # fmt: skip
    head = {"Authorization": f"Bearer {key}"}
    assert CLIENT.get(f"{server.teacher_url}/state", headers=head).status_code == 403
    assert CLIENT.post(f"{server.teacher_url}/switch", json={"paused": True}, headers=head).status_code == 403
    assert CLIENT.get(f"{server.teacher_url}?key={server.teacher_key}").status_code == 200
    assert server.teacher_key not in server.log.read_text(encoding="utf-8")


def test_two_open_questions_each(server, good):
    """One greedy student with 24 connections: two are answered, the others told to wait, and nobody else waits long."""
    usual = max(seconds(good) for _ in range(5))
    with ThreadPoolExecutor(24) as crowd:
        answers = [crowd.submit(post, server, 2, **question(STORY)) for _ in range(24)]
        waits = [seconds(good) for _ in range(5)]
        status = [answer.result().status_code for answer in answers]
    assert status.count(200) >= 2 and set(status) == {200, 429}
    assert sorted(waits)[2] < max(2 * usual, 0.5)


def test_readers_who_leave_are_not_answered(server, good):
    """200 streams closed after their first piece: the engine stops writing them."""
    usual = max(seconds(good) for _ in range(5))

    def leave(number):
        chat = Chat(server.url, api_key=server.keys[NAMES[1 + number % 39]], do_sample=False)
        pieces = chat.stream(STORY)
        next(pieces)
        pieces.close()

    with ThreadPoolExecutor(20) as readers:
        for each in [readers.submit(leave, number) for number in range(200)]:
            assert each.exception() is None or "open questions" in str(each.exception())
    assert seconds(good) < max(2 * usual, 0.5)
    state = asked_state(server)
    assert sum(student["writing"] + student["waiting"] for student in state["students"]) == 0
    assert "left" in server.log.read_text(encoding="utf-8")


def asked_state(server) -> dict:
    head = {"Authorization": f"Bearer {server.teacher_key}"}
    return CLIENT.get(f"{server.teacher_url}/state", headers=head).json()


def test_one_who_does_not_read_holds_up_nobody(server, good):
    """Eight who ask and never read: as many as there are places."""
    address = ("127.0.0.1", server.port)
    idle = []
    for who in range(1, 9):
        asked = json.dumps(body(server, stream=True, **question(STORY))).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.keys[NAMES[who]]}\r\n"
        idle.append(socket.create_connection(address))
        idle[-1].sendall(f"{head}Content-Length: {len(asked)}\r\n\r\n".encode() + asked)
    assert seconds(good) < 5
    for each in idle:
        each.close()


def test_half_open_requests_are_closed(server, good):
    """200 that begin a request and never end it: in the middle of the head, or of the body."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.keys[NAMES[3]]}\r\n"
    starts = [head, f"{head}Content-Length: 100\r\n\r\n{{", "", "GET"]
    open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    for number, each in enumerate(open_ones):
        each.sendall(starts[number % 4].encode())
        each.settimeout(20)
    assert seconds(good) < 2
    for each in open_ones:
        try:
            while each.recv(4096):
                pass
        except ConnectionError:  # closed as well
            pass
        each.close()


def test_fuzz_without_a_500(server, good):
    """2,000 bodies with values of every type and range in every field, in the middle of others or instead of them."""
    chance = random.Random(0)
    odd = [
        None, True, False, 0, 1, -1, 1e400, -1e400, float("nan"), 2**70, 0.5, "x", "\ud800", "\x00", "🙂🙂", [],
        {}, [[]], [{}], {"a": {}}, [None], "<|im_start|>", "{{ x }}", {"enable_thinking": True},
        {"role": "user", "content": "Hello!"}, [{"role": "tool", "content": "x"}], [{"role": "assistant"}],
        [{"role": "user", "content": "\x00\ud83d"}], ["a", "b"], {"type": "function"}, "x" * 5000,
    ]  # fmt: skip
    fields = [
        "model", "messages", "max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "stop", "stream",
        "stream_options", "tools", "enable_thinking", "chat_template_kwargs", "user", "seed", "tool_choice", "é",
    ]  # fmt: skip

    def one(number):
        wish = {chance.choice(fields): chance.choice(odd) for _ in range(chance.randint(1, 3))}
        text = json.dumps(body(server, max_tokens=2) | wish)
        if number % 10 == 0:  # not JSON, or cut, or nested without end
            text = chance.choice([text[: chance.randrange(len(text))], "[" * 50_000, "{" * 999, '{"a":' * 9999, "\xff"])
        return post(server, 1 + number % 39, content=text.encode("utf-8", "surrogatepass")).status_code

    with ThreadPoolExecutor(39) as crowd:
        status = list(crowd.map(one, range(2000)))
    assert not [each for each in status if each >= 500], "a 500 is an error that nobody has thought of"
    assert status.count(200) > 20 and status.count(400) > 500
    seconds(good)
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_turns_are_fair(server):
    """Forty with two questions at once: the slowest student waits at most twice as long as the fastest."""
    people = [[(0.0, text)] * 3 for text in (list(ANSWERS) * 2)[:40]]
    keys = [server.keys[name] for name in NAMES for _ in range(2)]
    answers = run_class(server.url, keys, server.model, [each for each in people for _ in range(2)])
    found = summary(answers)
    assert found["requests"] == 240 and found["failures"] == 0
    waits = {}
    for answer in answers:
        waits.setdefault(answer.student // 2, []).append(answer.first_s)
    means = sorted(sum(each) / len(each) for each in waits.values())
    assert means[-1] / means[0] < 2, (means[0], means[-1])


def test_memory_stays_flat(server):
    """400 questions here; `python -m qwen_helpers measure class --requests 2000` asks the rest."""
    keys, memory = list(server.keys.values()), []
    for part in range(4):
        found = summary(run_class(server.url, keys, server.model, class_plan(40, 3, 0, seed=part, texts=SHORT)))
        assert found["failures"] == 0
        memory.append(resident(server.process))
    assert memory[-1] - memory[0] < 50e6


def test_the_teacher_sees_pauses_and_drops(server, good):
    head = {"Authorization": f"Bearer {server.teacher_key}"}

    def switch(**wish):
        return CLIENT.post(f"{server.teacher_url}/switch", json=wish, headers=head)

    before = asked_state(server)["students"][0]
    seconds(good)
    me = asked_state(server)["students"][0]
    assert me["name"] == NAMES[0] and me["questions"] == before["questions"] + 1
    assert me["tokens"] == before["tokens"] + 27
    assert 0 < me["first_median_s"] <= me["first_slowest_s"]
    assert switch(paused=True).status_code == 200 and asked_state(server)["paused"]
    with pytest.raises(ServerError, match="Your teacher has stopped the class for now"):
        good.ask("Hello!")
    switch(paused=False)
    pieces = good.stream(STORY)
    next(pieces)
    switch(student=NAMES[0])
    with pytest.raises(ServerError, match="Your teacher has stopped"):
        list(pieces)
    with pytest.raises(ServerError, match="Your teacher has stopped you for now"):
        good.ask("Hello!")
    switch(student=NAMES[0], dropped=False)
    good.history = []
    assert good.ask("Hello!") == GREETING
    assert switch(student="nobody").status_code == 404 and switch(paused="yes").status_code == 400


def test_what_check_says_is_kept(server):
    head = {"Authorization": f"Bearer {server.keys[NAMES[5]]}"}
    address = server.url.replace("/v1", "/class/check")
    for passed in (False, False, True, False):
        answer = CLIENT.post(address, json={"exercise": "10.1", "passed": passed}, headers=head)
        assert answer.json() == {"name": NAMES[5]}
    for wrong in ({}, {"exercise": "=1+1", "passed": True}, {"exercise": "10.1", "passed": "yes"}):
        assert said(CLIENT.post(address, json=wrong, headers=head))
    (row,) = asked_state(server)["results"]
    assert (row["student"], row["exercise"], row["tries"], row["passed"]) == (NAMES[5], "10.1", 3, 1)


def test_the_reply_names_the_model(server):
    client = openai.OpenAI(base_url=server.url, api_key=server.api_key)
    made = client.chat.completions.create(**body(server))
    assert made.model == server.model == "tiny-chat" and made.usage.completion_tokens == 27
    pieces = list(client.chat.completions.create(**body(server, stream=True)))
    assert {piece.model for piece in pieces} == {"tiny-chat"} and all(piece.choices for piece in pieces)


def test_thinking_as_a_field_of_its_own(server):
    for wish in ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": True}}):
        assert post(server, **wish).json()["choices"][0]["message"]["content"] == GREETING


def test_keys_and_results_files(tmp_path, capsys):
    names, file = tmp_path / "names.txt", tmp_path / "class.csv"
    names.write_text("\ufeffLin\n小明\n\n", encoding="utf-8")
    main([str(names), str(file)])
    assert "keys for 2 students" in capsys.readouterr().out
    keys = read_keys(file)
    assert list(keys) == [TEACHER, "Lin", "小明"] and len(set(keys.values())) == 3
    with pytest.raises(SystemExit, match="is there already"):
        main([str(names), str(file)])
    for wrong in ([], ["Lin", "Lin"], [""], ["x" * 61], [TEACHER]):
        with pytest.raises(ValueError, match="student"):
            make_keys(wrong, tmp_path / "other.csv")
    (tmp_path / "other.csv").write_text("name,key\nLin,\n")
    with pytest.raises(ValueError, match="is no list of keys"):
        read_keys(tmp_path / "other.csv")
    Results(tmp_path / "r.sqlite").add("Lin", "1.1", True)
    assert Results(tmp_path / "r.sqlite").rows()[0][:4] == ("Lin", "1.1", 1, 1), "it is there after a restart"


def test_gateway_and_engine_end_together():
    """They are one process: whichever is killed, the port is free and nothing of it is left."""
    with Server(TINY_CHAT) as server:
        family = [psutil.Process(server.process.pid)]
        assert family[0].children(recursive=True) == []
        server.process.kill()
        server.process.wait(5)


class Vllm(BaseHTTPRequestHandler):
    """Stands in for vLLM 0.33: the two routes that the gateway asks, with the fields that vLLM's own requests have.

    It counts the characters as tokens, answers with what it was asked, and keeps each body in `server.asked`.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer sk-engine"
        self.server.asked.append((self.path, body))
        if self.path == "/tokenize":
            answer = {"count": len(body["messages"][-1]["content"]), "max_model_len": 4096, "tokens": []}
        else:
            message = {"role": "assistant", "content": "from vLLM", "reasoning": "a thought"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
        text = json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "other", **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def test_vllm_behind_the_gateway(monkeypatch):
    """The same door before another engine: its names for the settings, its count of the prompt, its key."""
    monkeypatch.setenv("QWEN_ENGINE_KEY", "sk-engine")
    vllm = ThreadingHTTPServer(("127.0.0.1", 0), Vllm)
    vllm.asked = []
    threading.Thread(target=vllm.serve_forever, daemon=True).start()
    with Server("classroom", NAMES[:2], engine=f"http://127.0.0.1:{vllm.server_port}") as server:
        assert post(server, temperature=0.5).json()["choices"][0]["message"]["content"] == "from vLLM"
        post(server, repetition_penalty=1.1, top_k=20, enable_thinking=False, max_tokens=7)
        first, settings = (body for path, body in vllm.asked if path == "/v1/chat/completions")
        assert first["temperature"] == 0.5 and first["max_tokens"] == 512 and "sk-engine" not in str(vllm.asked)
        assert (settings["repetition_penalty"], settings["top_k"], settings["max_tokens"]) == (1.1, 20, 7)
        assert settings["chat_template_kwargs"] == {"enable_thinking": False}
        assert vllm.asked[0][1]["model"] == "classroom" == server.model
        assert "2100 tokens long" in said(post(server, **question("x" * 2100)))
        answered = asked_state(server)["students"][1]
        assert answered["questions"] == 2 and answered["tokens"] == 4
        vllm.shutdown()
        vllm.server_close()
        answer = post(server)
        assert answer.status_code == 500 and "tell your teacher" in answer.json()["error"]["message"]
    with pytest.raises(SystemExit):
        serve(["--engine", "http://127.0.0.1:9"])
