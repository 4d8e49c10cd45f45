"""The door of a class's server: who may ask, how much at a time, in which order; and the teacher's view of it.

What a question may say stands in `question.py`, whose turn it is in `turns.py`, who answers in `room_engine.py`.
"""

import asyncio
import hashlib
import json
import logging
import statistics
import time
from pathlib import Path

import jinja2
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route

from qwen_helpers.labs.class_list import TEACHER, Results
from qwen_helpers.labs.question import Checked, Question, Switch, sentence
from qwen_helpers.labs.room_engine import ANSWER_S, Engine, Refusal
from qwen_helpers.labs.turns import Student, Turns
from qwen_helpers.language import N_, _, reader_language

MAX_BODY = 400_000  # bytes of one request
OPEN = 2  # questions of one student at a time, waiting ones included
READ_S = 10  # seconds for a request to arrive
# Seconds before a refusal is sent, so that a program which repeats itself takes nobody's time. The longer one is for
# those whose question is not even read: a wrong key, a third question, a class that is stopped.
BRAKE_S, LONG_BRAKE_S = 0.2, 1
YOU_STOPPED = N_("Your teacher has stopped you for now: ask again later.")
CLASS_STOPPED = N_("Your teacher has stopped the class for now: ask again later.")
PAGE = Path(__file__).with_name("teacher_page.html")


