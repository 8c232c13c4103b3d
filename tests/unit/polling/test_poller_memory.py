"""What polls leave in memory, while they go on and after them."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.databases import Place
from tests.support.poll_bench import PollBench, api_run, open_bench, refusal
from watcher.runs_api.errors import ApiError

pytestmark = pytest.mark.anyio

NOTHING = (None, None, None)


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Lets what only the search for garbage in cycles would free stay; what was before is gone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> list[object]:
    """Returns what each of the API's errors that there are in this process holds."""
    errors = [each for each in gc.get_objects() if isinstance(each, ApiError)]
    return [(error.__traceback__, error.__context__, error.__cause__) for error in errors]


@pytest.mark.usefixtures("uncollected")
async def test_a_failed_poll_leaves_its_last_error_and_nothing_else(bench: PollBench) -> None:
    """However a poll fails, nothing of it waits in a cycle for the collector, and its error is bare."""
    poller = bench.poller()
    bench.api.pages = [refusal(503, "unavailable")]
    assert (await poller.poll()).error is not None
    assert [NOTHING] == held()
    bench.api.lists(*(api_run(f"r{number}") for number in range(5)))
    bench.api.runs = {f"r{number}": refusal(500, "broken") for number in range(5)}
    assert (await poller.poll()).error is not None
    assert [NOTHING] == held()


@pytest.mark.usefixtures("uncollected")
async def test_runs_that_cannot_be_fetched_leave_but_their_errors(bench: PollBench) -> None:
    """Thousands of runs may fail in one poll, so none keeps its call alive until that ends."""
    kept: list[object] = []

    async def look(call: str) -> None:
        if call == "page 2":
            kept.extend(held())

    bench.api.pages = [[api_run(f"r{number}") for number in range(20)], [api_run("last")]]
    bench.api.runs = {f"r{number}": refusal(500, "broken") for number in range(20)}
    bench.api.before = look
    await bench.poller().poll()
    assert 20 * [NOTHING] == kept
