"""One daemon per database: a lock file beside it, held as long as the process lives."""

import errno
import fcntl
import os
from pathlib import Path

from watcher.store.errors import StoreError, StoreInUse, StoreUnusable


class DatabaseLock:
    """The exclusive right to change a database; the kernel gives it back however the process ends."""

    def __init__(self, database: Path) -> None:
        """Takes the lock.

        Raises:
            StoreInUse: another process has it; the message names its process id.
            StoreUnusable: the lock file cannot be written, and no waiting mends that.
            StoreError: the disk is full.
        """
        database = database.resolve()  # under whatever name, it is the same database
        path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            kind = StoreError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreUnusable
            raise kind(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StoreInUse(f"{database} is in use by process {holder}") from None
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._file)
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it would race with who takes it next."""
        os.close(self._file)
