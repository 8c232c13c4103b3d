"""The log of requests to the simulated API, for tests to read and to wait for."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from watcher.simulator.faults import Call

_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request to the API; `number` counts from 1.

    `at` is Unix seconds, `monotonic` the event loop's clock. Header names are lower case. `status` is
    None until the response was sent, and stays None if the connection broke before.
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


class RequestLog:
    """The last 10,000 requests, and the number of finished ones of each kind since the start."""

    def __init__(self) -> None:
        self._logged: dict[int, LoggedRequest] = {}
        self._finished: Counter[tuple[str, Call]] = Counter()
        self._count = 0
        self._changed = asyncio.Event()

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """The last 10,000 requests, oldest first."""
        return tuple(self._logged.values())

    def finished(self, app: str, call: Call) -> int:
        """Returns how many calls of a kind have finished since the start."""
        return self._finished[app, call]

    def begin(self, logged: LoggedRequest) -> int:
        """Adds a request that has just arrived, and returns its number."""
        self._count += 1
        self._logged[self._count] = replace(logged, number=self._count)
        if len(self._logged) > _KEPT:
            del self._logged[next(iter(self._logged))]
        self._wake()
        return self._count

    def finish(self, number: int, app: str, call: Call, status: int | None) -> None:
        """Records the status of a finished request; None if no complete response was sent."""
        if number in self._logged:
            self._logged[number] = replace(self._logged[number], status=status, finished=True)
        self._finished[app, call] += 1
        self._wake()

    async def wait_for(self, condition: Callable[[], bool], within: float) -> None:
        """Returns as soon as a condition holds; it is evaluated whenever a request begins or finishes.

        Raises:
            TimeoutError: the condition did not hold within `within` seconds.
        """
        async with asyncio.timeout(within):
            while not condition():
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
