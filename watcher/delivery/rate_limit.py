"""Limits how fast messages go to one place, whichever notifiers send them."""

from collections.abc import Callable


class RateLimiter:
    """Lets one send start at a time, at least `min_interval` seconds after the last; 0 means no limit.

    Slack takes about one message per second and channel, from all senders together. Times are the event
    loop's.
    """

    def __init__(self, min_interval: float) -> None:
        self._min_interval = min_interval
        self._not_before = 0.0
        self._taken = False
        self._waiting: list[Callable[[], None]] = []

    def take(self, now: float, wake: Callable[[], None]) -> bool:
        """Returns whether a send may start now; if so, no other may until `give_back`.

        If another send is in the way, `wake` is called when that one has ended.
        """
        if not self._min_interval:
            return True
        if self._taken:
            self._waiting.append(wake)
            return False
        self._taken = now >= self._not_before
        return self._taken

    def give_back(self) -> None:
        """Lets others send: the send has ended, or there was nothing to send."""
        self._taken = False
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def started(self, now: float) -> None:
        """Counts the interval from now: a send has started."""
        self._not_before = now + self._min_interval

    def wait(self, now: float) -> float | None:
        """Returns the seconds until the next send may start, None if that depends on a send under way."""
        return None if self._taken else max(self._not_before - now, 0.0)
