"""What goes on beside a watcher all the while: somebody scrapes it, somebody calls its commands."""

import http.client
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import PATIENCE, clean_environment

ENDPOINTS: Final = ("/metrics", "/readyz", "/", "/api/pending", "/healthz")
SELDOM_READY: Final = "/readyz"
"""Of the endpoints, the one that may well say 503."""
SCRAPE_EVERY: Final = 0.1
COMMANDS: Final = (
    ("deliveries", "--json"),
    ("retry", "--all-dead"),
    ("pending", "--json"),
    ("retry", "--all-dead"),
)
"""What is dead must be put back before it is pruned, else it is rightly lost."""
COMMAND_EVERY: Final = 5.0


class Scrapes:
    """Asks every endpoint in turn, several on one connection.

    `refused` counts by endpoint the answers that were none or not as they should be; `lines` is how long the
    metrics were each time.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.number = 0
        self.refused: Counter[str] = Counter()
        self.lines: list[int] = []

    def all(self) -> None:
        """Asks each endpoint once."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            for path in ENDPOINTS:
                self.number += 1
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != HTTPStatus.OK and path != SELDOM_READY:
                    self.refused[f"{path} {answer.status}"] += 1
                if path == "/metrics":
                    self.lines.append(body.count(b"\n"))
        except (OSError, http.client.HTTPException) as error:
            self.refused[type(error).__name__] += 1
        finally:
            connection.close()


class Commands:
    """Calls the commands that work beside a daemon. `failed` counts those that did not exit with 0."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self._directory = directory
        self._settings = settings
        self.number = 0
        self.failed: Counter[str] = Counter()

    def next(self) -> None:
        """Calls the next of them."""
        self.call(*COMMANDS[self.number % len(COMMANDS)])

    def call(self, *arguments: str) -> str:
        """Calls one and returns what it printed."""
        self.number += 1
        ended = subprocess.run(
            [sys.executable, "-m", "watcher", *arguments],
            cwd=self._directory,
            env=clean_environment(self._settings),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if ended.returncode:
            self.failed[f"{' '.join(arguments)}: {ended.stderr.strip()}"] += 1
        return ended.stdout

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """Calls one and returns the list that it printed as JSON."""
        found: list[dict[str, Any]] = json.loads(self.call(*arguments, "--json"))
        return found


@contextmanager
def again_and_again(work: Sequence[tuple[Callable[[], None], float]]) -> Iterator[None]:
    """Does each work on a thread of its own, resting so many seconds in between, while the block runs."""
    end = threading.Event()

    def repeat(one: Callable[[], None], seconds: float) -> None:
        while not end.wait(seconds):
            one()

    threads = [threading.Thread(target=repeat, args=each) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()
