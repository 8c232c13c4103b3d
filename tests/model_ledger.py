"""What destinations see, and what they should never see."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.builders import Clock, reminder_of
from tests.model_process import Destination, Witness
from watcher.models import Delivery, DigestEvent

OPENINGS: Final = (
    "SELECT r.key, r.resolved_at, r.first_seen_at, d.notifier, d.state, d.id, d.due_at, d.attempts,"
    " d.subject"
    " FROM requests r"
    " JOIN (SELECT e.request AS request, d.* FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE e.type = 'run.input_requested' AND e.request IS NOT NULL UNION ALL"
    " SELECT m.request, d.* FROM digest_members m JOIN deliveries d ON d.event = m.digest) d"
    " ON d.request = r.key"
)
"""What tells of requests for the first time, by itself or in a digest."""


@dataclass(slots=True)
class Telling:
    """What a destination accepted; `certain` says that the watcher knows it."""

    delivery: int
    certain: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """A send under way."""

    notifier: str
    subject: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing of a subject's that a destination accepted; `over` says that nothing waits any more."""

    delivery: int
    type: str
    number: int
    over: bool


@dataclass(slots=True)
class Ledger(Witness):
    """Sees what destinations accept, and collects what they should not have seen."""

    clock: Clock
    database: sqlite3.Connection
    slots: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    under_way: dict[int, Attempt] = field(default_factory=dict)
    interrupted: set[int] = field(default_factory=set)
    put_back: set[str] = field(default_factory=set)
    alarms: dict[tuple[str, str], int] = field(default_factory=dict)
    _told: dict[tuple[str, str], Telling] = field(default_factory=dict)
    _heard: dict[tuple[str, str], list[Heard]] = field(default_factory=dict)

    def began(self, destination: Destination, delivery: Delivery) -> None:
        """Checks that an attempt may be made now."""
        row = self._row(delivery.id)
        name, subject = destination.name, row["subject"]
        attempts = Counter(self.under_way.values())
        if attempts[Attempt(name, subject)]:
            self._fail(delivery, "is sent beside another of its subject")
        if sum(attempt.notifier == name for attempt in self.under_way.values()) >= destination.slots:
            self._fail(delivery, "is one too many at a time")
        self.under_way[delivery.id] = Attempt(name, subject)
        event = delivery.event
        if event.at > self.clock.now and event.type == "run.input_reminder":
            self._fail(delivery, "reminds before its time")
        late = row["resolved_at"] is not None or (isinstance(event, DigestEvent) and not event.digest.waiting)
        tells = event.type in {"run.input_requested", "run.input_reminder"}
        if destination.for_people and tells and late and delivery.id not in self.interrupted:
            self._fail(delivery, "tells people of what is over")
        if event.type == "run.input_requested" and subject not in self.put_back:
            self._check_age(destination, delivery)

    def accepted(self, destination: Destination, delivery: Delivery, *, reply_lost: bool = False) -> None:
        """Checks that what is accepted is no repetition and in order."""
        event, subject = delivery.event, self._row(delivery.id)["subject"]
        told = self._told.get((destination.name, event.id))
        if told is not None and told.certain:
            self._fail(delivery, "is told twice")
        self._told[destination.name, event.id] = Telling(delivery.id, not reply_lost)
        heard = self._heard.setdefault((destination.name, subject), [])
        if subject not in self.put_back:
            self._check_order(destination, delivery, heard)
        if event.type == "watcher.app_failing" and not reply_lost:
            self.alarms[destination.name, subject] = delivery.id
        reminder = reminder_of(event)
        heard.append(
            Heard(
                delivery.id,
                event.type,
                reminder.number if reminder else 0,
                event.type == "run.input_resolved"
                and not (isinstance(event, DigestEvent) and event.digest.waiting),
            )
        )

    def ended(self, delivery: Delivery) -> None:
        """An attempt is over."""
        self.under_way.pop(delivery.id, None)

    def killed(self) -> None:
        """What was under way may be repeated, and no more than there are slots."""
        open_ones = {row["id"] for row in self._rows("SELECT id FROM deliveries WHERE state = 'pending'")}
        lost: Counter[str] = Counter()
        for (name, _), telling in self._told.items():
            if telling.certain and telling.delivery in open_ones:
                telling.certain = False
                lost[name] += 1
        self.violations += [
            f"{name}: a crash forgets {number} deliveries"
            for name, number in lost.items()
            if number > self.slots[name]
        ]
        self.alarms = {key: number for key, number in self.alarms.items() if number not in open_ones}
        self.interrupted |= self.under_way.keys() | {
            telling.delivery for telling in self._told.values() if telling.delivery in open_ones
        }

    def forget(self) -> None:
        """Forgets subjects that were pruned, for their keys may be given out again."""
        subjects = {row["subject"] for row in self._rows("SELECT subject FROM deliveries")}
        self._heard = {key: heard for key, heard in self._heard.items() if key[1] in subjects}
        self.put_back &= subjects

    def _check_age(self, destination: Destination, delivery: Delivery) -> None:
        (row,) = self._rows(f"SELECT max(first_seen_at) AS seen FROM ({OPENINGS}) WHERE id = {delivery.id}")
        if delivery.due_at < row["seen"] + destination.route.after - 0.001:
            self._fail(delivery, "is told of too early")

    def _check_order(self, destination: Destination, delivery: Delivery, heard: Sequence[Heard]) -> None:
        event = delivery.event
        others = [each for each in heard if each.delivery != delivery.id]
        if not isinstance(event, DigestEvent) and any(each.delivery > delivery.id for each in others):
            self._fail(delivery, "comes after what followed it")
        if any(each.over for each in others):
            self._fail(delivery, "comes after the end")
        reminder = reminder_of(event)
        if reminder and any(each.number >= reminder.number for each in others):
            self._fail(delivery, "reminds again")
        opened = any(each.type in {"run.input_requested", "run.input_reminder"} for each in others)
        if destination.for_people and event.type == "run.input_resolved" and not opened:
            self._fail(delivery, "ends what nobody was told of")

    def _row(self, delivery: int) -> sqlite3.Row:
        (row,) = self._rows(
            "SELECT d.subject, r.resolved_at FROM deliveries d JOIN events e ON e.id = d.event"
            f" LEFT JOIN requests r ON r.key = e.request WHERE d.id = {delivery}"
        )
        return row

    def _rows(self, query: str) -> list[sqlite3.Row]:
        return self.database.execute(query).fetchall()

    def _fail(self, delivery: Delivery, words: str) -> None:
        self.violations.append(f"{delivery.notifier}: delivery {delivery.id} ({delivery.event.type}) {words}")
