"""The teacher's page in a real browser: forty students whose figures move, switches, exercises, a server that goes."""

import asyncio
import csv
import io
import json
import os
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from qwen_helpers.labs.gateway import teachers_page

KEY, OF_A_STUDENT = "sk-teacher", "sk-student"
HARM = '<img src=x onerror="window.harmed = true">'
NAMES = [HARM, "=1+1", "李雷", *(f"Student {number}" for number in range(4, 41))]
GONE, WRONG = "The server does not answer.", "This is not the teacher's key"


class Room:
    """A class as the page sees it, served with the page. `looks` counts what the page has read, `told` what it sent."""

    def __init__(self):
        self.looks, self.told, self.keys, self.paused = 0, [], [], False
        self.students = [
            {"name": name, "writing": 0, "waiting": 0, "questions": 0, "tokens": 0, "dropped": False,
             "first_median_s": None, "first_slowest_s": None}
            for name in NAMES
        ]  # fmt: skip
        self.results, self.delay_s = [], 0
        self.app = Starlette(
            routes=[
                Route("/teacher", self.page),
                Route("/teacher/state", self.state),
                Route("/teacher/switch", self.switch, methods=["POST"]),
            ]
        )
        self.port = 0

    async def page(self, request):
        policy = "default-src 'self' 'unsafe-inline'"  # as the gateway sends it
        return HTMLResponse(teachers_page(), headers={"content-security-policy": policy})

    def refused(self, request):
        self.keys.append(request.headers.get("authorization", ""))
        if self.keys[-1] != f"Bearer {KEY}":
            status = 403 if self.keys[-1] == f"Bearer {OF_A_STUDENT}" else 401
            return JSONResponse({"error": {"message": "No.", "code": status}}, status)
        return None

    async def state(self, request):
        if refused := self.refused(request):
            return refused
        self.looks += 1
        await asyncio.sleep(self.delay_s)
        state = {"model": "tiny-chat", "places": 4, "paused": self.paused}
        return JSONResponse({**state, "students": self.students, "results": self.results})

    async def switch(self, request):
        if refused := self.refused(request):
            return refused
        wish = json.loads(await request.body())
        self.told.append(wish)
        if wish.get("student") == "Student 40":
            return JSONResponse({"error": {"message": "There is no student 'Student 40' in this class."}}, 404)
        self.paused = wish.get("paused", self.paused)
        for student in self.students:
            student["dropped"] = wish["dropped"] if student["name"] == wish.get("student") else student["dropped"]
        return JSONResponse({})

    def start(self):
        """Serve, on the port of the last time if there was one."""
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", timeout_graceful_shutdown=1))
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([listener],))
        self.thread.start()

    def stop(self):
        self.server.should_exit = True
        self.thread.join(30)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/teacher"


@pytest.fixture
def room():
    room = Room()
    room.start()
    yield room
    room.stop()


