"""Units of work on PostgreSQL that lose their connection, or the answer to their commit."""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from typing import Any, Final

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    NOW,
    claim,
    make_new_request,
    new_id,
    outbox,
    pending,
    pending_key,
    record_new,
)
from tests.support.databases import empty, on_postgresql
from tests.support.postgresql import Schema, Server
from watcher.models import PendingKey, ResolvedRequest, Route
from watcher.store import (
    AppFailure,
    Boot,
    Dead,
    NotifierPolicy,
    Result,
    Retry,
    Sent,
    Store,
    StoreLost,
    StoreUnavailable,
)

psycopg = pytest.importorskip("psycopg")

from watcher.store.postgresql import PostgresqlDatabase  # noqa: E402
from watcher.store.postgresql_session import Session  # noqa: E402

pytestmark = pytest.mark.anyio

GATHERED: Final = Route("slack", for_people=True, digests=True)
SLACK: Final = NotifierPolicy(for_people=True, digest_above=1, remind_after=(60.0,))
LATER: Final = NOW + 100
Work = Callable[[Store], Awaitable[object]]


# Connections and answers that are lost


class Faults:
    """Ends the connection of a session at a commit: before it is made, or before its answer arrives."""

    def __init__(self, schema: Schema, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = 0
        self._schema = schema
        self._at: tuple[int, str] | None = None
        send = session.send

        def watched(texts: Any) -> Any:
            if texts[-1] != "COMMIT" or "READ ONLY" in texts[0]:
                return send(texts)
            self.commits += 1
            blow = self._at[1] if self._at is not None and self._at[0] == self.commits else None
            if blow == "before":
                self._end(session)
            if blow == "after":
                send(texts)
                self._end(session)
                return send(["SELECT 1"])  # as if the connection ended before the answer to the commit
            return send(texts)

        monkeypatch.setattr(session, "send", watched)

    def arm(self, blow: str) -> None:
        """Lets the next commit be struck."""
        self._at = (self.commits + 1, blow)

    def _end(self, session: Session) -> None:
        assert session._connection is not None
        with self._schema.server.connect() as connection:
            pid = session._connection.info.backend_pid
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


async def tell_all(store: Store) -> None:
    """Records requests that are told to everybody, and a digest."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"))
    await record_new(store, make_new_request("run-3"), make_new_request("run-4"), routes=[GATHERED])
    await store.release_held(APP.name, digest_above=1, now=NOW)


async def end_one(store: Store) -> None:
    """Records that a request ended."""
    known = PendingKey(1, "run-1", "q1", "Approve?", NOW)
    await store.record_changes(APP, BOTH, ended=[ResolvedRequest(known, "answered", "completed")], now=LATER)


async def settle(store: Store, result: type[Sent | Dead | Retry]) -> None:
    """Settles what Slack was given."""
    results: list[Result] = [Sent(1, None), Dead(1, "no"), Retry(1, "no", LATER + 9)]
    chosen = [each for each in results if isinstance(each, result)]
    await store.settle_and_claim("slack", chosen, limit=0, now=LATER, policy=SLACK)


async def fail(store: Store) -> None:
    """Records a failure that is told."""
    failure = AppFailure(503, "unavailable", "no", NOW)
    await store.record_failure(APP, BOTH, failure, alert_after=10.0, now=LATER)


UNITS: Final[dict[str, tuple[Work, ...]]] = {
    "new requests": (lambda store: record_new(store, make_new_request("run-9"), now=LATER),),
    "an end": (end_one,),
    "what was held": (
        lambda store: record_new(store, *map(make_new_request, ("a", "b", "c")), routes=[GATHERED]),
        lambda store: store.release_held(APP.name, digest_above=1, now=LATER),
    ),
    "a claim": (lambda store: store.settle_and_claim("slack", (), limit=1, now=LATER, policy=SLACK),),
    "an accepted send": (lambda store: claim(store, "slack", limit=1), lambda store: settle(store, Sent)),
    "a refused send": (lambda store: claim(store, "slack", limit=1), lambda store: settle(store, Retry)),
    "a dead letter": (lambda store: claim(store, "slack", limit=1), lambda store: settle(store, Dead)),
    "a failure": (fail,),
    "a recovery": (fail, lambda store: store.record_success(APP, BOTH, invisible={"run-7"}, now=LATER)),
    "a notifier that is new": (
        lambda store: store.backfill_new_notifiers(
            [(APP, [*BOTH, Route("hook", for_people=False)])], now=LATER
        ),
    ),
    "a changed after": (
        lambda store: store.reschedule_announcements(
            [(APP, [Route("slack", for_people=True, after=900.0)])], now=NOW
        ),
    ),
    "a notifier that is gone": (lambda store: store.dead_letter_removed(["slack"], now=LATER),),
    "reminders": (
        lambda store: claim(store, "slack", limit=1),
        lambda store: store.settle_and_claim("slack", [Sent(1, None)], limit=0, now=LATER),
        lambda store: store.plan_reminders({"slack": [900.0]}, {APP.name: ["slack"]}, now=LATER),
    ),
    "what was given up": (
        lambda store: store.dead_letter_removed([], now=LATER),
        lambda store: store.revive_dead({"slack": SLACK}, now=LATER),
    ),
    "pruning": (
        lambda store: store.dead_letter_removed([], now=LATER),
        end_one,
        lambda store: store.prune(before=LATER + 1),
    ),
    "the clock": (lambda store: store.check_clock(Boot("boot", NOW), longest_wait=3600.0, now=LATER),),
}
"""The last one of each is struck."""


def facts(schema: Schema) -> list[object]:
    """Returns what the database knows, but for how often it was tried to send something."""
    tables = {
        "requests": "run_id, first_seen_at, resolved_at, outcome",
        "deliveries": "notifier, thread_key = event, state, held, due_at, next_attempt_at, last_error",
        "events": "type, at, age, request, digest_id IS NULL",
        "digest_members": "request",
        "apps": "*",
        "incidents": "scope, name, since, reason, announced_event IS NULL",
        "invisible_runs": "*",
        "notifiers": "*",
        "clock": "*",
        "counters": "*",
    }
    with on_postgresql(schema).reading() as reader:
        asked = [(f"SELECT {columns} FROM {table}", ()) for table, columns in tables.items()]
        found = reader.execute_all(asked)
    return [sorted(map(tuple, rows), key=repr) for rows in found]


@asynccontextmanager
async def opened(schema: Schema) -> AsyncIterator[tuple[Store, Session]]:
    """A store of this schema, and its session."""
    session = on_postgresql(schema).open()
    assert isinstance(session, Session)
    store = Store(session, new_id)
    try:
        yield store, session
    finally:
        await store.close()


@pytest.mark.parametrize("blow", ["before", "after"])
@pytest.mark.parametrize("unit", UNITS)
async def test_a_unit_of_work_that_is_cut_off_can_be_done_again(
    emptied_schema: Schema, monkeypatch: pytest.MonkeyPatch, unit: str, blow: str
) -> None:
    """It fails as something that passes, has done all or nothing, and done again leaves what once leaves."""
    schema, (*before, last) = emptied_schema, UNITS[unit]
    async with opened(schema) as (store, session):
        faults = Faults(schema, session, monkeypatch)
        await tell_all(store)
        for work in before:
            await work(store)
        started = facts(schema)
        faults.arm(blow)
        with pytest.raises(StoreUnavailable):
            await last(store)
        interrupted = facts(schema)
        await last(store)
        twice = facts(schema)
    empty(schema)
    async with opened(schema) as (store, _):
        await tell_all(store)
        for work in (*before, last):
            await work(store)
        once = facts(schema)
    assert once == twice
    assert interrupted in ([started] if blow == "before" else [once, started])


@pytest.mark.parametrize("blow", ["before", "after"])
async def test_a_shift_of_the_clock_is_not_done_twice(
    emptied_schema: Schema, monkeypatch: pytest.MonkeyPatch, blow: str
) -> None:
    """It alone may not be repeated, so its failure is handed on, and times were moved once or not at all."""
    schema = emptied_schema
    async with opened(schema) as (store, session):
        faults = Faults(schema, session, monkeypatch)
        await record_new(store)
        faults.arm(blow)
        with pytest.raises(StoreUnavailable):
            await store.shift_timestamps(500.0)
        key = await pending_key(store)
    assert NOW + (500.0 if blow == "after" else 0.0) == key.first_seen_at


@contextmanager
def proxy(server: Server, swallow: threading.Event) -> Iterator[int]:
    """Passes on to a server; while `swallow` is set, it closes all in place of the answer to a commit."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:

        def pass_on(
            source: socket.socket, sink: socket.socket, *, to_server: bool, lost: threading.Event
        ) -> None:
            with suppress(OSError):
                while data := source.recv(1 << 16):
                    if to_server and swallow.is_set() and b"COMMIT" in data:
                        lost.set()
                    elif not to_server and lost.is_set():
                        swallow.clear()
                        break
                    sink.sendall(data)
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    upstream = socket.create_connection(("127.0.0.1", server.port))
                    stack.callback(client.close)
                    stack.callback(upstream.close)
                    lost = threading.Event()
                    for source, sink in ((client, upstream), (upstream, client)):
                        threading.Thread(
                            target=pass_on,
                            args=(source, sink),
                            kwargs={"to_server": source is client, "lost": lost},
                            daemon=True,
                        ).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


async def test_a_commit_whose_answer_is_lost_on_the_way(schema: Schema) -> None:
    """A request that was recorded, without the daemon's knowing, is recorded once when it is seen again."""
    swallow = threading.Event()
    with proxy(schema.server, swallow) as port:
        url = f"postgresql://watcher@127.0.0.1:{port}/watcher"
        on_postgresql(schema).open().close()
        database = PostgresqlDatabase(url, schema=schema.name)
        lease = database.session()
        lease.execute("UPDATE lease SET token = 'mine'")
        lease.close()
        store = Store(database.open("mine"), new_id)
        swallow.set()
        with pytest.raises(StoreUnavailable):
            await record_new(store)
        assert 1 == len(pending(on_postgresql(schema)))
        await record_new(store, now=NOW + 9)
        await store.close()
    assert 1 == len(pending(on_postgresql(schema)))
    assert [("slack", "pending"), ("webhook", "pending")] == [
        (notifier, state) for notifier, _, state in outbox(on_postgresql(schema))
    ]


async def test_a_server_that_is_away_is_not_asked_all_the_time(schema: Schema) -> None:
    """After a failure the next attempt waits; until then everything fails at once."""
    now = 0.0
    database = PostgresqlDatabase("postgresql://watcher@127.0.0.1:1/watcher")
    session = Session(database._connect, database.translate, database._settings, clock=lambda: now)
    for wait in (1.0, 2.0, 4.0, 5.0, 5.0):
        with pytest.raises(StoreUnavailable, match="refused"):
            session.execute("SELECT 1")
        now += wait - 0.01
        with pytest.raises(StoreUnavailable, match="a moment ago"):
            session.execute("SELECT 1")
        now += 0.01
    session._connect = on_postgresql(schema)._connect  # type: ignore[attr-defined]
    assert 1 == len(session.execute("SELECT 1"))
    session.close()


def take_over(schema: Schema) -> bool:
    """Takes the lease as another process would, unless it had to wait for that; returns whether."""
    with schema.server.connect() as other, suppress(psycopg.errors.LockNotAvailable):
        other.execute(f"SET search_path = {schema.name}".encode())
        with other.transaction():
            other.execute("SELECT 1 FROM lease FOR UPDATE NOWAIT")
            other.execute("UPDATE lease SET token = 'of another process'")
        return True
    return False


@pytest.mark.parametrize("unit", UNITS)
async def test_a_takeover_at_any_moment_of_a_unit_of_work(
    emptied_schema: Schema, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    """From when another process took the lease nothing more is recorded; it cannot take it in between."""
    schema, (*before, last) = emptied_schema, UNITS[unit]
    for moment in count():
        moments, known = count(), None
        async with opened(schema) as (store, session):
            await tell_all(store)
            for work in before:
                await work(store)
            send = session.send

            def watched(texts: Any) -> Any:
                nonlocal known
                if next(moments) == moment and take_over(schema):  # noqa: B023 - called in this turn
                    known = facts(schema)
                return send(texts)  # noqa: B023

            monkeypatch.setattr(session, "send", watched)
            try:
                await last(store)
            except StoreLost:
                assert known == facts(schema)
            else:
                assert known is None
        empty(schema)
        if next(moments) <= moment:
            break
    assert moment > 0
