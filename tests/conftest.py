"""What all tests share."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.settings import Load, Problems
from watcher import logs
from watcher.config.models import Config
from watcher.config.sources import ConfigError, load

settings.register_profile(
    "long",
    max_examples=5000,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session", autouse=True)
def no_proxies() -> Iterator[None]:
    """Calls go where they are sent, whatever the environment of the tests says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what only some tests take."""
    parser.addoption("--kills", type=int, default=20, help="how often test_kill.py ends the watcher")


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often the watcher is ended."""
    return int(request.config.getoption("--kills"))


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, by the pytest plugin that comes with anyio (and anyio with httpx)."""
    return "asyncio"


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Puts the logging of the process back after a test that configures it."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    levels = {name: logging.getLogger(name).level for name in (*logs.CHATTY, "apscheduler")}
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test is."""
    return tmp_path / "watcher.db"


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Loads settings from a TOML text and variables, in a directory of its own."""

    def loaded(toml: str | None = None, /, **environ: str) -> Config:
        if toml is not None:
            (tmp_path / "config.toml").write_text(toml, encoding="utf-8")
        return load(None, environ=environ, directory=tmp_path)

    return loaded


@pytest.fixture
def problems(loaded: Load) -> Problems:
    """Loads settings that cannot be used and returns the problems."""

    def problems(toml: str | None = None, /, **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as raised:
            loaded(toml, **environ)
        return raised.value.problems

    return problems
