"""The errors of the database.

StoreError
├── StoreUnavailable    it may pass: busy, locked, a full disk
└── StoreUnusable       it does not pass: damaged, another version, not writable
    └── StoreInUse      another process has it
"""


class StoreError(Exception):
    """The database did not do what was asked; nothing was changed.

    The message does not name the database: who shows it to a person does.
    """


class StoreUnavailable(StoreError):
    """The database cannot do it now: it is busy or locked, or the disk is full. It may work later."""


class StoreUnusable(StoreError):
    """The database cannot be used at all: it is damaged, of another version, or not writable."""


class StoreInUse(StoreUnusable):
    """Another process holds the database."""
