"""The real watcher with an Apprise notifier: its secrets, and what ends its start."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_apprise import PASSWORD, service
from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.process import environment, run_command, run_watcher

BLOCKED = """
import sys
sys.modules["apprise"] = None
from watcher.cli import main
main()
"""
"""Runs the command line where Apprise is not installed."""


def settings_for(url: str) -> dict[str, str]:
    """Returns the settings of a watcher with one Apprise notifier and an app that refuses to be polled."""
    return {
        "WATCHER_BASE_URL": "http://127.0.0.1:1",
        "WATCHER_HTTP_PORT": "0",
        "WATCHER_LOG_LEVEL": "debug",
        "WATCHER_APP_ALERT_AFTER": "0",
        "WATCHER_POLL_INTERVAL": "200ms",
        "WATCHER_BACKOFF_MAX": "200ms",
        "WATCHER_NOTIFIERS__PHONE__TYPE": "apprise",
        "WATCHER_NOTIFIERS__PHONE__URL": url,
    }


@pytest.mark.anyio
async def test_the_url_shows_nowhere(tmp_path: Path) -> None:
    """Nothing of the URL is in a log line at debug, in an error or in a list, in success or failure."""
    receiver = WebhookReceiver()
    receiver.replies.extend([Reply(500, PASSWORD), Reply(drop=True)])
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password of-somebody-else\n")
    async with served(receiver) as url:
        settings = settings_for(service(url, rest="token-0123456789/in?+X-Key=header-of-ours"))
        async with run_watcher(tmp_path, {**settings, "NETRC": str(netrc)}) as daemon:
            await daemon.wait_for_log("delivery.retry", notifier="phone", count=2)
            await daemon.wait_for_log("delivery.sent", notifier="phone")
            shown = [
                await run_command(tmp_path, settings, name) for name in ("config", "deliveries", "check")
            ]
            assert await daemon.stop() == 0
    assert [0, 0, 1] == [ended.status for ended in shown]
    assert "notifier phone: configured; use --send to test it" in shown[-1].out
    texts = "".join([*daemon.lines, daemon.out, *(ended.out + ended.err for ended in shown)])
    texts += (tmp_path / "watcher.db").read_bytes().decode("latin-1")
    hidden = (PASSWORD, "token-0123456789", "header-of-ours")
    assert [word for word in hidden if word in texts] == []
    assert {"/token-0123456789/in"} == {received.path for received in receiver.received}


@pytest.mark.anyio
@pytest.mark.parametrize("command", ["run", "check"])
async def test_every_url_that_cannot_be_used_is_named(tmp_path: Path, command: str) -> None:
    """Each URL that Apprise refuses is one line, from a file or not; the exit status is 2."""
    (tmp_path / "url").write_text(f"none://{PASSWORD}")
    second = {
        "WATCHER_NOTIFIERS__MAIL__TYPE": "apprise",
        "WATCHER_NOTIFIERS__MAIL__URL_FILE": str(tmp_path / "url"),
    }
    ended = await run_command(tmp_path, {**settings_for(f"nothing://{PASSWORD}"), **second}, command)
    expected = "must be one URL that Apprise supports, with everything its service needs"
    assert (2, [f"watcher: notifiers.{name}.url: {expected}" for name in ("mail", "phone")]) == (
        ended.status,
        sorted(line for line in ended.err.splitlines() if line.startswith("watcher: ")),
    )
    assert ("Traceback" in ended.err, PASSWORD in ended.err + ended.out) == (False, False)


@pytest.mark.parametrize("command", ["run", "check"])
def test_without_the_extra(tmp_path: Path, command: str) -> None:
    """Where Apprise is not installed, one line says how to get it, with exit status 2."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED, command],
        cwd=tmp_path,
        env={
            **environment(settings_for("json://127.0.0.1:1/")),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    problems = [line for line in ended.stderr.splitlines() if line.startswith("watcher: ")]
    hint = "watcher: notifiers.phone.type: apprise needs Apprise: pip install 'dynamiq-watcher[apprise]'"
    assert (2, [hint]) == (ended.returncode, problems)
    assert "Traceback" not in ended.stderr
