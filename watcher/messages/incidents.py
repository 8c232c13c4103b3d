"""Pure: apps that cannot be polled, notifiers that accept no messages, and their recovery."""

from collections.abc import Mapping
from typing import Final

from watcher.messages.formatting import count, format_elapsed
from watcher.messages.message import Fact, Item, Message, titled
from watcher.models import App, AppEvent, AppGroupEvent, Failure, NotifierEvent, NotifierFailure
from watcher.sanitize.text import one_line, truncate

_ERROR_SHOWN, _CODE_SHOWN = 500, 100
_NAMED_SHOWN = 120
ADVICE: Final[Mapping[int | None, str]] = {
    401: "The access key is missing, wrong, expired or was rotated: set a valid one.",
    403: (
        "The access key belongs to another project or organization, or is a Personal Access Token: "
        "set an Access Key (dynamiq_acc_…) of the app's own project."
    ),
    404: "The app was deleted, or its base_url is wrong: correct base_url or remove the app.",
}


def app_message(event: AppEvent) -> Message:
    """Returns the message about an app that cannot be polled, or can be again."""
    return _app_failing(event) if event.type == "watcher.app_failing" else _app_recovered(event)


def app_group_message(event: AppGroupEvent) -> Message:
    """Returns the message about several apps that cannot be polled, or can be again."""
    number, since = len(event.failures), min(failure.since for _, failure in event.failures)
    failing = event.type == "watcher.app_failing"
    known = sum(failure.pending_known for _, failure in event.failures)
    statuses = dict.fromkeys(failure.status for _, failure in event.failures if failure.status in ADVICE)
    advice = " ".join(f"HTTP {status}: {ADVICE[status]}" for status in statuses)
    return Message(
        tone="trouble" if failing else "good",
        title=f"{number} apps {'failing' if failing else 'recovered'}",
        lead=f"Watcher can't see new requests from these apps. {_known_before(known)}"
        if failing
        else f"Watcher can see new requests from these apps again. {_known_now(known)}",
        advice=advice if failing and advice else None,
        body="",
        items=tuple(
            Item(_named(app, _what_failed(failure) if failing else _down_for(event.at, failure)))
            for app, failure in event.failures
        ),
        items_are="app",
        facts=(Fact("Down since" if failing else "Down from", since),),
    )


def _named(app: App, words: str) -> str:
    return truncate(f"{one_line(app.name)} - {words}", _NAMED_SHOWN)


def notifier_message(event: NotifierEvent) -> Message:
    """Returns the message about a notifier that accepts no messages, or does again; others send it."""
    return (
        _notifier_failing(event) if event.type == "watcher.notifier_failing" else _notifier_recovered(event)
    )


def _app_failing(event: AppEvent) -> Message:
    failure = event.failure
    return Message(
        tone="trouble",
        title=titled("App failing", event.app.name),
        lead=f"Watcher can't see new requests from this app. {_known_before(failure.pending_known)}",
        body=_what_failed(failure),
        quoted=True,
        advice=ADVICE.get(failure.status),
        facts=(Fact("Down since", failure.since),),
    )


def _app_recovered(event: AppEvent) -> Message:
    down_for, known = _down_for(event.at, event.failure), _known_now(event.failure.pending_known)
    return Message(
        tone="good",
        title=titled("App recovered", event.app.name),
        body=f"Watcher can see new requests again ({down_for}). {known}",
        facts=(Fact("Down from", event.failure.since),),
    )


def _notifier_failing(event: NotifierEvent) -> Message:
    failure = event.failure
    queued = _there_are(failure.undelivered, "message", "queued")
    return Message(
        tone="trouble",
        title=titled("Notifier failing", failure.notifier),
        lead=f"Messages to this notifier are not being delivered. {queued}",
        body=truncate(one_line(failure.message), _ERROR_SHOWN),
        quoted=True,
        facts=(Fact("Down since", failure.since),),
    )


def _notifier_recovered(event: NotifierEvent) -> Message:
    failure = event.failure
    return Message(
        tone="good",
        title=titled("Notifier recovered", failure.notifier),
        body=f"Messages are being delivered again ({_down_for(event.at, failure)}).",
        facts=(Fact("Down from", failure.since),),
    )


def _known_before(pending: int) -> str:
    if not pending:  # perhaps it never could
        return _known_now(0)
    return f"When it last could, {count(pending, 'request')} {'was' if pending == 1 else 'were'} waiting."


def _known_now(pending: int) -> str:
    return _there_are(pending, "known request", "waiting")


def _down_for(now: float, failure: Failure | NotifierFailure) -> str:
    return f"down for {format_elapsed(now - failure.since)}"


def _there_are(number: int, noun: str, state: str) -> str:
    things = count(number, noun) if number else f"No {noun}s"
    return f"{things} {'is' if number == 1 else 'are'} {state}."


def _what_failed(failure: Failure) -> str:
    words = (
        f"HTTP {failure.status}" if failure.status else "",
        truncate(one_line(failure.code), _CODE_SHOWN),
    )
    what = " ".join(word for word in words if word)
    return f"{what}: {truncate(one_line(failure.message), _ERROR_SHOWN)}"
