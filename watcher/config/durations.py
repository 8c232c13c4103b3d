"""Pure: durations as people write them, `500ms`, `15s`, `5m`, `2h`, `7d`, or a bare number of seconds."""

import math
import re
from typing import Final

ALLOWED: Final = "a duration such as 500ms, 15s, 5m, 2h, 7d or a number of seconds"

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ENDLESS: Final = 1e15
"""Seconds that nobody means; an integer may even be too large for a float."""
_WRITTEN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)


def parse_duration(value: object) -> float:
    """Returns the seconds.

    Raises:
        ValueError: it is no duration; the message says what is one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _ENDLESS:
        seconds = float(value)
    elif isinstance(value, str) and (match := _WRITTEN.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNITS[match[2] or "s"]
    else:
        raise ValueError(ALLOWED)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(ALLOWED)
    return seconds


def format_duration(seconds: float) -> str:
    """Returns the shortest way to write a duration that is exact."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds and seconds < 1 else f"{seconds:.15g}s"
