"""What must hold, whatever happens, of what the database says after each step.

The first half is about requests: what begins and what ends, and who hears of that. The second half is about
deliveries: everybody was told, or will be, of what was promised, and nobody of anything else.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.resilience.model.book import Book
from tests.resilience.model.config import PEOPLE, ages, app_config, notifier_config, told_of
from tests.resilience.model.ledger import OPENINGS, Ledger
from tests.resilience.model.news import in_doubt
from tests.resilience.model.world import Exchange, Identity, Shown
from watcher.config.models import Config
from watcher.models import AWAITING, TERMINAL
from watcher.polling.diff import INVISIBLE_REQUEST
from watcher.store.sql import Reader

ECHO_SECONDS: Final = 5.0
"""For so long after it ended a request that is shown unchanged is no news."""
CATCH_UP: Final = 30.0
"""A reminder that is due for longer may be left out."""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request in the database."""

    key: int
    app: str
    run_id: str
    identity: Identity
    first_seen_at: float
    resolved_at: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What the database says at a time; `in_flight` was given out to workers by then."""

    requests: dict[int, KnownRequest]
    hidden: frozenset[tuple[str, str]]
    held: frozenset[str]
    in_flight: frozenset[int]

    def waiting(self, app: str) -> set[tuple[str, Identity]]:
        """Returns what is known to wait in an app."""
        return {
            (each.run_id, each.identity)
            for each in self.requests.values()
            if each.app == app and each.resolved_at is None
        }


def remember(database: Reader, in_flight: Collection[int]) -> Memory:
    """Returns what the database says now."""
    rows = database.execute("SELECT * FROM requests")
    return Memory(
        {
            row["key"]: KnownRequest(
                row["key"],
                row["app"],
                row["run_id"],
                (row["request_id"], row["fingerprint"]),
                row["first_seen_at"],
                row["resolved_at"],
                row["outcome"],
            )
            for row in rows
        },
        frozenset((row["app"], row["run_id"]) for row in database.execute("SELECT * FROM invisible_runs")),
        frozenset(
            row["app"]
            for row in database.execute(
                "SELECT e.app FROM deliveries d JOIN events e ON e.id = d.event WHERE d.held = 1"
            )
        ),
        frozenset(in_flight),
    )


def ended_between(before: Memory, after: Memory) -> list[KnownRequest]:
    """Returns the requests that ended."""
    return [
        each
        for key, each in after.requests.items()
        if each.resolved_at is not None
        and ((was := before.requests.get(key)) is None or was.resolved_at is None)
    ]


def begun_between(before: Memory, after: Memory) -> list[KnownRequest]:
    """Returns the requests that were recorded."""
    return [each for key, each in after.requests.items() if key not in before.requests]


def check_ends(before: Memory, after: Memory, exchanges: Mapping[str, Exchange]) -> Iterator[str]:
    """Nothing ends but what a successful look at its run showed to have ended, and as it showed it."""
    for request in ended_between(before, after):
        exchange = exchanges.get(request.app, Exchange())
        shown = exchange.looked.get(request.run_id)
        words = f"{request} ended, shown was {shown}"
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


def check_nothing_ends_in_silence(
    before: Memory, after: Memory, exchanges: Mapping[str, Exchange]
) -> Iterator[str]:
    """Of an app that answered no call, or was not polled, nothing begins, ends or is forgotten."""
    for app in {each.app for each in (*before.requests.values(), *after.requests.values())}:
        exchange = exchanges.get(app, Exchange())
        if exchange.list_seen or exchange.looked:
            continue
        was, now = (
            {each for each in memory.requests.values() if each.app == app} for memory in (before, after)
        )
        if was != now:
            yield f"{app} said nothing, and {was ^ now} changed"


def _outcomes(request: KnownRequest, shown: Shown) -> set[str]:
    if shown.status is None:
        return {"gone"}
    if shown.status in TERMINAL:
        return {{"completed": "answered"}.get(shown.status, shown.status)}
    if not shown.asks:
        return set() if shown.status == AWAITING else {"answered"}
    same = any(request_id == request.identity[0] for request_id, _ in shown.asks)
    return {"replaced"} if same or request.identity[1] == INVISIBLE_REQUEST.fingerprint else {"answered"}


def check_beginnings(
    before: Memory, after: Memory, exchanges: Mapping[str, Exchange], silent: Collection[str]
) -> Iterator[str]:
    """Nothing begins but what was shown, and what is not visible only after it was so before.

    What has just ended is no news, if it is shown once more. In `silent` apps the backlog is being recorded,
    what is not visible too.
    """
    for request in begun_between(before, after):
        if any(
            each.resolved_at is not None and abs(request.first_seen_at - each.resolved_at) < ECHO_SECONDS
            for each in before.requests.values()
            if (each.app, each.run_id, each.identity) == (request.app, request.run_id, request.identity)
        ):
            yield f"{request} is an echo"
        exchange = exchanges.get(request.app, Exchange())
        looked = exchange.looked.get(request.run_id, Shown(None))
        if request.identity[1] == INVISIBLE_REQUEST.fingerprint:
            twice = (request.app, request.run_id) in before.hidden or request.app in silent
            if not twice or request.run_id not in exchange.listed:
                yield f"{request.run_id} is told of as not visible at first sight"
        elif request.identity not in looked.asks | exchange.listed.get(request.run_id, frozenset()):
            yield f"{request} was never shown"


def check_seen(
    after: Memory, app: str, exchange: Exchange, now: float, *, took: float, whole: bool
) -> Iterator[str]:
    """What was shown is known, at once; only its own echo is let pass. `took` are the seconds of the poll."""
    waiting = after.waiting(app)
    for run_id, listed in exchange.listed.items():
        looked = exchange.looked.get(run_id)
        shown = listed if looked is None else listed & looked.asks
        shown |= looked.asks if whole and looked is not None else frozenset()
        for identity in shown:
            echo = any(
                each.resolved_at is not None and abs(now - each.resolved_at) < ECHO_SECONDS + took
                for each in after.requests.values()
                if (each.app, each.run_id, each.identity) == (app, run_id, identity)
            )
            if (run_id, identity) not in waiting and not echo:
                yield f"{run_id} of {app} showed {identity}, which is not known"


def check_end_told(
    database: Reader, before: Memory, after: Memory, config: Config, ledger: Ledger
) -> Iterator[str]:
    """Who was told of what has ended now hears of its end, if configured so, and nobody else does."""
    ended = {each.key: each for each in ended_between(before, after) if each.key in before.requests}
    for row in database.execute(OPENINGS):
        if row["key"] not in ended or row["id"] in before.in_flight ^ after.in_flight:
            continue
        section = told_of(config, row["app"]).get(row["notifier"])
        where = f"of request {row['key']} to {row['notifier']}"
        on_their_way = database.execute(
            "SELECT d.id FROM deliveries d JOIN events e ON e.id = d.event WHERE d.thread_key = ?"
            " AND d.notifier = ? AND e.type = 'run.input_resolved' AND d.state = 'pending'",
            (row["thread_key"], row["notifier"]),
        )
        told = any(each["id"] not in before.in_flight for each in on_their_way)
        reached = (
            row["state"] == "sent" or in_doubt(row) or ledger.doubts(row) or row["id"] in before.in_flight
        ) or database.first(
            "SELECT 1 FROM deliveries WHERE thread_key = ? AND notifier = ?"
            " AND (state = 'sent' OR attempt_open <> 0 OR possibly_delivered <> 0)",
            (row["thread_key"], row["notifier"]),
        )
        due = row["due_at"] <= row["resolved_at"] or row["attempts"] > 0
        in_turn = row["notifier"] not in PEOPLE and (row["state"] == "dead" or due)
        wanted = section is not None and section.resolved and (reached or in_turn)
        if wanted and not told:
            yield f"the end {where} is not told"
        if told and not wanted:
            yield f"the end {where} is told"
        stays = reached or in_turn or _others_wait(database, row["thread_key"])
        if row["state"] == "pending" and not stays:
            yield f"the beginning {where} is still to be told"


def _others_wait(database: Reader, thread_key: str) -> bool:
    query = f"SELECT 1 FROM ({OPENINGS}) AS openings WHERE thread_key = ? AND resolved_at IS NULL LIMIT 1"
    return database.first(query, (thread_key,)) is not None


def check_told(database: Reader, book: Book) -> Iterator[str]:
    """Everybody to whom that was promised is told, or will be, of what waits, once; and nobody else."""
    openings: dict[tuple[int, str], list[str]] = {}
    for row in database.execute(OPENINGS):
        openings.setdefault((row["key"], row["notifier"]), []).append(row["state"])
    for (key, name), states in openings.items():
        if len(states) > 1:
            yield f"request {key} is told of {len(states)} times to {name}"
    for row in database.execute("SELECT key FROM requests WHERE resolved_at IS NULL"):
        for name in book.promises[row["key"]].due:
            states = openings.get((row["key"], name), [])
            if states in ([], ["superseded"]):
                yield f"request {row['key']} waits and {name} is not told: {states}"
    for row in database.execute(
        "SELECT DISTINCT e.request AS key, d.notifier FROM deliveries d JOIN events e ON e.id = d.event"
        f" WHERE e.request IS NOT NULL UNION SELECT key, notifier FROM ({OPENINGS}) AS openings"
    ):
        if row["notifier"] not in book.promises[row["key"]].due:
            yield f"{row['notifier']} hears of request {row['key']}, which it was not to be told of"


def check_reminders(
    database: Reader, config: Config, requeued: Collection[str], latest: float
) -> Iterator[str]:
    """Of what waits and was told the next reminder waits, and one only; each age has one at most.

    `latest` is the latest time that the wall clock has ever shown.
    """
    rows = database.execute(
        "SELECT d.thread_key, d.notifier, d.state, e.age"
        " FROM deliveries d JOIN events e ON e.id = d.event WHERE e.type = 'run.input_reminder'"
        " AND d.state <> 'superseded'"
    )
    planned: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in rows:
        planned.setdefault((row["thread_key"], row["notifier"]), []).append((row["age"], row["state"]))
    for (thread_key, name), reminders in planned.items():
        if len({age for age, _ in reminders}) < len(reminders):
            yield f"{name} is reminded of {thread_key} twice at one age"
        if sum(state == "pending" for _, state in reminders) > 1 and thread_key not in requeued:
            yield f"two reminders of {thread_key} wait for {name}"
    since: dict[tuple[str, str], float] = {}
    for row in database.execute(f"{OPENINGS} WHERE r.resolved_at IS NULL AND d.state = 'sent'"):
        if row["notifier"] in told_of(config, row["app"]):
            pair = (row["thread_key"], row["notifier"])
            since[pair] = min(since.get(pair, row["first_seen_at"]), row["first_seen_at"])
    for (thread_key, name), seen in since.items():
        known = planned.get((thread_key, name), [])
        last = max((age for age, _ in known), default=0.0)
        ahead = [age for age in ages(config, name) if age > last and seen + age > latest + CATCH_UP]
        if ahead and not any(state == "pending" for _, state in known):
            yield f"nobody will remind {name} of {thread_key}"


def check_digest(
    database: Reader, config: Config, app: str, begun: Collection[int], notifier: str
) -> Iterator[str]:
    """More than so many new requests of a poll before which nothing was held are one digest, fewer none."""
    if notifier not in told_of(config, app) or not begun:
        return
    rows = [row for row in database.execute(OPENINGS) if row["key"] in begun and row["notifier"] == notifier]
    digests = {row["thread_key"] for row in rows if row["thread_key"] == row["event"]}
    many = 0 < config.digest_above < len(begun)
    if many and (len(digests) != 1 or len({row["thread_key"] for row in rows}) != 1):
        yield f"{len(begun)} new requests of {app} are no digest for {notifier}"
    if not many and digests:
        yield f"{len(begun)} new requests of {app} are a digest for {notifier}"


def check_all_sent(
    database: Reader, notifier: str, *, newest: int, due_by: float, polled: Collection[str]
) -> Iterator[str]:
    """A notifier that was always well has been sent all that was due, of apps that were polled or of none.

    What came after the delivery `newest` came while workers went round.
    """
    for row in database.execute(
        "SELECT d.id, e.type, e.app FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.notifier = ? AND d.state = 'pending' AND d.held = 0 AND d.due_at <= ? AND d.id <= ?",
        (notifier, due_by, newest),
    ):
        if not row["app"] or row["app"] in polled:
            yield f"{notifier} is well, and delivery {row['id']} ({row['type']}) is not sent"


def check_delivered(database: Reader, ledger: Ledger, notifier: str) -> Iterator[str]:
    """In the end a notifier that was always well has accepted what was promised to it of all that waits."""
    told = {
        row["key"]: ledger.knows_told(notifier, row["event"])
        for row in database.execute(OPENINGS)
        if row["notifier"] == notifier
    }
    for row in database.execute("SELECT key FROM requests WHERE resolved_at IS NULL"):
        if notifier in ledger.book.promises[row["key"]].due and not told.get(row["key"]):
            yield f"{notifier} was always well, and never accepted request {row['key']}"


def check_removed(database: Reader, config: Config, requeued: Collection[str]) -> Iterator[str]:
    """Nothing waits for a notifier that was taken out, but what was put back since."""
    for row in database.execute("SELECT id, notifier, thread_key FROM deliveries WHERE state = 'pending'"):
        if notifier_config(config, row["notifier"]) is None and row["thread_key"] not in requeued:
            yield f"{row['id']} waits for {row['notifier']}, which was taken out"


def check_all_ended(database: Reader, config: Config) -> Iterator[str]:
    """In the end every delivery about what is watched is sent, superseded or dead."""
    for row in database.execute(
        "SELECT d.id, d.notifier, e.type, e.app FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.state NOT IN ('sent', 'superseded', 'dead')"
    ):
        if not row["app"] or app_config(config, row["app"]) is not None:
            yield f"{row['id']} {row['type']} for {row['notifier']} never ends"
