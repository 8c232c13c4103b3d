"""Lines for a reader that may be slow: nobody waits for it, and what is written is whole and in order."""

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.builders import BOUND
from watcher.log_writer import LineWriter, write_whole

LINES = [f"{number} {'x' * (number % 700)}\n".encode() for number in range(3000)]
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


def read(descriptor: int, size: int) -> bytes:
    """Reads so many bytes, as long as more come."""
    data = b""
    while len(data) < size:
        assert select.select([descriptor], [], [], BOUND)[0], "nothing more comes"
        data += os.read(descriptor, size - len(data))
    return data


def none_dropped(lines: int) -> None:
    """Fails."""
    raise AssertionError(f"{lines} dropped")


def test_a_line_is_written_without_a_flush() -> None:
    """A line is on its way at once."""
    with a_pipe() as (reading, writing):
        LineWriter(writing, none_dropped).write(b"one\n")
        assert b"one\n" == read(reading, 4)


def test_nobody_waits_for_a_reader() -> None:
    """Many lines are taken while none is read, and come whole and in order when somebody reads."""
    with a_pipe() as (reading, writing):
        writer = LineWriter(writing, none_dropped)
        for line in LINES:
            writer.write(line)
        assert not writer.flush(0)
        assert b"".join(LINES) == read(reading, sum(map(len, LINES)))
        assert writer.flush(BOUND)


def test_what_is_too_much_is_dropped_and_counted() -> None:
    """Beyond the bound lines are dropped; where they are missing stands one line, and then all goes on."""
    with a_pipe() as (reading, writing):
        in_pipe = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        writer = LineWriter(writing, lambda lines: writer.write(b"%d dropped\n" % lines), most=200_000)
        for line in LINES:
            writer.write(line)
        written = b""
        while not written.endswith(b"dropped\n"):
            written += read(reading, 1)
        writer.write(b"after\n")
        assert b"after\n" == read(reading, 6)
    *kept, last = written.splitlines(keepends=True)
    assert LINES[: len(kept)] == kept
    assert b"%d dropped\n" % (len(LINES) - len(kept)) == last
    assert 200_000 - 1000 < len(b"".join(kept)) <= 200_000 + in_pipe


def test_a_line_longer_than_the_bound_is_written() -> None:
    """One line may be of any length."""
    with a_pipe() as (reading, writing):
        writer = LineWriter(writing, none_dropped, most=10)
        writer.write(b"x" * 200_000)
        assert b"x" * 200_000 == read(reading, 200_000)


def test_a_reader_that_is_gone_does_no_harm() -> None:
    """What nobody can read is lost, and takes no room."""
    with a_pipe() as (reading, writing):
        os.close(reading)
        writer = LineWriter(writing, none_dropped)
        for _ in range(3):
            writer.write(b"lost\n")
            assert writer.flush(BOUND)


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    """Where somebody made the pipe non-blocking, what does not fit is waited for."""
    with a_pipe() as (reading, writing):
        os.set_blocking(writing, False)
        thread = threading.Thread(target=write_whole, args=(writing, b"x" * 1_000_000), daemon=True)
        thread.start()
        assert b"x" * 1_000_000 == read(reading, 1_000_000)
        thread.join(BOUND)
        assert not thread.is_alive()


def test_lines_of_two_writers_are_not_mixed_up() -> None:
    """What others write to the same pipe stands between lines, never in one."""
    with a_pipe() as (reading, writing):
        writers = [LineWriter(writing, none_dropped) for _ in range(2)]
        for line in LINES:
            for writer in writers:
                writer.write(line)
        written = read(reading, 2 * sum(map(len, LINES))).splitlines(keepends=True)
    assert sorted(LINES * 2) == sorted(written)
