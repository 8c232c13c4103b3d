"""Runs the benchmarks and prints their figures."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks import bursts, long_runs, soak, starting
from tests.benchmarks.figures import Figure, as_json, table
from tests.benchmarks.processes import cores, pin
from tests.benchmarks.scene import Scene, scene
from tests.support.postgresql import shared_server

BENCHMARKS: Final[Mapping[str, Callable[[Scene], Iterator[Figure]]]] = {
    "one": bursts.one,
    "carried": bursts.carried,
    "fetched": bursts.fetched,
    "quiet": long_runs.quiet,
    "memory": long_runs.memory,
    "thousand": long_runs.thousand,
    "waiting": long_runs.waiting,
    "turnover": bursts.turnover,
    "start": starting.start,
    "churn": long_runs.churn,
    "kill": bursts.kill,
    "soak": soak.soak,
}
ONLY_BY_NAME: Final = frozenset({"soak"})
ON_POSTGRESQL: Final = frozenset(
    {"one", "carried", "fetched", "quiet", "memory", "thousand", "waiting", "turnover", "start"}
)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns what the command line asks for: `names`, `json` and `minutes`."""
    known = "\n".join(f"  {name:10} {run.__doc__}" for name, run in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measures the real `watcher run` against its goals.",
        epilog=f"benchmarks:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of them; all but soak by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--minutes", type=float, default=soak.MINUTES, help="how long soak lasts; %(default)g by default"
    )
    parser.add_argument(
        "--postgresql",
        action="store_true",
        help=f"on a PostgreSQL that it starts: {', '.join(sorted(ON_POSTGRESQL))}",
    )
    chosen = parser.parse_args(given)
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if chosen.postgresql and (needs := [name for name in chosen.names if name not in ON_POSTGRESQL]):
        parser.error(f"{', '.join(needs)}: looks at the file of SQLite")
    usual = ON_POSTGRESQL if chosen.postgresql else BENCHMARKS.keys() - ONLY_BY_NAME
    chosen.names = chosen.names or [name for name in BENCHMARKS if name in usual]
    return chosen


def main() -> None:
    """Runs what was asked for; a line on standard error tells how far it is and how busy the machine."""
    chosen = arguments()
    available = cores()
    pin(0, available.others)
    figures: list[Figure] = []
    with ExitStack() as stack:
        database = None
        if chosen.postgresql:
            place = Path(stack.enter_context(TemporaryDirectory()), "postgresql")
            database = stack.enter_context(shared_server(place, durable=True))
        for name in chosen.names:
            with scene(available, chosen.minutes, database) as surroundings:
                figures += BENCHMARKS[name](surroundings)
            sys.stderr.write(f"{name}: done, load average {os.getloadavg()[0]:.1f}\n")
    sys.stdout.write((as_json(figures) if chosen.json else table(figures)) + "\n")


if __name__ == "__main__":
    main()
