"""`watcher retry`: what is retried beside a running daemon, and what is refused."""

import re
from pathlib import Path

import pytest

from tests.support.builders import MACHINE, NOW, claim, make_new_request, open_store, record_new, records
from tests.unit.cli.conftest import Invoke
from watcher.cli.queries import NotDeadError, requeue
from watcher.store import Dead, Sent
from watcher.store.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """Deliveries 1 and 2 are dead, 3 was sent, 4 waits."""
    path = tmp_path / "watcher.db"
    async with open_store(path) as store:
        await record_new(store, *(make_new_request(f"run-{number}") for number in range(4)), routes=[MACHINE])
        await claim(store, "webhook")
        results: list[Dead | Sent] = [Dead(1, "no"), Dead(2, "no"), Sent(3, None)]
        await store.settle_and_claim("webhook", results, limit=0, now=NOW)
    return path


@pytest.mark.parametrize(
    ("ids", "count", "states"),
    [
        (None, 2, ["pending", "pending", "sent", "pending"]),
        ([2, 2], 1, ["dead", "pending", "sent", "pending"]),
    ],
)
async def test_dead_deliveries_are_retried(
    database: Path, ids: list[int] | None, count: int, states: list[str]
) -> None:
    """The named deliveries, or all dead ones, become pending, and no others, beside an open store."""
    async with open_store(database):
        assert count == requeue(SqliteDatabase(database), ids)
    assert states == [record.state for record in sorted(records(database), key=lambda record: record.id)]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (3, "delivery 3: it is sent; only dead deliveries can be retried"),
        (4, "delivery 4: it is pending; only dead deliveries can be retried"),
        (99, "delivery 99: no such delivery"),
    ],
)
async def test_only_dead_deliveries_are_retried(database: Path, number: int, words: str) -> None:
    """A delivery that is not dead is refused with its state, and the dead one named beside it stays dead."""
    before = records(database)
    with pytest.raises(NotDeadError, match=f"^{re.escape(words)}$"):
        requeue(SqliteDatabase(database), [1, number])
    assert before == records(database)


async def test_every_wrong_id_is_named(database: Path) -> None:
    """Each id that cannot be retried has one problem, in the order of the ids."""
    with pytest.raises(NotDeadError) as raised:
        requeue(SqliteDatabase(database), [99, 1, 3, 99])
    assert [
        "delivery 99: no such delivery",
        "delivery 3: it is sent; only dead deliveries can be retried",
    ] == list(raised.value.problems)


@pytest.mark.parametrize("command", ["pending", "retry"])
@pytest.mark.parametrize("number", ["0", "9223372036854775808"])
def test_an_id_that_no_row_can_have(command: str, number: str, invoke: Invoke) -> None:
    """Such an id is a usage error, before a database is asked that could not take it."""
    ended = invoke(command, number)
    assert (2, True) == (ended.status, f"{number} is not in the range" in ended.err)
