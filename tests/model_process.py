"""The model's process: the real poller, store and lanes, struck at this commit or that, and destinations.

Nothing here depends on real time: the clock is the model's, and units of work run where they are asked for.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from tests.builders import APP, Clock, ScriptedNotifier, make_lane, new_id
from tests.model_world import World
from tests.poll_bench import PollBench
from watcher.dispatcher import Lane
from watcher.models import Delivery, Receipt, Route
from watcher.notifiers.base import DeliveryError
from watcher.poller import Poller
from watcher.store import Store, StoreError, Terms

T = TypeVar("T")

Blow = Literal["killed before", "killed after", "refused", "cut short"]
"""What can befall a process at a commit; the last cancels the task that waits for it, after it was made."""
Mood = Literal[
    "well", "refuses", "says when", "wants mending", "slips", "loses replies", "hangs", "replies late"
]
"""What a destination does with a delivery. Who hangs accepts in the end, who replies late at once."""

PATIENCE: Final = 40
"""So many turns of the loop without progress mean that what still runs waits for the model."""


class Killed(BaseException):
    """The process is no more."""


@dataclass(slots=True)
class Fate:
    """When the process is struck by what; `turns` counts what it does."""

    blow: Blow | None = None
    commits_left: int = 0
    dead: bool = False
    refused: bool = False
    turns: int = 0

    def arm(self, blow: Blow, commits: int) -> None:
        """Lets a blow fall at the so-manieth commit from now on, counted from 0."""
        self.blow, self.commits_left = blow, commits

    def strike(self) -> Blow | None:
        """Returns what befalls the process at this commit."""
        self.turns += 1
        if self.dead:
            raise Killed
        if self.blow is None or self.commits_left > 0:
            self.commits_left -= 1
            return None
        blow, self.blow = self.blow, None
        return blow


class Inline(Executor):
    """Works where it is asked to, so that a scenario always takes the same course."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Does the work."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is handed on
            future.set_exception(error)
        return future


async def at_once(work: Callable[[], T]) -> T:
    """Does what would be done in a thread, in the same course each time."""
    return work()


class StillLoop(asyncio.SelectorEventLoop):
    """A loop for which no time passes: nothing in it happens because a machine is slow."""

    def time(self) -> float:
        """Returns the one moment."""
        return 0.0


