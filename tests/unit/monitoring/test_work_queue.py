"""How the work for HTTP clients is shared, bounded and dropped."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.builders import BOUND
from watcher.monitoring.work_queue import QueueFullError, WorkQueue

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often each piece is done; none ends until all are released."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._released = threading.Event()

    def on(self, name: str) -> Callable[[], str]:
        """Returns the piece of this name."""

        def do() -> str:
            self.done.append(name)
            self._loop.call_soon_threadsafe(self.began.set)
            self._released.wait(BOUND)
            return name

        return do

    def release(self) -> None:
        """Lets all pieces end."""
        self._released.set()


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    """Work that ends with the test at the latest."""
    held = Work()
    try:
        async with asyncio.timeout(BOUND):
            yield held
    finally:
        held.release()


async def turns() -> None:
    """Lets everything happen that can happen now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_same_work_is_done_once(work: Work) -> None:
    """However many clients ask for the same at a time, it is done once and each gets the result."""
    queue = WorkQueue(waiting=4)
    clients = [asyncio.create_task(queue.do("a", work.on("a"))) for _ in range(20)]
    await work.began.wait()
    work.release()
    assert ["a"] * 20 == await asyncio.gather(*clients)
    assert ["a"] == work.done


async def test_one_piece_is_done_at_a_time_and_few_wait(work: Work) -> None:
    """While one is done four may wait; the next is refused at once, a part of an admitted one is not."""
    queue = WorkQueue(waiting=4)
    clients = [asyncio.create_task(queue.do(name, work.on(name))) for name in "abcde"]
    await work.began.wait()
    with pytest.raises(QueueFullError):
        await queue.do("f", work.on("f"))
    clients.append(asyncio.create_task(queue.do("g", work.on("g"), admitted=True)))
    await turns()
    assert ["a"] == work.done
    work.release()
    assert [*"abcdeg"] == await asyncio.gather(*clients) == work.done


async def test_the_work_of_a_client_that_left_is_dropped(work: Work) -> None:
    """Work that no client waits for any more is not done, and takes no place from other work."""
    queue = WorkQueue(waiting=1)
    first = asyncio.create_task(queue.do("a", work.on("a")))
    await work.began.wait()
    for _ in range(10):
        gone = asyncio.create_task(queue.do("b", work.on("b")))
        await turns()
        gone.cancel()
        await asyncio.wait({gone})
    last = asyncio.create_task(queue.do("c", work.on("c")))
    await turns()
    work.release()
    assert ["a", "c"] == list(await asyncio.gather(first, last))
    assert ["a", "c"] == work.done


async def test_work_that_has_begun_keeps_its_turn(work: Work) -> None:
    """When every client of it has left, the thread still works, so the next piece waits for it."""
    queue = WorkQueue(waiting=1)
    gone = asyncio.create_task(queue.do("a", work.on("a")))
    await work.began.wait()
    gone.cancel()
    await asyncio.wait({gone})
    following = asyncio.create_task(queue.do("b", work.on("b")))
    await turns()
    assert ["a"] == work.done
    work.release()
    assert "b" == await following


async def test_one_client_that_leaves_takes_nothing_from_another(work: Work) -> None:
    """A result that two clients share still goes to the one that stays."""
    queue = WorkQueue(waiting=2)
    first = asyncio.create_task(queue.do("a", work.on("a")))
    await work.began.wait()
    gone, stays = (asyncio.create_task(queue.do("b", work.on("b"))) for _ in range(2))
    await turns()
    gone.cancel()
    await asyncio.wait({gone})
    work.release()
    assert ["a", "b"] == list(await asyncio.gather(first, stays))


async def test_an_error_is_raised_for_every_client() -> None:
    """What the work raises reaches all that asked for it, and the next piece is done."""
    queue = WorkQueue(waiting=4)

    def broken() -> str:
        raise ValueError("broken")

    clients = [asyncio.create_task(queue.do("a", broken)) for _ in range(3)]
    assert ["broken"] * 3 == [str(error) for error in await asyncio.gather(*clients, return_exceptions=True)]
    assert "b" == await queue.do("b", lambda: "b")
