"""The files of a SQLite database: whose they are, who may change them, and whether they are still there."""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from watcher.store.errors import StoreInUse, StoreUnavailable, StoreUnusable

PRIVATE: Final = 0o600
"""Mode of every file: a database holds prompts, and who can open a file can lock it."""
ENDINGS: Final = ("", "-wal", "-shm")
"""What SQLite adds to the name of a database for its files."""
LOCK_TRIES: Final = 10
"""How often the lock is taken anew because its file was replaced meanwhile."""

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


class DatabaseLock:
    """The exclusive right to change a database; the kernel gives it back however the process ends."""

    def __init__(self, database: Path) -> None:
        """Takes the lock: a file beside the database. Makes the files of the database private.

        Raises:
            StoreInUse: another process has it; the message names its process id and host.
            StoreUnusable: the database is no file, or its lock file cannot be written or locked.
            StoreUnavailable: the disk is full.
        """
        database = real_path(database)
        database_exists(database)  # else a device or a directory would get a lock file beside it
        path = _lock_file(database)
        for _ in range(LOCK_TRIES):
            self._file = _open_private(path, os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                _take(self._file, path)
                if file_id(path) == _id_of(os.fstat(self._file)):
                    _sign(self._file, path)
                    _make_private(database)
                    return
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)  # another process replaced the file, and may hold the new one
        raise StoreUnavailable(f"{path} is replaced again and again")

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it would race with the next process that takes it."""
        os.close(self._file)


def find_lock_holder(database: Path) -> int | None:
    """Returns the id of the process that has the lock, None if this process sees none.

    The kernel is asked, because the file may name a process that has ended, and another may have its id now.
    """
    path = _lock_file(real_path(database))
    try:
        inode, written = path.stat().st_ino, path.read_text(encoding="utf-8", errors="replace")
        locks = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    # proc(5): number, FLOCK, ADVISORY, WRITE, process id, major:minor:inode, and the range
    holders = [lock[4] for lock in locks if lock[1] == "FLOCK" and lock[5].endswith(f":{inode}")]
    return next((int(holder) for holder in holders if holder == written.partition(" ")[0]), None)


def real_path(database: Path) -> Path:
    """Returns the path without links: under whatever name, it is the same database."""
    return Path(os.path.realpath(database))


def database_exists(database: Path) -> bool:
    """Returns whether there is a file of this name.

    Raises:
        StoreUnusable: it is not a regular file, or cannot be reached. Opening a pipe would wait for a writer.
    """
    try:
        mode = database.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise StoreUnusable(f"it cannot be opened: {getattr(error, 'strerror', error)}") from None
    if not stat.S_ISREG(mode):
        raise StoreUnusable("it is a directory" if stat.S_ISDIR(mode) else "it is not a regular file")
    return True


def create_database(database: Path) -> None:
    """Creates an empty file that only its owner can read; SQLite gives its other files the same mode.

    Raises:
        StoreUnusable: it cannot be created.
        StoreUnavailable: the disk is full.
    """
    os.close(_open_private(real_path(database), 0))


def file_id(path: Path) -> tuple[int, int] | None:
    """Returns what tells a file from every other one, None if there is none of this name."""
    with suppress(OSError):
        return _id_of(path.lstat())
    return None


def _lock_file(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _id_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open_private(path: Path, flags: int) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, PRIVATE)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise StoreUnusable(f"the directory {path.parent} does not exist") from None
        if error.errno == errno.ELOOP:
            raise StoreUnusable(f"{path} is a symbolic link") from None
        kind = StoreUnavailable if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreUnusable
        raise kind(f"cannot write {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise StoreUnusable(f"{path} is not a regular file")
    with suppress(OSError):  # it is another user's, or the file system has no modes
        os.fchmod(file, PRIVATE)
    return file


def _make_private(database: Path) -> None:
    """Tightens files that an earlier version made."""
    for ending in ENDINGS:
        with suppress(OSError):  # as in `_open_private`, or there is none
            database.with_name(database.name + ending).chmod(PRIVATE)


def _take(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 300).decode(errors="replace").strip() or "unknown"
        raise StoreInUse(f"it is in use by process {holder}") from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise StoreUnusable(f"the file system of {path.parent} has no locks: use another one") from None
        raise StoreUnusable(f"cannot lock {path}: {error.strerror}") from None


def _sign(file: int, path: Path) -> None:
    """Writes who has the lock into its file."""
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {path}: {error.strerror}") from None
