"""How fast a place takes messages."""

from watcher.delivery.rate_limit import RateLimiter


def nobody() -> None:
    """Nobody is to be woken."""


def test_sends_to_one_place_are_one_at_a_time_and_apart() -> None:
    """The next send starts when the one before has ended and the interval is over, whichever comes last."""
    limiter = RateLimiter(1.0)
    assert limiter.take(10.0, nobody)
    limiter.started(10.0)
    assert not limiter.take(12.0, nobody)
    assert limiter.wait(12.0) is None
    limiter.give_back()
    assert limiter.take(12.0, nobody)
    limiter.started(12.0)
    limiter.give_back()
    assert not limiter.take(12.5, nobody)
    assert 0.5 == limiter.wait(12.5)
    assert 0.0 == limiter.wait(13.5)
    assert limiter.take(13.0, nobody)


def test_who_was_in_the_way_wakes_who_waits() -> None:
    """A worker that had to wait for another one's send is woken once, when that has ended."""
    woken: list[str] = []
    limiter = RateLimiter(1.0)
    assert limiter.take(10.0, nobody)
    assert not limiter.take(10.1, lambda: woken.append("second"))
    assert [] == woken
    limiter.give_back()
    limiter.give_back()
    assert ["second"] == woken


def test_what_was_not_used_costs_no_time() -> None:
    """Who found nothing to send leaves the place as it was."""
    limiter = RateLimiter(1.0)
    assert limiter.take(10.0, nobody)
    limiter.give_back()
    assert limiter.take(10.0, nobody)


def test_without_a_spacing_all_go() -> None:
    """A place that takes several at once is never in the way."""
    limiter = RateLimiter(0.0)
    assert [True, True] == [limiter.take(10.0, nobody) for _ in range(2)]
