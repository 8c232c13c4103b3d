"""How fast one place takes messages, whichever notifiers they come from."""

from collections.abc import Callable


class RateLimiter:
    """Lets one send at a time start, at least `spacing` seconds after the one before; with 0 all may start.

    Slack takes about one message per second and channel, whoever posts it. Times are those of the event loop.
    """

    def __init__(self, spacing: float) -> None:
        self._spacing = spacing
        self._not_before = 0.0
        self._taken = False
        self._waiting: list[Callable[[], None]] = []

    def take(self, now: float, wake: Callable[[], None]) -> bool:
        """Returns whether a send may start now; then nobody else's may until it is given back or has ended.

        Who may not because of somebody else's send is woken when that has ended.
        """
        if not self._spacing:
            return True
        if self._taken:
            self._waiting.append(wake)
            return False
        self._taken = now >= self._not_before
        return self._taken

    def give_back(self) -> None:
        """There was nothing to send, or the send has ended."""
        self._taken = False
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def started(self, now: float) -> None:
        """A send that was let start has started."""
        self._not_before = now + self._spacing

    def wait(self, now: float) -> float | None:
        """Returns the seconds until the next send may start, None if that depends on one under way."""
        return None if self._taken else max(self._not_before - now, 0.0)