class MortalStore(Store):
    """A store whose process can be struck at each commit."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(path, new_id)
        self._thread.shutdown()
        self._thread = Inline()  # type: ignore[assignment]
        self._connection.execute("PRAGMA synchronous = OFF")  # processes are killed here, machines are not
        self._fate = fate

    def _transaction(self, work: Any, then: Any) -> Any:
        blow = self._fate.strike()
        if blow == "killed before":
            self._fate.dead = True
            raise Killed
        if blow == "refused":
            self._fate.refused = True
            raise StoreError("the disk is full")
        result = super()._transaction(work, then)
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
        self._lock.release()


class Destination(ScriptedNotifier):
    """A place that does as its mood is, and tells the model's ledger what it sees.

    The moods in `script` come first, one for each attempt, then `mood`.
    """

    def __init__(self, route: Route, ages: tuple[float, ...]) -> None:
        super().__init__(
            route.notifier,
            slots=1 if route.for_people else 8,
            for_people=route.for_people,
            digests=route.digests,
        )
        self.route = route
        self.ages = ages
        self.mood: Mood = "well"
        self.script: list[Mood] = []
        self._fate = Fate()
        self._ledger = Witness()

    def belongs_to(self, fate: Fate, witness: "Witness") -> None:
        """Names the process that sends, and who is told what is seen."""
        self._fate, self._ledger = fate, witness

    async def send(self, delivery: Delivery) -> Receipt | None:
        """Does as the mood is."""
        self._fate.turns += 1
        if self._fate.dead:
            raise Killed
        mood = self.script.pop(0) if self.script else self.mood
        self._ledger.began(self, delivery)
        try:
            return await self._answer(mood, delivery)
        finally:
            self._ledger.ended(delivery)

    async def _answer(self, mood: Mood, delivery: Delivery) -> Receipt | None:
        if mood == "replies late":
            self._ledger.accepted(self, delivery)
        if mood in {"hangs", "replies late"}:
            await self.gate.wait()
        match mood:
            case "refuses":
                raise DeliveryError("not today")
            case "says when":
                raise DeliveryError("later", retry_after=90.0)
            case "wants mending":
                raise DeliveryError("no such channel", fix="name another")
            case "slips":
                raise ValueError("a slip of ours")
            case "loses replies":
                self._ledger.accepted(self, delivery, reply_lost=True)
                raise DeliveryError("no answer in time")
            case "well" | "hangs":
                self._ledger.accepted(self, delivery)
            case "replies late":
                pass
        return Receipt({"ts": delivery.event.id}) if self.for_people else None


class Witness:
    """Who is told what destinations see; see `Ledger`."""

    def began(self, destination: Destination, delivery: Delivery) -> None:
        """An attempt begins."""

    def accepted(self, destination: Destination, delivery: Delivery, *, reply_lost: bool = False) -> None:
        """A destination accepts a delivery, whether or not the watcher gets to know it."""

    def ended(self, delivery: Delivery) -> None:
        """An attempt is over."""

    def killed(self) -> None:
        """The process ends, whatever is under way."""


@dataclass(slots=True)
class Process:
    """One life of the watcher after the other, on one database."""

    path: Path
    clock: Clock
    world: World
    destinations: Sequence[Destination]
    fate: Fate
    witness: Witness
    digest_above: int
    store: MortalStore | None = None
    _poller: Poller | None = None
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def start(self) -> None:
        """Starts as the daemon does, unless it runs; being killed at that it is started once more."""
        while self.store is None:
            await self._start()

    async def _start(self) -> None:
        self.fate.dead = False
        self.store = MortalStore(self.path, self.fate)
        bench = PollBench(self.path, self.store, self.world.api, self.clock)
        routes = [destination.route for destination in self.destinations]
        self._poller = bench.poller(
            digest_above=self.digest_above, routes=routes, watch_paused=self.world.watch_paused
        )
        self._lanes = {each.name: self._lane(each, self.store) for each in self.destinations}
        ages = {each.name: each.ages for each in self.destinations}
        names = [each.name for each in self.destinations]
        try:
            await self.store.plan_reminders(ages, {APP.name: names}, now=self.clock.now)
            await self.store.retire(names, now=self.clock.now)
        except Killed:
            await self.kill()
        except StoreError:
            self.store.abandon()
            self.store = None

    async def poll(self) -> str:
        """Polls once; returns how that went: `whole`, `failed`, `cut short` or `killed`."""
        await self.start()
        assert self._poller is not None
        self.fate.refused = False
        poll = asyncio.create_task(self._poller.poll())
        await self._until_quiet([poll])
        assert poll.done()
        if poll.cancelled():
            return "cut short"
        if isinstance(poll.exception(), Killed):
            await self.kill()
            return "killed"
        return "whole" if poll.result() is None else "failed"

    async def deliver(self) -> None:
        """Lets the lanes send what is due, until they are done or wait for what hangs."""
        await self.start()
        for name, lane in self._lanes.items():
            if name in self._running:
                lane.wake()
            else:
                self._running[name] = asyncio.create_task(lane.run(until_idle=True))
        await self._until_quiet(list(self._running.values()))
        done = {name: task for name, task in self._running.items() if task.done()}
        for name, task in done.items():
            del self._running[name]
            if not self.fate.dead:
                task.result()
        if self.fate.dead:
            await self.kill()

    async def prune(self, before: float) -> None:
        """Deletes what is over for so long."""
        await self.start()
        assert self.store is not None
        await self.store.prune(before=before)

    async def kill(self) -> None:
        """Ends the process at once."""
        self.fate.dead = True
        self.witness.killed()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()
        if self._poller is not None:
            await self._poller.close()
        if self.store is not None:
            self.store.abandon()
        self.store = self._poller = None
        self.fate.blow = None

    def in_flight(self) -> frozenset[int]:
        """Returns what was given out to lanes."""
        return frozenset(self.store._in_flight if self.store is not None else ())

    def idle(self) -> bool:
        """Returns whether no lane waits for what hangs."""
        return not self._running

    def _lane(self, destination: Destination, store: Store) -> Lane:
        others = tuple(
            Route(other.name, other.for_people) for other in self.destinations if other is not destination
        )
        terms = Terms(destination.ages, alert_after=120.0, others=others)
        return make_lane(destination, store, self.clock, terms=terms)

    async def _until_quiet(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        seen, patience = self._turns(), PATIENCE
        while patience and not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            patience = PATIENCE if self._turns() != seen else patience - 1
            seen = self._turns()

    def _turns(self) -> int:
        return self.fate.turns + self.world.exchange.calls
