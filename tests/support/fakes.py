"""Destinations to test against: Slack and a webhook's receiver, as real servers on loopback.

`FakeSlack` refuses what Slack refuses (`slack_rules`); what of a message would act in a Slack client is found
by `slack_markup`.Both fakes run inside a test, or by themselves as
`python -m tests.support.fakes slack|webhook`, which prints the address; what they received is then at
`GET /_received`, and `POST /_next` with a JSON list of replies says how to answer next.
"""

import asyncio
import json
import math
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

from aiohttp import web

from tests.support.slack_markup import mentions_fired
from tests.support.slack_rules import complaints, refused

JSON_TYPE: Final = {"Content-Type": "application/json"}
UPDATES: Final = (50 / 60, 50.0)
"""Edits per second, and how many at once: tier 3, https://docs.slack.dev/apis/web-api/rate-limits."""

_ANY: Final = 1e9
"""So many that nothing is held back."""

Key = tuple[str, str]
"""Channel and ts, which together name a message."""


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


class TokenBucket:
    """Lets so many through per second, and a few more at once: a bucket of tokens that refills."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def wait(self) -> int:
        """Takes a token and returns 0, or returns after how many whole seconds there is one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return math.ceil((1 - self._left) / self._per_second)
        self._left -= 1
        return 0


