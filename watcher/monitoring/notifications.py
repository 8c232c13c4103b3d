"""Pure: which notifiers were notified of a request and which were not and why, and which reminders follow."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from watcher.config.models import NotifierConfig
from watcher.messages import count, format_elapsed
from watcher.models import DeliveryRecord
from watcher.monitoring.health import LATE_AFTER
from watcher.sanitize.text import one_line, truncate

_ANNOUNCEMENTS = ("run.input_requested", "run.input_reminder")
_ERROR_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Notification:
    """A notifier that was notified of a request at the Unix time `at`, or the `reason` why it was not."""

    notifier: str
    at: float | None = None
    reason: str = ""


def notifications(
    notifiers: Collection[str],
    deliveries: Sequence[DeliveryRecord],
    *,
    now: float,
    paused: Mapping[str, float | None],
) -> tuple[Notification, ...]:
    """Returns what happened to each notifier of a pending request, in their order, then to former ones.

    `deliveries` are about that request, `paused` says for how many seconds a notifier accepts nothing.
    """
    names = dict.fromkeys((*notifiers, *(record.notifier for record in deliveries)))
    announcements = [record for record in deliveries if record.type in _ANNOUNCEMENTS]
    return tuple(
        _notification(
            name, [record for record in announcements if record.notifier == name], now, paused.get(name)
        )
        for name in names
    )


def next_reminders(
    notifiers: Collection[NotifierConfig],
    deliveries: Sequence[DeliveryRecord],
    *,
    first_seen_at: float,
    now: float,
) -> tuple[tuple[float, str], ...]:
    """Returns when which notifier will be reminded of a pending request, if it is not answered before.

    A notifier that has nothing to do with the request is not reminded of it.
    """
    coming: list[tuple[float, str]] = []
    for notifier in notifiers:
        own = [record for record in deliveries if record.notifier == notifier.name]
        if any(record.state != "superseded" for record in own):
            ages = [age for age in notifier.remind_after if age > notifier.after]
            coming += [(first_seen_at + age, notifier.name) for age in ages if first_seen_at + age > now]
    return tuple(sorted(coming))


def _notification(
    notifier: str, records: Sequence[DeliveryRecord], now: float, paused_for: float | None
) -> Notification:
    sent = [record.finished_at for record in records if record.state == "sent" and record.finished_at]
    if sent:
        return Notification(notifier, at=min(sent))
    unfinished = [record for record in records if record.state in {"pending", "dead"}]
    if not unfinished:
        return Notification(notifier, reason="no message is planned")
    return Notification(notifier, reason=_reason(unfinished[-1], now, paused_for))


def _reason(record: DeliveryRecord, now: float, paused_for: float | None) -> str:
    error = f": {truncate(one_line(record.last_error), _ERROR_SHOWN)}" if record.last_error else ""
    attempts = count(record.attempts, "attempt")
    if record.state == "dead":
        return f"given up after {attempts}{error}"
    if record.due_at > now and not record.attempts:
        return f"only if still waiting in {format_elapsed(record.due_at - now)}"
    wait = max((record.next_attempt_at or now) - now, paused_for or 0.0)
    following = f"next attempt in {format_elapsed(wait)}" if wait > 0 else "next attempt now"
    if record.attempts:
        return f"{attempts} failed{error}; {following}"
    if paused_for:
        return f"paused at its destination's request, {following}"
    return (
        f"queued for {format_elapsed(now - record.due_at)}" if now - record.due_at > LATE_AFTER else "queued"
    )
