"""How fast a place takes messages."""

from watcher.delivery.rate_limit import RateLimiter


def nobody() -> None:
    """Nobody is to be woken."""


def test_sends_to_one_place_are_one_at_a_time_and_apart() -> None:
    """The next send starts when the one before has ended and the spacing is over, whichever comes last."""
    pace = RateLimiter(1.0)
    assert pace.take(10.0, nobody)
    pace.started(10.0)
    assert not pace.take(12.0, nobody)
    assert pace.wait(12.0) is None
    pace.give_back()
    assert pace.take(12.0, nobody)
    pace.started(12.0)
    pace.give_back()
    assert not pace.take(12.5, nobody)
    assert 0.5 == pace.wait(12.5)
    assert 0.0 == pace.wait(13.5)
    assert pace.take(13.0, nobody)


def test_who_was_in_the_way_wakes_who_waits() -> None:
    """A lane that had to wait for another one's send is woken once, when that has ended."""
    woken: list[str] = []
    pace = RateLimiter(1.0)
    assert pace.take(10.0, nobody)
    assert not pace.take(10.1, lambda: woken.append("second"))
    assert [] == woken
    pace.give_back()
    pace.give_back()
    assert ["second"] == woken


def test_what_was_not_used_costs_no_time() -> None:
    """Who found nothing to send leaves the place as it was."""
    pace = RateLimiter(1.0)
    assert pace.take(10.0, nobody)
    pace.give_back()
    assert pace.take(10.0, nobody)


def test_without_a_spacing_all_go() -> None:
    """A place that takes several at once is never in the way."""
    pace = RateLimiter(0.0)
    assert [True, True] == [pace.take(10.0, nobody) for _ in range(2)]
