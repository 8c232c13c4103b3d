"""How a daemon starts."""

import resource
from pathlib import Path

import pytest

from tests.support.builders import soon
from watcher import daemon
from watcher.config.models import Config

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("error", [ValueError, PermissionError], ids=["macOS", "a sandbox"])
async def test_a_limit_of_descriptors_that_cannot_be_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A system that refuses more descriptors does not keep the watcher from working."""

    def refuse(*_: object) -> None:
        raise error("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert await soon(daemon.once(Config(database=tmp_path / "watcher.db")))
