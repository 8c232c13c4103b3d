"""All that a watcher talks to, misbehaving in every way at once beside what is well, and what to expect."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import hostile_peers as peers
from tests.support.certificates import Authority
from tests.support.hostile_peers import Behaviour, Call, Peer, listening, redirects_to, reply

KEY: Final = "dynamiq_acc_" + "Zx9" * 12
TOKEN: Final = "xoxb-111-very-secret-"
"""How the token of each bot begins; its way to misbehave follows."""
HOOK: Final = "hook-path-secret-8c2c0d3e"
PATIENT: Final = 20.0
HASTY: Final = 2.0
"""Seconds that a watcher waits for an answer: of those who give one, and of those who never do."""

WELL: Final = "well"

SILENT: Final = f"no answer within {HASTY:g} s"
BROKEN: Final = "the connection broke before an answer came"
BROKEN_OFF: Final = "the connection broke in the middle of the answer"
INVALID: Final = "the answer is not valid HTTP; is it https://?"
REFUSED: Final = "TLS: the certificate was refused"
NOT_SLACK: Final = "the answer is not from Slack"
LASTING: Final = (NOT_SLACK, REFUSED, "HTTP 307", "Slack: HTTP 307")
"""How words begin with which goes what to mend."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to misbehave, and what comes of it: at an app, after a plain POST or GET, and in calls to Slack.

    `app` is the code and the status of the failed poll, several where it depends on the machine. None is no
    failure: the status was good, and what else came does not matter. A way without `bot` is not tried there,
    for all bots call one address. `incoming` is for an incoming webhook of Slack, where it tells more than
    `posted`. `secure` says whether clients use TLS, `tls` with which context the server
    does, if at all.
    """

    behaviour: Behaviour
    app: frozenset[tuple[str, int | None]]
    posted: str | None
    bot: str | None = None
    incoming: str | None = None
    secure: bool = False
    tls: Callable[[Authority], ssl.SSLContext] | None = None

    def peer(self, well: Behaviour, authority: Authority) -> Peer:
        """Returns a server that misbehaves like that until it is well."""
        tls = self.tls(authority) if self.tls else None, authority.right if self.secure else None
        return Peer(self.behaviour, well, tls=tls, secure=self.secure)


def ways(elsewhere: Peer, *, late: bool) -> dict[str, Way]:
    """Returns the ways that may end by a timeout, or all others; `elsewhere` is where a redirect leads."""
    return {name: way for name, way in _all_ways(elsewhere).items() if late == (way.app >= _fails("timeout"))}


def _all_ways(elsewhere: Peer) -> dict[str, Way]:
    late, broken, busy = _fails("timeout"), _fails("connection_failed"), _fails("server_error", 503)
    odd, moved = _fails("invalid_response", 200), _fails("redirect", 307)
    large = _fails("response_too_large", 200)

    def away(call: Call) -> Awaitable[None]:
        return redirects_to(f"{elsewhere.url}/elsewhere")(call)

    return {
        "silence": Way(peers.says_nothing, late, SILENT, SILENT),
        "dripping_head": Way(peers.drips_its_head, late, SILENT, SILENT),
        "dripping_body": Way(peers.drips, late, None, SILENT),
        "stall": Way(peers.stalls, late, None, SILENT),
        "announcements": Way(peers.keeps_one_waiting, late, SILENT, SILENT),
        "hanging_up": Way(peers.hangs_up, broken, BROKEN, BROKEN),
        "half_a_head": Way(peers.hangs_up_in_its_head, broken, BROKEN, BROKEN),
        "half_a_body": Way(peers.truncates, broken, None, BROKEN_OFF),
        "reset": Way(peers.resets, broken, BROKEN, BROKEN),
        "babble": Way(peers.babbles, broken, INVALID, INVALID),
        "another_site": Way(peers.is_another_site, odd, None, NOT_SLACK, NOT_SLACK),
        "noise": Way(peers.sends_noise, odd, None, NOT_SLACK),
        "charset": Way(peers.names_no_charset, odd, None, NOT_SLACK),
        "nesting": Way(peers.nests, large, None, NOT_SLACK),
        "huge_header": Way(peers.has_a_huge_header, broken, INVALID, INVALID),
        "endless_headers": Way(peers.has_headers_without_end, broken, INVALID, INVALID),
        "flood": Way(peers.floods, late | large, None, NOT_SLACK),
        "broken_chunk": Way(peers.breaks_a_chunk, broken, INVALID, INVALID),
        "bomb": Way(peers.explodes, large, None, NOT_SLACK),
        "busy_dripping": Way(peers.is_busy_and_drips, busy, "HTTP 503", "Slack: HTTP 503"),
        "busy_half": Way(peers.is_busy_and_truncates, busy, "HTTP 503", "Slack: HTTP 503"),
        "busy_bomb": Way(peers.is_busy_and_explodes, busy, "HTTP 503", "Slack: HTTP 503"),
        "busy_flood": Way(peers.is_busy_and_floods, busy, "HTTP 503", "Slack: HTTP 503"),
        "moved": Way(redirects_to("/elsewhere"), moved, "HTTP 307", "Slack: HTTP 307"),
        "moved_away": Way(away, moved, "HTTP 307", "Slack: HTTP 307"),
        "expired": Way(
            peers.answers,
            broken,
            f"{REFUSED}: certificate has expired",
            secure=True,
            tls=lambda ca: ca.expired,
        ),
        "of_another_host": Way(
            peers.answers,
            broken,
            f"{REFUSED}: IP address mismatch",
            secure=True,
            tls=lambda ca: ca.of_another_host,
        ),
        "self_signed": Way(
            peers.answers,
            broken,
            f"{REFUSED}: self-signed certificate",
            secure=True,
            tls=lambda ca: ca.self_signed,
        ),
        "no_tls": Way(
            peers.is_another_site, broken, "TLS: the handshake failed; is it http://?", secure=True
        ),
        "no_handshake": Way(peers.says_nothing, late, SILENT, secure=True),
        "unasked_tls": Way(peers.answers, broken, BROKEN, tls=lambda ca: ca.right),
    }


def _fails(code: str, status: int | None = None) -> frozenset[tuple[str, int | None]]:
    return frozenset({(code, status)})


@dataclass(slots=True)
class World:
    """All of them by name; `bots` is where every bot calls, and `asked` what every app asks."""

    authority: Authority
    timeout: float
    ways: dict[str, Way]
    elsewhere: Peer
    apps: dict[str, Peer]
    hooks: dict[str, Peer]
    slack_hooks: dict[str, Peer]
    bots: Peer
    asked: list[str]

    def calls(self, notifier: str) -> list[Call]:
        """Returns the calls that a notifier has made; the kind is the beginning of its name."""
        kind, _, name = notifier.partition("_")
        if kind == "bot":
            return [
                call for call in self.bots.calls if call.header("Authorization") == f"Bearer {TOKEN}{name}"
            ]
        return (self.hooks if kind == "hook" else self.slack_hooks)[name].calls

    def words(self) -> dict[str, str | None]:
        """Returns with what the failure of each notifier begins, None for one that does not fail."""
        hooks = {f"hook_{name}": way.posted for name, way in self.ways.items()}
        slack = {f"slack_{name}": way.incoming or way.posted for name, way in self.ways.items()}
        bots = {f"bot_{name}": way.bot for name, way in self.ways.items() if way.bot}
        return {**hooks, **slack, **bots, f"hook_{WELL}": None, f"bot_{WELL}": None}

    def become(self, *, ill: bool) -> None:
        """Lets everything misbehave that can, or nothing."""
        for peer in self.everything():
            peer.is_ill = ill

    def everything(self) -> list[Peer]:
        """Returns every server that may misbehave."""
        named = (*self.apps.values(), *self.hooks.values(), *self.slack_hooks.values())
        return [*named, self.bots]

    def settings(self, *, apps: Iterable[str] = (), destinations: bool = False) -> dict[str, str]:
        """Returns those of a watcher that tells a webhook that is well of these apps.

        The app that is well is always among them; with `destinations` it is told of to all there are.
        """
        shared = {
            "WATCHER_POLL_INTERVAL": "1s",
            "WATCHER_BACKOFF_MAX": "1s",
            "WATCHER_REQUEST_TIMEOUT": f"{self.timeout:g}s",
            "WATCHER_HTTP_PORT": "0",
            "WATCHER_LOG_LEVEL": "debug",
            "WATCHER_SLACK_API_URL": f"{self.bots.url}/api/",
            "SSL_CERT_FILE": str(self.authority.file),
            **_hook(WELL, self.hooks[WELL]),
        }
        for name in {*apps, WELL}:
            shared |= {
                f"WATCHER_APPS__{name}__BASE_URL": self.apps[name].url,
                f"WATCHER_APPS__{name}__ACCESS_KEY": KEY,
            }
            if name != WELL:
                shared[f"WATCHER_APPS__{name}__NOTIFY"] = f'["hook_{WELL}"]'
        return {**shared, **(self._destinations() if destinations else {})}

    def _destinations(self) -> dict[str, str]:
        settings: dict[str, str] = {}
        for name, peer in self.hooks.items():
            settings |= _hook(name, peer)
        for name, peer in self.slack_hooks.items():
            settings |= _notifier(f"slack_{name}", TYPE="slack", WEBHOOK_URL=f"{peer.url}/services/{HOOK}")
        for name in (*(name for name, way in self.ways.items() if way.bot), WELL):
            settings |= _notifier(f"bot_{name}", TYPE="slack", BOT_TOKEN=f"{TOKEN}{name}", CHANNEL=name)
        return settings


@asynccontextmanager
async def a_hostile_world(directory: Path, *, late: bool) -> AsyncIterator[World]:
    """Serves apps and destinations, each with its own way to misbehave, and one of each that is well.

    The ways are those that may end by a timeout, or all others.
    """
    authority, elsewhere, asked = Authority(directory), Peer(peers.answers), ["first?"]
    named = ways(elsewhere, late=late)

    async def misbehave(call: Call) -> None:
        way = named.get(call.header("Authorization").removeprefix(f"Bearer {TOKEN}"))
        await (way.behaviour if way else accepts)(call)

    world = World(
        authority,
        HASTY if late else PATIENT,
        named,
        elsewhere,
        apps={name: way.peer(lists(asked), authority) for name, way in named.items()},
        hooks={name: way.peer(accepts, authority) for name, way in named.items()},
        slack_hooks={name: way.peer(accepts, authority) for name, way in named.items()},
        bots=Peer(misbehave, accepts),
        asked=asked,
    )
    world.apps[WELL] = Peer(lists(asked), lists(asked))
    world.hooks[WELL] = Peer(accepts, accepts)
    async with listening([elsewhere, *world.everything()]):
        yield world


def lists(asked: Sequence[str]) -> Behaviour:
    """Answers as an app does in which runs wait, one for each of these prompts."""

    async def well(call: Call) -> None:
        runs = [
            {
                "id": f"run-{number}",
                "status": "awaiting_input",
                "input_requests": [{"id": "q", "type": "approval_request", "prompt": prompt}],
            }
            for number, prompt in enumerate(asked)
        ]
        pagination = {"page": 1, "page_size": 100, "page_count": 1, "total_count": len(runs)}
        await call.say(reply(json.dumps({"data": runs, "pagination": pagination}).encode()))

    return well


async def accepts(call: Call) -> None:
    """Answers as any destination does, Slack included."""
    await call.say(reply(b'{"ok": true, "channel": "C1", "ts": "1.1", "user": "u", "team": "t"}'))


def _hook(name: str, peer: Peer) -> dict[str, str]:
    return _notifier(f"hook_{name}", TYPE="webhook", URL=f"{peer.url}/{HOOK}")


def _notifier(name: str, **settings: str) -> dict[str, str]:
    return {f"WATCHER_NOTIFIERS__{name}__{key}": value for key, value in settings.items()}
