"""Destinations to test against: Slack and a webhook's receiver, as real servers on loopback.

`FakeSlack` refuses what Slack refuses and can tell what of a message would act in a Slack client. Both run
inside a test, or by themselves as `python -m tests.fakes slack|webhook`, which prints the address; what they
received is then at `GET /_received`, and `POST /_next` with a JSON list of replies says how to answer next.
"""

import asyncio
import json
import re
import sys
import unicodedata
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

from aiohttp import web

TEXT_MAX: Final = 3000
HEADER_MAX: Final = 150
BLOCKS_MAX: Final = 50
FIELDS_MAX: Final = 10
FIELD_MAX: Final = 2000
TOTAL_MAX: Final = 13_000

_EXTRACT: Final = re.compile(r"<([^<>]+)>")
_FORMATTING: Final = re.compile(r"(?<!\w)([*_~`])(?=\S)(.+?)(?<=\S)\1(?!\w)")
_AUTOMATIC: Final = (
    re.compile(r"\b(?:https?://|mailto:|tel:)\S+", re.IGNORECASE),
    re.compile(r"\b[\w.+-]+@[\w-]+\.\w{2,}"),
    re.compile(r"\b[\w-]+\.(?:com|org|net|io|ai|example)\b", re.IGNORECASE),
    re.compile(r"(?<!\w)@(?:here|channel|everyone)\b"),
)
_CONTROLLING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what controls a display: control and format characters, surrogates, separators."""
_EMOJI: Final = re.compile(r":[a-z0-9_+'-]+:")


@dataclass(frozen=True, slots=True)
class Reply:
    """How to answer one request instead of well; `drop` takes the message and loses the answer."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Returns the body as JSON."""
        return json.loads(self.body)


class Destination(Protocol):
    """A fake that can be served."""

    received: list[Received]
    replies: deque[Reply]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers a request."""


class WebhookReceiver:
    """Takes everything that is posted, whatever the path, and keeps it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.replies: deque[Reply] = deque()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keeps the request and answers as was asked for, else with 200."""
        self.received.append(await _received(request))
        return await _reply(request, self.replies.popleft() if self.replies else Reply())


class FakeSlack:
    """Slack's `chat.postMessage`, `chat.update`, `auth.test` and incoming webhooks (`/services/…`).

    `messages` holds what was accepted, by channel and ts; a ts never repeats. `failures` are error codes
    to answer with once each, before anything is looked at; `replies` are whole answers.
    """

    def __init__(
        self, *, token: str = "xoxb-made-up-token", channels: tuple[str, ...] = ("C0123456789",)
    ) -> None:
        self.token = token
        self.channels = channels
        self.received: list[Received] = []
        self.replies: deque[Reply] = deque()
        self.failures: deque[str] = deque()
        self.messages: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = count(1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one call as Slack does."""
        received = await _received(request)
        self.received.append(received)
        reply = self.replies.popleft() if self.replies else Reply()
        if reply.status == 200 and not reply.silent:
            reply = self._answer(received, reply)
        return await _reply(request, reply)

    def _answer(self, received: Received, reply: Reply) -> Reply:
        webhook = received.path.startswith("/services/")
        code, values = (self.failures.popleft(), {}) if self.failures else self._call(received)
        if webhook:
            return Reply(400 if code else 200, code or "ok", drop=reply.drop)
        body = {"ok": False, "error": code} if code else {"ok": True, **values}
        return Reply(200, json.dumps(body), {"Content-Type": "application/json"}, drop=reply.drop)

    def _call(self, received: Received) -> tuple[str, dict[str, str]]:
        """Returns an error code, empty if all is well, and what the answer holds."""
        payload = received.json()
        if received.path.startswith("/services/"):
            return self._keep("webhook", payload)
        if received.headers.get("Authorization") != f"Bearer {self.token}":
            return "invalid_auth", {}
        channel, ts = str(payload.get("channel")), str(payload.get("ts"))
        match received.path.removeprefix("/api/"):
            case "auth.test":
                return "", {"user": "watcher", "team": "Acme", "bot_id": "B1"}
            case "chat.postMessage":
                return self._keep(channel, payload) if channel in self.channels else ("channel_not_found", {})
            case "chat.update":
                known = (channel, ts) in self.messages
                return self._keep(channel, payload, ts=ts) if known else ("message_not_found", {})
        return "unknown_method", {}

    def _keep(self, channel: str, payload: dict[str, Any], ts: str = "") -> tuple[str, dict[str, str]]:
        code = refused(payload)
        if code:
            return code, {}
        ts = ts or f"1781082940.{next(self._numbers):06d}"
        self.messages[channel, ts] = payload
        return "", {"channel": channel, "ts": ts}


