"""Lines for a reader that may be slow: logging never waits for it, and the lines are whole and in order."""

import json
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.builders import BOUND
from tests.support.process import read_until
from watcher import logs
from watcher.logs import write_whole
from watcher.sanitize.redactor import Redactor

LINES = [f"{number} {'x' * (number % 700)}\n" for number in range(3000)]
"""More than a pipe holds."""


@contextmanager
def a_pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):  # a test closed it
                os.close(end)


@contextmanager
def logs_into(writing: int) -> Iterator[None]:
    """Sends the logs of this process into a pipe, as if it were standard error."""
    with pytest.MonkeyPatch.context() as patch, os.fdopen(writing, "w", closefd=False) as stderr:
        patch.setattr(sys, "stderr", stderr)
        logs.configure(level="error", format="json", redactor=Redactor())
        yield


def read(descriptor: int, size: int) -> str:
    """Reads so many bytes, as long as more come."""
    data = b""
    while len(data) < size:
        assert select.select([descriptor], [], [], BOUND)[0], "nothing more comes"
        data += os.read(descriptor, size - len(data))
    return data.decode()


def say_all() -> None:
    """Writes all the lines."""
    for line in LINES:
        assert logs.say(line.rstrip("\n"))


@pytest.mark.usefixtures("logging_as_before")
class TestLinesIntoAPipe:
    """What holds for the lines of the logs."""

    def test_a_line_is_written_without_a_flush(self) -> None:
        """A line is on its way at once."""
        with a_pipe() as (reading, writing), logs_into(writing):
            logs.say("one")
            assert "one\n" == read(reading, 4)

    def test_logging_does_not_wait_for_a_reader(self) -> None:
        """Many lines are taken while none is read, and come whole and in order when somebody reads."""
        with a_pipe() as (reading, writing), logs_into(writing):
            say_all()
            assert not logs.flush(0)
            assert "".join(LINES) == read(reading, sum(map(len, LINES)))
            assert logs.flush(BOUND)

    def test_what_is_too_much_is_dropped_and_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond the bound lines are dropped; one line says how many, at every level."""
        monkeypatch.setattr(logs, "UNWRITTEN_MAX", 200_000)
        with a_pipe() as (reading, writing), logs_into(writing):
            say_all()
            *kept, last = read_until(reading, b'"log.dropped"')
            logs.say("after")
            assert "after\n" == read(reading, 6)
        assert [line.rstrip("\n").encode() for line in LINES[: len(kept)]] == kept
        assert ("log.dropped", len(LINES) - len(kept)) == (
            json.loads(last)["event"],
            json.loads(last)["lines"],
        )
        assert 200_000 - 1000 < sum(len(line) + 1 for line in kept) <= 200_000 + 65_536

    def test_a_line_longer_than_the_bound_is_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One line may be of any length."""
        monkeypatch.setattr(logs, "UNWRITTEN_MAX", 10)
        with a_pipe() as (reading, writing), logs_into(writing):
            logs.say("x" * 200_000)
            assert "x" * 200_000 + "\n" == read(reading, 200_001)

    def test_a_reader_that_is_gone_does_no_harm(self) -> None:
        """What cannot be read any more is lost, and takes no room."""
        with a_pipe() as (reading, writing), logs_into(writing):
            os.close(reading)
            for _ in range(3):
                logs.say("lost")
                assert logs.flush(BOUND)

    def test_lines_of_two_writers_are_not_mixed_up(self) -> None:
        """What others write to the same pipe stands between lines, never in one."""
        with a_pipe() as (reading, writing), logs_into(writing):
            other = threading.Thread(
                target=lambda: [os.write(writing, line.encode()) for line in LINES], daemon=True
            )
            other.start()
            say_all()
            written = read(reading, 2 * sum(map(len, LINES))).splitlines(keepends=True)
            other.join(BOUND)
        assert sorted(LINES * 2) == sorted(written)


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    """Where somebody made the pipe non-blocking, what does not fit is waited for."""
    with a_pipe() as (reading, writing):
        os.set_blocking(writing, False)
        thread = threading.Thread(target=write_whole, args=(writing, b"x" * 1_000_000), daemon=True)
        thread.start()
        assert "x" * 1_000_000 == read(reading, 1_000_000)
        thread.join(BOUND)
        assert not thread.is_alive()
