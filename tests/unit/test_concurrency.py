"""Work that is done beside the event loop."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest

from tests.support.builders import BOUND, soon
from watcher.concurrency import run_blocking, run_cpu_bound, run_together

pytestmark = pytest.mark.anyio


async def test_the_loop_goes_on_meanwhile() -> None:
    """What the work waits for can happen on the loop, and its result comes back."""
    released = threading.Event()
    work = asyncio.create_task(run_cpu_bound(lambda: released.wait(BOUND)))
    await asyncio.sleep(0)
    released.set()
    assert True is await soon(work)


async def test_the_first_error_of_several_ends_the_others() -> None:
    """It is raised as it is, so that who calls can tell what it is, once nothing is under way any more."""
    ended = asyncio.Event()

    async def last() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await soon(run_together([last(), fail()]))
    assert ended.is_set()


async def test_names_of_hosts_can_be_looked_up_meanwhile() -> None:
    """However much is done aside, the loop's own threads are free."""
    released = threading.Event()
    works = [asyncio.create_task(run_cpu_bound(lambda: released.wait(BOUND))) for _ in range(40)]
    await asyncio.sleep(0)
    assert "free" == await soon(asyncio.to_thread(lambda: "free"))
    released.set()
    assert [True] * 40 == await soon(asyncio.gather(*works))


async def test_garbage_is_collected_again_when_all_is_done() -> None:
    """The collector rests until the last of several works has ended, be it by an error."""
    released = threading.Event()
    resting = threading.Event()

    def rest() -> bool:
        resting.set()
        released.wait(BOUND)
        return gc.isenabled()

    def fail() -> None:
        raise ValueError("no")

    long = asyncio.create_task(run_cpu_bound(rest))
    await soon(asyncio.to_thread(resting.wait, BOUND))
    with pytest.raises(ValueError, match="no"):
        await soon(run_cpu_bound(fail))
    assert not gc.isenabled()
    released.set()
    assert False is await soon(long)
    assert gc.isenabled()


@pytest.mark.parametrize("runner", [run_blocking, run_cpu_bound])
async def test_work_that_failed_is_let_go(runner: Callable[..., Awaitable[None]]) -> None:
    """What was worked on is freed with the error, and does not wait for the collector of cycles."""

    class Large:
        pass

    large = Large()
    alive = weakref.ref(large)

    def fail(_: Large) -> None:
        raise ValueError

    others = set(threading.enumerate())
    gc.disable()
    try:
        with suppress(ValueError):
            await runner(partial(fail, large))
        del large
        for thread in set(threading.enumerate()) - others:
            thread.join(BOUND)
        await asyncio.sleep(0)
        assert alive() is None
    finally:
        gc.enable()
