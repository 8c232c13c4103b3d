"""The check of a configuration before a daemon reloads."""

import os
import socket
from pathlib import Path

import pytest

from watcher.cli.reload import read_config
from watcher.config.sources import load
from watcher.store.files import DatabaseLock


@pytest.mark.parametrize("port", ["8080", "8081"])
@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_a_host_that_cannot_be_listened_on(
    host: str, port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is no name, or of another machine, is a problem of the reload, not of the next start."""
    settings = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": "8080"}
    running = load(None, environ=settings, directory=tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in {**settings, "WATCHER_HTTP_HOST": host, "WATCHER_HTTP_PORT": port}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="cannot listen on") as caught:
        read_config(None, running)
    assert f"http_host (WATCHER_HTTP_HOST): cannot listen on {host}:{port}: " in str(caught.value)


def test_a_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the address of a name can be listened on is tried, of whichever version of IP that is."""
    settings = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": "8080"}
    running = load(None, environ=settings, directory=tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in {**settings, "WATCHER_HTTP_HOST": "name.test"}.items():
        monkeypatch.setenv(name, value)
    found = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    assert "name.test" == read_config(None, running).http_host


def test_another_host_on_the_port_that_the_daemon_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's own socket is no reason to refuse a wider host: it is closed before the next start."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        settings = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": port}
        running = load(None, environ=settings, directory=tmp_path)
        monkeypatch.chdir(tmp_path)
        for name, value in {**settings, "WATCHER_HTTP_HOST": "0.0.0.0"}.items():
            monkeypatch.setenv(name, value)
        assert "0.0.0.0" == read_config(None, running).http_host


def test_a_database_that_another_daemon_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database in use is a problem of the reload; the daemon's own under another name is none."""
    settings = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": "0"}
    own = load(None, environ={**settings, "WATCHER_DATABASE": "own.db"}, directory=tmp_path)
    other = load(None, environ={**settings, "WATCHER_DATABASE": "other.db"}, directory=tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in {**settings, "WATCHER_DATABASE": str(tmp_path / "own.db")}.items():
        monkeypatch.setenv(name, value)
    lock = DatabaseLock(tmp_path / "own.db")
    try:
        read_config(None, own)
        with pytest.raises(ValueError, match=rf"own\.db: it is in use by process {os.getpid()}$"):
            read_config(None, other)
    finally:
        lock.release()
