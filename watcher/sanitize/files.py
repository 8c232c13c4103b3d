"""Reads small files that other people put in place, without waiting for a pipe or filling the memory."""

import os
import stat
from pathlib import Path


class UnreadableFileError(Exception):
    """A file cannot be read. The message begins with "cannot read" and names the file."""


def read_regular_file(file: Path, most: int) -> bytes:
    """Returns the content of a regular file of at most so many bytes.

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
