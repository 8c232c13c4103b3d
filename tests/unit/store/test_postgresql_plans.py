"""What PostgreSQL has to do for the busiest units of work, whatever its statistics say."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, get_args

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    NOW,
    PEOPLE,
    make_new_request,
    new_id,
    record_new,
)
from tests.support.postgresql import Schema
from watcher.models import ResolvedRequest
from watcher.store import Dead, NotifierPolicy, Result, Sent, Store

psycopg = pytest.importorskip("psycopg")

from tests.support.databases import on_postgresql  # noqa: E402
from watcher.store.postgresql_session import Session  # noqa: E402

pytestmark = pytest.mark.anyio

DIGESTS = NotifierPolicy(for_people=True, digest_above=20, remind_after=(3600.0,))
TABLES: Final = ("requests", "events", "deliveries", "digest_members")
OF_WHAT_IS_OPEN: Final = ("deliveries_dead", "deliveries_held", "requests_app", "requests_pending")
"""Indexes that hold only what is pending, held or dead: they may be read from end to end."""
LONG: Final = 10_000
"""A statement that names so much may read all there is."""
Statistics = Literal["none", "of empty tables", "fresh"]
STATISTICS: Final = get_args(Statistics)


@asynccontextmanager
async def opened(schema: Schema) -> AsyncIterator[tuple[Store, Session]]:
    """A store in a schema of its own, and its session."""
    session = on_postgresql(schema).open()
    assert isinstance(session, Session)
    store = Store(session, new_id)
    yield store, session
    await store.close()


class Plans:
    """Asks for the plan of each statement that a session sends.

    `slow` are steps that read a large table, or an index of one, from end to end; `pages` are how many pages
    each question reads.
    """

    def __init__(self, schema: Schema, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow: list[str] = []
        self.pages: dict[str, int] = {}
        self._connection = schema.server.connect()
        self._connection.execute(session._settings.replace(", true)", ", false)").encode())
        send = session.send

        def look_and_send(texts: Sequence[str]) -> Any:
            for text in texts:
                if text.startswith(("SELECT", "UPDATE", "DELETE", "WITH")) and "lease" not in text:
                    self._look(text)
            return send(texts)

        monkeypatch.setattr(session, "send", look_and_send)

    def _look(self, text: str) -> None:
        reads = text.startswith(("SELECT", "WITH"))
        how = "ANALYZE, BUFFERS, FORMAT JSON" if reads else "FORMAT JSON"
        answer = self._connection.execute(f"EXPLAIN ({how}) {text}".encode()).fetchone()
        assert answer is not None
        ((plan,),) = answer
        self.slow += [f"{problem}: {text[:300]}" for problem in problems(plan["Plan"]) if len(text) < LONG]
        if reads:
            self.pages[text[:300]] = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def problems(node: dict[str, Any]) -> Iterator[str]:
    """Returns the steps of a plan that read all of a large table."""
    kind, table = node["Node Type"], node.get("Relation Name")
    whole = kind == "Seq Scan" or (kind.startswith("Index") and "Index Cond" not in node)
    if whole and table in TABLES and node.get("Index Name") not in OF_WHAT_IS_OPEN:
        yield f"reads all {table}"
    for part in node.get("Plans", ()):
        yield from problems(part)


async def fill(store: Store, schema: Schema, statistics: Statistics, many: int) -> None:
    """Records a burst, with the statistics that the server may have of it."""
    if statistics == "of empty tables":
        analyze(schema)
    await record_new(store, *[make_new_request(f"run-{number}") for number in range(many)])
    if statistics == "fresh":
        analyze(schema)


def analyze(schema: Schema) -> None:
    """Lets the server look at all tables."""
    with schema.server.connect() as connection:
        for table in ("deliveries", "events", "requests", "digest_members", "incidents"):
            connection.execute(f"ANALYZE {schema.name}.{table}".encode())


@pytest.mark.parametrize("statistics", STATISTICS[:2])  # with fresh ones a small table is rightly read whole
async def test_nothing_reads_all_there_is(
    schema: Schema, monkeypatch: pytest.MonkeyPatch, statistics: Statistics
) -> None:
    """Merging, claiming, settling, ending, reviving and pruning find their rows by an index."""
    async with opened(schema) as (store, session):
        await fill(store, schema, statistics, 3000)
        plans = Plans(schema, session, monkeypatch)
        for notifier, policy in (("webhook", NotifierPolicy()), ("slack", DIGESTS)):
            claim = await store.settle_and_claim(notifier, [], limit=8, now=NOW + 60, policy=policy)
            results: list[Result] = [Sent(each.id, None) for each in claim.deliveries]
            results[1:] = [Dead(result.delivery, "no") for result in results[1:]]
            await store.settle_and_claim(notifier, results, limit=0, now=NOW + 60, policy=policy)
        known = (await store.app_state(APP.name)).known[:50]
        ended = [ResolvedRequest(key, "answered", "completed") for key in known]
        await store.record_changes(APP, BOTH, ended=ended, now=NOW + 61)
        await store.revive_dead({"slack": DIGESTS}, now=NOW + 62)
        await store.prune(before=NOW + 99)
        plans.close()
    assert [] == plans.slow


@pytest.mark.parametrize("statistics", STATISTICS)
async def test_a_claim_reads_what_it_claims(
    schema: Schema, monkeypatch: pytest.MonkeyPatch, statistics: Statistics
) -> None:
    """However much is due, a claim reads some pages for each delivery, and not all that is pending."""
    async with opened(schema) as (store, session):
        await fill(store, schema, statistics, 1000)
        plans = Plans(schema, session, monkeypatch)
        for notifier, policy in (("webhook", NotifierPolicy()), ("slack", NotifierPolicy(for_people=True))):
            claim = await store.settle_and_claim(notifier, [], limit=8, now=NOW + 60, policy=policy)
            assert 8 == len(claim.deliveries)
        plans.close()
    assert 200 > max(plans.pages.values()), plans.pages


async def test_a_quiet_poll_is_one_round_trip(schema: Schema) -> None:
    """All that it asks is asked at once, and it writes nothing."""
    async with opened(schema) as (store, session):
        await record_new(store, *[make_new_request(f"run-{number}") for number in range(5)])
        await store.record_success(APP, BOTH, invisible=frozenset({"run-9"}), now=NOW)
        before = session.round_trips
        state = await store.app_state(APP.name)
        assert not state.success_is_news({"run-9"}, NOW + 15)
    assert 1 == session.round_trips - before


@pytest.mark.parametrize("group", [1, 100])
async def test_a_group_takes_as_many_round_trips_as_one(schema: Schema, group: int) -> None:
    """To record, send and end a hundred requests takes as many as to do so with one."""
    trips: list[int] = []
    async with opened(schema) as (store, session):

        def counted() -> None:
            trips.append(session.round_trips - sum(trips) - begin)

        begin = session.round_trips
        await record_new(
            store, *[make_new_request(f"run-{number}") for number in range(group)], routes=[PEOPLE]
        )
        counted()
        claim = await store.settle_and_claim("slack", (), limit=group, now=NOW, policy=NotifierPolicy())
        counted()
        results = [Sent(each.id, None) for each in claim.deliveries]
        await store.settle_and_claim("slack", results, limit=0, now=NOW)
        counted()
        known = (await store.app_state(APP.name)).known
        counted()
        ended = [ResolvedRequest(key, "answered", "completed") for key in known]
        await store.record_changes(APP, BOTH, ended=ended, now=NOW + 9)
        counted()
    assert [2, 5, 3, 1, 4] == trips