class FakeSlack:
    """Slack's `chat.postMessage`, `chat.update`, `auth.test` and incoming webhooks (`/services/…`).

    `messages` holds what is in the channels now, by channel and ts; a ts never repeats. `history` holds all
    versions of each, the first as it was posted, and `notified` whom posting called: an edit calls nobody.
    `failures` are error codes to answer with once each, before anything is looked at; `replies` are whole
    answers. `uneditable` says with which code an edit of a message is refused, `edit_window` after how many
    seconds every edit is. `now` dates new messages. With `pace`, in messages per second, a channel gets no
    more than that after a burst of three, and all edits together no more than their tier allows.
    """

    def __init__(
        self,
        *,
        token: str = "xoxb-made-up-token",
        channels: tuple[str, ...] = ("C0123456789",),
        names: Mapping[str, str] | None = None,
        pace: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token = token
        self.channels = channels
        self.names = dict(names or {})
        self.archived: set[str] = set()
        self.metadata_allowed = True
        self.now = 1781082940.0
        self.edit_window: float | None = None
        self.uneditable: dict[Key, str] = {}
        self.received: list[Received] = []
        self.replies: deque[Reply] = deque()
        self.failures: deque[str] = deque()
        self.messages: dict[Key, dict[str, Any]] = {}
        self.history: dict[Key, list[dict[str, Any]]] = {}
        self.notified: list[tuple[str, str, str]] = []
        self._numbers = count(1)
        self._posts: dict[str, TokenBucket] = defaultdict(lambda: TokenBucket(pace or _ANY, 3, clock))
        self._updates = TokenBucket(*(UPDATES if pace else (_ANY, _ANY)), clock)

    def delete(self, channel: str, ts: str) -> None:
        """Deletes a message as a person does; there is no thread below it any more either."""
        del self.messages[channel, ts]

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
        if wait := values.get("retry_after"):
            body = "rate_limited" if webhook else json.dumps({"ok": False, "error": code})
            return Reply(429, body, {"Retry-After": wait, **({} if webhook else JSON_TYPE)})
        if webhook:
            return Reply(400 if code else 200, code or "ok", drop=reply.drop)
        body = json.dumps({"ok": not code, **({"error": code} if code else {}), **values})
        return Reply(200, body, JSON_TYPE, drop=reply.drop)

    def _call(self, received: Received) -> tuple[str, dict[str, Any]]:
        """Returns an error code, empty if all is well, and what the answer holds."""
        webhook = received.path.startswith("/services/")
        try:
            payload = received.json()
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            return "invalid_payload" if webhook else "invalid_json", {}
        if webhook:
            return self._post("webhook", payload)
        authorization = received.headers.get("Authorization")
        if authorization != f"Bearer {self.token}":
            return "invalid_auth" if authorization else "not_authed", {}
        return self._call_method(received.path.rpartition("/api/")[2], payload)

    def _call_method(self, method: str, payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        channel = str(payload.get("channel"))
        match method:
            case "auth.test":
                return "", {"user": "watcher", "team": "Acme", "bot_id": "B1"}
            case "chat.postMessage":
                # A post may name the channel, an edit needs its id.
                channel = self.names.get(channel.lstrip("#"), channel)
                code = self._cannot_post(channel, payload)
                return (code, {}) if code else self._post(channel, payload)
            case "chat.update":
                return self._update((channel, str(payload.get("ts"))), payload)
        return "unknown_method", {}

    def _cannot_post(self, channel: str, payload: Mapping[str, Any]) -> str:
        """Returns why nothing can be posted there, or nothing."""
        if channel not in self.channels:
            return "channel_not_found"
        if channel in self.archived:
            return "is_archived"
        if "metadata" in payload and not self.metadata_allowed:
            return "metadata_must_be_sent_from_app"
        if "thread_ts" not in payload:
            return ""
        parent = self.messages.get((channel, str(payload["thread_ts"])))
        if parent is None:
            return "thread_not_found"
        return "cannot_reply_to_message" if "thread_ts" in parent else ""

    def _post(self, channel: str, payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if wait := self._posts[channel].wait():
            return "ratelimited", {"retry_after": str(wait)}
        if code := refused(payload):
            return code, _why(payload)
        ts = f"{int(self.now)}.{next(self._numbers):06d}"
        self.messages[channel, ts] = payload
        self.history[channel, ts] = [payload]
        self.notified += [(channel, ts, mention) for mention in mentions_fired(payload)]
        return "", {"channel": channel, "ts": ts}

    def _update(self, key: Key, payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Replaces a message. Metadata and blocks that are not given stay.

        An empty list removes the blocks; that a text alone does so is in some of Slack's descriptions, not in
        all. There is no `mrkdwn` for an edit: its text is always read as markup.

        https://docs.slack.dev/reference/methods/chat.update
        """
        if wait := self._updates.wait():
            return "ratelimited", {"retry_after": str(wait)}
        if code := self._cannot_update(key, payload):
            return code, {}
        if code := refused(payload):
            return code, _why(payload)
        kept = {name: value for name, value in self.messages[key].items() if name in _KEPT}
        given = {name: value for name, value in payload.items() if name != "mrkdwn"}
        self.messages[key] = {**kept, **given}
        self.history[key].append(self.messages[key])
        return "", {"channel": key[0], "ts": key[1], "text": payload.get("text", "")}

    def _cannot_update(self, key: Key, payload: Mapping[str, Any]) -> str:
        channel, ts = key
        if channel not in self.channels:
            return "channel_not_found"
        if key not in self.messages:
            return "message_not_found"
        if key in self.uneditable:
            return self.uneditable[key]
        if self.edit_window is not None and self.now - float(ts) > self.edit_window:
            return "edit_window_closed"
        if "metadata" in payload and not self.metadata_allowed:
            return "metadata_must_be_sent_from_app"
        return "no_dual_broadcast_content_update" if payload.get("reply_broadcast") else ""


_KEPT: Final = frozenset({"thread_ts", "reply_broadcast", "metadata", "channel", "blocks"})
"""What an edit leaves as it was."""


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


def _why(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what Slack adds to a refusal of blocks: what is wrong with them, and where."""
    return {
        "response_metadata": {
            "messages": [f"[ERROR] {words}" for words in complaints(payload.get("blocks") or [])]
        }
    }


async def _received(request: web.Request) -> Received:
    return Received(request.path, dict(request.headers), await request.read())


async def _reply(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.silent:
        await asyncio.Event().wait()
    if reply.drop:
        assert request.transport is not None
        request.transport.abort()
    response = web.Response(status=reply.status, text=reply.body, headers=reply.headers)
    response.enable_compression()  # as real ones do for whoever says that it can read it
    return response


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
