"""Where events go: one module for each kind of destination, imported only when one is configured."""

from collections.abc import Callable
from typing import TextIO

import aiohttp

from watcher.config.models import AppriseConfig, ConsoleConfig, NotifierConfig, SlackConfig, WebhookConfig
from watcher.notifiers.base import Notifier


def build(
    config: NotifierConfig,
    *,
    session: aiohttp.ClientSession,
    request_timeout: float,
    clock: Callable[[], float],
    stream: TextIO | None,
) -> Notifier:
    """Returns the notifier for its section of the configuration.

    `session` carries everything that goes out and is closed by its owner, `request_timeout` is seconds for
    one send, `clock` gives the Unix time, and `stream` is what the console writes to.

    Raises:
        NotifierUnusable: it cannot be used as it is configured.
        SecretError: a secret's file cannot be read now.
        TypeError: there is no such kind.
    """
    match config:
        case WebhookConfig():
            from watcher.notifiers.webhook import WebhookNotifier  # noqa: PLC0415 - costs only who uses it

            return WebhookNotifier(config, session=session, request_timeout=request_timeout, clock=clock)
        case SlackConfig():
            from watcher.notifiers.slack.notifier import SlackNotifier  # noqa: PLC0415 - slack_sdk is slow to import

            return SlackNotifier(config, session=session, request_timeout=request_timeout, clock=clock)
        case ConsoleConfig():
            from watcher.notifiers.console import ConsoleNotifier  # noqa: PLC0415 - rich is slow to import

            return ConsoleNotifier(config, stream=stream)
        case AppriseConfig():
            from watcher.notifiers.apprise import AppriseNotifier  # noqa: PLC0415 - costs only who uses it

            return AppriseNotifier(config, request_timeout=request_timeout)
        case _:
            raise TypeError(f"there is no notifier for {type(config).__name__}")
