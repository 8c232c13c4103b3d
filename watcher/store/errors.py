"""The errors of the database.

StoreError
├── StoreUnavailable    it may pass: busy, locked, away, a full disk
│   └── StoreRejected   these values cannot be stored, others can
├── StoreLost           another process has taken the database over
└── StoreUnusable       it does not pass: damaged, another version, not writable
    └── StoreInUse      another process has it
"""


class StoreError(Exception):
    """The database did not do what was asked; nothing was changed.

    The message does not name the database; the command that shows it does.
    """


class StoreUnavailable(StoreError):
    """The database cannot do it now: it is busy, locked or away, or the disk is full. It may work later."""


class StoreRejected(StoreUnavailable):
    """The database takes other values, but not these."""


class StoreLost(StoreError):
    """Another process has taken the lease of the database, and this one may not write any more."""


class StoreUnusable(StoreError):
    """The database cannot be used at all: it is damaged, of another version, or not writable."""


class StoreInUse(StoreUnusable):
    """Another process holds the database."""


def older_version() -> StoreUnusable:
    """Returns the error for a database that only a daemon may upgrade."""
    return StoreUnusable("it is of an older version; start the daemon once to upgrade it")


def newer_version(version: int, known: int) -> StoreUnusable:
    """Returns the error for a database whose version is above the newest one that is known."""
    return StoreUnusable(
        f"it was written by a newer watcher: it has version {version}, this one knows {known}"
    )
