"""How long the command line takes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.processes import pin
from tests.benchmarks.scene import Scene

TIMES: Final = 7


def start(scene: Scene) -> Iterator[Figure]:
    """`watcher --help`, and from the start of `watcher run` to the first poll that the API sees."""
    helps = [_help(scene) for _ in range(TIMES)]
    yield Figure("watcher --help", 1000 * percentile(helps, 0.5), "ms", 200.0, 100.0, _spread(helps))
    polls = []
    for number in range(TIMES):
        scene.servers.forget()
        with scene.watcher(WATCHER_DATABASE=f"start-{number}.db") as watcher:
            polls.append(scene.servers.report().polls[0][0] - watcher.started)
    yield Figure("watcher run to the first poll", percentile(polls, 0.5), "s", 1.5, 0.8, _spread(polls))


def _help(scene: Scene) -> float:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "watcher", "--help"], stdout=subprocess.DEVNULL)
    pin(process.pid, scene.cores.watcher)
    process.wait()
    return time.monotonic() - began


def _spread(seconds: list[float]) -> str:
    return f"{TIMES} times: {min(seconds):.2f} to {max(seconds):.2f} s"
