"""What happens to a watcher in a soak: people who ask and answer, and servers that fail again and again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.benchmarks.faults import Fault
from tests.benchmarks.ledger import SLACK
from tests.benchmarks.processes import Servers
from tests.benchmarks.servers import HEARTBEAT

TURN: Final = 0.125
"""Seconds between two looks at what is to be done."""
BURST: Final = 30
BURST_EVERY: Final = 160
ENDINGS: Final = ("completed",) * 12 + ("canceled",) * 3 + ("failed",) * 3 + ("deleted",) * 2
ASK_AGAIN: Final = 0.2
"""The share of requests after which a run asks something else under the same id."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An app in which so many wait, and every so many turns one is asked and another one ends; 0 is never."""

    app: str
    waiting: int
    every: int
    carried: bool = True
    hidden: bool = False


STREAMS: Final = (
    Stream("busy", 60, 1),
    Stream("fetched", 20, 8, carried=False),
    Stream("people", 5, 40),
    Stream("parked", 5, 40, carried=False, hidden=True),
    Stream("still", 30, 0),
)
BURSTS: Final = ("busy", "people")


class Traffic:
    """Asks and answers. As many wait after a while as did before."""

    def __init__(self, servers: Servers, chance: Random) -> None:
        self._servers = servers
        self._chance = chance

    def begin(self) -> None:
        """Lets those wait that are to wait at every time."""
        for stream in STREAMS:
            self._servers.publish(
                stream.waiting, app=stream.app, carried=stream.carried, hidden=stream.hidden
            )

    def turn(self, number: int) -> None:
        """Does what is to be done in a turn."""
        for stream in STREAMS:
            if stream.every and number % stream.every == 0:
                self._ask_and_answer(stream)
        burst, turn = divmod(number, BURST_EVERY)
        app = BURSTS[burst % len(BURSTS)]
        if turn == BURST_EVERY // 4:
            self._servers.publish(BURST, app=app)
        elif turn == 3 * BURST_EVERY // 4:
            self._servers.finish(BURST, app=app)

    def _ask_and_answer(self, stream: Stream) -> None:
        self._servers.publish(1, app=stream.app, carried=stream.carried, hidden=stream.hidden)
        self._servers.finish(1, app=stream.app, status=self._chance.choice(ENDINGS))
        if not stream.hidden and self._chance.random() < ASK_AGAIN:
            self._servers.ask_again(app=stream.app, carried=stream.carried)


def _error(code: str) -> str:
    return f'{{"error": {{"code": "{code}", "message": "not now"}}}}'


def _slack(code: str, only: str = "") -> Fault:
    return Fault(status=200, body=f'{{"ok": false, "error": "{code}"}}', only=only)


_BROKEN: Final[Mapping[str, Fault]] = {
    "500": Fault(body="it broke"),
    "429": Fault(status=429, body="too many", retry_after=1),
    "hang": Fault("hang"),
    "reset": Fault("reset"),
    "close": Fault("close"),
}
API: Final[Mapping[str, Fault]] = {
    **_BROKEN,
    "400": Fault(status=400, body=_error("bad_request")),
    "401": Fault(status=401, body=_error("unauthorized")),
    "404": Fault(status=404, body=_error("not_found")),
    "tear": Fault("tear"),
    "no JSON": Fault(status=200, body="<html>"),
    "500 of single runs": Fault(body=_error("server_error"), only="/v1/runs/"),
}
WEBHOOK: Final[Mapping[str, Fault]] = {**_BROKEN, "410": Fault(status=410, body="gone")}
SLACK_API: Final[Mapping[str, Fault]] = {
    **_BROKEN,
    "tear": Fault("tear"),
    "channel_not_found": _slack("channel_not_found"),
    "no blocks": _slack("invalid_blocks", '"type"'),
    "no edits": _slack("message_not_found", "chat.update"),
}
DESTINATIONS: Final[Mapping[str, Mapping[str, Fault]]] = {
    "hook": WEBHOOK,
    "later": WEBHOOK,
    SLACK: SLACK_API,
    HEARTBEAT: {name: _BROKEN[name] for name in ("500", "hang")},
}
LONG: Final = 14.0
"""Seconds of an outage after which deliveries have been given up."""


@dataclass(frozen=True, slots=True)
class Outage:
    """So many seconds in which these places misbehave."""

    name: str
    places: Sequence[str]
    fault: Fault
    seconds: float


def api_outages(chance: Random) -> Iterator[Outage]:
    """Yields outages of one app or of all, each kind once in a round, for ever."""
    apps = [stream.app for stream in STREAMS]
    while True:
        for name, fault in chance.sample(sorted(API.items()), len(API)):
            one = [chance.choice(apps)]
            yield Outage(f"apps {name}", chance.choice((apps, one)), fault, 4.0)


def destination_outages(chance: Random) -> Iterator[Outage]:
    """Yields outages of one destination, each kind once in a round, and a long one of each, for ever."""
    kinds = [
        Outage(f"{place} {name}", [place], fault, 3.0)
        for place, faults in DESTINATIONS.items()
        for name, fault in faults.items()
    ]
    kinds += [Outage(f"{place} long", [place], _BROKEN["500"], LONG) for place in ("hook", "later", SLACK)]
    while True:
        yield from chance.sample(kinds, len(kinds))


class Weather:
    """Lets one outage after the other pass, with a pause after each; `passed` counts them by name."""

    PAUSE: Final = 1.5

    def __init__(self, servers: Servers, outages: Iterator[Outage], now: float) -> None:
        self._servers = servers
        self._outages = outages
        self._current: Outage | None = None
        self._until = now + self.PAUSE
        self.passed: dict[str, int] = {}

    def turn(self, now: float) -> None:
        """Begins or ends an outage where it is time."""
        if now < self._until:
            return
        if self._current is not None:
            self.clear()
            self._until = now + self.PAUSE
            return
        self._current = next(self._outages)
        self._servers.misbehave(self._current.places, self._current.fault)
        self._until = now + self._current.seconds

    def clear(self) -> None:
        """Ends the outage that there is."""
        if self._current is not None:
            self._servers.behave(self._current.places)
            self.passed[self._current.name] = self.passed.get(self._current.name, 0) + 1
            self._current = None