class Gateway:
    """The routes. `keys` is {name: key}, with the teacher's."""

    def __init__(self, engine: Engine, name: str, keys: dict, results: Results, places: int, most: int):
        self.engine, self.name, self.most, self.results = engine, name, most, results
        self.turns, self.places = Turns(places), places
        self.students = {who: Student(who) for who in keys if who != TEACHER}
        # By their hashes: looking one up takes as long for a good guess as for a bad one.
        self.names = {hashlib.sha256(key.encode()).digest(): who for who, key in keys.items()}
        routes = [
            ("/v1/models", self.models, "GET"), ("/v1/chat/completions", self.chat, "POST"),
            ("/class/check", self.check, "POST"), ("/teacher", self.page, "GET"),
            ("/teacher/state", self.state, "GET"), ("/teacher/switch", self.switch, "POST"),
        ]  # fmt: skip
        self.app = Starlette(
            routes=[Route(path, self.told(route), methods=[method]) for path, route, method in routes],
            exception_handlers={404: self.elsewhere, 405: self.elsewhere},
        )

    def told(self, route):
        """The route; a refusal is its sentence."""

        async def answer(request):
            try:
                return await route(request)
            except Refusal as refusal:
                if refusal.status in (401, 403, 429):
                    await asyncio.sleep(LONG_BRAKE_S)
                return JSONResponse(refusal.body(), refusal.status)

        return answer

    async def elsewhere(self, request, error):
        return JSONResponse(
            Refusal(error.status_code, _("This server offers /v1/chat/completions only.")).body(), error.status_code
        )

    def who(self, request) -> str:
        kind, space, key = request.headers.get("authorization", "").partition(" ")
        name = self.names.get(hashlib.sha256(key.strip().encode("latin-1", "replace")).digest())
        if kind.lower() != "bearer" or name is None:
            raise Refusal(
                401, _("This API key is not one of this class: pass your own, as your teacher gave it to you.")
            )
        return name

    def student(self, request) -> Student:
        name = self.who(request)
        if name == TEACHER:
            raise Refusal(403, _("This is the teacher's key: it opens the page /teacher, and asks no questions."))
        return self.students[name]

    def teacher(self, request) -> None:
        if self.who(request) != TEACHER:
            raise Refusal(403, _("This is a student's key: the page of the teacher has a key of its own."))

    async def read(self, request, kind):
        """The request's body as a `kind`."""

        async def whole():
            body = b""
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    large = _("The request is larger than {size} kB: ask for less at a time.")
                    raise Refusal(413, large.format(size=MAX_BODY // 1000))
            return body

        try:
            return kind.model_validate_json(await asyncio.wait_for(whole(), READ_S))
        except asyncio.TimeoutError:  # noqa: UP041, another class before Python 3.11
            late = _("Your request did not arrive within {seconds} seconds: send it again.")
            raise Refusal(408, late.format(seconds=READ_S)) from None
        except ValidationError as error:
            raise Refusal(400, sentence(error)) from None

    async def models(self, request):
        return JSONResponse({"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "class"}]})

    async def chat(self, request):
        """One question: counted, given its turn, answered; given up as soon as nobody reads it."""
        student = self.student(request)
        if student.dropped or self.turns.paused:
            raise Refusal(429, _(YOU_STOPPED) if student.dropped else _(CLASS_STOPPED))
        if student.open >= OPEN:
            many = _("You have {count} open questions, and nobody has more: wait for an answer, then ask again.")
            raise Refusal(429, many.format(count=OPEN))
        student.open += 1
        try:
            question = await self.read(request, Question)
            await self.fits(question)
        except BaseException as error:
            if isinstance(error, Refusal):
                await asyncio.sleep(BRAKE_S)
            student.open -= 1
            raise
        pieces = asyncio.Queue()  # not longer than an answer: who reads slowly holds up nobody
        work = asyncio.create_task(self.answer(student, question, pieces))
        reader = asyncio.create_task(left(request, work))
        student.answers.add(work)
        work.add_done_callback(lambda work: (student.answers.discard(work), reader.cancel(), pieces.put_nowait(None)))
        first = await pieces.get()
        if isinstance(first, Refusal):
            raise first
        if not question.stream or first is None:
            return JSONResponse(first, 200 if first else 499)

        async def stream():
            piece = first
            while piece is not None:
                yield f"data: {json.dumps(piece.body() if isinstance(piece, Refusal) else piece)}\n\n"
                piece = await pieces.get()
            yield "data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def fits(self, question: Question) -> None:
        if question.model != self.name:
            raise Refusal(
                404, _("This server has the model {name!r} and no other: ask for that.").format(name=self.name)
            )
        # Not counted if it is far too long: a tokenizer needs its time for a million characters.
        count = None if question.characters() > 16 * self.most else await self.engine.count(question)
        if count is None or count > self.most:
            size = _("far too long") if count is None else _("{count} tokens long").format(count=count)
            text = _("Your messages are {size}; this server takes {most} tokens: shorten them or start a new chat.")
            raise Refusal(400, text.format(size=size, most=self.most))

    async def answer(self, student: Student, question: Question, pieces: asyncio.Queue) -> None:
        """Put the answer's pieces into the queue, or why there are none; keep count."""
        asked, first_s, usage, end = time.monotonic(), None, {}, "left"

        async def write():
            nonlocal first_s, usage
            async for piece in self.engine.lines(question):
                piece["model"] = self.name
                piece.pop("timings", None)  # llama.cpp's own, with what it kept of others' prompts
                usage = piece.get("usage") or usage
                if first_s is None and any(has_text(choice) for choice in piece["choices"]):
                    first_s = time.monotonic() - asked
                    student.first_s.append(first_s)
                counted = question.stream_options and question.stream_options.include_usage
                if piece["choices"] or counted:
                    pieces.put_nowait(piece)

        try:
            async with self.turns.turn(student):
                await asyncio.wait_for(write(), ANSWER_S)
            end = "answered"
        except asyncio.CancelledError:
            end = _(YOU_STOPPED) if student.dropped else end
            raise
        except Refusal as refusal:
            end = refusal.text
        except asyncio.TimeoutError:  # noqa: UP041, another class before Python 3.11
            end = _("This answer took longer than {seconds} seconds: ask for a shorter one.")
            end = end.format(seconds=ANSWER_S)
        finally:
            student.open -= 1
            student.questions += end == "answered"
            student.tokens += usage.get("completion_tokens", 0)
            waited = "-" if first_s is None else f"{first_s:.2f} s"
            counts = f"{usage.get('prompt_tokens', '-')} + {usage.get('completion_tokens', '-')} tokens"
            logging.info("%s: %s, first text %s, %s", student.name, counts, waited, end)
            if end not in ("answered", "left"):
                pieces.put_nowait(Refusal(500, end))

    async def check(self, request):
        """What `check` has said to a student, for the teacher's table."""
        student = self.student(request)
        result = await self.read(request, Checked)
        self.results.add(student.name, result.exercise, result.passed)
        return JSONResponse({"name": student.name})

    async def page(self, request):
        return HTMLResponse(teachers_page(), headers={"content-security-policy": "default-src 'self' 'unsafe-inline'"})

    async def state(self, request):
        """Everything that the teacher's page shows."""
        self.teacher(request)
        students = [
            {
                "name": student.name, "writing": student.running, "waiting": student.open - student.running,
                "questions": student.questions, "tokens": student.tokens, "dropped": student.dropped,
                "first_median_s": statistics.median(student.first_s) if student.first_s else None,
                "first_slowest_s": max(student.first_s, default=None),
            }
            for student in self.students.values()
        ]  # fmt: skip
        results = [dict(zip(Results.HEAD, row, strict=True)) for row in self.results.rows()]
        return JSONResponse(
            {
                "model": self.name,
                "places": self.places,
                "paused": self.turns.paused,
                "students": students,
                "results": results,
            }
        )

    async def switch(self, request):
        """Pause the class or let it go on; drop one student or take him back."""
        self.teacher(request)
        wish = await self.read(request, Switch)
        if wish.student is not None:
            if wish.student not in self.students:
                raise Refusal(404, _("There is no student {student!r} in this class.").format(student=wish.student))
            student = self.students[wish.student]
            student.dropped = wish.dropped
            for work in student.answers if wish.dropped else ():
                work.cancel()
        if wish.paused is not None:
            self.turns.paused = wish.paused
            self.turns.next()
        return JSONResponse({})


def teachers_page() -> str:
    """The page, its texts in the language of this server."""
    page = jinja2.Template(PAGE.read_text(encoding="utf-8"))
    return page.render(_=_, language=reader_language())


def has_text(choice: dict) -> bool:
    said = choice.get("delta") or choice.get("message") or {}
    return bool(said.get("content") or said.get("reasoning_content") or said.get("reasoning") or said.get("tool_calls"))


async def left(request, work: asyncio.Task) -> None:
    """Give the answer up when its reader has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    work.cancel()