def refused(payload: Mapping[str, Any]) -> str:
    """Returns the error code with which Slack refuses a message, or nothing."""
    blocks = payload.get("blocks", [])
    if not payload.get("text") and not blocks:
        return "no_text"
    texts = list(_texts(blocks))
    if _units(json.dumps(blocks, ensure_ascii=False)) + _units(payload.get("text", "")) > TOTAL_MAX:
        return "msg_blocks_too_long"
    too_many = len(blocks) > BLOCKS_MAX or any(len(block.get("fields", [])) > FIELDS_MAX for block in blocks)
    too_long = any(not 0 < _units(text["text"]) <= TEXT_MAX for text in texts)
    if too_many or too_long or any(_header_too_long(block) or _fields_too_long(block) for block in blocks):
        return "invalid_blocks"
    return ""


def acting(payload: Mapping[str, Any]) -> list[str]:
    """Returns what a Slack client would not just show: mentions, links, formatting, emoji, odd characters."""
    found = (
        [] if payload.get("mrkdwn") is False and payload.get("blocks") else _active(payload.get("text", ""))
    )
    unclear = _EXTRACT.findall(payload.get("text", ""))
    for text in _texts(payload.get("blocks", [])):
        if text["type"] == "mrkdwn":
            found += _active(text["text"])
        elif text["type"] == "plain_text" and text.get("emoji", True):
            found += _EMOJI.findall(text["text"])
        elif text["type"] == "link":
            found.append(text["url"])
    everything = json.dumps(payload, ensure_ascii=False)
    found += [character for character in everything if unicodedata.category(character) in _CONTROLLING]
    return found + [markup for markup in unclear if markup not in found]


def shown(payload: Mapping[str, Any]) -> str:
    """Returns all texts of the blocks, one per line."""
    return "\n".join(text["text"] for text in _texts(payload.get("blocks", [])))


@asynccontextmanager
async def served(destination: Destination, port: int = 0) -> AsyncIterator[str]:
    """Serves a fake on loopback and yields its address, without a slash at the end."""

    async def received(_: web.Request) -> web.Response:
        return await _as_list(destination)

    async def prepare(request: web.Request) -> web.Response:
        return await _prepare(destination, request)

    app = web.Application(client_max_size=2**26)
    app.router.add_get("/_received", received)
    app.router.add_post("/_next", prepare)
    app.router.add_route("*", "/{path:.*}", destination.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        host, bound = runner.addresses[0][:2]
        yield f"http://{host}:{bound}"
    finally:
        await runner.cleanup()


def _active(mrkdwn: str) -> list[str]:
    """What `mrkdwn` does, Slack's own way of reading: extracts in angle brackets, then formatting."""
    found: list[str] = _EXTRACT.findall(mrkdwn)
    rest = _EXTRACT.sub(" ", mrkdwn)
    found += [match[0] for match in _FORMATTING.finditer(rest)]
    found += re.findall(r"^\s*(?:>|&gt;)", rest, re.MULTILINE)
    found += _EMOJI.findall(rest)
    for pattern in _AUTOMATIC:
        found += pattern.findall(rest)
    return found


def _texts(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every text object and every rich text element that holds a text."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value
        for item in value.values():
            yield from _texts(item)


def _units(text: str) -> int:
    """Counts in UTF-16 units, the strictest way of reading a limit on characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _header_too_long(block: Mapping[str, Any]) -> bool:
    return block["type"] == "header" and _units(block["text"]["text"]) > HEADER_MAX


def _fields_too_long(block: Mapping[str, Any]) -> bool:
    return any(_units(text["text"]) > FIELD_MAX for text in block.get("fields", []))


async def _received(request: web.Request) -> Received:
    return Received(request.path, dict(request.headers), await request.read())


async def _reply(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.silent:
        await asyncio.Event().wait()
    if reply.drop:
        assert request.transport is not None
        request.transport.abort()
    return web.Response(status=reply.status, text=reply.body, headers=reply.headers)


async def _as_list(destination: Destination) -> web.Response:
    return web.json_response([
        {"path": item.path, "headers": dict(item.headers), "body": item.body.decode("utf-8", "replace")}
        for item in destination.received
    ])  # fmt: skip


async def _prepare(destination: Destination, request: web.Request) -> web.Response:
    destination.replies.extend(Reply(**reply) for reply in await request.json())
    return web.json_response({"ok": True})


async def _main(kind: str, port: int) -> None:
    destination: Destination = FakeSlack() if kind == "slack" else WebhookReceiver()
    async with served(destination, port) as url:
        print(url, flush=True)  # noqa: T201 - the caller reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
