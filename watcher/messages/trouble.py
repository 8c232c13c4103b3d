"""Apps that cannot be polled, notifiers that accept nothing, and that they are well again."""

from collections.abc import Iterator
from typing import Final

from watcher.messages.model import Fact, Message
from watcher.messages.times import duration
from watcher.models import Event, Failure, NotifierFailure
from watcher.text import cut, printable

_ERROR_SHOWN, _CODE_SHOWN = 500, 100
ADVICE: Final = {
    401: "The access key is missing, wrong, expired or was rotated: give the app a valid one.",
    403: (
        "The access key belongs to another project or organization, or is a Personal Access Token: "
        "give the app an Access Key (dynamiq_acc_…) of its own project."
    ),
    404: "The app was deleted, or its base_url is wrong: correct base_url or remove the app.",
}


def app_failing(event: Event) -> Message:
    """Returns the message about an app that cannot be polled: what failed, since when, and what to do."""
    failure = event.failure
    return Message(
        tone="trouble",
        title=_about(event.app.name if event.app else "", "App failing"),
        lead=" ".join(["New requests of this app cannot be seen.", *_known(failure)]),
        body=_what_failed(failure) if failure else "",
        quoted=True,
        advice=ADVICE.get(failure.status or 0) if failure else None,
        facts=_since("Failing since", failure),
    )


def app_recovered(event: Event) -> Message:
    """Returns the message about an app that can be polled again."""
    failed_for = duration(event.at - event.failure.since) if event.failure else "some time"
    again = f"New requests of this app are seen again, after {failed_for}."
    return Message(
        tone="good",
        title=_about(event.app.name if event.app else "", "App recovered"),
        body=" ".join([again, *_known(event.failure)]),
        facts=_since("Failed since", event.failure),
    )


def notifier_failing(event: Event) -> Message:
    """Returns the message about a notifier that accepts nothing, for those who read another one."""
    failure = event.notifier_failure
    return Message(
        tone="trouble",
        title=_about(failure.notifier if failure else "", "Notifier failing"),
        lead=" ".join(["Whoever reads it is told of nothing meanwhile.", *_undelivered(failure)]),
        body=cut(printable(failure.message), _ERROR_SHOWN) if failure else "",
        quoted=True,
        facts=_since("Failing since", failure),
    )


def notifier_recovered(event: Event) -> Message:
    """Returns the message about a notifier that accepts again."""
    failure = event.notifier_failure
    failed_for = duration(event.at - failure.since) if failure else "some time"
    return Message(
        tone="good",
        title=_about(failure.notifier if failure else "", "Notifier recovered"),
        body=f"It accepts messages again, after {failed_for}.",
        facts=_since("Failed since", failure),
    )


def _about(name: str, title: str) -> str:
    return f"{title} · {printable(name)}" if name else title


def _since(label: str, failure: Failure | NotifierFailure | None) -> tuple[Fact, ...]:
    return (Fact(label, failure.since),) if failure else ()


def _known(failure: Failure | None) -> Iterator[str]:
    if failure and failure.pending_known == 1:
        yield "1 known request still waits."
    elif failure:
        yield f"{failure.pending_known or 'No'} known requests still wait."


def _undelivered(failure: NotifierFailure | None) -> Iterator[str]:
    if failure and failure.undelivered == 1:
        yield "1 delivery waits for it."
    elif failure:
        yield f"{failure.undelivered or 'No'} deliveries wait for it."


def _what_failed(failure: Failure) -> str:
    words = (f"HTTP {failure.status}" if failure.status else "", cut(printable(failure.code), _CODE_SHOWN))
    what = " ".join(word for word in words if word)
    return f"{what}: {cut(printable(failure.message), _ERROR_SHOWN)}"
