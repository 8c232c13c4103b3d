"""The model's time, and how its process is struck: at this commit or that, in one way or another.

Nothing here depends on real time: clock and event loop have the model's time, and units of work run where
they are asked for.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, TypeVarTuple

from tests.support.builders import Clock, new_id
from tests.support.databases import Place
from watcher.store import Store, StoreUnavailable
from watcher.store.sql import Connection
from watcher.store.sqlite import SqliteConnection

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Blow = Literal["killed before", "killed after", "refused", "cut short"]
"""What can befall a process at a commit; the last cancels the poll that waits for it, after it was made."""
BLOWS: Final[tuple[Blow, ...]] = ("killed before", "killed after", "refused", "cut short")


class Killed(BaseException):
    """The process is no more."""


class ModelClock(Clock):
    """The wall clock, which can be set, and `elapsed`, the seconds that really passed.

    `latest` is the latest time that the wall clock ever showed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.latest = self.now

    def passes(self, seconds: float) -> None:
        """Time passes."""
        self.elapsed += seconds
        self.set_by(seconds)

    def set_by(self, seconds: float) -> None:
        """The wall clock is set."""
        self.now += seconds
        self.latest = max(self.latest, self.now)


class ModelLoop(asyncio.SelectorEventLoop):
    """A loop with the model's time and without threads: nothing in it happens because a machine is slow."""

    def __init__(self, clock: ModelClock) -> None:
        self._clock = clock
        super().__init__()

    def time(self) -> float:
        """Returns the seconds that really passed."""
        return self._clock.elapsed

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Works where it is asked to, so that a scenario always takes the same course."""
        future: asyncio.Future[T] = self.create_future()
        try:
            self.call_soon(_settle, future, future.set_result, func(*args))
        except BaseException as error:  # noqa: BLE001 - it is handed on
            self.call_soon(_settle, future, future.set_exception, error)
        return future


def _settle(future: asyncio.Future[T], settle: Callable[[Any], None], outcome: object) -> None:
    if not future.cancelled():
        settle(outcome)


@dataclass(slots=True)
class Fate:
    """When the process is struck by what; `turns` counts what it does, `commits` its units of work.

    `wrote` are the numbers of those that changed something, each with how many sends had begun or ended by
    then, which `sends` counts. Only `polls` can be cut short.
    """

    blow: Blow | None = None
    commits_left: int = 0
    dead: bool = False
    refused: bool = False
    turns: int = 0
    commits: int = 0
    sends: int = 0
    wrote: list[tuple[int, int]] = field(default_factory=list)
    polls: Collection[asyncio.Task[Any]] = ()

    def arm(self, blow: Blow, commits: int) -> None:
        """Lets a blow fall at the so-manieth commit from now on, counted from 0."""
        self.blow, self.commits_left = blow, commits

    def strike(self) -> Blow | None:
        """Returns what befalls the process at this commit."""
        self.turns += 1
        if self.dead:
            raise Killed
        self.commits += 1
        if self.blow is None or self.commits_left > 0:
            self.commits_left -= 1
            return None
        if self.blow == "cut short" and asyncio.current_task() not in self.polls:
            return None
        blow, self.blow = self.blow, None
        return blow


async def at_once(work: Callable[[], T]) -> T:
    """Does what would be done in a thread, in the same course each time."""
    return work()


def changes_of(connection: Connection) -> Callable[[], int]:
    """Returns a function that counts: it grows when the connection changes the database."""
    if isinstance(connection, SqliteConnection):
        sqlite = connection.sqlite
        return lambda: sqlite.total_changes
    session: Any = connection
    changing: list[str] = []
    send = session.send

    def watched(texts: Sequence[str]) -> Any:
        changing.extend(text[:6] for text in texts if text.startswith(("INSERT", "UPDATE", "DELETE")))
        return send(texts)

    session.send = watched
    return lambda: len(changing)


class MortalStore(Store):
    """A store whose process can be struck at each commit."""

    def __init__(self, place: Place, fate: Fate) -> None:
        connection = place.open()
        super().__init__(connection, new_id)
        self._thread.shutdown()
        if isinstance(connection, SqliteConnection):
            # Processes are killed here, machines are not.
            connection.sqlite.execute("PRAGMA synchronous = OFF")
        self._fate = fate
        self._changes = changes_of(connection)

    def _transact(self, work: Any, now: float, reading: bool) -> Any:  # noqa: FBT001
        number, changes = self._fate.commits, self._changes()
        blow = self._fate.strike()
        if blow == "killed before":
            self._fate.dead = True
            raise Killed
        if blow == "refused":
            self._fate.refused = True
            raise StoreUnavailable("the disk is full")
        result = super()._transact(work, now, reading)
        if self._changes() > changes:
            self._fate.wrote.append((number, self._fate.sends))
        if blow == "killed after":
            self._fate.dead = True
            raise Killed
        if blow == "cut short":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return result

    def abandon(self) -> None:
        """What the kernel does when a process ends."""
        self._connection.close()
