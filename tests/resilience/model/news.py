"""What is told of failing apps and of failing notifiers, and of their recovery, checked after every step.

An outage of an app lasts from when it was last known to be well to its next whole poll; one of a notifier
from its first failure to what it next accepts. Of each that lasts long enough those concerned are told once,
in time and no earlier; of its end once those who were told, or may have been.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.resilience.model.config import ALERT_AFTER, told_of
from tests.resilience.model.fate import ModelClock
from watcher.config.models import Config
from watcher.store.sql import Reader, Row

Kind = Literal["app", "notifier"]
A_LITTLE: Final = 0.001


def in_doubt(delivery: Row) -> bool:
    """Returns whether the database says that a delivery may have been accepted."""
    return bool(delivery["attempt_open"] or delivery["possibly_delivered"])


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by the clock that really passes and by the wall clock."""

    elapsed: float
    wall: float


@dataclass(slots=True)
class Outage:
    """Since when something may fail, and the event, if any, by which that was told, and from when.

    `before` is when the outage before began. `lasting` says of an app that a restart does not make it forget,
    and `sure` of a notifier that the watcher knows what its sends came to.
    """

    since: Moment | None = None
    lasting: bool = False
    sure: bool = True
    before: Moment | None = None
    told: str | None = None
    told_at: float = 0.0
    told_since: float = 0.0


