"""Which of several replicas leads: a thread of its own takes the lease and keeps it.

A long unit of work or a busy event loop must not cost the lease, so neither the store's thread nor the event
loop has a part in it.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import structlog

from watcher.store import lease
from watcher.store.errors import StoreError, StoreLost, StoreUnusable, newer_version
from watcher.store.lease import Lease
from watcher.store.sql import Sql

RENEW_INTERVAL: Final = 3.0
LOOK_INTERVAL: Final = 1.0
"""How often, at least, a standby looks whether the lease is free."""
JITTER: Final = 0.4
"""A standby looks earlier by up to this part of it, at random, so that not all of them look at once."""
HEAD_START: Final = 3.0
"""Seconds after an outage of the database in which a standby leaves the lease to the last leader, which
could not renew it meanwhile and asks again every `LOOK_INTERVAL`."""
STOP_SECONDS: Final = 3.0
"""How long giving the lease back may take; a lease that is not given back expires."""
ROUND_TRIP_MAX: Final = 2.0
"""Seconds of a round trip after which the database's answer says too little about its clock."""
CLOCK_TOLERANCE: Final = 2.0
"""Seconds by which the clocks of this machine and of the database may differ without a warning."""

log = structlog.get_logger()


class Session(Protocol):
    """A connection for the lease alone, which no fence stops. Its methods may raise StoreError."""

    def transaction(self) -> AbstractContextManager[Sql]:
        """Makes the block one transaction."""

    def close(self) -> None:
        """Closes it."""


class LeaseDatabase(Protocol):
    """A database that several processes may lead in turn. Its methods may raise StoreError."""

    def prepare(self) -> None:
        """Makes what is missing of the schema, and refuses what can never work."""

    def session(self) -> Session:
        """Returns a session of its own."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this process leads, and what it knows of who does.

    `leader` is None while no replica leads, or while that is not known because of the `problem`. `error` ends
    the process: the lease was lost, or cannot be used.
    """

    role: Literal["standby", "leader"]
    leader: str | None = None
    problem: str | None = None
    error: Exception | None = None


class DatabaseClock:
    """The database's Unix time: its last answer, and what went by since on this machine, sleep included."""

    def __init__(self, boottime: Callable[[], float]) -> None:
        """`boottime` returns seconds by a clock that cannot be set and never stops."""
        self.boottime: Final = boottime
        self._offset: float | None = None

    def __call__(self) -> float:
        """Returns the time; this machine's while the database has not answered yet."""
        offset = self._offset
        return time.time() if offset is None else self.boottime() + offset

    def set(self, now: float, asked_at: float) -> None:
        """Follows an answer to a question that was asked at a time by this machine's `boottime`."""
        answered_at = self.boottime()
        if self._offset is None:
            ahead = time.time() - now
            if abs(ahead) > CLOCK_TOLERANCE:
                way = "ahead of" if ahead > 0 else "behind"
                log.warning(
                    "config.warning",
                    message=f"this machine's clock is {abs(ahead):.0f} s {way} the database's;"
                    " messages use the database's clock, signatures and certificates this machine's",
                )
        if self._offset is None or answered_at - asked_at <= ROUND_TRIP_MAX:
            self._offset = now - (asked_at + answered_at) / 2


