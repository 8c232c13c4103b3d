"""Secrets are read late and never shown."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.sending import hanging_reads
from watcher.sanitize import secrets
from watcher.sanitize.files import READS_MAX
from watcher.sanitize.redactor import MASK, Redactor
from watcher.sanitize.secrets import Secret, SecretError

KEY = "dynamiq_acc_0123456789"


def test_a_file_is_read_afresh(tmp_path: Path) -> None:
    """A rotated file is seen at the next use, stripped, and both its values are masked."""
    file, known = tmp_path / "key", Redactor()
    secret = Secret("apps.a.access_key", known, file=file)
    file.write_text("  first-value \n")
    assert secret.read() == "first-value"
    file.write_text("second-value\n")
    assert secret.read() == "second-value"
    assert known.redact("first-value second-value") == f"{MASK} {MASK}"


def test_the_mark_of_an_editor_is_no_part_of_a_secret(tmp_path: Path) -> None:
    """A byte order mark at the start of a file is left out."""
    file = tmp_path / "key"
    file.write_bytes(b"\xef\xbb\xbfvalue-1\r\n")
    assert Secret("s", Redactor(), file=file).read() == "value-1"


def write(content: bytes) -> Callable[[Path], None]:
    """Returns what makes a file of this content."""

    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def make_socket(path: Path) -> None:
    """Makes a socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def make_sparse(path: Path) -> None:
    """Makes a file of a terabyte that takes no room."""
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "No such file"),
        (write(b" \n"), "is empty"),
        (write(b"\xff\xfe"), "not UTF-8 text"),
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "Is a directory"),
        (make_socket, "No such device"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (write(b"x" * (65536 + 1)), "larger than 64 KiB"),
        (make_sparse, "larger than 64 KiB"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    """An error says at once which setting, which file and why, whatever stands in place of the file."""
    file = tmp_path / "key"
    make(file)
    with pytest.raises(SecretError, match=reason) as raised:
        Secret("apps.a.access_key", Redactor(), file=file).read()
    assert str(raised.value).startswith("apps.a.access_key: ")
    assert str(file) in str(raised.value)


def test_the_largest_file(tmp_path: Path) -> None:
    """64 KiB can be read, also through links, as Kubernetes mounts secrets."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_bytes(b"x" * 65536)
    (tmp_path / "now").symlink_to("data")
    (tmp_path / "key").symlink_to("now/key")
    assert "x" * 65536 == Secret("s", Redactor(), file=tmp_path / "key").read()


@pytest.mark.anyio
async def test_a_file_is_read_beside_the_event_loop(tmp_path: Path, hanging: threading.Event) -> None:
    """A file system that does not answer holds up who wants the secret, and nothing else."""
    secret = Secret("s", Redactor(), file=tmp_path / "key")
    reading = asyncio.ensure_future(secret.fetch())
    asyncio.get_running_loop().call_later(0.05, hanging.set)  # runs only while the loop is free
    assert "late" == await reading


@pytest.mark.anyio
async def test_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error after a while, and does not take more and more threads."""
    secret = Secret("apps.a.access_key", Redactor(), file=tmp_path / "key")
    with hanging_reads(monkeypatch, secrets):
        for _ in range(READS_MAX + 2):
            with pytest.raises(SecretError, match=r"^apps\.a\..*key: its file system hangs$"):
                await secret.fetch()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Makes every read of a file wait until this is set."""
    answers = threading.Event()

    def read(*_: object) -> bytes:
        return b"late" if answers.wait(5) else b"never"

    monkeypatch.setattr(secrets, "read_regular_file", read)
    yield answers
    answers.set()


def test_a_secret_does_not_show_itself() -> None:
    """Neither repr nor str nor an f-string shows the value."""
    secret = Secret("apps.a.access_key", Redactor(), value=KEY)
    assert (KEY in repr(secret), KEY in str(secret), KEY in f"{secret}") == (False, False, False)
