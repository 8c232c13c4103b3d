"""`watcher retry`: what is put back beside a daemon, and what is refused."""

import re
from pathlib import Path

import pytest

from tests.support.builders import MACHINE, NOW, claim, make_new_request, open_store, record_new, records
from watcher.cli.retrying import NotDeadError, requeue
from watcher.store import Dead, Sent

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
async def test_the_dead_are_put_back(
    database: Path, ids: list[int] | None, count: int, states: list[str]
) -> None:
    """Those that are named, or all that are dead, and nothing else; a running daemon is no hindrance."""
    async with open_store(database):
        assert count == requeue(database, ids)
    assert states == [record.state for record in sorted(records(database), key=lambda record: record.id)]


@pytest.mark.parametrize(
    ("number", "words"),
    [(3, "ID 3: it is sent"), (4, "ID 4: it is pending"), (99, "ID 99: there is no such delivery")],
)
async def test_what_is_not_dead_is_refused(database: Path, number: int, words: str) -> None:
    """One that is not dead is named with what it is, and then none of the others is put back either."""
    before = records(database)
    with pytest.raises(NotDeadError, match=f"^{re.escape(words)}; only dead deliveries can be put back$"):
        requeue(database, [1, number])
    assert before == records(database)
