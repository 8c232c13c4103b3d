"""Pure: how long to wait before the next attempt."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_MAX: Final = 3600.0
"""The longest wait, in seconds, that another side can ask of us: its slip must not blind us for days."""


def backoff(failures: int, *, base: float, maximum: float, jitter: float) -> float:
    """Returns the wait in seconds after the `failures`th failure in a row, counted from 1.

    The wait doubles from `base` up to `maximum`; `jitter`, a random number in [0, 1), takes away up to
    half of it. A base above the maximum is not shortened by it.
    """
    exponent = min(failures - 1, 64)
    wait = min(base * 2.0**exponent, max(maximum, base))
    return wait * (1 - jitter / 2)


def retry_after(value: str | None, *, now: float) -> float | None:
    """Returns the seconds that a `Retry-After` header asks for, at most an hour.

    Takes seconds or an HTTP date (RFC 9110, section 10.2.3) and returns None for everything that is no
    wait at all: absent, malformed, zero, or a date that is past. `now` is the Unix time.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            # The obsolete form of an HTTP date names no zone; all HTTP dates are UTC.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = moment.timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(seconds, RETRY_AFTER_MAX) if seconds > 0 else None