class LeaseKeeper:
    """Waits for the lease, takes it, and renews it until it is stopped or lost."""

    def __init__(
        self,
        database: LeaseDatabase,
        migrate: Callable[[Sql, int], None],
        *,
        version: int,
        holder: str,
        clock: DatabaseClock,
        jitter: Callable[[], float],
    ) -> None:
        """`migrate` brings the schema from a version to `version`, the newest that is known.

        `holder` names this process for people. `jitter` returns random numbers in [0, 1).
        """
        self.token: Final = secrets.token_hex(16)
        self.standing = Standing("standby", problem="the database has not answered yet")
        self._database = database
        self._migrate = migrate
        self._version = version
        self._holder = holder
        self.clock: Final = clock
        self._jitter = jitter
        self._session: Session | None = None
        self._fit = False
        self._epoch = 0
        self._takes_from = -math.inf
        """When a lease that another process held may be taken, by `boottime`; infinite during an outage."""
        self._on_change: Callable[[], None] = lambda: None
        self._on_look: Callable[[], None] = lambda: None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(
        self, on_change: Callable[[], None] = lambda: None, on_look: Callable[[], None] = lambda: None
    ) -> None:
        """Starts the thread, which says when the standing changed, and when it asked the database."""
        self._on_change, self._on_look = on_change, on_look
        self._thread.start()

    def stop(self) -> None:
        """Gives the lease back so that another replica takes it at once, and ends the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
        else:
            self._release()
            self._drop_session()

    def try_once(self) -> Lease:
        """Asks for the lease once, and keeps it if it is free; returns it as it is then.

        Raises:
            StoreUnusable: the database cannot be used.
            StoreUnavailable: it cannot be asked now.
        """
        found = self._take_or_look()
        if found.mine:
            self._set(self._standing_of(found))
        return found

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._step()):
                pass
            self._release()
        except Exception as error:  # noqa: BLE001 - whatever ends this thread ends the process
            self._set(replace(self.standing, error=error))
        finally:
            self._drop_session()

    def _step(self) -> float:
        """Renews the lease, or looks whether it is free; returns for how many seconds to wait."""
        leads = self.standing.role == "leader"
        try:
            if leads:
                with self._opened().transaction() as sql:
                    asked_at = self.clock.boottime()
                    self.clock.set(lease.renew(sql, self.token), asked_at)
                self._set(Standing("leader", self._holder))
            else:
                found = self._take_or_look()
                leads = found.mine
                self._set(self._standing_of(found))
        except StoreLost:
            raise
        except StoreError as error:
            # A password that was rotated, or a server that is being replaced, is no wrong configuration.
            if isinstance(error, StoreUnusable) and not self._fit:
                raise
            self._drop_session()
            self._takes_from = math.inf
            self._set(replace(self.standing, leader=self._holder if leads else None, problem=str(error)))
            return LOOK_INTERVAL
        finally:
            self._on_look()
        return RENEW_INTERVAL if leads else LOOK_INTERVAL * (1 - JITTER * self._jitter())

    def _standing_of(self, found: Lease) -> Standing:
        if found.mine:
            return Standing("leader", self._holder)
        if not found.free:
            return Standing("standby", found.holder)
        newer = f"its schema has version {found.version}, this watcher knows {self._version}"
        return Standing("standby", problem=newer if found.version > self._version else None)

    def _take_or_look(self) -> Lease:
        session = self._opened()
        with session.transaction() as sql:
            asked_at = self.clock.boottime()
            found = lease.look(sql, self.token)
            self.clock.set(found.now, asked_at)
        if found.version > self._version and not self._fit:
            raise newer_version(found.version, self._version)
        self._fit = True
        asked_at = self.clock.boottime()
        self._takes_from = min(self._takes_from, asked_at + HEAD_START)
        free = found.free and (found.holder is None or asked_at >= self._takes_from)
        if free and not found.mine and found.version <= self._version:
            with session.transaction() as sql:
                found = lease.take(sql, self.token, self._holder, self._version, self._migrate)
            self.clock.set(found.now, asked_at)
        self._epoch = found.epoch
        return found

    def _release(self) -> None:
        if self.standing.role == "leader":
            with suppress(StoreError), self._opened().transaction() as sql:
                lease.release(sql, self.token)

    def _opened(self) -> Session:
        if not self._fit:
            self._database.prepare()
        if self._session is None:
            self._session = self._database.session()
        return self._session

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _set(self, standing: Standing) -> None:
        before, self.standing = self.standing, standing
        if standing == before:
            return
        if standing.error is None:  # else the process ends, and logs why
            self._log(before, standing)
        self._on_change()

    def _log(self, before: Standing, standing: Standing) -> None:
        if standing.role == "standby" and standing.problem is not None:
            log.warning("daemon.standby", error=standing.problem)
        elif standing.role == "standby":
            log.info("daemon.standby", leader=standing.leader)
        elif before.role == "standby":
            log.info("daemon.leading", holder=self._holder, epoch=self._epoch)
        elif standing.problem is not None:
            log.warning("lease.renewal_failed", error=standing.problem)
