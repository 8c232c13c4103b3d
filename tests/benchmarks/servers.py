"""What the watcher talks to, in a process of its own: the Runs API, a webhook receiver, enough of Slack.

It is told what to do by JSON lines on standard input and answers each with one on standard output. Answers
are encoded once and requests are hardly parsed, so that it costs little beside what is measured; times are
those of the monotonic clock, which all processes share.
"""

import asyncio
import json
import math
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.benchmarks.faults import Fault
from tests.benchmarks.ledger import SLACK, Ledger, question

_SLACK: Final = b'{"ok":true,"channel":"C0123456789","ts":"1781082921.000100"}'
_NOT_FOUND: Final = b'{"error":{"code":"not_found","message":"no such run"}}'
HEARTBEAT: Final = "heartbeat"
_EMPTY: Final = b'{"data":[],"pagination":{"page":1,"page_size":100,"page_count":0,"total_count":0}}'


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list, the ids of the runs on it, and the questions that it shows."""

    body: bytes
    runs: list[str]
    questions: list[str]


@dataclass(slots=True)
class App:
    """The runs of an app, as bytes: how the list shows each that waits, and what each shows by itself.

    `asked` holds the prompt of each that waits, None where it shows none.
    """

    listed: dict[str, bytes] = field(default_factory=dict)
    details: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, str | None] = field(default_factory=dict)
    pages: dict[tuple[int, int], Page] = field(default_factory=dict)
    questions: int = 0

    def publish(self, count: int, *, carried: bool, hidden: bool = False) -> None:
        """Makes so many new runs wait; their requests are in the list only if `carried`, or nowhere."""
        for _ in range(count):
            self._ask(str(uuid.uuid4()), self._question(), carried=carried, hidden=hidden)

    def ask_again(self, *, carried: bool) -> None:
        """Lets a run that has waited for a while ask something else under the same id."""
        run_id = list(self.listed)[len(self.listed) // 2]
        known = json.loads(self.details[run_id])["data"]["input_requests"][0]
        self._ask(run_id, self._question() | {"id": known["id"]}, carried=carried)

    def finish(self, count: int, *, status: str = "completed") -> None:
        """Lets the oldest of those that wait come to their end; `deleted` leaves nothing of them."""
        for run_id in list(self.listed)[:count]:
            del self.listed[run_id], self.asked[run_id]
            if status == "deleted":
                del self.details[run_id]
            else:
                self.details[run_id] = json.dumps({"data": _run(run_id, status)}).encode()
        self.pages.clear()

    def _question(self) -> dict[str, Any]:
        self.questions += 1
        return _question(self.questions - 1)

    def _ask(self, run_id: str, asked: dict[str, Any], *, carried: bool, hidden: bool = False) -> None:
        run = _run(run_id, "awaiting_input")
        asking = run if hidden else run | {"input_requests": [asked]}
        self.listed[run_id] = json.dumps(asking if carried else run).encode()
        self.details[run_id] = json.dumps({"data": asking}).encode()
        self.asked[run_id] = None if hidden else asked["prompt"]
        self.pages.clear()

    def page(self, number: int, size: int) -> Page:
        """Returns a page."""
        if (number, size) not in self.pages:
            ids = list(self.listed)[(number - 1) * size : number * size]
            pagination = {
                "page": number,
                "page_size": size,
                "page_count": math.ceil(len(self.listed) / size),
                "total_count": len(self.listed),
            }
            items = b",".join(self.listed[run_id] for run_id in ids)
            body = b'{"data":[%b],"pagination":%b}' % (items, json.dumps(pagination).encode())
            carried = [run_id for run_id in ids if b'"input_requests"' in self.listed[run_id]]
            self.pages[number, size] = Page(
                body, ids, [question(run_id, self.asked[run_id]) for run_id in carried]
            )
        return self.pages[number, size]


@dataclass(slots=True)
class Records:
    """What was asked and what was received, with the monotonic time of each."""

    served: dict[str, float] = field(default_factory=dict)
    polls: list[tuple[float, str]] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    posts: list[tuple[float, bytes]] = field(default_factory=list)


class Stage:
    """All that is served, and what goes wrong where, by the first part of the path."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self.records = Records()
        self.ledger: Ledger | None = None
        self.kill: tuple[int, int] | None = None
        self.faults: dict[str, Fault] = {}
        self._news = asyncio.Event()

    def fault(self, target: str, call: bytes) -> Fault | None:
        """Returns what is to be done to a call instead of answering it."""
        fault = self.faults.get(_place(target))
        return fault if fault is not None and fault.befalls(call) else None

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes, Callable[[], None]]:
        """Returns status and body of an answer, and what is to be called once it was written."""
        path = urlsplit(target)
        if method == "POST":
            return self._take(path.path, body)
        if _place(target) == HEARTBEAT:
            return 200, b"", self._beaten
        name, _, rest = path.path.lstrip("/").partition("/v1/runs")
        app = self.apps.get(name, App())
        if rest:
            run_id = rest.lstrip("/")
            if run_id not in app.details:
                return 404, _NOT_FOUND, self._answered
            asked = app.asked.get(run_id)
            return (
                200,
                app.details[run_id],
                lambda: self._answered([question(run_id, asked)] if asked else ()),
            )
        query = parse_qs(path.query)
        number, size = int(query["page"][0]), int(query["page_size"][0])
        if number == 1:
            self.records.polls.append((time.monotonic(), name))
            self._news.set()
        if not app.listed:
            return 200, _EMPTY, self._answered
        page = app.page(number, size)

        def written() -> None:
            now = time.monotonic()
            for run_id in page.runs:
                self.records.served.setdefault(run_id, now)
            self._answered(page.questions)

        return 200, page.body, written

    def _answered(self, questions: Sequence[str] = ()) -> None:
        self.records.answers.append(time.monotonic())
        if self.ledger is not None:
            self.ledger.shown.update(questions)

    def _beaten(self) -> None:
        if self.ledger is not None:
            self.ledger.beats += 1

    def _take(self, path: str, body: bytes) -> tuple[int, bytes, Callable[[], None]]:
        place, _, method = path.lstrip("/").partition("/")
        if self.ledger is not None:
            self.ledger.accept(place, method, body)
        elif place != SLACK:
            self.records.posts.append((time.monotonic(), body))
            if self.kill is not None and len(self.records.posts) == self.kill[0]:
                os.kill(self.kill[1], signal.SIGKILL)
        return 200, _SLACK if place == SLACK else b"", self._news.set

    async def wait(self, what: str, count: int, seconds: float) -> bool:
        """Waits until there are so many polls or posts; returns whether there are."""
        try:
            async with asyncio.timeout(seconds):
                while len(getattr(self.records, what)) < count:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def do(self, command: str, arguments: dict[str, Any]) -> Any:
        """Does what a line of standard input says and returns what is answered."""
        match command:
            case "publish" | "ask_again" | "finish":
                app = self.apps.setdefault(arguments.pop("app"), App())
                getattr(app, command)(**arguments)
            case "fault":
                self._misbehave(**arguments)
            case "wait":
                return await self.wait(**arguments)
            case "count":
                return len(getattr(self.records, arguments["what"]))
            case "kill_at":
                self.kill = (arguments["posts"], arguments["pid"])
            case "report":
                return _told(self.records)
            case "forget":
                self.records = Records()
                self.kill = None
            case "keep_ledger":
                self.ledger = Ledger()
            case "ledger":
                return self._told_ledger()
        return None

    def _misbehave(self, places: Sequence[str], fault: dict[str, Any] | None) -> None:
        for place in places:
            self.faults.pop(place, None)
            if fault is not None:
                self.faults[place] = Fault(**fault)

    def _told_ledger(self) -> dict[str, Any]:
        assert self.ledger is not None
        self.ledger.waiting = {
            question(run_id, prompt): name
            for name, app in self.apps.items()
            for run_id, prompt in app.asked.items()
        }
        return self.ledger.as_json()


