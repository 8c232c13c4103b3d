"""What the simulator was asked, for tests to look at and to wait for."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from watcher.simulator.faults import Call

_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request to the API, counted from 1.

    `at` is Unix seconds, `monotonic` the seconds of the event loop's clock. Names of headers are lower case.
    `status` is None while the request is being served, and for good where the connection was broken off.
    """

    number: int
    app: str
    call: Call
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    at: float
    monotonic: float
    status: int | None = None
    finished: bool = False


class Record:
    """The last 10,000 requests, and how many of each kind were finished since the start."""

    def __init__(self) -> None:
        self._served: dict[int, Served] = {}
        self._finished: Counter[tuple[str, Call]] = Counter()
        self._count = 0
        self._changed = asyncio.Event()

    @property
    def requests(self) -> tuple[Served, ...]:
        """The requests that are still kept, oldest first."""
        return tuple(self._served.values())

    def finished(self, app: str, call: Call) -> int:
        """Returns how many calls of a kind have been answered, forgotten ones included."""
        return self._finished[app, call]

    def begin(self, served: Served) -> int:
        """Adds a request that has just come in, and returns the number that it was given."""
        self._count += 1
        self._served[self._count] = replace(served, number=self._count)
        if len(self._served) > _KEPT:
            del self._served[next(iter(self._served))]
        self._wake()
        return self._count

    def finish(self, number: int, app: str, call: Call, status: int | None) -> None:
        """Notes how a request ended; None where no whole answer was sent."""
        if number in self._served:
            self._served[number] = replace(self._served[number], status=status, finished=True)
        self._finished[app, call] += 1
        self._wake()

    async def wait_for(self, condition: Callable[[], bool], within: float) -> None:
        """Returns as soon as a condition holds, looked at after every request that begins or ends.

        Raises:
            TimeoutError: it did not hold within so many seconds.
        """
        async with asyncio.timeout(within):
            while not condition():
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
