"""A step that was ever committed is never edited: databases that took it would differ from new ones."""

import hashlib

from watcher.store.migrations import MIGRATIONS

COMMITTED = (
    "360d17b3a1072b5e",
    "4a87d3fe5a06e0d6",
    "76d563da13c1d7b0",
    "5fe77fecf738595b",
    "f6a6d49679d14d2e",
    "2da4baaf460f7df7",
    "d402d71050e0d2df",
    "8b204b91bd2c73ea",
)
"""How the digest of each step begins. Only a new step adds one."""


def test_no_step_was_edited() -> None:
    """Each step is what it was when it was committed, but for its layout; a new one is added to the list."""
    steps = [" ".join(step.split()) for step in MIGRATIONS]
    assert COMMITTED == tuple(hashlib.sha256(step.encode()).hexdigest()[:16] for step in steps)
