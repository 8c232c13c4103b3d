"""What must hold, whatever happens, of what the database says after each step."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tests.model_ledger import OPENINGS, Ledger
from tests.model_process import Destination
from tests.model_world import Exchange, Identity, Shown
from watcher.diff import UNSEEN
from watcher.models import AWAITING, TERMINAL
from watcher.store.recording import ECHO_SECONDS
from watcher.store.reminders import CATCH_UP


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
        due = row["due_at"] <= row["resolved_at"] or row["attempts"] > 0
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


def check_recovery(database: sqlite3.Connection, ledger: Ledger) -> Iterator[str]:
    """Who was told that the app fails is told, once it was polled whole, that it is well."""
    for name, subject in ledger.alarms:
        told = database.execute(
            "SELECT count(*) FROM deliveries d JOIN events e ON e.id = d.event WHERE d.subject = ?"
            " AND d.notifier = ? AND e.type = 'watcher.app_recovered'",
            (subject, name),
        ).fetchone()[0]
        if told != 1:
            yield f"{name} is told {told} times that {subject} is over"
    ledger.alarms.clear()


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
