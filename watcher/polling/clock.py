"""Notices that the wall clock was set, or that the machine slept; these are different things.

A machine that sleeps stops the monotonic clock, by which the event loop waits, and no other. Setting
the wall clock changes no other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOLERANCE: Final = 2.0
"""Seconds by which the clocks may drift apart between two checks before that counts."""


def boottime() -> float:
    """Returns the seconds since the machine started, time asleep included, by a clock that cannot be set."""
    clock: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS counts sleep in the latter
    return time.clock_gettime(clock)


def boot_id() -> str:
    """Returns what tells this start of the machine from others, an empty text if nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class ClockChange:
    """By how many seconds the wall clock was set, and for how many the machine slept."""

    step: float
    slept: float


class ClockWatch:
    """Compares three clocks from check to check."""

    def __init__(
        self, wall: Callable[[], float], monotonic: Callable[[], float], boottime: Callable[[], float]
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._boottime = boottime
        self._wall_offset, self._sleep_offset = self._offsets()

    def check(self) -> ClockChange | None:
        """Returns what happened since the last change that was returned, None if nothing did."""
        wall_offset, sleep_offset = self._offsets()
        step, slept = wall_offset - self._wall_offset, sleep_offset - self._sleep_offset
        if abs(step) <= TOLERANCE and slept <= TOLERANCE:
            return None
        self._wall_offset, self._sleep_offset = wall_offset, sleep_offset
        return ClockChange(step if abs(step) > TOLERANCE else 0.0, slept if slept > TOLERANCE else 0.0)

    def _offsets(self) -> tuple[float, float]:
        boottime = self._boottime()
        return self._wall() - boottime, boottime - self._monotonic()
