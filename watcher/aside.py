"""Work that would hold the event loop up, done in threads of its own."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="aside")
"""Not the loop's own threads, in which names of hosts are looked up for everybody."""


async def aside(work: Callable[[], T]) -> T:
    """Returns what the work returns, while the loop goes on."""

    def quietly() -> T:
        with _uncollected():
            return work()

    return await asyncio.get_running_loop().run_in_executor(_THREADS, quietly)


_counting = threading.Lock()
_at_work = 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """Puts off the search for garbage in cycles, which stops every thread to look at all that is at work.

    Millions of small values out of one large answer are in no cycle, and make that search take seconds.
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
