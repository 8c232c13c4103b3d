"""How many statements a unit of work takes: a group of a hundred takes as many as a group of one.

Each statement is a round trip where the database is another machine; a batch of rows is one. How quick they
are depends on the indexes, so the plans of the busiest are looked at, too.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    MACHINE,
    NOW,
    PEOPLE,
    claim,
    make_new_request,
    open_store,
    outbox,
    record_new,
    sqlite_of,
)
from watcher import store as store_package
from watcher.models import NewRequest, ResolvedRequest, Route
from watcher.store import Dead, NotifierPolicy, Result, Retry, Sent, Store
from watcher.store.sql import Parameters
from watcher.store.sqlite import SqliteSql

pytestmark = pytest.mark.anyio

GROUPS: Final = (2, 100)
TABLES: Final = ("requests", "events", "deliveries", "digest_members")
"""Those that hold a month of what is over."""
OF_WHAT_IS_OPEN: Final = (
    "deliveries_due",
    "deliveries_turn",
    "deliveries_dead",
    "deliveries_held",
    "requests_app",
)
"""Indexes that hold only what is pending, held or dead: they may be read from end to end."""
POLICY = NotifierPolicy(remind_after=(60.0,))
DIGESTS = replace(PEOPLE, digests=True)


@contextmanager
def traced(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collects the statements that reach SQLite, but those that begin and end transactions."""
    statements: list[str] = []
    execute_many = SqliteSql.execute_many

    def collect(statement: str) -> None:
        if statement not in {"BEGIN IMMEDIATE", "COMMIT"}:
            statements.append(statement)

    def collect_once(sql: SqliteSql, statement: str, rows: Iterable[Parameters]) -> None:
        sqlite_of(store).set_trace_callback(None)
        execute_many(sql, statement, rows)
        sqlite_of(store).set_trace_callback(collect)
        collect(statement)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteSql, "execute_many", collect_once)
        sqlite_of(store).set_trace_callback(collect)
        yield statements
        sqlite_of(store).set_trace_callback(None)


def make_new(count: int, begin: int = 0) -> list[NewRequest]:
    """Returns so many new requests, each of a run of its own."""
    return [make_new_request(f"run-{number}") for number in range(begin, begin + count)]


async def send_all(store: Store, notifier: str) -> None:
    """Sends what is due to a notifier, and plans what is to remind of it."""
    due = await claim(store, notifier)
    results = [Sent(each.id, None) for each in due]
    await store.settle_and_claim(notifier, results, limit=0, now=NOW, policy=POLICY)


async def record_all_ended(store: Store, routes: Iterable[Route]) -> None:
    """Records that everything that waits has ended."""
    known = (await store.app_state(APP.name)).known
    ended = [ResolvedRequest(key, "answered", "completed") for key in known]
    assert len(ended) == len((await store.record_changes(APP, tuple(routes), ended=ended, now=NOW + 9)).ended)


async def test_recording_new_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of new requests, with a delivery for each notifier."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            with traced(store, monkeypatch) as statements:
                await record_new(store, *make_new(group))
            counts.append(len(statements))
        assert 2 * group == len(outbox(tmp_path / f"{group}.db"))
    assert counts == [5, 5]


async def test_recording_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of which all were told, with reminders that are planned."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            await record_new(store, *make_new(group))
            await send_all(store, "slack")
            await send_all(store, "webhook")
            with traced(store, monkeypatch) as statements:
                await record_all_ended(store, BOTH)
            counts.append(len(statements) - 2)  # those that list what waits
        assert group == outbox(tmp_path / f"{group}.db").count(("slack", "run.input_resolved", "pending"))
    assert counts == [9, 9]


async def test_recording_ends_of_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many digests, all of whose requests end in one poll."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            for number in range(group // 2):
                await record_new(store, *make_new(2, 2 * number), routes=[DIGESTS])
                await store.release_held(APP.name, digest_above=1, now=NOW)
            await send_all(store, "slack")
            with traced(store, monkeypatch) as statements:
                await record_all_ended(store, [DIGESTS])
            counts.append(len(statements) - 2)
    assert counts == [11, 11]


