"""How the tests of the command line run a command."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.process import Finished
from watcher.cli.commands import group

Invoke = Callable[..., Finished]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logging_as_before: None) -> Invoke:
    """Runs a command in this process, in a directory of its own and with these settings alone."""
    del logging_as_before
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("WATCHER_", "DYNAMIQ_"))]:
        monkeypatch.delenv(name)

    def invoke(*arguments: str, **settings: str) -> Finished:
        ended = CliRunner().invoke(group, arguments, env=settings)
        if ended.exception and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Finished(ended.exit_code, ended.stdout, ended.stderr)

    return invoke
