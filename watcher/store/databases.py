"""Which kind of database a setting names."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from watcher.config.database import PostgresqlAddress
from watcher.sanitize.secrets import Secret, SecretError
from watcher.store.errors import StoreUnavailable, StoreUnusable
from watcher.store.sql import Database
from watcher.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from watcher.store.postgresql import PostgresqlDatabase


def locate(setting: Path | PostgresqlAddress) -> Database:
    """Returns the database that the setting `database` names.

    Raises:
        StoreUnusable: as of `locate_server`.
    """
    return SqliteDatabase(setting) if isinstance(setting, Path) else locate_server(setting)


def locate_server(address: PostgresqlAddress) -> "PostgresqlDatabase":
    """Returns the database at an address of PostgreSQL.

    Raises:
        StoreUnusable: libpq does not understand the address, or the driver is not installed.
    """
    try:
        from watcher.store.postgresql import PostgresqlDatabase  # noqa: PLC0415 - 10 MiB that SQLite needs not
    except ImportError:
        raise StoreUnusable("PostgreSQL needs an extra: pip install 'dynamiq-watcher[postgresql]'") from None

    return PostgresqlDatabase(
        address.url,
        schema=address.schema,
        password=partial(_read_password, address.password) if address.password is not None else None,
    )


def _read_password(password: Secret) -> str:
    try:
        return password.read()
    except SecretError as error:  # its file may be about to be replaced
        raise StoreUnavailable(str(error)) from None
