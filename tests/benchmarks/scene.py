"""What every benchmark needs: the servers, a place for the database, and a watcher pointed at them."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.processes import Cores, Servers, Watched, servers, watched
from tests.support.postgresql import Server


@dataclass(frozen=True, slots=True)
class Scene:
    """The surroundings of one benchmark; `minutes` is how long one lasts that may take any time.

    Databases are files, or schemas of `postgresql` if there is one.
    """

    cores: Cores
    servers: Servers
    directory: Path
    minutes: float
    postgresql: Server | None = None

    @contextmanager
    def watcher(self, database: str = "watcher", **settings: str) -> Iterator[Watched]:
        """Runs a watcher of the app with one webhook, polling as often as may be, and these settings more.

        What has the same name is the same `database`.
        """
        common = {
            "WATCHER_BASE_URL": self.servers.app,
            "WATCHER_WEBHOOK_URL": f"{self.servers.url}/hook",
            "WATCHER_WEBHOOK_SECRET": "of the benchmark",
            "WATCHER_POLL_INTERVAL": "100ms",
        }
        with watched(
            self.directory, {**common, **self._database(database), **settings}, self.cores.watcher
        ) as process:
            self.servers.wait("polls")
            yield process

    @contextmanager
    def plain_watcher(self, settings: Mapping[str, str]) -> Iterator[Watched]:
        """Runs a watcher with these settings and no others."""
        with watched(
            self.directory, {**self._database("watcher"), **settings}, self.cores.watcher
        ) as process:
            yield process

    def _database(self, name: str) -> dict[str, str]:
        if self.postgresql is None:
            return {"WATCHER_DATABASE": f"{name}.db"}
        schema = re.sub("[^a-z0-9]", "_", f"{self.directory.name}_{name}".lower())
        return {"WATCHER_DATABASE": self.postgresql.url(), "WATCHER_DATABASE_SCHEMA": schema}


@contextmanager
def scene(chosen: Cores, minutes: float, postgresql: Server | None = None) -> Iterator[Scene]:
    """Opens a scene of its own for a benchmark."""
    with TemporaryDirectory(prefix="watcher-benchmark-") as directory, servers(chosen.others) as served:
        yield Scene(chosen, served, Path(directory), minutes, postgresql)


class Costs:
    """What a process spends from here on."""

    def __init__(self, process: Watched) -> None:
        self._process = process
        self._at, self._cpu, self._held_up = time.monotonic(), process.cpu(), process.held_up()

    @property
    def cpu(self) -> float:
        """The seconds of CPU."""
        return self._process.cpu() - self._cpu

    @property
    def core(self) -> float:
        """The share of one core, in percent."""
        return 100 * self.cpu / (time.monotonic() - self._at)

    def note(self) -> str:
        """Returns the costs in words, and how long the process was held up for want of a core."""
        held_up = self._process.held_up() - self._held_up
        return f"CPU {self.cpu:.2f} s, without a core {held_up:.2f} s"