@dataclass(slots=True)
class News:
    """Follows each app and each notifier, and knows what must be told of them."""

    clock: ModelClock
    database: Reader
    apps: dict[str, Outage] = field(default_factory=dict)
    notifiers: dict[str, Outage] = field(default_factory=dict)
    accepted_at: dict[str, float] = field(default_factory=dict)
    _events: set[str] = field(default_factory=set)
    _reached: set[int] = field(default_factory=set)
    _looked_at: float = 0.0

    def started(self, config: Config) -> None:
        """A process starts; how long an app has failed is remembered if it ever worked, or was told of."""
        for app in config.apps:
            outage = self.apps.setdefault(app.name, Outage())
            if not outage.lasting:
                outage.since = self.moment()

    def polled(self, app: str, *, whole: bool) -> None:
        """A poll ended, whole or in any other way."""
        outage = self.apps[app]
        if whole:
            outage.since, outage.lasting = self.moment(), False
            return
        row = self.database.first(
            "SELECT i.announced_event, a.first_success_at FROM incidents i"
            " LEFT JOIN apps a ON a.name = i.name WHERE i.scope = 'app' AND i.name = ?",
            (app,),
        )
        outage.lasting = row is not None and (row["first_success_at"] or row["announced_event"]) is not None

    def attempted(self, notifier: str, *, well: bool | None) -> None:
        """A send has ended."""
        outage = self.notifiers.setdefault(notifier, Outage())
        if well:
            outage.before = outage.since or outage.before
            outage.since = None
            self.accepted_at[notifier] = self.clock.elapsed
        elif well is False and outage.since is None:
            # What ends at one instant is recorded together, and then something was accepted.
            outage.since, outage.sure = self.moment(), self.accepted_at.get(notifier) != self.clock.elapsed

    def unsure(self) -> None:
        """The last results of sends may be recorded, or not, or later."""
        for outage in self.notifiers.values():
            outage.since, outage.sure = outage.since or outage.before, False

    def clock_set(self, seconds: float) -> None:
        """The wall clock was set, and the watcher saw it."""
        for outage in (*self.apps.values(), *self.notifiers.values()):
            if outage.since is not None:
                outage.since = Moment(outage.since.elapsed, outage.since.wall + seconds)
            outage.told_since += seconds

    def look(self, config: Config, in_flight: Collection[int], polled: Collection[str]) -> Iterator[str]:
        """Checks what was told since the last look.

        `in_flight` is what was given out before or after; `polled` are the apps of which a poll may have been
        recorded as whole since then.
        """
        for event in self._new_events():
            if event["type"] == "watcher.app_failing":
                hearers = set(told_of(config, event["app"]))
                yield from self._check_alarm(event, "app", event["app"], hearers)
            elif event["type"] == "watcher.notifier_failing":
                silent = json.loads(event["detail"])["notifier"]
                hearers = {each.name for each in config.notifiers} - {silent}
                yield from self._check_alarm(event, "notifier", silent, hearers)
        for app, outage in self.apps.items():
            yield from self._check_end(
                "app", app, outage, set(told_of(config, app)), in_flight, may_end=app in polled
            )
        for name, outage in self.notifiers.items():
            others = {each.name for each in config.notifiers} - {name}
            yield from self._check_end(
                "notifier",
                name,
                outage,
                others,
                in_flight,
                may_end=self.accepted_at.get(name, -1.0) >= outage.told_at,
            )
        self._reached = {
            row["id"]
            for row in self.database.execute(
                "SELECT id FROM deliveries"
                " WHERE state = 'sent' OR attempt_open <> 0 OR possibly_delivered <> 0"
            )
        }
        self._looked_at = self.clock.elapsed

    def check_apps_told(self, config: Config, app: str) -> Iterator[str]:
        """After a failed poll: an outage that has lasted long enough is told of."""
        outage = self.apps[app]
        if outage.told is None and told_of(config, app) and self._lasted(outage, self.moment()):
            yield f"{app} has failed for long, and nobody is told"

    def check_app_well(self, app: str) -> Iterator[str]:
        """After a whole poll: no outage is left."""
        if self.apps[app].told is not None:
            yield f"{app} was polled whole, and its outage does not end"

    def check_notifiers_told(self, config: Config, began: Moment) -> Iterator[str]:
        """After workers have gone round: an outage that had lasted long enough when they began is told of.

        A worker that is done does not go round again while others keep their pace.
        """
        names = {each.name for each in config.notifiers}
        for name in names & self.notifiers.keys():
            in_vain = self.database.first(
                "SELECT 1 FROM deliveries WHERE notifier = ? AND state = 'pending' AND attempts > 0"
                " AND due_at <= ? LIMIT 1",
                (name, began.wall - ALERT_AFTER),
            )
            outage = self.notifiers[name]
            if (
                in_vain
                and outage.sure
                and outage.told is None
                and names != {name}
                and self._lasted(outage, began)
            ):
                yield f"{name} has accepted nothing for long, and nobody is told"

    def _new_events(self) -> Sequence[Row]:
        rows = self.database.execute(
            "SELECT e.* FROM events e WHERE e.type LIKE 'watcher.%'"
            " ORDER BY (SELECT min(d.id) FROM deliveries d WHERE d.event = e.id)"
        )
        new = [row for row in rows if row["id"] not in self._events]
        self._events |= {row["id"] for row in new}
        return new

    def _check_alarm(self, event: Row, kind: Kind, name: str, hearers: Collection[str]) -> Iterator[str]:
        outage = (self.apps if kind == "app" else self.notifiers).setdefault(name, Outage())
        detail = json.loads(event["detail"])
        if outage.told is not None:
            yield f"that {name} fails is told again"
        since = outage.since or outage.before
        if outage.before and self.accepted_at.get(name, -1.0) >= self._looked_at:
            since = outage.before  # it may have been told just before the attempt that went well
        if since is None or self.clock.elapsed < since.elapsed + ALERT_AFTER - A_LITTLE:
            yield f"that {name} fails is told at {self.clock.elapsed}, too early for {since}"
        if kind == "app" and outage.since is not None and abs(detail["since"] - outage.since.wall) > A_LITTLE:
            yield f"{name} fails since {outage.since.wall}, told is {detail['since']}"
        told = self.database.execute("SELECT notifier FROM deliveries WHERE event = ?", (event["id"],))
        if sorted(row["notifier"] for row in told) != sorted(hearers):
            yield f"that {name} fails is told to {[row['notifier'] for row in told]}, not to {hearers}"
        outage.told, outage.told_at, outage.told_since = event["id"], self._looked_at, detail["since"]

    def _check_end(
        self,
        kind: Kind,
        name: str,
        outage: Outage,
        hearers: Collection[str],
        in_flight: Collection[int],
        *,
        may_end: bool,
    ) -> Iterator[str]:
        row = self.database.first(
            "SELECT announced_event FROM incidents WHERE scope = ? AND name = ?", (kind, name)
        )
        if outage.told is None or (row is not None and row["announced_event"] == outage.told):
            return
        if not may_end:
            yield f"the outage of {name} ends for no reason"
        ends = self._deliveries(outage.told, f"watcher.{kind}_recovered")
        for each in self._deliveries(outage.told, f"watcher.{kind}_failing"):
            told = sum(end["notifier"] == each["notifier"] and end["state"] != "superseded" for end in ends)
            knows = each["id"] in self._reached
            may_know = knows or each["state"] == "sent" or in_doubt(each) or each["id"] in in_flight
            machine = not each["for_people"] and each["state"] != "superseded"
            if told > 1:
                yield f"{each['notifier']} is told {told} times that {name} is well"
            if (knows or machine) and each["notifier"] in hearers and not told:
                yield f"{each['notifier']} is not told that {name} is well"
            if told and not (each["notifier"] in hearers and (may_know or machine)):
                yield f"{each['notifier']} is told that {name} is well, and never knew that it was not"
        for end in ends:
            detail = json.loads(end["detail"])
            if kind == "app" and abs(detail["since"] - outage.told_since) > A_LITTLE:
                yield f"{name} failed since {outage.told_since}, told is {detail['since']}"
        outage.told = None

    def _deliveries(self, thread_key: str, kind: str) -> Sequence[Row]:
        return self.database.execute(
            "SELECT d.*, e.detail FROM deliveries d JOIN events e ON e.id = d.event"
            " WHERE d.thread_key = ? AND e.type = ?",
            (thread_key, kind),
        )

    def _lasted(self, outage: Outage, at: Moment) -> bool:
        since = outage.since
        return (
            since is not None
            and at.elapsed >= since.elapsed + ALERT_AFTER + A_LITTLE
            and at.wall >= since.wall + ALERT_AFTER + A_LITTLE
        )

    def moment(self) -> Moment:
        """Returns what time it is by both clocks."""
        return Moment(self.clock.elapsed, self.clock.now)
