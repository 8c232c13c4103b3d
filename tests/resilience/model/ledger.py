"""What destinations see, and what they should never see, checked at every attempt.

Nobody is told twice unless a crash or a lost reply made that uncertain, nor out of order, too early, of what
is over, or of an app that is not watched; no destination gets more at a time or faster than it takes,
nor anything in a pause that it asked for.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.resilience.model.book import Book
from tests.resilience.model.config import ages, app_config, told_of
from tests.resilience.model.destination import Destination, Witness
from tests.resilience.model.fate import ModelClock
from tests.resilience.model.news import News, in_doubt
from watcher.config.models import Config
from watcher.models import Delivery, DigestEvent
from watcher.polling.batching import HOLD_SECONDS
from watcher.store.sql import Reader, Row

OPENINGS: Final = (
    "SELECT r.key, r.app, r.resolved_at, r.first_seen_at, d.notifier, d.state, d.id, d.due_at, d.attempts,"
    " d.thread_key, d.attempt_open, d.possibly_delivered, d.event"
    " FROM requests r"
    " JOIN (SELECT e.request AS request, d.* FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE e.type = 'run.input_requested' AND e.request IS NOT NULL UNION ALL"
    " SELECT m.request, d.* FROM digest_members m JOIN deliveries d ON d.event = m.digest_id) d"
    " ON d.request = r.key"
)
"""What tells of requests for the first time, by itself or in a digest."""
SLOTS: Final = {"slack": 1, "leads": 1, "webhook": 8}
"""How many sends each notifier has under way at most: so many are repeated after a crash."""
A_LITTLE: Final = 0.001


@dataclass(slots=True)
class Telling:
    """What a destination accepted; `certain` says that the watcher knows it."""

    delivery: int
    certain: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """A send under way."""

    place: str
    notifier: str
    thread_key: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing of a thread that a destination accepted; `over` says that nothing waits any more."""

    delivery: int
    type: str
    age: float
    over: bool


