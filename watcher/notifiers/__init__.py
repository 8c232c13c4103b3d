"""Where events go: one module for each kind of destination, imported only when one is configured."""

from watcher.config.models import AppriseConfig, ConsoleConfig, NotifierConfig, SlackConfig, WebhookConfig
from watcher.notifiers.base import Notifier, NotifierContext


def build(config: NotifierConfig, context: NotifierContext) -> Notifier:
    """Returns the notifier for its section of the configuration.

    Raises:
        NotifierUnusable: it cannot be used as it is configured.
        SecretError: a secret's file cannot be read now.
        TypeError: there is no such kind.
    """
    match config:
        case WebhookConfig():
            from watcher.notifiers.webhook import WebhookNotifier  # noqa: PLC0415 - costs only who uses it

            return WebhookNotifier(config, context)
        case SlackConfig():
            from watcher.notifiers.slack.notifier import SlackNotifier  # noqa: PLC0415 - slack_sdk is slow to import

            return SlackNotifier(config, context)
        case ConsoleConfig():
            from watcher.notifiers.console import ConsoleNotifier  # noqa: PLC0415 - rich is slow to import

            return ConsoleNotifier(config, context)
        case AppriseConfig():
            from watcher.notifiers.apprise import AppriseNotifier  # noqa: PLC0415 - costs only who uses it

            return AppriseNotifier(config, context)
        case _:
            raise TypeError(f"there is no notifier for {type(config).__name__}")
