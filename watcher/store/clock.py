"""What happens to recorded times when the wall clock is set: every wait stays as long as it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from watcher.store.sql import Transaction

TOLERANCE: Final = 2.0
"""Seconds by which the beginning of a boot may seem to move without the clock being set."""

ALL: Final[Mapping[str, int]] = {"request": 0, "delivery": 0}
"""Every row is newer than these keys."""

_SHIFT: Final = (
    (
        "UPDATE events SET at = at + :by WHERE id IN"
        " (SELECT event FROM deliveries WHERE state = 'pending' AND id > :delivery)"
    ),
    (
        "UPDATE deliveries SET due_at = due_at + :by, next_attempt_at = next_attempt_at + :by,"
        " last_attempt_at = last_attempt_at + :by WHERE state = 'pending' AND id > :delivery"
    ),
    "UPDATE requests SET first_seen_at = first_seen_at + :by WHERE resolved_at IS NULL AND key > :request",
    "UPDATE notifiers SET paused_until = paused_until + :by",
    "UPDATE incidents SET since = since + :by",
    "UPDATE invisible_runs SET since = since + :by",
    "UPDATE clock SET booted_at = booted_at + :by",
)
_NEWEST: Final = (
    "SELECT (SELECT coalesce(max(key), 0) FROM requests) AS request,"
    " (SELECT coalesce(max(id), 0) FROM deliveries) AS delivery"
)
_CLOCK: Final = "SELECT boot, booted_at FROM clock WHERE id = 1"
_REMEMBER: Final = (
    "INSERT INTO clock (id, boot, booted_at) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " boot = excluded.boot, booted_at = excluded.booted_at"
)
_AHEAD: Final = (
    "(SELECT CASE WHEN e.age IS NULL THEN e.at ELSE deliveries.due_at - e.age END - :now"
    " FROM events e WHERE e.id = deliveries.event)"
)
"""By how much what a delivery is about was recorded in the future; negative if it was not."""
_CORRECT: Final = (
    (
        f"UPDATE deliveries SET due_at = due_at - {_AHEAD}, next_attempt_at = next_attempt_at - {_AHEAD}"
        f" WHERE state = 'pending' AND {_AHEAD} > 0"
    ),
    (
        "UPDATE events SET at = coalesce((SELECT max(d.due_at) FROM deliveries d"
        " WHERE d.event = events.id AND events.age IS NOT NULL), :now) WHERE at > :now"
        " AND (age IS NULL OR at > (SELECT max(d.due_at) FROM deliveries d WHERE d.event = events.id))"
    ),
    "UPDATE requests SET first_seen_at = :now WHERE resolved_at IS NULL AND first_seen_at > :now",
    (
        "UPDATE deliveries SET next_attempt_at = :latest"
        " WHERE state = 'pending' AND attempts > 0 AND next_attempt_at > :latest"
    ),
    "UPDATE notifiers SET paused_until = :latest WHERE paused_until > :latest",
    "UPDATE incidents SET since = :now WHERE since > :now",
    "UPDATE invisible_runs SET since = :now WHERE since > :now",
)


@dataclass(frozen=True, slots=True)
class Boot:
    """A start of the machine: which, and when it was, in Unix time. `id` is empty if it is not known."""

    id: str
    at: float


def shift(tx: Transaction, seconds: float, newer_than: Mapping[str, int]) -> None:
    """Moves by so many seconds what waits, and pending requests, of the rows that are newer than these."""
    for statement in _SHIFT:
        tx.execute(statement, {"by": seconds, **newer_than})


def check(tx: Transaction, boot: Boot | None, longest_wait: float) -> tuple[float, Mapping[str, int]]:
    """Corrects, at the start, what was recorded by a wrong clock.

    Within one boot the time of its beginning tells by how much the clock was set. Otherwise, or if the times
    are not this machine's (`boot` is None), only what was recorded in the future is known to be wrong: it
    happened now. No attempt and no pause is farther away than `longest_wait`. Returns by how much the clock
    was set, and which rows an earlier boot may have recorded.
    """
    step, newer_than = _compare(tx, boot) if boot is not None else (0.0, ALL)
    for statement in _CORRECT:
        tx.execute(statement, {"now": tx.now, "latest": tx.now + longest_wait})
    return step, newer_than


def _compare(tx: Transaction, boot: Boot) -> tuple[float, Mapping[str, int]]:
    """Follows a clock that was set since an earlier process of the same boot; returns what `check` does."""
    step = 0.0
    known = tx.first(_CLOCK)
    same_boot = known is not None and bool(boot.id) and known["boot"] == boot.id
    if known is not None and same_boot and abs(boot.at - known["booted_at"]) > TOLERANCE:
        step = boot.at - known["booted_at"]
        shift(tx, step, ALL)
    tx.execute(_REMEMBER, (boot.id, boot.at))
    if same_boot or known is None:
        return step, ALL
    (request, delivery) = tx.execute(_NEWEST)[0]
    return step, {"request": request, "delivery": delivery}
