"""Notifiers with their destinations, and what the tests do with them."""

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.events import (
    REQUESTED,
    delivery,
)
from tests.support.fakes import FakeSlack, WebhookReceiver, served
from watcher.config.models import NotifierConfig, SlackConfig, WebhookConfig
from watcher.models import Event, MessageRef
from watcher.notifiers import build
from watcher.notifiers.base import DeliveryError, Notifier
from watcher.notifiers.http_post import open_session
from watcher.notifiers.webhook import WebhookNotifier
from watcher.sanitize.secrets import Redactor, Secret

NOW = 1781082940.5


CHANNEL = "C0123456789"


MENTION = ("here", "U0123", "S0456")


KINDS = ("bot", "webhook")


JSON_TYPE = {"Content-Type": "application/json"}


Use = Callable[[Notifier], Awaitable[Any]]


def secret(value: str) -> Secret:
    """Returns a secret of a fixed value."""
    return Secret("notifiers.approvals.secret", Redactor(), value=value)


def section(url: str, kind: str = "bot", token: str = "xoxb-made-up-token", **settings: Any) -> SlackConfig:
    """Returns the section of a Slack notifier of either kind."""
    if kind == "webhook":
        return SlackConfig(name="approvals", webhook_url=secret(f"{url}/services/T0/B0/x1y2z3a4"), **settings)
    settings.setdefault("channel", CHANNEL)
    return SlackConfig(name="approvals", bot_token=secret(token), api_url=f"{url}/api/", **settings)


def outgoing(within: float = 5.0) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """Opens a session as the daemon's is."""
    return open_session(ssl.create_default_context(), within)


async def using(config: NotifierConfig, use: Use, within: float = 5.0) -> Any:
    """Builds the notifier and uses it once."""
    async with outgoing(within) as session:
        notifier = build(
            config, session=session, request_timeout=within, clock=lambda: NOW, stream=sys.stdout
        )
        return await use(notifier)


def with_slack(slack: FakeSlack, use: Use, kind: str = "bot", within: float = 5.0, **settings: Any) -> Any:
    """Serves the fake and uses a notifier that points there."""

    async def scenario() -> Any:
        async with served(slack) as url:
            return await using(section(url, kind, **settings), use, within)

    return asyncio.run(scenario())


def sending(
    event: Event = REQUESTED, first: MessageRef | None = None, reminders: tuple[MessageRef, ...] = ()
) -> Use:
    """Returns what sends one event."""
    return lambda notifier: notifier.send(delivery(event, first, reminders))


def failing(slack: FakeSlack, kind: str = "bot", use: Use | None = None, **settings: Any) -> DeliveryError:
    """Returns the error that a send ends with, that of a request by default."""
    with pytest.raises(DeliveryError) as caught:
        with_slack(slack, use or sending(), kind, **settings)
    return caught.value


def posted(slack: FakeSlack) -> dict[str, Any]:
    """Returns the last message that Slack took."""
    return list(slack.messages.values())[-1]


SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def config(
    url: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, ca_file: Path | None = None
) -> WebhookConfig:
    """Returns the section of a webhook."""
    return WebhookConfig(
        name="audit",
        url=secret(url),
        secret=secret(key) if key else None,
        headers={name: secret(value) for name, value in (headers or {}).items()},
        ca_file=ca_file,
    )


async def send(section: WebhookConfig, event: Event = REQUESTED, within: float = 5.0) -> None:
    """Sends one event with a session of its own."""
    async with outgoing(within) as session:
        notifier = WebhookNotifier(section, session=session, request_timeout=within, clock=lambda: NOW)
        assert await notifier.send(delivery(event)) is None


def failure(run: Callable[[], Awaitable[None]]) -> DeliveryError:
    """Returns the error that a send ends with."""

    async def scenario() -> None:
        await run()

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(scenario())
    return caught.value


async def send_to(receiver: WebhookReceiver, within: float = 5.0) -> None:
    """Serves the receiver and sends it one event, to a path that is a secret."""
    async with served(receiver) as url:
        await send(config(f"{url}/token-of-mine"), within=within)