class Connection(asyncio.Protocol):
    """Just enough of HTTP/1.1 for clients that behave: no chunked bodies, one request after the other."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers every request that is whole."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            _, found, length = head.lower().partition(b"content-length:")
            whole = end + 4 + (int(length.split(b"\r\n", 1)[0]) if found else 0)
            if len(self._received) < whole:
                return
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            call, self._received = self._received[:whole], self._received[whole:]
            if fault := self._stage.fault(target, call):
                if not fault.commit(self._transport):
                    return
                continue
            body = call[end + 4 :]
            status, content, written = self._stage.answer(method, target, body)
            self._transport.write(
                b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(content), content)
            )
            written()


async def main() -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    stage = Stage()
    server = await loop.create_server(lambda: Connection(stage), "127.0.0.1", 0, backlog=2048)
    commands = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _say(server.sockets[0].getsockname()[1])
    async for line in commands:
        command, arguments = json.loads(line)
        _say(await stage.do(command, arguments))


def _place(target: str) -> str:
    return target.split("/", 2)[1]


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _told(records: Records) -> dict[str, Any]:
    return {
        "served": records.served,
        "polls": records.polls,
        "answers": records.answers,
        "posts": [(at, json.loads(body)) for at, body in records.posts],
    }


def _run(run_id: str, status: str) -> dict[str, Any]:
    return {
        "id": run_id,
        "status": status,
        "started_at": "2026-06-10T09:15:21Z",
        "input": {"ticket": "4711", "text": "The customer wants the money back for the second order."},
        "user_id": "customer-7421",
        "session_id": "3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d",
    }


def _question(number: int) -> dict[str, Any]:
    return {
        "id": str(uuid.UUID(int=number)),
        "type": "approval_request",
        "prompt": f"Approve refund number {number} of 620.00 EUR to customer 7421?",
        "params": {"amount": 620.0, "currency": "EUR", "order": f"ORD-{number:06}", "reason": "arrived late"},
        "editable_params": ["amount", "reason"],
    }


if __name__ == "__main__":
    asyncio.run(main())
