"""The model's process: the real pollers, store and workers, put together as the daemon does, life after life.

A life has one configuration. It begins with the daemon's own `sync_outbox_with_config`; news is routed by
`watcher.bootstrap`.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from tests.resilience.model.config import notifier_config
from tests.resilience.model.destination import Destination, Witness
from tests.resilience.model.fate import Fate, Killed, ModelClock, MortalStore
from tests.resilience.model.world import World
from tests.support.builders import make_worker
from tests.support.databases import Place
from tests.support.poll_bench import PollBench
from watcher.bootstrap import Services, notifier_policies, routes, sync_outbox_with_config
from watcher.config.models import Config
from watcher.delivery.dispatcher import Dispatcher
from watcher.delivery.rate_limit import RateLimiter
from watcher.delivery.worker import DeliveryWorker
from watcher.hooks import Hooks
from watcher.monitoring.liveness import LivenessTracker
from watcher.monitoring.snapshot import Monitor
from watcher.polling.batching import HOLD_SECONDS
from watcher.polling.clock import ClockChange
from watcher.polling.poller import Poller, PollResult
from watcher.store import StoreError

PATIENCE: Final = 40
"""So many turns of the loop without progress mean that what still runs waits for the model."""
PACED_MAX: Final = 60
"""So many times the model lets time pass because messages must keep their pace."""


@dataclass(slots=True)
class Process:
    """One life of the watcher after the other, on one database; `config` is that of the next."""

    place: Place
    clock: ModelClock
    worlds: Mapping[str, World]
    destinations: Sequence[Destination]
    fate: Fate
    witness: Witness
    config: Config
    store: MortalStore | None = None
    last_in_flight: frozenset[int] = frozenset()
    _pollers: dict[str, Poller] = field(default_factory=dict)
    _workers: dict[str, DeliveryWorker] = field(default_factory=dict)
    _rate_limiters: dict[str, RateLimiter] = field(default_factory=dict)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _patience: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Starts as the daemon does, unless it runs; being killed at that it is started once more."""
        while self.store is None:
            await self._start()

    async def _start(self) -> None:
        self.fate.dead = False
        self.store = MortalStore(self.place, self.fate)
        notifiers = [each for each in self.destinations if notifier_config(self.config, each.name)]
        self._build(self.store, notifiers)
        try:
            await sync_outbox_with_config(self._parts(self.store, notifiers))
        except (Killed, StoreError):
            await self.kill()
            return
        self.witness.started(self.config)
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(HOLD_SECONDS, self.store.mark_polled)

    def _build(self, store: MortalStore, notifiers: Sequence[Destination]) -> None:
        config = self.config
        self._pollers = {
            app.name: PollBench(self.place, store, self.worlds[app.name].api, self.clock).poller(
                name=app.name,
                base_url=app.base_url,
                watch_paused=app.watch_paused,
                routes=routes(config, app, notifiers),
                digest_above=config.digest_above,
                baseline=config.backlog == "baseline",
                alert_after=config.app_alert_after,
            )
            for app in config.apps
        }
        agreed = notifier_policies(config, notifiers)
        places = {each.rate_limit_key: RateLimiter(each.min_interval) for each in notifiers}
        self._rate_limiters = {each.name: places[each.rate_limit_key] for each in notifiers}
        self._workers = {
            each.name: make_worker(
                each, store, self.clock, policy=agreed[each.name], rate_limiter=self._rate_limiters[each.name]
            )
            for each in notifiers
        }

    def _parts(self, store: MortalStore, notifiers: Sequence[Destination]) -> Services:
        elapsed, wall = asyncio.get_running_loop().time, self.clock.time
        liveness = LivenessTracker(monotonic=elapsed, wall=wall)
        monitor = Monitor(
            self.place,
            (),
            (),
            liveness=liveness,
            wall=wall,
        )
        pollers = list(self._pollers.values())
        return Services(self.config, wall, store, notifiers, pollers, Dispatcher(()), Hooks(), monitor, None)

    async def poll(self, apps: Collection[str]) -> dict[str, str]:
        """Polls these apps once, at the same time.

        Returns how that went for each: `whole`, `failed`, `cut short` or `killed`.
        """
        await self.start()
        self.fate.refused = False
        polls = {app: asyncio.create_task(self._pollers[app].poll()) for app in apps}
        self.fate.polls = polls.values()
        await self._until_quiet(list(polls.values()))
        self.fate.polls = ()
        outcomes = {app: _outcome(poll) for app, poll in polls.items()}
        for app, outcome in outcomes.items():
            if outcome in {"whole", "failed"}:
                self.witness.polled(app)
        if self.fate.dead:
            await self.kill()
        return outcomes

    async def deliver(self) -> frozenset[str]:
        """Lets the workers send what is due, until they are done or wait for what hangs.

        Returns those that began anew and are done.
        """
        await self.start()
        self.fate.refused = False
        anew = self._workers.keys() - self._running.keys()
        for name, worker in self._workers.items():
            if name in anew:
                self._running[name] = asyncio.create_task(worker.run(until_idle=True))
            else:
                worker.wake()
        for _ in range(PACED_MAX):
            await self._until_quiet(list(self._running.values()))
            if self.fate.dead or not self._paced():
                break
            self.clock.passes(1.0)
        done = {name: task for name, task in self._running.items() if task.done()}
        for name, task in done.items():
            del self._running[name]
            if not self.fate.dead:
                task.result()
        if self.fate.dead:
            await self.kill()
            return frozenset()
        return frozenset(anew & done.keys())

    async def prune(self, before: float) -> None:
        """Deletes what is over for so long."""
        await self.start()
        assert self.store is not None
        try:
            await self.store.prune(before=before)
        except Killed:
            await self.kill()

    async def clock_set(self, seconds: float) -> None:
        """Does what the daemon does when it sees that the clock was set."""
        await self.start()
        assert self.store is not None
        await self.store.shift_timestamps(seconds)
        for poller in self._pollers.values():
            poller.clock_changed(ClockChange(step=seconds, slept=0.0))

    async def kill(self) -> None:
        """Ends the process at once."""
        self.fate.dead = True
        self.last_in_flight = self.in_flight()
        self.witness.killed()
        if self._patience is not None:
            self._patience.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()
        for poller in self._pollers.values():
            with suppress(Killed):
                await poller.close()
        self._pollers.clear()
        self._workers.clear()
        if self.store is not None:
            self.store.abandon()
        self.store = None
        self.fate.blow = None

    def in_flight(self) -> frozenset[int]:
        """Returns what is given out to workers, or was when the process ended."""
        return self.store._claimed_ids if self.store is not None else self.last_in_flight

    def idle(self) -> bool:
        """Returns whether no worker waits for what hangs."""
        return not self._running

    def _paced(self) -> bool:
        elapsed = asyncio.get_running_loop().time()
        return any(
            not task.done() and self._rate_limiters[name].wait(elapsed)
            for name, task in self._running.items()
        )

    async def _until_quiet(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        seen, patience = self._turns(), PATIENCE
        while patience and not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            patience = PATIENCE if self._turns() != seen else patience - 1
            seen = self._turns()

    def _turns(self) -> int:
        return self.fate.turns + sum(world.exchange.calls for world in self.worlds.values())


def _outcome(poll: asyncio.Task[PollResult]) -> str:
    assert poll.done()
    if poll.cancelled():
        return "cut short"
    if isinstance(poll.exception(), Killed):
        return "killed"
    return "whole" if poll.result().error is None else "failed"
