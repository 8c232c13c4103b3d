"""Writing to descriptors whose readers may be slow, or may have stopped to read for good."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

MOST_WAITING: Final = 4 * 2**20
"""Bytes of lines that wait for their reader; beyond, lines are dropped."""


def write_whole(descriptor: int, data: bytes) -> None:
    """Writes all of it, however little is taken at once, also where somebody made the pipe non-blocking.

    Raises:
        OSError: nobody can read it any more.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            room.poll()


class LineWriter:
    """Writes lines to a descriptor, in order, from a thread of its own: whoever has one to write never waits.

    When too much waits, lines are dropped until all that waits is written; then `dropped` is told how many,
    and what it writes comes next.
    """

    def __init__(self, descriptor: int, dropped: Callable[[int], None], *, most: int = MOST_WAITING) -> None:
        self._descriptor = descriptor
        self._tell_dropped = dropped
        self._most = most
        self._changed = threading.Condition()  # `dropped` writes while it is held
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Takes a line, with its end in it, to be written as soon as its reader lets it."""
        with self._changed:
            if self._dropped or (self._waiting and self._waiting + len(line) > self._most):
                self._dropped += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def flush(self, within: float) -> bool:
        """Waits until all is written, so many seconds at most; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, within)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                data = self._next()
            with suppress(OSError):  # what nobody can read any more is lost
                write_whole(self._descriptor, data)
            self._written(len(data))

    def _next(self) -> bytes:
        """Takes as many whole lines as are never mixed up with what others write to the same pipe."""
        lines = [self._lines.popleft()]
        room = select.PIPE_BUF - len(lines[0])
        while self._lines and len(self._lines[0]) <= room:
            room -= len(self._lines[0])
            lines.append(self._lines.popleft())
        return b"".join(lines)

    def _written(self, size: int) -> None:
        with self._changed:
            self._waiting -= size
            if not self._waiting and self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._tell_dropped(dropped)  # with its line, before anybody else's
            self._changed.notify_all()
