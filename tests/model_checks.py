"""What must hold, whatever happens: what destinations see, and what the database says after each step."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.builders import Clock
from tests.model_process import Destination, Witness
from tests.model_world import Exchange, Identity, Shown
from watcher.diff import UNSEEN
from watcher.models import AWAITING, TERMINAL, Delivery
from watcher.store.recording import ECHO_SECONDS
from watcher.store.reminders import CATCH_UP

OPENINGS: Final = (
    "SELECT r.key, r.resolved_at, r.first_seen_at, d.notifier, d.state, d.id, d.due_at, d.subject, d.held"
    " FROM requests r JOIN (SELECT e.request AS request, d.* FROM deliveries d JOIN events e ON e.id = d.event"
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
        late = row["resolved_at"] is not None or (event.digest is not None and not event.digest.waiting)
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
        number = event.reminder.number if event.reminder else 0
        heard.append(
            Heard(
                delivery.id,
                event.type,
                number,
                event.type == "run.input_resolved" and (event.digest is None or not event.digest.waiting),
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
        self.interrupted |= self.under_way.keys() | {
            telling.delivery for telling in self._told.values() if telling.delivery in open_ones
        }

    def forget(self) -> None:
        """Forgets subjects that were pruned, for their keys may be given out again."""
        subjects = {row["subject"] for row in self._rows("SELECT subject FROM deliveries")}
        self._heard = {key: heard for key, heard in self._heard.items() if key[1] in subjects}
        self.put_back &= subjects

    def was_told(self, notifier: str, subject: str) -> bool:
        """Returns whether a destination has accepted anything of a subject."""
        return bool(self._heard.get((notifier, subject)))

    def _check_age(self, destination: Destination, delivery: Delivery) -> None:
        event = delivery.event
        seen = event.digest.oldest if event.digest else event.first_seen_at
        assert seen is not None
        if delivery.due_at < seen + destination.route.after - 0.001:
            self._fail(delivery, "is told of too early")

    def _check_order(self, destination: Destination, delivery: Delivery, heard: Sequence[Heard]) -> None:
        event = delivery.event
        others = [each for each in heard if each.delivery != delivery.id]
        if event.digest is None and any(each.delivery > delivery.id for each in others):
            self._fail(delivery, "comes after what followed it")
        if any(each.over for each in others):
            self._fail(delivery, "comes after the end")
        if event.reminder and any(each.number >= event.reminder.number for each in others):
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


@dataclass(frozen=True, slots=True)
class Known:
    """A request in the database."""

    key: int
    run_id: str
    identity: Identity
    resolved_at: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What the database says before a poll; `in_flight` was given out to lanes by then."""

    requests: dict[int, Known]
    hidden: frozenset[str]
    in_flight: frozenset[int]
    openings: dict[tuple[int, str], tuple[int, str]]

    def waiting(self) -> set[tuple[str, Identity]]:
        """Returns what is known to wait."""
        return {(each.run_id, each.identity) for each in self.requests.values() if each.resolved_at is None}


def remember(database: sqlite3.Connection, in_flight: Collection[int]) -> Memory:
    """Returns what the database says now."""
    rows = database.execute("SELECT * FROM requests").fetchall()
    return Memory(
        {
            row["key"]: Known(
                row["key"],
                row["run_id"],
                (row["request_id"], row["fingerprint"]),
                row["resolved_at"],
                row["outcome"],
            )
            for row in rows
        },
        frozenset(row["run_id"] for row in database.execute("SELECT run_id FROM hidden_runs")),
        frozenset(in_flight),
        {(row["key"], row["notifier"]): (row["id"], row["state"]) for row in database.execute(OPENINGS)},
    )


def check_ends(before: Memory, after: Memory, exchange: Exchange) -> Iterator[str]:
    """Nothing ends but what a look at its run showed to have ended, and as it showed it."""
    for key, request in after.requests.items():
        was = before.requests.get(key)
        if request.resolved_at is None or (was is not None and was.resolved_at is not None):
            continue
        shown = exchange.looked.get(request.run_id)
        words = f"request {key} of {request.run_id} ended as {request.outcome}, shown was {shown}"
        if (
            shown is None
            or request.identity in shown.asks
            or request.outcome not in _outcomes(request, shown)
        ):
            yield words
        elif shown.status is None and exchange.list_seen <= exchange.gone_at[request.run_id]:
            yield f"{words}; nobody looked whether the app is there"
        elif shown.status is None and request.run_id in exchange.listed:
            yield f"{words}; it is listed"


def _outcomes(request: Known, shown: Shown) -> set[str]:
    if shown.status is None:
        return {"gone"}
    if shown.status in TERMINAL:
        return {{"completed": "answered"}.get(shown.status, shown.status)}
    if not shown.asks:
        return set() if shown.status == AWAITING else {"answered"}
    same = any(request_id == request.identity[0] for request_id, _ in shown.asks)
    return {"replaced"} if same or request.identity[1] == UNSEEN.fingerprint else {"answered"}


def check_beginnings(before: Memory, after: Memory, exchange: Exchange) -> Iterator[str]:
    """Nothing begins but what was shown, and what is not visible only after it was so before."""
    for key in after.requests.keys() - before.requests.keys():
        request = after.requests[key]
        looked = exchange.looked.get(request.run_id, Shown(None))
        if request.identity[1] == UNSEEN.fingerprint:
            if request.run_id not in before.hidden or request.run_id not in exchange.listed:
                yield f"{request.run_id} is told of as not visible at first sight"
        elif request.identity not in looked.asks | exchange.listed.get(request.run_id, frozenset()):
            yield f"request {key} of {request.run_id} was never shown"


