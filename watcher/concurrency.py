"""Several tasks as one; and blocking work, in threads that do not keep the process from ending."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


async def run_together(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Returns what each coroutine returns; the first error ends the others, and is raised after them."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def run_blocking(work: Callable[[], T]) -> T:
    """Returns what the work returns, or raises what it raises, done in a daemon thread of its own.

    The end of the process waits for the threads of `asyncio.to_thread`, so a destination that holds up one
    would hold up the end too. A caller that is cancelled leaves the thread to itself.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    threading.Thread(target=_run, args=(work, loop, outcome), daemon=True).start()
    try:
        return await outcome
    finally:
        del outcome, work  # an error would keep them, and all that was worked on, in a cycle


def _run(work: Callable[[], T], loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[T]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and the process about to end
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
            loop.call_soon_threadsafe(_settle, outcome, None, error)
        else:
            loop.call_soon_threadsafe(_settle, outcome, result, None)
    del outcome, work  # as above


def _settle(outcome: asyncio.Future[T], result: T | None, error: Exception | None) -> None:
    if outcome.done():  # the caller was cancelled
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)  # type: ignore[arg-type]  # T may be None too


async def run_cpu_bound(work: Callable[[], T]) -> T:
    """Like `run_blocking`, for work that needs the processor and much memory."""

    def quietly() -> T:
        with _uncollected():
            return work()

    return await run_blocking(quietly)


_counting = threading.Lock()
_at_work = 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """Puts off the search for garbage in cycles, which stops every thread.

    The values of one large answer are millions, none of them in a cycle, and make that search take seconds.
    """
    global _at_work  # noqa: PLW0603 - the collector is one for the whole process
    with _counting:
        _at_work += 1
        gc.disable()
    try:
        yield
    finally:
        with _counting:
            _at_work -= 1
            if not _at_work:
                gc.enable()
