"""A replica that stands by, without a database."""

import pytest

from tests.support.builders import soon
from watcher.config.database import PostgresqlAddress
from watcher.config.models import Config
from watcher.leadership import DatabaseClock, LeaseKeeper, Session
from watcher.polling.clock import boottime
from watcher.signals import Signals
from watcher.standby import Standby
from watcher.store import StoreUnavailable

pytest.importorskip("psycopg")

pytestmark = pytest.mark.anyio


class AwayDatabase:
    """A database that cannot be reached."""

    def prepare(self) -> None:
        """Cannot be reached."""
        raise StoreUnavailable("it is away")

    def session(self) -> Session:
        """Cannot be reached."""
        raise StoreUnavailable("it is away")


async def test_an_error_in_a_reload_ends_a_standby() -> None:
    """A bug in reading the configuration is raised, as it is while a process leads, and not passed over."""
    keeper = LeaseKeeper(
        AwayDatabase(),
        lambda *_: None,
        version=1,
        holder="process 1 on here",
        clock=DatabaseClock(boottime),
        jitter=lambda: 0.0,
    )

    def load() -> Config:
        raise RuntimeError("a bug")

    signals = Signals(load)
    signals._reload_asked.set()
    standby = Standby(Config(database=PostgresqlAddress("postgresql://127.0.0.1:1/none")), keeper)
    try:
        with pytest.raises(RuntimeError, match="a bug"):
            await soon(standby.wait(signals))
    finally:
        keeper.stop()