@dataclass(slots=True)
class Life:
    """One life of the process: its configuration, when it began, what it found, which apps it has polled."""

    config: Config
    began: float
    leftover: int
    polled: set[str] = field(default_factory=set)
    starts: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger(Witness):
    """Sees what destinations accept, and collects what they should not have seen."""

    clock: ModelClock
    database: Reader
    book: Book
    news: News
    violations: list[str] = field(default_factory=list)
    under_way: dict[int, Attempt] = field(default_factory=dict)
    interrupted: set[int] = field(default_factory=set)
    requeued: set[str] = field(default_factory=set)
    lost: dict[int, int] = field(default_factory=dict)
    paused: dict[str, tuple[float, float]] = field(default_factory=dict)
    life: Life | None = None
    _told: dict[tuple[str, str], Telling] = field(default_factory=dict)
    _heard: dict[tuple[str, str], list[Heard]] = field(default_factory=dict)

    def started(self, config: Config) -> None:
        """A life of the process begins."""
        (row,) = self._rows("SELECT coalesce(max(id), 0) AS newest FROM deliveries")
        self.life = Life(config, self.clock.elapsed, row["newest"])
        self.news.started(config)
        self.book.started(self.database, config, self.clock.now)

    def polled(self, app: str) -> None:
        """What was left over about an app may be sent from now on."""
        assert self.life is not None
        self.life.polled.add(app)

    def began(self, destination: Destination, delivery: Delivery) -> None:
        """Checks that an attempt may be made now."""
        row = self._row(delivery.id)
        name, thread_key = destination.name, row["thread_key"]
        self._check_pace(destination, delivery, thread_key)
        self.under_way[delivery.id] = Attempt(destination.rate_limit_key, name, thread_key)
        self._check_withheld(delivery, row)
        event = delivery.event
        if delivery.attempt == 1 and self.clock.now < delivery.due_at - A_LITTLE:
            self._fail(delivery, "is sent before it is due")
        late = row["resolved_at"] is not None or (isinstance(event, DigestEvent) and not event.digest.waiting)
        tells = event.type in {"run.input_requested", "run.input_reminder"}
        if destination.for_people and tells and late and delivery.id not in self.interrupted:
            self._fail(delivery, "tells people of what is over")
        if event.type == "run.input_requested" and thread_key not in self.requeued:
            self._check_age(delivery)
        if event.type == "run.input_reminder":
            self._check_reminder(delivery, row)

    def accepted(self, destination: Destination, delivery: Delivery, *, reply_lost: bool = False) -> None:
        """Checks that what is accepted is no repetition and in order."""
        event, row = delivery.event, self._row(delivery.id)
        told = self._told.get((destination.name, event.id))
        if told is not None and told.certain:
            self._fail(delivery, "is told twice")
        self._told[destination.name, event.id] = Telling(delivery.id, not reply_lost)
        if reply_lost:
            self.lost[delivery.id] = delivery.attempt
        heard = self._heard.setdefault((destination.name, row["thread_key"]), [])
        if row["thread_key"] not in self.requeued:
            self._check_order(destination, delivery, row["age"], heard)
        over = event.type == "run.input_resolved" and not (
            isinstance(event, DigestEvent) and event.digest.waiting
        )
        heard.append(Heard(delivery.id, event.type, row["age"] or 0.0, over))

    def ended(
        self, destination: Destination, delivery: Delivery, *, well: bool | None, pause: float = 0.0
    ) -> None:
        """An attempt is over."""
        self.under_way.pop(delivery.id, None)
        if pause:
            self.paused[destination.name] = (self.clock.elapsed, self.clock.elapsed + pause)
        self.news.attempted(destination.name, well=well)

    def killed(self) -> None:
        """What was under way may be repeated, and no more than there are slots."""
        rows = {row["id"]: row for row in self._rows("SELECT * FROM deliveries")}
        self.violations += [
            f"{each.notifier}: a crash forgets that delivery {id_} may have been accepted"
            for id_, each in self.under_way.items()
            if rows[id_]["for_people"] and not in_doubt(rows[id_])
        ]
        attempts = {id_: row["attempts"] for id_, row in rows.items()}
        self.lost = {id_: attempt for id_, attempt in self.lost.items() if attempts.get(id_, 0) >= attempt}
        open_ones = {row["id"] for row in self._rows("SELECT id FROM deliveries WHERE state = 'pending'")}
        lost: Counter[str] = Counter()
        for (name, _), telling in self._told.items():
            if telling.certain and telling.delivery in open_ones:
                telling.certain = False
                lost[name] += 1
        self.violations += [
            f"{name}: a crash forgets {number} deliveries"
            for name, number in lost.items()
            if number > SLOTS[name]
        ]
        self.interrupted |= self.under_way.keys() | {
            telling.delivery for telling in self._told.values() if telling.delivery in open_ones
        }
        self.life = None
        recorded = {
            row["name"]: row["paused_until"] - self.clock.now + self.clock.elapsed
            for row in self._rows("SELECT name, paused_until FROM notifiers")
        }
        self.paused = {
            name: (since, until)
            for name, (since, until) in self.paused.items()
            if recorded.get(name, 0.0) >= until - A_LITTLE
        }
        self.news.unsure()

    def knows_told(self, notifier: str, event: str) -> bool:
        """Returns whether a notifier accepted an event and the watcher knows it."""
        told = self._told.get((notifier, event))
        return told is not None and told.certain

    def doubts(self, row: Row) -> bool:
        """Returns whether the watcher knows that a delivery was accepted, may be, and the reply lost."""
        return row["id"] in self.lost and row["attempts"] >= self.lost[row["id"]]

    def forget(self) -> None:
        """Forgets threads that were pruned, for their keys may be given out again."""
        thread_keys = {row["thread_key"] for row in self._rows("SELECT thread_key FROM deliveries")}
        self._heard = {key: heard for key, heard in self._heard.items() if key[1] in thread_keys}
        self.requeued &= thread_keys
        self.book.forget(self.database)

    def _doubted(self, thread_key: str, notifier: str) -> bool:
        """Returns whether a notifier may have been told of a thread when a crash cut that short."""
        rows = self._rows(
            "SELECT attempt_open, possibly_delivered FROM deliveries"
            f" WHERE thread_key = '{thread_key}' AND notifier = '{notifier}'"
        )
        return any(in_doubt(row) for row in rows)

    def _check_pace(self, destination: Destination, delivery: Delivery, thread_key: str) -> None:
        attempts, name, place = list(self.under_way.values()), destination.name, destination.rate_limit_key
        if any((each.notifier, each.thread_key) == (name, thread_key) for each in attempts):
            self._fail(delivery, "is sent beside another of its thread_key")
        if sum(each.notifier == name for each in attempts) >= SLOTS[name]:
            self._fail(delivery, "is one too many at a time")
        assert self.life is not None
        since, until = self.paused.get(name, (0.0, 0.0))
        if since < self.clock.elapsed < until - A_LITTLE:  # others of that instant were under way
            self._fail(delivery, "is sent in a pause that was asked for")
        if destination.min_interval:
            if any(each.place == place for each in attempts):
                self._fail(delivery, "is sent beside another to its place")
            last = self.life.starts.get(place, -destination.min_interval)
            if self.clock.elapsed < last + destination.min_interval - A_LITTLE:
                self._fail(delivery, "comes too soon after another to its place")
        self.life.starts[place] = self.clock.elapsed

    def _check_withheld(self, delivery: Delivery, row: Row) -> None:
        app = row["app"]
        assert self.life is not None
        if not app:
            return
        if app_config(self.life.config, app) is None:
            self._fail(delivery, f"is about {app}, which is not watched")
        young = self.clock.elapsed < self.life.began + HOLD_SECONDS - A_LITTLE
        if delivery.id <= self.life.leftover and app not in self.life.polled and young:
            self._fail(delivery, f"is a leftover, and {app} was not polled yet")

    def _check_age(self, delivery: Delivery) -> None:
        for row in self._rows(f"SELECT key FROM ({OPENINGS}) AS openings WHERE id = {delivery.id}"):
            promise = self.book.promises.get(row["key"])
            if promise is None:
                continue  # it is being recorded by a poll that has not ended
            due = promise.due.get(delivery.notifier)
            if due is None:
                self._fail(delivery, "was not to be told of")
            elif (
                max(delivery.due_at, self.clock.now) < due - A_LITTLE
            ):  # a digest is as old as its oldest part
                self._fail(delivery, "is told of too early")

    def _check_reminder(self, delivery: Delivery, row: Row) -> None:
        assert self.life is not None
        config, name = self.life.config, delivery.notifier
        wanted = row["age"] in ages(config, name) and name in told_of(config, row["app"])
        if delivery.attempt == 1 and not wanted and row["thread_key"] not in self.requeued:
            self._fail(delivery, "reminds though nobody wants that")
        keys = [each["key"] for each in self._rows(f"{OPENINGS} WHERE d.thread_key = '{row['thread_key']}'")]
        if self.clock.now < min(self.book.promises[key].seen for key in keys) + row["age"] - A_LITTLE:
            self._fail(delivery, "reminds before its time")

    def _check_order(
        self, destination: Destination, delivery: Delivery, age: float | None, heard: Sequence[Heard]
    ) -> None:
        event = delivery.event
        others = [each for each in heard if each.delivery != delivery.id]
        if not isinstance(event, DigestEvent) and any(each.delivery > delivery.id for each in others):
            self._fail(delivery, "comes after what followed it")
        if any(each.over for each in others):
            self._fail(delivery, "comes after the end")
        if age is not None and any(each.age >= age for each in others):
            self._fail(delivery, "reminds again")
        opened = any(each.type in {"run.input_requested", "run.input_reminder"} for each in others)
        may_know = opened or self._doubted(self._row(delivery.id)["thread_key"], destination.name)
        if destination.for_people and event.type == "run.input_resolved" and not may_know:
            self._fail(delivery, "ends what nobody was told of")

    def _row(self, delivery: int) -> Row:
        (row,) = self._rows(
            "SELECT d.thread_key, e.app, e.age, r.resolved_at"
            " FROM deliveries d JOIN events e ON e.id = d.event"
            f" LEFT JOIN requests r ON r.key = e.request WHERE d.id = {delivery}"
        )
        return row

    def _rows(self, query: str) -> Sequence[Row]:
        return self.database.execute(query)

    def _fail(self, delivery: Delivery, words: str) -> None:
        self.violations.append(f"{delivery.notifier}: delivery {delivery.id} ({delivery.event.type}) {words}")
