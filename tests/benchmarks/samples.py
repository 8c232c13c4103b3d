"""What a process takes up as time goes by, and whether that grows."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.processes import MIB, Watched
from watcher.store.sqlite import open_reader

DATABASE: Final = "watcher.db"
"""The name that a watcher gives it by default."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: when by the monotonic clock, memory and files in MiB, CPU in seconds so far.

    `resident` is all memory that is resident, `own` the part of it that is no file's, `files` the database
    with its write-ahead log.
    """

    at: float
    resident: float
    own: float
    descriptors: int
    threads: int
    files: float
    cpu: float


def sample(at: float, watcher: Watched, directory: Path) -> Sample:
    """Looks at a watcher and its database now."""
    files = (directory / name for name in (DATABASE, f"{DATABASE}-wal"))
    size = sum(file.stat().st_size for file in files if file.exists())
    return Sample(
        at=at,
        resident=watcher.memory(),
        own=watcher.own_memory(),
        descriptors=watcher.descriptors(),
        threads=watcher.threads(),
        files=size / MIB,
        cpu=watcher.cpu(),
    )


def rows(database: Path) -> dict[str, int]:
    """Returns how many rows each table has; it is read beside the daemon."""
    with closing(open_reader(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables}


def growth(values: Sequence[float], period: int = 1) -> float:
    """Returns by how much the last third of values exceeds the one before; the first is the time to warm up.

    Of each third the median counts, which no burst and no outage moves. Where it can, it is of whole periods
    of so many values, in which they rise and fall again.
    """
    third = len(values) // 3
    length = third // period * period or third
    return median(values[-length:]) - median(values[-2 * length : -length])
