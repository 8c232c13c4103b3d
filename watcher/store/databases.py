"""Which kind of database a configuration names."""

from pathlib import Path

from watcher.config.database import PostgresDatabase
from watcher.store.errors import StoreUnusable
from watcher.store.sql import Database
from watcher.store.sqlite import SqliteDatabase


def locate(setting: Path | PostgresDatabase) -> Database:
    """Returns the database that the setting `database` names.

    Raises:
        StoreUnusable: the address is wrong, or the driver is not installed.
    """
    if isinstance(setting, Path):
        return SqliteDatabase(setting)
    try:
        from watcher.store.postgresql import PostgresqlDatabase  # noqa: PLC0415 - takes 10 MiB
    except ImportError:
        raise StoreUnusable("PostgreSQL needs an extra: pip install 'dynamiq-watcher[postgresql]'") from None
    password = setting.password.read if setting.password else None
    return PostgresqlDatabase(setting.url, schema=setting.schema, password=password)
