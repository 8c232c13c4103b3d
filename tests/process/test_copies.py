"""What most tests of processes rely on: a copy of one that has imported the watcher is like a new one."""

import signal
from pathlib import Path

import pytest

from tests.support.process import run_watcher, start
from tests.support.world import open_world

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1", "no address"])
async def test_a_copy_says_what_a_new_process_says(tmp_path: Path, base_url: str) -> None:
    """Both write the same to standard output and standard error, and end with the same status."""
    settings = {"WATCHER_BASE_URL": base_url}
    said = []
    for imported in (True, False):
        process = await start(tmp_path, settings, "config", imported=imported)
        said.append((*await process.communicate(), process.returncode))
    copied, new = said
    assert new == copied


async def test_a_copy_that_is_killed(tmp_path: Path) -> None:
    """Its status says by which signal it ended, as that of a new process does."""
    async with open_world(tmp_path) as world:
        ended = []
        for imported in (True, False):
            async with run_watcher(tmp_path, world.settings, imported=imported) as daemon:
                await daemon.wait_for_log("daemon.started")
                ended.append(await daemon.stop(signal.SIGKILL))
    assert [-signal.SIGKILL] * 2 == ended