def check_seen(after: Memory, exchange: Exchange, now: float, *, whole: bool) -> Iterator[str]:
    """What was shown is known, at once; only its own echo is let pass."""
    waiting = after.waiting()
    for run_id, listed in exchange.listed.items():
        looked = exchange.looked.get(run_id)
        shown = listed if looked is None else listed & looked.asks
        shown |= looked.asks if whole and looked is not None else frozenset()
        for identity in shown:
            echo = any(
                each.resolved_at is not None and abs(now - each.resolved_at) < ECHO_SECONDS
                for each in after.requests.values()
                if (each.run_id, each.identity) == (run_id, identity)
            )
            if (run_id, identity) not in waiting and not echo:
                yield f"{run_id} showed {identity}, which is not known"


def check_told(database: sqlite3.Connection, destinations: Sequence[Destination]) -> Iterator[str]:
    """Everybody is to be told, or was told, of everything that waits, once."""
    openings: dict[tuple[int, str], list[str]] = {}
    for row in database.execute(OPENINGS):
        openings.setdefault((row["key"], row["notifier"]), []).append(row["state"])
    for (key, name), states in openings.items():
        if len(states) > 1:
            yield f"request {key} is told of {len(states)} times to {name}"
    for row in database.execute("SELECT key FROM requests WHERE resolved_at IS NULL"):
        for destination in destinations:
            states = openings.get((row["key"], destination.name), [])
            if states in ([], ["superseded"]):
                yield f"request {row['key']} waits and {destination.name} is not told: {states}"


def check_end_told(
    database: sqlite3.Connection,
    before: Memory,
    after: Memory,
    destinations: Sequence[Destination],
    ledger: Ledger,
) -> Iterator[str]:
    """Who was told of what has ended now hears of its end, and nobody else does."""
    ended = [
        key
        for key, each in after.requests.items()
        if each.resolved_at is not None and (was := before.requests.get(key)) and was.resolved_at is None
    ]
    for row in database.execute(OPENINGS).fetchall():
        if row["key"] not in ended:
            continue
        (destination,) = [each for each in destinations if each.name == row["notifier"]]
        where = f"of request {row['key']} to {row['notifier']}"
        on_their_way = database.execute(
            "SELECT d.id FROM deliveries d JOIN events e ON e.id = d.event WHERE d.subject = ?"
            " AND d.notifier = ? AND e.type = 'run.input_resolved' AND d.state = 'pending'",
            (row["subject"], row["notifier"]),
        ).fetchall()
        told = any(each["id"] not in before.in_flight for each in on_their_way)
        due = row["due_at"] <= row["resolved_at"]
        reached = row["state"] == "sent" or row["id"] in before.in_flight
        if destination.for_people:
            wanted = (
                reached
                or database.execute(
                    "SELECT 1 FROM deliveries WHERE subject = ? AND notifier = ? AND state = 'sent'",
                    (row["subject"], row["notifier"]),
                ).fetchone()
            )
        else:
            wanted = reached or row["state"] == "dead" or due
        if wanted and destination.route.resolved and not told:
            yield f"the end {where} is not told"
        if told and not (wanted and destination.route.resolved):
            yield f"the end {where} is told"
        if row["state"] == "pending" and not wanted and not _others_wait(database, row["subject"]):
            yield f"the beginning {where} is still to be told"


def _others_wait(database: sqlite3.Connection, subject: str) -> bool:
    query = f"SELECT 1 FROM ({OPENINGS}) WHERE subject = ? AND resolved_at IS NULL LIMIT 1"
    return database.execute(query, (subject,)).fetchone() is not None


def check_reminders(
    database: sqlite3.Connection, destinations: Sequence[Destination], put_back: Collection[str], now: float
) -> Iterator[str]:
    """Of what waits and was told the next reminder waits, and one only; of what is over none."""
    ages = {each.name: each.ages for each in destinations}
    rows = database.execute(
        "SELECT d.subject, d.notifier, d.state, json_extract(e.detail, '$.age') AS age"
        " FROM deliveries d JOIN events e ON e.id = d.event WHERE e.type = 'run.input_reminder'"
        " AND d.state <> 'superseded'"
    ).fetchall()
    planned: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in rows:
        planned.setdefault((row["subject"], row["notifier"]), []).append((row["age"], row["state"]))
    for (subject, name), reminders in planned.items():
        if len({age for age, _ in reminders}) < len(reminders):
            yield f"{name} is reminded of {subject} twice at one age"
        if sum(state == "pending" for _, state in reminders) > 1 and subject not in put_back:
            yield f"two reminders of {subject} wait for {name}"
    since: dict[tuple[str, str], float] = {}
    for row in database.execute(f"{OPENINGS} WHERE r.resolved_at IS NULL AND d.state = 'sent'"):
        pair = (row["subject"], row["notifier"])
        since[pair] = min(since.get(pair, row["first_seen_at"]), row["first_seen_at"])
    for (subject, name), seen in since.items():
        known = planned.get((subject, name), [])
        last = max((age for age, _ in known), default=0.0)
        ahead = [age for age in ages[name] if age > last and seen + age > now + CATCH_UP]
        if ahead and not any(state == "pending" for _, state in known):
            yield f"nobody will remind {name} of {subject}"


def check_digests(database: sqlite3.Connection, above: int) -> Iterator[str]:
    """A digest tells of more than so many."""
    for row in database.execute(
        "SELECT m.digest, count(*) AS members FROM digest_members m GROUP BY m.digest"
    ):
        if not above or row["members"] <= above:
            yield f"a digest of {row['members']}"
