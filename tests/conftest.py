"""Options, profiles, marks and fixtures that all tests share."""

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support import copies, databases
from tests.support.databases import OnSqlite, Place, on_postgresql
from tests.support.postgresql import Schema, Server, schema_for_test, shared_server
from tests.support.settings import Load, Problems
from watcher import logs
from watcher.config.errors import ConfigError
from watcher.config.models import Config
from watcher.config.sources import load
from watcher.store import sqlite

KINDS: Final = {
    "resilience": "the model, crashes, kills, hostile peers and fuzzing",
    "process": "the real `watcher`, as a process of its own",
    "packaging": "deploy files, documents, imports and the wheel",
    "integration": "sockets of the loopback interface, one process",
    "unit": "one process, no sockets, no other process",
}
"""The kinds of tests. A folder for each, and a mark of the same name on every test in it.

Those that take long run first: what runs last is short, so all workers end at the same time.
"""

settings.register_profile("short", max_examples=30, deadline=None)
settings.register_profile(
    "long",
    max_examples=5000,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("short")  # unless `--hypothesis-profile` names another

IN_MEMORY: Final = Path("/dev/shm")
"""Where the files of tests lie if it has room. Tests write much, and nothing of it has to reach a disk."""


def pytest_configure(config: pytest.Config) -> None:
    """Registers a mark for each kind of test, and chooses where their files lie."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > 2**31:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))
        tempfile.tempdir = str(IN_MEMORY)
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker a core for unit tests; two for the others, which wait for processes and sockets."""
    only_units = all("unit" in Path(name).parts for name in config.args)
    return (os.cpu_count() or 1) * (1 if only_units else 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks each test with its kind, the name of its folder, and lets each worker begin with the same kinds.

    All unit tests by themselves are for while one edits, so then those that need PostgreSQL are left out.
    """
    here, kinds = Path(__file__).parent, list(KINDS)
    for item in items:
        item.add_marker(item.path.relative_to(here).parts[0])
    if [Path(name).resolve() for name in config.args] == [here / "unit"]:
        slow = [
            item
            for item in items
            if "postgresql" in item.nodeid or "postgresql_server" in getattr(item, "fixturenames", ())
        ]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
    longest_first = sorted(items, key=lambda item: kinds.index(item.path.relative_to(here).parts[0]))
    # Each worker begins with an equal part of what follows each other, and steals from others at its end.
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = [item for first in range(workers) for item in longest_first[first::workers]]


def pytest_collection_finish() -> None:
    """Spares the search for garbage all that lasts as long as the tests do, a tenth of their CPU."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_proxies() -> Iterator[None]:
    """No proxy of the environment takes part in a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def copies_end() -> Iterator[None]:
    """The process that starts copies of the watcher ends before coverage is summed up."""
    yield
    copies.end()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of single tests."""
    parser.addoption("--kills", type=int, default=10, help="how often test_kill.py kills the watcher")
    parser.addoption(
        "--takeovers",
        type=int,
        default=0,
        help="how often test_replicas.py kills a leader, 0: briefly",
    )


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often a test kills the watcher."""
    return int(request.config.getoption("--kills"))


@pytest.fixture
def takeovers(request: pytest.FixtureRequest) -> int:
    """How often a test kills the leader of several replicas, 0 for its short form."""
    return int(request.config.getoption("--takeovers"))


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
    """The path of the test's database."""
    return tmp_path / "watcher.db"


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL that all tests of this run share."""
    own = tmp_path_factory.getbasetemp()
    with shared_server((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "postgresql") as server:
        yield server


@pytest.fixture
def schema(postgresql_server: Server) -> Iterator[Schema]:
    """A schema of the test's own on PostgreSQL."""
    with schema_for_test(postgresql_server) as schema:
        yield schema


@pytest.fixture(scope="session")
def shared_schema(postgresql_server: Server) -> Iterator[Schema]:
    """A schema on PostgreSQL, with its tables, for the tests of this process."""
    with schema_for_test(postgresql_server) as schema:
        on_postgresql(schema).open().close()
        yield schema


@pytest.fixture
def emptied_schema(shared_schema: Schema) -> Iterator[Schema]:
    """The same schema for each test, empty, which takes the server less than a new one."""
    yield shared_schema
    databases.empty(shared_schema)


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The test's database, on SQLite and on PostgreSQL; locks are waited for only shortly."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", databases.BUSY_SECONDS)
    if request.param == "sqlite":
        yield OnSqlite(path)
        return
    yield on_postgresql(request.getfixturevalue("emptied_schema"))


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
