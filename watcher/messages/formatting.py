"""Pure: timestamps, durations and counts as people read them. Everything that is shown uses these."""

from datetime import UTC, datetime


def format_timestamp(time: float) -> str:
    """Returns a Unix time as ISO 8601 in UTC, whole seconds: `2026-06-10T09:15:40Z`."""
    return f"{datetime.fromtimestamp(int(time), UTC).replace(tzinfo=None).isoformat()}Z"


def format_elapsed(seconds: float) -> str:
    """Returns a duration in its two largest units: `5 ms`, `12 s`, `5 min 12 s`, `2 h`, `3 d 4 h`."""
    if 0 < (milliseconds := int(seconds * 1000)) < 1000:  # noqa: PLR2004 - in a second
        return f"{milliseconds} ms"
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts.append((count, unit))
    while parts and not parts[0][0]:
        parts.pop(0)
    shown = [f"{count} {unit}" for count, unit in parts[:2] if count]
    return " ".join(shown) or "0 s"


def count(number: int, noun: str) -> str:
    """Returns a number of things: `1 request`, `2 requests`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sentence(text: str) -> str:
    """Returns a text, which may quote another side, with the sign that ends a sentence once."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
