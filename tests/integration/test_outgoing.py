"""What every outgoing call shares: how it reads its secret, and that its URL stays as it was configured."""

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.support.events import REQUESTED, make_delivery
from tests.support.hostile_peers import Peer, answers, listening
from tests.support.sending import CHANNEL, NOW, notifier_context, open_test_session, webhook_config
from watcher.config.models import SlackConfig, WebhookConfig
from watcher.monitoring.health import HealthReport
from watcher.monitoring.heartbeat import Heartbeat
from watcher.notifiers.base import DeliveryError, NotifierContext
from watcher.notifiers.slack.notifier import SlackNotifier
from watcher.notifiers.webhook import WebhookNotifier
from watcher.runs_api.client import RunsClient
from watcher.runs_api.errors import ApiError
from watcher.sanitize import secrets
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

NOBODY = "http://127.0.0.1:1"

Use = Callable[[Secret, aiohttp.ClientSession], Awaitable[object]]


async def poll(key: Secret, session: aiohttp.ClientSession) -> None:
    """Asks for a run."""
    await RunsClient(NOBODY, key, session=session, timeout=5).run("r1")


async def ping(url: Secret, session: aiohttp.ClientSession) -> None:
    """Pings the heartbeat's URL."""

    async def ready() -> HealthReport:
        return HealthReport()

    await Heartbeat(url, apps=(), ready=ready, session=session, timeout=5).beat()


def post(config: Callable[[Secret], WebhookConfig]) -> Use:
    """Returns what sends an event to a webhook."""

    async def send(secret: Secret, session: aiohttp.ClientSession) -> None:
        webhook = WebhookNotifier(config(secret), NotifierContext(session, 5, lambda: NOW))
        await webhook.send(make_delivery(REQUESTED))

    return send


def say(config: Callable[[Secret], SlackConfig]) -> Use:
    """Returns what sends an event to Slack."""

    async def send(secret: Secret, session: aiohttp.ClientSession) -> None:
        await SlackNotifier(config(secret), notifier_context(session)).send(make_delivery(REQUESTED))

    return send


USES: dict[str, Use] = {
    "access key": poll,
    "heartbeat": ping,
    "webhook": post(lambda secret: webhook_config(NOBODY).model_copy(update={"url": secret})),
    "signature": post(lambda secret: webhook_config(NOBODY).model_copy(update={"secret": secret})),
    "incoming webhook": say(lambda secret: SlackConfig(name="a", webhook_url=secret)),
    "bot token": say(
        lambda secret: SlackConfig(name="a", bot_token=secret, channel=CHANNEL, api_url=f"{NOBODY}/api/")
    ),
}


SENT: Final = {
    "/a%2Fb%2f%7e~/../c": "/a%2Fb%2f%7e~/../c",
    "/?key=%20+%2B&x=|^`{}": "/?key=%20+%2B&x=|^`{}",
    "/a;b,c@d:e//f?g=http://h/i?j": "/a;b,c@d:e//f?g=http://h/i?j",
    "/%zz%": "/%zz%",
    "/%252F%25?a=%252B": "/%252F%25?a=%252B",
    "/ü%2F+;/€?ä=%C3%A4&b=ß": "/%C3%BC%2F+;/%E2%82%AC?%C3%A4=%C3%A4&b=%C3%9F",
    "?x=1": "/?x=1",
    "": "/",
}
"""By how a URL ends what is sent: the same bytes, and what is not ASCII in the only way it can be sent."""


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["heartbeat", "webhook", "incoming webhook"])
@pytest.mark.parametrize("path", SENT)
async def test_a_url_is_sent_byte_for_byte(name: str, path: str) -> None:
    """The other side is asked for exactly what was configured, however it is escaped."""
    peer = Peer(answers)
    async with listening([peer]), open_test_session() as session:
        await USES[name](Secret("s", Redactor(), value=f"{peer.url}{path}#not-sent"), session)
    assert [SENT[path]] == [call.path for call in peer.calls]


@pytest.mark.anyio
@pytest.mark.parametrize("name", USES)
async def test_files_are_read_beside_the_event_loop(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is slow holds up one call, and no other one."""
    threads = []

    def read(*_: object) -> bytes:
        threads.append(threading.current_thread())
        return NOBODY.encode()

    monkeypatch.setattr(secrets, "read_regular_file", read)
    async with open_test_session() as session:
        with suppress(ApiError, DeliveryError):
            await USES[name](Secret("s", Redactor(), file=tmp_path / "secret"), session)
    assert threads
    assert threading.current_thread() not in threads
