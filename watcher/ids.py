"""The ids of events."""

import os
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_event_id(now: float) -> str:
    """Returns the id of an event that happens at the Unix time `now`; no two are alike."""
    return event_id(now, os.urandom(10))


def event_id(now: float, entropy: bytes) -> str:
    """Returns `evt_` and a ULID (github.com/ulid/spec): 48 bits of Unix milliseconds, 80 bits of entropy."""
    number = (int(now * 1000) << 80) | int.from_bytes(entropy[:10])
    return "evt_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
