"""The check of a configuration before a daemon reloads."""

from pathlib import Path

import pytest

from watcher.cli.reload import read_config
from watcher.config.sources import load


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
