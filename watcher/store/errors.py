"""What can go wrong with the database."""


class StoreError(Exception):
    """The database could not do it now: locked, disk full. Nothing was changed; it may work later."""


class StoreUnusable(StoreError):
    """The database cannot be used at all: damaged, of a newer version, or its place not writable."""


class StoreInUse(StoreUnusable):
    """Another process holds the database."""
