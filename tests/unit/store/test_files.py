"""The files of the database: who may open them, who has the lock, and whether they are still there."""

import errno
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builders import open_store, record_new, take_database
from watcher.store import StoreInUse, StoreUnavailable, StoreUnusable, files
from watcher.store.files import DatabaseLock
from watcher.store.sqlite import SqliteDatabase, open_reader

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sets a umask that lets everybody read, that is usual, or that takes everything."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    """Returns the permissions of every file of a directory."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


ALL_PRIVATE = dict.fromkeys(["watcher.db", "watcher.db-wal", "watcher.db-shm", "watcher.db.lock"], 0o600)


@pytest.mark.usefixtures("umask")
async def test_new_files_are_private(tmp_path: Path) -> None:
    """Only the owner can open the files of a new database, whatever the umask; also while others write."""
    path = tmp_path / "watcher.db"
    async with open_store(path, prepared=False) as store:
        await record_new(store)
        with SqliteDatabase(path).changing(0.0):
            assert ALL_PRIVATE == modes(tmp_path)


async def test_files_of_an_earlier_version_become_private(tmp_path: Path) -> None:
    """Files that everybody can read are tightened at the next start, a log that a crash left too."""
    living, crashed = tmp_path / "living", tmp_path / "crashed"
    living.mkdir()
    async with open_store(living / "watcher.db"):
        shutil.copytree(living, crashed)
    for file in crashed.iterdir():
        file.chmod(0o666)
    assert ALL_PRIVATE.keys() == modes(crashed).keys()
    async with open_store(crashed / "watcher.db"):
        assert ALL_PRIVATE == modes(crashed)


async def test_a_database_behind_a_link_is_private(tmp_path: Path) -> None:
    """Where the name is a link, dangling or not, the files beside its target are used and are private."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "data" / "watcher.db")
    for _ in range(2):
        async with open_store(tmp_path / "link.db", prepared=False):
            assert ALL_PRIVATE == modes(tmp_path / "data")


def make_link(path: Path) -> None:
    """Makes a link to a file that is somebody else's."""
    path.with_name("other").write_text("precious")
    path.symlink_to(path.with_name("other"))


def make_socket(path: Path) -> None:
    """Makes a socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_link, "is a symbolic link"),
        (os.mkfifo, "is not a regular file"),
        (Path.mkdir, "Is a directory"),
        (make_socket, "No such device"),
    ],
)
def test_what_is_no_lock_file_is_refused(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    """Something else in place of the lock file is named, neither followed nor written to."""
    make(tmp_path / "watcher.db.lock")
    with pytest.raises(StoreUnusable, match=rf"watcher\.db\.lock.*{reason}"):
        DatabaseLock(tmp_path / "watcher.db")
    if (tmp_path / "other").exists():
        assert "precious" == (tmp_path / "other").read_text()


def replace_lock(path: Path) -> None:
    """Removes a lock file, and makes another one of its name."""
    path.unlink()
    path.touch(0o600)


def test_a_lock_file_that_is_replaced_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock counts only if it is that of the file which a second process will find."""
    path = tmp_path / "watcher.db.lock"
    take = fcntl.flock
    replaced: list[int] = []

    def flock(file: int, operation: int) -> None:
        if len(replaced) < 3:
            replaced.append(file)
            replace_lock(path)
        take(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = DatabaseLock(tmp_path / "watcher.db")
    with pytest.raises(StoreInUse, match=str(os.getpid())):
        DatabaseLock(tmp_path / "watcher.db")
    lock.release()


def descriptors() -> int:
    """Returns how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_lock_file_that_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file is always another one the lock is given up, and no descriptor is left open."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: replace_lock(tmp_path / "watcher.db.lock"))
    before = descriptors()
    with pytest.raises(StoreUnavailable, match="replaced again and again"):
        DatabaseLock(tmp_path / "watcher.db")
    assert before == descriptors()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOLCK, "has no locks"),
        (errno.ENOSYS, "has no locks"),
        (errno.EOPNOTSUPP, "has no locks"),
        (errno.EIO, "cannot lock .*: Input/output error"),
    ],
)
def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    """It is named as the cause, and is not taken for another daemon."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreUnusable, match=reason) as caught:
        DatabaseLock(tmp_path / "watcher.db")
    assert type(caught.value) is StoreUnusable


@pytest.mark.parametrize(
    ("make", "reason"),
    [(os.mkfifo, "not a regular file"), (make_socket, "not a regular file"), (Path.mkdir, "a directory")],
)
def test_what_is_no_file_is_no_database(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    """A pipe, a socket or a directory is refused at once, by who writes and by who reads."""
    path = tmp_path / "watcher.db"
    make(path)
    for opening in (
        lambda: take_database(path),
        lambda: open_reader(path),
        lambda: take_database(path),
    ):
        with pytest.raises(StoreUnusable, match=f"it is {reason}"):
            opening()
    assert [path] == list(tmp_path.iterdir())


def test_a_device_is_no_database() -> None:
    """A device is not opened."""
    with pytest.raises(StoreUnusable, match="not a regular file"):
        open_reader(Path("/dev/zero"))


def test_a_link_to_itself_is_no_database(tmp_path: Path) -> None:
    """A loop of links is reported, not followed for ever."""
    (tmp_path / "watcher.db").symlink_to("watcher.db")
    for opening in (
        lambda: take_database(tmp_path / "watcher.db"),
        lambda: open_reader(tmp_path / "watcher.db"),
    ):
        with pytest.raises(StoreUnusable, match="symbolic link"):
            opening()


async def test_a_database_that_is_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    """A store tells whether a new process would find its database; a file that comes back is the same."""
    path = tmp_path / "watcher.db"
    async with open_store(path) as store:
        assert None is store.displaced()
        path.rename(tmp_path / "aside.db")
        assert "removed" in (store.displaced() or "")
        path.touch()
        assert "replaced" in (store.displaced() or "")
        (tmp_path / "aside.db").rename(path)
        assert None is store.displaced()
    assert files.file_id(path) is not None


def test_a_database_by_another_name_is_the_same(tmp_path: Path) -> None:
    """A second daemon is refused also where it reaches the database through a link."""
    database, alias = tmp_path / "watcher.db", tmp_path / "alias.db"
    alias.symlink_to(database)
    lock = DatabaseLock(database)
    with pytest.raises(StoreInUse, match=str(os.getpid())):
        DatabaseLock(alias)
    lock.release()
