"""`check` in a class tells each result to the class's server, and the reader hears of it; elsewhere it tells nobody."""

import os
import re
import socket
import threading
import time

import pytest
import uvicorn
from lessons import LESSONS
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from test_course import load

from qwen_helpers import check
from qwen_helpers.labs.question import Checked

KEY = "sk-of-li-lei"
HEAD, TAIL = "Your class's server was not told, since ", "; the result above stands all the same."


class Stub:
    """The class's server as far as `check` sees it. `posted` holds (path, key, body); `answer` may be replaced."""

    def __init__(self):
        self.posted, self.answer, self.wait_s = [], lambda: JSONResponse({"name": "Li Lei"}), 0

    def take(self, request, body):
        self.posted.append((request.url.path, request.headers.get("authorization"), body))
        time.sleep(self.wait_s)
        return self.answer()


@pytest.fixture
def stub(monkeypatch):
    """A Stub as this reader's class."""
    stub = Stub()

    async def every_path(request):
        return stub.take(request, await request.json())

    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=[Route("/{path:path}", every_path, methods=["POST"])]), log_level="error")
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    monkeypatch.setenv("QWEN_CLASS", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setenv("QWEN_CLASS_KEY", KEY)
    yield stub
    server.should_exit = True
    thread.join(30)
    listener.close()


def said(capsys, *arguments) -> list[str]:
    """The lines that `check` prints after its own."""
    capsys.readouterr()
    check(*arguments)
    return capsys.readouterr().out.splitlines()[1:]


def test_right_and_wrong_are_told_under_the_reader_s_name(stub, capsys):
    assert said(capsys, "1.3", "2.2") == ["Told to your class as Li Lei: exercise 1.3, right."]
    assert said(capsys, "1.3", "2.3") == ["Told to your class as Li Lei: exercise 1.3, not yet."]
    bodies = [{"exercise": "1.3", "passed": True}, {"exercise": "1.3", "passed": False}]
    assert stub.posted == [("/class/check", f"Bearer {KEY}", body) for body in bodies]


def test_a_function_that_stops_is_a_try(stub, capsys):
    assert said(capsys, "10.1", len) and stub.posted[0][2] == {"exercise": "10.1", "passed": False}


async def untried(ask, questions):
    return ...


@pytest.mark.parametrize("arguments", [("1.3", ...), ("10.2", untried)])
def test_three_dots_are_no_try(stub, capsys, arguments):
    assert said(capsys, *arguments) == [] and stub.posted == []


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_class_nothing_is_told_and_nothing_said(stub, capsys, monkeypatch, value):
    monkeypatch.setenv("QWEN_CLASS", "") if value == "" else monkeypatch.delenv("QWEN_CLASS")
    monkeypatch.setattr("qwen_helpers.exercises.tell_class", lambda *told: pytest.fail(f"told {told}"))
    assert said(capsys, "1.3", "2.2") == [] and stub.posted == []


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_the_address_of_the_api_is_taken_too(stub, capsys, monkeypatch, end):
    monkeypatch.setenv("QWEN_CLASS", os.environ["QWEN_CLASS"] + end)
    assert said(capsys, "1.3", "2.2") and stub.posted[0][0] == "/class/check"


def test_a_proxy_is_not_asked(stub, capsys, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing is there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert said(capsys, "1.3", "2.2") == ["Told to your class as Li Lei: exercise 1.3, right."]


@pytest.mark.parametrize(
    "answer, why",
    [
        (lambda: JSONResponse({"error": {"message": "No."}}, 401), "it does not take your key"),
        (lambda: JSONResponse({"error": {"message": "No."}}, 403), "it does not take your key"),
        (lambda: Response("<h1>Oh</h1>", 500), "it answers with status 500"),
        (lambda: Response("", 302, {"location": "http://127.0.0.1:9"}), "it answers with status 302"),
        (lambda: Response("<h1>Welcome</h1>"), "QWEN_CLASS is not its address or QWEN_CLASS_KEY not a key"),
        (lambda: JSONResponse([]), "QWEN_CLASS is not its address or QWEN_CLASS_KEY not a key"),
        (lambda: JSONResponse({}), "QWEN_CLASS is not its address or QWEN_CLASS_KEY not a key"),
    ],
)
def test_an_answer_that_is_no_yes_is_one_line(stub, capsys, answer, why):
    stub.answer = answer
    assert said(capsys, "1.3", "2.2") == [HEAD + why + TAIL]


def test_a_server_that_is_silent_costs_two_seconds(stub, capsys):
    stub.wait_s = 4
    before = time.monotonic()
    assert said(capsys, "1.3", "2.2") == [HEAD + "it does not answer" + TAIL]
    assert time.monotonic() - before < 3.5


WRONG = ["127.0.0.1:9", "http://127.0.0.1:9", "http://", "http://127.0.0.1:x", "http://127.0.0.1:99999", "http://a b"]


@pytest.mark.parametrize("url", [*WRONG, "192.168.1.20", "http://[", "http://名.invalid", "ftp://127.0.0.1"])
def test_a_wrong_address_is_one_line(capsys, monkeypatch, url):
    monkeypatch.setenv("QWEN_CLASS", url)
    monkeypatch.delenv("QWEN_CLASS_KEY", raising=False)
    (line,) = said(capsys, "1.3", "2.2")
    assert line.startswith(HEAD) and line.endswith(TAIL)


@pytest.mark.parametrize("key", ["", "sk-钥匙", "sk-\n", "two words"])
def test_a_key_that_is_none_is_one_line(stub, capsys, monkeypatch, key):
    monkeypatch.setenv("QWEN_CLASS_KEY", key)
    stub.answer = lambda: JSONResponse({"error": {}}, 401)
    (line,) = said(capsys, "1.3", "2.2")
    assert line.startswith(HEAD) and line.endswith(TAIL)


# ---- course.py -------------------------------------------------------------------------------------------------------

CLASS = ["--class", "http://192.168.1.20:8000", "--key", KEY]
SAYS = "Your class at http://192.168.1.20:8000 is told what check() says to you, under your name."


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course.py in an empty folder, which starts nothing: `handed` holds (command, environment variables)."""
    module = load(tmp_path / "course")
    module.handed = []
    monkeypatch.setattr(module, "hand_over", lambda *started: module.handed.append(started))
    return module


def lab(course, arguments):
    course.open_lab(course.steps(6), course.parse(arguments))


def test_jupyterlab_knows_the_class_and_the_reader_is_told(course, capsys):
    lab(course, CLASS)
    command, env = course.handed[0]
    assert (env["QWEN_CLASS"], env["QWEN_CLASS_KEY"]) == ("http://192.168.1.20:8000", KEY)
    said = capsys.readouterr().out
    assert said.splitlines()[1].strip() == SAYS
    assert KEY not in said and KEY not in str(command), "other users of a computer see command lines"


def test_variables_that_are_set_already_are_said_too(course, capsys, monkeypatch):
    monkeypatch.setenv("QWEN_CLASS", "http://192.168.1.20:8000")
    lab(course, [])
    assert capsys.readouterr().out.splitlines()[1].strip() == SAYS


def test_without_a_class_jupyterlab_knows_of_none(course, capsys, monkeypatch):
    monkeypatch.delenv("QWEN_CLASS", raising=False)
    lab(course, [])
    assert "QWEN_CLASS" not in course.handed[0][1] and "class" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [CLASS[:2], CLASS[2:], ["--class", "", "--key", ""], ["--class", "192.168.1.20:8000", "--key", KEY],
     ["--class", "http://", "--key", KEY], ["--class", CLASS[1], "--key", ""], ["test", *CLASS], ["--no-lab", *CLASS]],
)  # fmt: skip
def test_what_goes_with_a_class(course, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        course.parse(arguments)
    assert stop.value.code == 2 and "--class and --key go together, with JupyterLab" in capsys.readouterr().err


def test_the_tests_of_the_course_tell_nobody(course, monkeypatch):
    monkeypatch.setenv("QWEN_CLASS", "http://192.168.1.20:8000")
    course.run_tests(course.steps(1), course.parse(["test", "--no-paddle"]))
    assert "QWEN_CLASS" not in course.handed[0][1]


def test_the_class_takes_every_exercise_of_the_course():
    """`Checked` takes names of a certain form only, since the teacher's table and its CSV file show them."""
    names = re.findall(
        r'check\("([^"]+)"', "".join(path.read_text(encoding="utf-8") for path in LESSONS).replace("\\", "")
    )
    assert len(set(names)) == 3 * len(LESSONS)
    for name in names:
        assert Checked(exercise=name, passed=True).exercise == name
