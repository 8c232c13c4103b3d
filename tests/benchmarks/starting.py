"""How long the command line takes."""

import resource
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
    before = _cpu()
    helps = [_help(scene) for _ in range(TIMES)]
    note = _note(helps, _cpu() - before)
    yield Figure("watcher --help", 1000 * percentile(helps, 0.5), "ms", 200.0, 100.0, note)
    polls, spent = [], 0.0
    for number in range(TIMES):
        scene.servers.forget()
        with scene.watcher(f"start-{number}") as watcher:
            spent += watcher.cpu()
            polls.append(scene.servers.report().polls[0][0] - watcher.started)
    yield Figure("watcher run to the first poll", percentile(polls, 0.5), "s", 1.5, 0.8, _note(polls, spent))


def _help(scene: Scene) -> float:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "watcher", "--help"], stdout=subprocess.DEVNULL)
    pin(process.pid, scene.cores.watcher)
    process.wait()
    return time.monotonic() - began


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _note(seconds: list[float], cpu: float) -> str:
    return f"{TIMES} times: {min(seconds):.2f} to {max(seconds):.2f} s; CPU of each {cpu / TIMES:.2f} s"
