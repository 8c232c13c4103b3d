"""How long to wait: doubling, jitter, and what another side asks for."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.backoff import RETRY_AFTER_MAX, backoff, retry_after

NOON = 1781092800.0
"""2026-06-10 12:00:00 UTC."""


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose local time is nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_doubles_up_to_the_maximum() -> None:
    """Without jitter the wait doubles from the base with each failure until the maximum."""
    waits = [backoff(failures, base=15, maximum=100, jitter=0) for failures in range(1, 6)]
    assert waits == [15, 30, 60, 100, 100]


def test_jitter_takes_away_at_most_half() -> None:
    """The jitter shortens a wait in proportion, and never below its half."""
    assert [backoff(3, base=15, maximum=300, jitter=jitter) for jitter in (0, 0.5, 1)] == [60, 45, 30]


def test_a_base_above_the_maximum_stays() -> None:
    """An app that is polled more seldom than the maximum is not polled more often because it fails."""
    assert [backoff(failures, base=600, maximum=300, jitter=0) for failures in (1, 9)] == [600, 600]


def test_endless_failures_do_not_overflow() -> None:
    """After years of failures the wait still is the maximum."""
    assert backoff(10**6, base=0.1, maximum=300, jitter=0) == 300


@given(
    failures=st.integers(1, 10_000),
    base=st.floats(0.1, 3600),
    maximum=st.floats(1, 86400),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_stays_within_bounds(failures: int, base: float, maximum: float, jitter: float) -> None:
    """Whatever is configured, a wait lies between half the base and the larger of base and maximum."""
    wait = backoff(failures, base=base, maximum=maximum, jitter=jitter)
    assert base / 2 <= wait <= max(base, maximum)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0.5", 0.5),
        ("Wed, 10 Jun 2026 12:00:30 GMT", 30),
        ("Wednesday, 10-Jun-26 12:00:30 GMT", 30),
        ("Wed Jun 10 12:00:30 2026", 30),
        ("Wed, 10 Jun 2026 12:00:30 -0000", 30),
        ("Wed, 10 Jun 2026 14:00:30 +0200", 30),
        ("86400", RETRY_AFTER_MAX),
        ("inf", RETRY_AFTER_MAX),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX),
        (None, None),
        ("", None),
        ("0", None),
        ("-5", None),
        ("nan", None),
        ("soon", None),
        ("Wed, 10 Jun 2026 11:59:59 GMT", None),
        ("Wed, 99 Jun 2026 12:00:30 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2300", None),
    ],
)
@pytest.mark.usefixtures("far_from_utc")
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Seconds and all three forms of an HTTP date are understood, in any local time zone, and bounded."""
    assert seconds == retry_after(header, now=NOON)


@given(st.text())
def test_retry_after_takes_anything(header: str) -> None:
    """No header makes it fail, and what it returns is a wait that can be made."""
    wait = retry_after(header, now=NOON)
    assert wait is None or 0 < wait <= RETRY_AFTER_MAX