@pytest.mark.parametrize(("route", "most"), [(PEOPLE, 12), (MACHINE, 12)])
async def test_settling_and_claiming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: Route, most: int
) -> None:
    """What was accepted is settled, reminded of later, and followed by as much that is claimed."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            await record_new(store, *make_new(2 * group), routes=[route])
            results = [Sent(each.id, None) for each in await claim(store, route.notifier, limit=group)]
            with traced(store, monkeypatch) as statements:
                claimed = await store.settle_and_claim(
                    route.notifier, results, limit=group, now=NOW, policy=POLICY
                )
            assert group == len(claimed.deliveries)
            counts.append(len(statements))
    assert counts[0] == counts[1] <= most


@pytest.mark.parametrize("kind", [Retry, Dead])
async def test_settling_what_became_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Retry | Dead]
) -> None:
    """What failed is superseded where it is over by now."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            await record_new(store, *make_new(group), routes=[PEOPLE])
            due = await claim(store, "slack")
            await record_all_ended(store, [])
            results: list[Result] = [
                Dead(each.id, "no") if kind is Dead else Retry(each.id, "no", NOW + 60) for each in due
            ]
            with traced(store, monkeypatch) as statements:
                claimed = await store.settle_and_claim("slack", results, limit=1, now=NOW + 10)
            assert group == len(claimed.superseded)
            counts.append(len(statements))
    assert counts[0] == counts[1]


async def test_planning_reminders_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start planned reminders of old ages go, and those of new ages come."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            await record_new(store, *make_new(group), routes=[PEOPLE])
            await send_all(store, "slack")
            with traced(store, monkeypatch) as statements:
                await store.plan_reminders({"slack": [90.0]}, {APP.name: ["slack"]}, now=NOW)
            counts.append(len(statements))
        assert group == outbox(tmp_path / f"{group}.db").count(("slack", "run.input_reminder", "pending"))
    assert counts == [8, 8]


async def test_releasing_into_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was held becomes one digest."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            await record_new(store, *make_new(group), routes=[DIGESTS])
            with traced(store, monkeypatch) as statements:
                await store.release_held(APP.name, digest_above=1, now=NOW)
            counts.append(len(statements))
        assert 1 == len(outbox(tmp_path / f"{group}.db"))
    assert counts == [7, 7]


async def test_backfilling_a_new_notifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notifier that is new gets all that waits."""
    counts = []
    for group in GROUPS:
        async with open_store(tmp_path / f"{group}.db") as store:
            await record_new(store, *make_new(group), routes=[PEOPLE])
            with traced(store, monkeypatch) as statements:
                assert {"webhook": group} == await store.backfill_new_notifiers([(APP, BOTH)], now=NOW)
            counts.append(len(statements))
    assert counts == [4, 4]


async def test_a_quiet_poll(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is new a poll only reads, by two statements, whatever waits."""
    async with open_store(path) as store:
        await record_new(store, *make_new(5))
        await store.record_success(APP, BOTH, invisible={"run-9"}, now=NOW)
        changes = sqlite_of(store).total_changes
        with traced(store, monkeypatch) as statements:
            state = await store.app_state(APP.name)
        assert (2, changes) == (len(statements), sqlite_of(store).total_changes)
    assert not state.success_is_news({"run-9"}, NOW + 15)


class AnyValue(dict[str, object]):
    """A value for each parameter that a statement names."""

    def __missing__(self, name: str) -> str:
        return "[]"


def statements_of_the_store() -> Iterator[tuple[str, str]]:
    """Returns each statement with the module and the name that it has, but for those of PostgreSQL alone."""
    for module in iter_modules(store_package.__path__, "watcher.store."):
        if "postgresql" in module.name or module.name.endswith(".lease"):
            continue
        for name, value in vars(import_module(module.name)).items():
            values = value if isinstance(value, tuple) else (value,)
            for statement in values:
                if isinstance(statement, str) and statement.startswith(("SELECT", "UPDATE", "DELETE")):
                    yield f"{module.name}.{name}", statement


async def test_no_statement_reads_all_that_is_over(path: Path) -> None:
    """Without statistics, as in a new database, every statement finds its rows by an index."""
    slow, seen = [], 0
    async with open_store(path) as store:
        for name, statement in statements_of_the_store():
            if name.endswith(".RECORDS"):  # lists everything, unless more is said
                continue
            marks = statement.count("?")
            rows = sqlite_of(store).execute(
                f"EXPLAIN QUERY PLAN {statement}", ["[]"] * marks if marks else AnyValue()
            )
            seen += 1
            slow += [f"{name}: {row['detail']}" for row in rows if reads_a_table(row["detail"], statement)]
    assert ([], True) == (slow, seen > 50)


def reads_a_table(step: str, statement: str) -> bool:
    """Returns whether a step of a plan reads a big table from end to end."""
    words = step.split()
    if words[0] != "SCAN" or words[-1] in OF_WHAT_IS_OPEN:
        return False
    return any(f"{table} {words[1]}" in statement or table == words[1] for table in TABLES)
