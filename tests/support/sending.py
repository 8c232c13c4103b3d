"""Notifiers with their destinations, and what the tests do with them."""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from tests.support.events import (
    REQUESTED,
    make_delivery,
)
from tests.support.fakes import FakeSlack, WebhookReceiver, served
from watcher.config.models import NotifierConfig, SlackConfig, WebhookConfig
from watcher.models import Event, MessageRef
from watcher.net import open_session
from watcher.notifiers import build
from watcher.notifiers.base import DeliveryError, Notifier, NotifierContext
from watcher.notifiers.webhook import WebhookNotifier
from watcher.sanitize import files
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

NOW = 1781082940.5


CHANNEL = "C0123456789"


MENTION = ("here", "U0123", "S0456")


KINDS = ("bot", "webhook")


JSON_TYPE = {"Content-Type": "application/json"}


Use = Callable[[Notifier], Awaitable[Any]]


@contextmanager
def hanging_reads(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> Iterator[None]:
    """Lets what a module reads by `read_regular_file` hang, and checks how many threads wait for it."""
    late = threading.Event()

    def read(*_: object) -> bytes:
        late.wait(5)
        return b""

    monkeypatch.setattr(files, "READ_SECONDS", 0.01)
    monkeypatch.setattr(module, "read_regular_file", read)
    before = threading.active_count()
    try:
        yield
        assert threading.active_count() <= before + files.READS_MAX
    finally:
        late.set()


def make_secret(value: str) -> Secret:
    """Returns a secret of a fixed value."""
    return Secret("notifiers.approvals.secret", Redactor(), value=value)


def slack_config(
    url: str, kind: str = "bot", token: str = "xoxb-made-up-token", **settings: Any
) -> SlackConfig:
    """Returns the section of a Slack notifier of either kind."""
    if kind == "webhook":
        return SlackConfig(
            name="approvals", webhook_url=make_secret(f"{url}/services/T0/B0/x1y2z3a4"), **settings
        )
    settings.setdefault("channel", CHANNEL)
    return SlackConfig(name="approvals", bot_token=make_secret(token), api_url=f"{url}/api/", **settings)


def open_test_session(within: float = 5.0) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """Opens a session as the daemon's is."""
    return open_session(within)


def notifier_context(session: Any = None, within: float = 5.0, **shared: Any) -> NotifierContext:
    """Returns what notifiers of one process share, at a moment that stays."""
    return NotifierContext(session, within, **{"clock": lambda: NOW, "stream": sys.stdout, **shared})


async def use_notifier(config: NotifierConfig, use: Use, within: float = 5.0) -> Any:
    """Builds the notifier and uses it once."""
    async with open_test_session(within) as session:
        notifier = build(config, notifier_context(session, within))
        return await use(notifier)


def with_slack(slack: FakeSlack, use: Use, kind: str = "bot", within: float = 5.0, **settings: Any) -> Any:
    """Serves the fake and uses a notifier that points there."""

    async def scenario() -> Any:
        async with served(slack) as url:
            return await use_notifier(slack_config(url, kind, **settings), use, within)

    return asyncio.run(scenario())


def send_event(
    event: Event = REQUESTED, first: MessageRef | None = None, reminders: tuple[MessageRef, ...] = ()
) -> Use:
    """Returns what sends one event."""
    return lambda notifier: notifier.send(make_delivery(event, first, reminders))


def slack_error(
    slack: FakeSlack, kind: str = "bot", use: Use | None = None, **settings: Any
) -> DeliveryError:
    """Returns the error that a send ends with, that of a request by default."""
    with pytest.raises(DeliveryError) as caught:
        with_slack(slack, use or send_event(), kind, **settings)
    return caught.value


def last_message(slack: FakeSlack) -> dict[str, Any]:
    """Returns the last message that Slack took."""
    return list(slack.messages.values())[-1]


SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook_config(
    url: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, ca_file: Path | None = None
) -> WebhookConfig:
    """Returns the section of a webhook, also with headers and files that the configuration would refuse."""
    config = WebhookConfig(name="audit", url=make_secret(url), secret=make_secret(key) if key else None)
    values = {name: make_secret(value) for name, value in (headers or {}).items()}
    return config.model_copy(update={"headers": values, "ca_file": ca_file})


async def send_webhook(config: WebhookConfig, event: Event = REQUESTED, within: float = 5.0) -> None:
    """Sends one event with a session of its own."""
    async with open_test_session(within) as session:
        notifier = WebhookNotifier(config, NotifierContext(session, within, lambda: NOW))
        assert await notifier.send(make_delivery(event)) is None


def error_of(run: Callable[[], Awaitable[None]]) -> DeliveryError:
    """Returns the error that a send ends with."""

    async def scenario() -> None:
        await run()

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(scenario())
    return caught.value


async def send_to(receiver: WebhookReceiver, within: float = 5.0) -> None:
    """Serves the receiver and sends it one event, to a path that is a secret."""
    async with served(receiver) as url:
        await send_webhook(webhook_config(f"{url}/token-of-mine"), within=within)
