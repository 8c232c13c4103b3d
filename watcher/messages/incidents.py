"""Apps that cannot be polled, notifiers that accept nothing, and that they are well again."""

from collections.abc import Mapping
from typing import Final

from watcher.messages.formatting import format_elapsed
from watcher.messages.message import Fact, Message, titled
from watcher.models import AppEvent, Failure, NotifierEvent, NotifierFailure
from watcher.sanitize.text import one_line, truncate

_ERROR_SHOWN, _CODE_SHOWN = 500, 100
ADVICE: Final[Mapping[int | None, str]] = {
    401: "The access key is missing, wrong, expired or was rotated: give the app a valid one.",
    403: (
        "The access key belongs to another project or organization, or is a Personal Access Token: "
        "give the app an Access Key (dynamiq_acc_…) of its own project."
    ),
    404: "The app was deleted, or its base_url is wrong: correct base_url or remove the app.",
}


def app_message(event: AppEvent) -> Message:
    """Returns the message about an app that cannot be polled, or can be polled again."""
    return _app_failing(event) if event.type == "watcher.app_failing" else _app_recovered(event)


def notifier_message(event: NotifierEvent) -> Message:
    """Returns the message about a notifier that accepts nothing, or accepts again, for those of another."""
    return (
        _notifier_failing(event) if event.type == "watcher.notifier_failing" else _notifier_recovered(event)
    )


def _app_failing(event: AppEvent) -> Message:
    failure = event.failure
    return Message(
        tone="trouble",
        title=titled("App failing", event.app.name),
        lead=f"New requests of this app cannot be seen. {_known(failure)}",
        body=_what_failed(failure),
        quoted=True,
        advice=ADVICE.get(failure.status),
        facts=(Fact("Failing since", failure.since),),
    )


def _app_recovered(event: AppEvent) -> Message:
    failed_for = format_elapsed(event.at - event.failure.since)
    return Message(
        tone="good",
        title=titled("App recovered", event.app.name),
        body=f"New requests of this app are seen again, after {failed_for}. {_known(event.failure)}",
        facts=(Fact("Failed since", event.failure.since),),
    )


def _notifier_failing(event: NotifierEvent) -> Message:
    failure = event.failure
    return Message(
        tone="trouble",
        title=titled("Notifier failing", failure.notifier),
        lead=f"Whoever reads it is told of nothing meanwhile. {_undelivered(failure)}",
        body=truncate(one_line(failure.message), _ERROR_SHOWN),
        quoted=True,
        facts=(Fact("Failing since", failure.since),),
    )


def _notifier_recovered(event: NotifierEvent) -> Message:
    failure = event.failure
    return Message(
        tone="good",
        title=titled("Notifier recovered", failure.notifier),
        body=f"It accepts messages again, after {format_elapsed(event.at - failure.since)}.",
        facts=(Fact("Failed since", failure.since),),
    )


def _known(failure: Failure) -> str:
    if failure.pending_known == 1:
        return "1 known request still waits."
    return f"{failure.pending_known or 'No'} known requests still wait."


def _undelivered(failure: NotifierFailure) -> str:
    if failure.undelivered == 1:
        return "1 delivery waits for it."
    return f"{failure.undelivered or 'No'} deliveries wait for it."


def _what_failed(failure: Failure) -> str:
    words = (
        f"HTTP {failure.status}" if failure.status else "",
        truncate(one_line(failure.code), _CODE_SHOWN),
    )
    what = " ".join(word for word in words if word)
    return f"{what}: {truncate(one_line(failure.message), _ERROR_SHOWN)}"
