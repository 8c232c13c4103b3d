"""Ids of events."""

import re

from hypothesis import given
from hypothesis import strategies as st

from watcher.ids import event_id

moments = st.floats(0, 4_000_000_000)
entropies = st.binary(min_size=10, max_size=10)


def test_is_a_ulid() -> None:
    """The time is encoded as in the example of the ULID specification, all ones of entropy as all Z."""
    assert event_id(1469918176.385, b"\xff" * 10) == "evt_01ARYZ6S41ZZZZZZZZZZZZZZZZ"


@given(moments, entropies)
def test_has_a_constant_form(now: float, entropy: bytes) -> None:
    """An id is always 26 characters of Crockford's alphabet, which a header and a URL carry as they are."""
    assert re.fullmatch("evt_[0-9A-HJKMNP-TV-Z]{26}", event_id(now, entropy))


@given(moments, st.floats(0.001, 1_000_000), entropies, entropies)
def test_sorts_by_time(now: float, later: float, one: bytes, other: bytes) -> None:
    """The id of a later event never sorts before that of an earlier one, whatever the entropy."""
    assert event_id(now, one)[:14] <= event_id(now + later, other)[:14]


@given(moments, st.sets(entropies, min_size=2))
def test_tells_events_of_one_moment_apart(now: float, several: set[bytes]) -> None:
    """Different entropy makes different ids at the same time."""
    assert len(several) == len({event_id(now, entropy) for entropy in several})