@pytest.fixture
def page(browser, room):
    """The page, which asks for the key. No request may leave this computer, and no script may stop with an error."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(20_000)
    addresses, errors = [], []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(room.url)
    yield page
    hosts = {urlsplit(address).netloc for address in addresses if not address.startswith("blob:")}
    page.close()
    assert hosts == {f"127.0.0.1:{room.port}"} and errors == []
    assert not any(KEY in address for address in addresses)


@pytest.fixture
def opened(page):
    enter(page, KEY)
    page.wait_for_selector("#students tbody tr")
    return page


def enter(page, key):
    page.fill("#key", key)
    page.click("#ask button")


def cells(page, table="students") -> list[list[str]]:
    script = (
        "(table) => [...document.querySelectorAll(`#${table} tbody tr`)].map(r => [...r.cells].map(c => c.innerText))"
    )
    return page.evaluate(script, table)


def row(page, name):
    return page.locator("#students tbody tr").nth(NAMES.index(name))


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def looked(room, times=2):
    """Wait until the page has read the state again."""
    before = room.looks
    until(lambda: room.looks >= before + times)


def test_forty_students_and_figures_that_move(opened, room):
    assert [texts[0] for texts in cells(opened)] == NAMES
    assert cells(opened)[2] == ["李雷", "", "", "0", "0", "–", "–", "Drop"]
    room.students[2] |= {"writing": 2, "waiting": 1, "questions": 7, "tokens": 12345}
    room.students[2] |= {"first_median_s": 0.84, "first_slowest_s": 12}
    room.students[5] |= {"writing": 1, "questions": 3, "tokens": 55, "first_median_s": 2, "first_slowest_s": 2.5}
    until(lambda: cells(opened)[2] == ["李雷", "2", "1", "7", "12,345", "0.8 s", "12.0 s", "Drop"])
    totals = opened.locator("#totals dd").all_inner_texts()
    assert totals == ["3 of 4", "1", "10", "12,400", "1.4 s", "12.0 s"]
    room.students[2]["tokens"] += 1
    until(lambda: cells(opened)[2][4] == "12,346")
    assert opened.locator("#model").inner_text() == "tiny-chat"


def test_it_looks_about_every_second(opened, room):
    before = room.looks
    time.sleep(4)
    assert 2 <= room.looks - before <= 5


def test_the_class_is_paused_and_goes_on(opened, room):
    opened.click("text=Pause the class")
    opened.wait_for_selector("text=Paused: answers that have begun go on")
    assert room.paused
    opened.click("text=Let the class go on")
    opened.wait_for_selector("text=Pause the class")
    assert room.told == [{"paused": True}, {"paused": False}]
    assert opened.locator("#paused").inner_text() == ""


@pytest.mark.parametrize("name", ["李雷", HARM])
def test_a_student_is_dropped_and_taken_back(opened, room, name):
    row(opened, name).get_by_role("button", name=f"Drop {name}").click()
    until(lambda: cells(opened)[NAMES.index(name)][-1] == "Take back")
    assert [student["name"] for student in room.students if student["dropped"]] == [name]
    row(opened, name).locator("button").click()
    until(lambda: cells(opened)[NAMES.index(name)][-1] == "Drop")
    assert room.told == [{"student": name, "dropped": True}, {"student": name, "dropped": False}]


def test_what_the_server_refuses_stays_on_the_page(opened, room):
    row(opened, "Student 40").locator("button").click()
    opened.wait_for_selector("text=There is no student 'Student 40' in this class.")
    looked(room)
    assert "There is no student" in opened.locator("#refused").inner_text()
    opened.click("text=Pause the class")
    until(lambda: opened.locator("#refused").inner_text() == "")


def test_a_click_that_takes_longer_than_a_second_counts(opened, room):
    place = row(opened, "Student 7").locator("button").bounding_box()
    opened.mouse.move(place["x"] + 5, place["y"] + 5)
    opened.mouse.down()
    room.students[6]["tokens"] = 9
    looked(room)
    opened.mouse.up()
    until(lambda: room.told == [{"student": "Student 7", "dropped": True}])


def test_names_are_text_and_nothing_else(opened, room):
    room.results = [{"student": HARM, "exercise": "1.1", "tries": 1, "passed": 1, "last": "2026-09-01 08:00:00"}]
    until(lambda: cells(opened, "exercises")[0] == [HARM, "✓ 1"])
    assert cells(opened)[0][0] == HARM
    assert opened.locator("#room img").count() == 0 and opened.evaluate("window.harmed") is None


def result(student, exercise, tries, passed):
    return {"student": student, "exercise": exercise, "tries": tries, "passed": passed, "last": "2026-09-01 08:00:00"}


def test_exercises_as_a_table_and_as_csv(opened, room):
    gone = '@SUM(1), "gone"'  # no longer in the list of keys
    room.results = [
        result("李雷", "10.1", 3, 0), result("李雷", "2.1", 1, 1), result("=1+1", "2.3", 2, 1),
        result(gone, "2.1", 4, 0),
    ]  # fmt: skip
    until(lambda: len(cells(opened, "exercises")) == 41 and len(cells(opened, "exercises")[0]) == 4)
    assert opened.locator("#exercises thead th").all_inner_texts() == ["Student", "2.1", "2.3", "10.1"]
    shown = {name: found for name, *found in cells(opened, "exercises")}
    assert (shown["李雷"], shown["=1+1"], shown[gone]) == (["✓ 1", "", "✗ 3"], ["", "✓ 2", ""], ["✗ 4", "", ""])
    with opened.expect_download() as download:
        opened.click("text=Save as CSV")
    assert download.value.suggested_filename == "class-results.csv"
    raw = download.value.path().read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") and raw.count(b"\r\n") == 42
    head, *rows = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    saved = {name: found for name, *found in rows}
    assert head == ["student", "2.1 right", "2.1 tries", "2.3 right", "2.3 tries", "10.1 right", "10.1 tries"]
    assert saved["李雷"] == ["1", "1", "", "", "0", "3"] and saved["Student 4"] == [""] * 6
    assert saved["'=1+1"] == ["", "", "1", "2", "", ""] and saved["'" + gone] == ["0", "4", "", "", "", ""]


@pytest.mark.parametrize("name", ["=1", "+1", "-1", "@A1", "\t=1", "＝1"])
def test_no_field_of_the_csv_is_a_formula(opened, room, name):
    room.students[3]["name"] = name
    until(lambda: cells(opened)[3][0].strip() == name.strip())
    names = [line[0] for line in csv.reader(io.StringIO(opened.evaluate("csv()"), newline=""))]
    assert names[4] == "'" + name and names[5] == "Student 5"


@pytest.mark.parametrize("key", ["sk-other", OF_A_STUDENT, "sk-钥匙", "two words"])
def test_a_wrong_key_gets_one_sentence_and_the_right_one_opens(page, room, key):
    enter(page, key)
    page.wait_for_selector(f"text={WRONG}")
    assert page.evaluate("sessionStorage.length") == 0 and not page.locator("#room").is_visible()
    enter(page, KEY)
    page.wait_for_selector("#students tbody tr")
    assert page.locator("#trouble").inner_text() == "" and not page.locator("#ask").is_visible()


def test_the_key_is_asked_for_once_and_kept_in_the_session_alone(opened, room):
    assert opened.get_attribute("#key", "type") == "password" and opened.input_value("#key") == ""
    opened.reload()
    opened.wait_for_selector("#students tbody tr")
    assert not opened.locator("#ask").is_visible() and set(room.keys) == {f"Bearer {KEY}"}
    assert opened.url == room.url and opened.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert KEY not in opened.content() and opened.evaluate("Object.values(sessionStorage)") == [KEY]


def test_nothing_is_asked_before_there_is_a_key(page, room):
    page.wait_for_selector("#key")
    time.sleep(1.5)
    assert room.keys == []


def test_a_key_that_was_changed_meanwhile_is_asked_for_again(opened, room):
    opened.evaluate("sessionStorage.setItem('teacher-key', 'sk-old')")
    opened.wait_for_selector(f"text={WRONG}")
    assert opened.locator("#ask").is_visible() and not opened.locator("#room").is_visible()


def test_a_server_that_has_gone_is_said_and_found_again(opened, room):
    room.students[4]["tokens"] = 77
    until(lambda: cells(opened)[4][4] == "77")
    room.stop()
    opened.wait_for_selector(f"text={GONE}")
    assert opened.locator("#room.old").is_visible() and cells(opened)[4][4] == "77"
    opened.click("text=Pause the class")
    room.students[4]["tokens"] = 78
    room.start()
    until(lambda: cells(opened)[4][4] == "78")
    assert opened.locator("#trouble").inner_text() == "" and opened.locator("#room.old").count() == 0
    assert room.told == []


def test_a_server_that_is_silent_counts_as_gone(opened, room):
    room.delay_s = 8
    opened.wait_for_selector(f"text={GONE}")
    room.delay_s = 0
    until(lambda: opened.locator("#trouble").inner_text() == "")


SIDEWAYS = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_telephone_and_in_the_dark(opened, room, width, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 800})
    lessons, last = range(1, 12), 4
    room.results = [result(name, f"{a}.{b}", 2, a % 2) for name in NAMES for a in lessons for b in range(1, last)]
    until(lambda: len(cells(opened, "exercises")[0]) == 34)
    assert opened.evaluate(SIDEWAYS) <= 0, "the page itself must not move sideways"
    wide = opened.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('.wide'))"
    )
    assert wide <= 0 or width == 400, "all columns of the students are in view"
    for selector in ("h1", ".quiet", "#students tbody th", ".right", "dd"):
        text, behind = colours(opened, selector)
        dark, light = sorted([text, behind])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"the contrast that WCAG wants, of {selector}"
        assert (behind < 0.1) == (scheme == "dark"), selector
    if folder := os.environ.get("PICTURES"):
        opened.screenshot(path=f"{folder}/{width}-{scheme}.png", full_page=True)


def colours(page, selector) -> list[float]:
    """How bright a text is, and what is behind it: their luminance, 0 to 1, as WCAG defines it."""
    found = page.evaluate(
        """selector => {
            let element = document.querySelector(selector), behind = element, clear = "rgba(0, 0, 0, 0)";
            while (getComputedStyle(behind).backgroundColor === clear) behind = behind.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        }""",
        selector,
    )
    return [luminance(colour) for colour in found]


def luminance(colour: str) -> float:
    """Of a text such as "rgb(28, 39, 51)"."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
