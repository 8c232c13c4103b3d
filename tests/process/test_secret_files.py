"""Files of secrets that turn into something else while the real daemon runs."""

import os
from pathlib import Path

import pytest

from tests.support.world import KEY, open_world, wait_for_sent

pytestmark = pytest.mark.anyio


async def test_files_that_become_pipes(tmp_path: Path) -> None:
    """A key that becomes a pipe is a failed poll, a URL a retried delivery; both go on with a file again."""
    key, url = tmp_path / "key", tmp_path / "url"
    async with open_world(tmp_path) as world:
        key.write_text(KEY)
        url.write_text(world.settings["WATCHER_WEBHOOK_URL"])
        files = {
            "WATCHER_ACCESS_KEY": "",
            "WATCHER_ACCESS_KEY_FILE": str(key),
            "WATCHER_WEBHOOK_URL": "",
            "WATCHER_NOTIFIERS__WEBHOOK__URL_FILE": str(url),
        }
        async with world.running(**files) as daemon:
            await daemon.wait_for_log("poll.succeeded")
            url.unlink()
            os.mkfifo(url)
            world.ask()
            (retry, *_) = await daemon.wait_for_log("delivery.retry", notifier="webhook")
            key.unlink()
            os.mkfifo(key)
            (failed, *_) = await daemon.wait_for_log("poll.failed")
            for file, value in ((key, KEY), (url, world.settings["WATCHER_WEBHOOK_URL"])):
                file.unlink()
                file.write_text(value)
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            before = len(daemon.logged("request.new"))
            world.ask("another?")
            await daemon.wait_for_log("request.new", count=before + 1)
            assert 0 == await daemon.stop()
    assert [f"cannot read {file}: it is not a regular file" for file in (url, key)] == [
        record["error"].partition(": ")[2] for record in (retry, failed)
    ]
