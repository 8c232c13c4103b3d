"""Reads small files that other people put in place, without waiting for a pipe or filling the memory."""

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from watcher.concurrency import run_blocking

READ_SECONDS: Final = 10.0
"""How long a file system may take to answer."""
READS_MAX: Final = 32
"""Reads of one file at a time: each keeps a thread for as long as its file system hangs."""

T = TypeVar("T")


class UnreadableFileError(Exception):
    """A file cannot be read. The message begins with "cannot read" and names the file."""


class HangingFileError(UnreadableFileError):
    """The file system of a file does not answer."""


class FileReads:
    """Reads one file beside the event loop."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._free = threading.BoundedSemaphore(READS_MAX)

    async def run(self, read: Callable[[], T]) -> T:
        """Returns what `read`, which reads the file, returns; or raises what it raises.

        Raises:
            HangingFileError: it takes more than `READ_SECONDS`, or `READS_MAX` others still wait.
        """
        hangs = HangingFileError(f"cannot read {self._file}: its file system hangs")
        if not self._free.acquire(blocking=False):
            raise hangs

        def read_and_release() -> T:
            try:
                return read()
            finally:
                self._free.release()

        try:
            async with asyncio.timeout(READ_SECONDS):
                return await run_blocking(read_and_release)
        except TimeoutError:
            raise hangs from None


def read_regular_file(file: Path, most: int) -> bytes:
    """Returns the content of a regular file of at most `most` bytes.

    Raises:
        UnreadableFileError: it is missing, unreadable, too large, or a directory, pipe, socket or device.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise UnreadableFileError(f"cannot read {file}: it is not a regular file")
            content = opened.read(most + 1)
    except OSError as error:
        raise UnreadableFileError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:  # a NUL is in the path
        raise UnreadableFileError(f"cannot read {file}: it is not the name of a file") from None
    if len(content) > most:
        raise UnreadableFileError(f"cannot read {file}: it is larger than {most // 1024} KiB")
    return content
