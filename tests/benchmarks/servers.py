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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

_SLACK: Final = b'{"ok":true,"channel":"C0123456789","ts":"1781082921.000100"}'
_NOT_FOUND: Final = b'{"error":{"code":"not_found","message":"no such run"}}'
_EMPTY: Final = b'{"data":[],"pagination":{"page":1,"page_size":100,"page_count":0,"total_count":0}}'


@dataclass(slots=True)
class App:
    """The runs of an app, as bytes: how the list shows each that waits, and what each shows by itself."""

    listed: dict[str, bytes] = field(default_factory=dict)
    details: dict[str, bytes] = field(default_factory=dict)
    pages: dict[tuple[int, int], tuple[bytes, list[str]]] = field(default_factory=dict)

    def publish(self, count: int, *, carried: bool) -> None:
        """Makes so many new runs wait; their requests are in the list only if `carried`."""
        for _ in range(count):
            run_id = str(uuid.uuid4())
            run = _run(run_id, "awaiting_input")
            asked = run | {"input_requests": [_question(len(self.details))]}
            self.listed[run_id] = json.dumps(asked if carried else run).encode()
            self.details[run_id] = json.dumps({"data": asked}).encode()
        self.pages.clear()

    def finish(self, count: int) -> None:
        """Lets the oldest of those that wait come to their end."""
        for run_id in list(self.listed)[:count]:
            del self.listed[run_id]
            self.details[run_id] = json.dumps({"data": _run(run_id, "completed")}).encode()
        self.pages.clear()

    def page(self, number: int, size: int) -> tuple[bytes, list[str]]:
        """Returns a page and the ids of the runs on it."""
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
            self.pages[number, size] = body, ids
        return self.pages[number, size]


@dataclass(slots=True)
class Records:
    """What was asked and what was received, with the monotonic time of each."""

    served: dict[str, float] = field(default_factory=dict)
    polls: list[tuple[float, str]] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    posts: list[tuple[float, bytes]] = field(default_factory=list)


class Stage:
    """All that is served."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self.records = Records()
        self.kill: tuple[int, int] | None = None
        self._news = asyncio.Event()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes, Callable[[], None]]:
        """Returns status and body of an answer, and what is to be called once it was written."""
        path = urlsplit(target)
        if method == "POST":
            return self._take(path.path, body)
        name, _, rest = path.path.lstrip("/").partition("/v1/runs")
        app = self.apps.get(name)
        if rest:
            detail = app.details.get(rest.lstrip("/")) if app else None
            return (404, _NOT_FOUND, self._answered) if detail is None else (200, detail, self._answered)
        query = parse_qs(path.query)
        number, size = int(query["page"][0]), int(query["page_size"][0])
        if number == 1:
            self.records.polls.append((time.monotonic(), name))
            self._news.set()
        if app is None:
            return 200, _EMPTY, self._answered
        content, ids = app.page(number, size)

        def written() -> None:
            now = time.monotonic()
            for run_id in ids:
                self.records.served.setdefault(run_id, now)
            self._answered()

        return 200, content, written

    def _answered(self) -> None:
        self.records.answers.append(time.monotonic())

    def _take(self, path: str, body: bytes) -> tuple[int, bytes, Callable[[], None]]:
        if path.startswith("/api/"):
            return 200, _SLACK, lambda: None
        received = time.monotonic()
        posts = self.records.posts
        posts.append((received, body))
        if self.kill is not None and len(posts) == self.kill[0]:
            os.kill(self.kill[1], signal.SIGKILL)
        return 200, b"", self._news.set

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
        app = self.apps.setdefault(arguments.pop("app", "bench"), App())
        match command:
            case "publish":
                app.publish(**arguments)
            case "finish":
                app.finish(**arguments)
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
        return None


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
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
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
