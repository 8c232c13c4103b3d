"""The lease: the row in PostgreSQL whose holder leads. The others stand by and take it once it has expired.

The token in the row decides who may write: every writing transaction of the leader locks it. The time decides
only when another process may take over, and it is always the database's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from watcher.store.errors import StoreLost, StoreUnavailable
from watcher.store.sql import Reader, Sql

LEASE_SECONDS: Final = 10.0
"""How long a lease holds after it was taken or renewed."""

NOW: Final = "CAST(extract(epoch FROM clock_timestamp()) AS float8)"
"""The database's Unix time at the moment, not at the beginning of the transaction."""
_EXPIRY: Final = f"clock_timestamp() + interval '{LEASE_SECONDS} seconds'"
_LOOK: Final = (
    "SELECT holder, version, epoch, expires_at <= clock_timestamp() AS free,"
    f" coalesce(token = ?, FALSE) AS mine, {NOW} AS now FROM lease"
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease as the database has it at the Unix time `now`, by its own clock.

    `holder` is who took it last. It is `free` if it has expired or was released, and `mine` if the process
    that asks holds it. `version` is that of the schema; `epoch` counts the takeovers, for people.
    """

    holder: str | None
    version: int
    epoch: int
    free: bool
    mine: bool
    now: float


def holder_name(pid: int, host: str) -> str:
    """Returns how the lease names the process that holds it."""
    return f"process {pid} on {host}"


def process_id(holder: str, host: str) -> int | None:
    """Returns the process id of a holder on this host, None if it is on another one."""
    number = holder.removeprefix("process ").partition(" ")[0]
    return int(number) if number.isdecimal() and holder == holder_name(int(number), host) else None


def look(sql: Sql | Reader, token: str) -> Lease:
    """Returns the lease; `token` is the asking process's own."""
    return _lease(sql, _LOOK, token)


def take(sql: Sql, token: str, holder: str, version: int, migrate: Callable[[Sql, int], None]) -> Lease:
    """Takes the lease if it is free and the schema is not newer than `version`; else changes nothing.

    `migrate` brings the schema from the version that it has to `version`, in the same transaction. Returns
    the lease as it is then.
    """
    # The lock waits for a transaction of the old leader, and no further one of it can begin: the UPDATE alone
    # would not wait, because the leader's lock only guards the key.
    found = _lease(sql, f"{_LOOK} FOR UPDATE", token)
    if found.mine or not found.free or found.version > version:
        return found
    migrate(sql, found.version)
    sql.execute(
        f"UPDATE lease SET token = ?, holder = ?, version = ?, epoch = epoch + 1, expires_at = {_EXPIRY},"
        " taken_at = clock_timestamp()",
        (token, holder, version),
    )
    return look(sql, token)


def renew(sql: Sql, token: str) -> float:
    """Renews the lease, also if it has expired and no other process took it; returns the database's time.

    Raises:
        StoreLost: another process took it.
    """
    statement = f"UPDATE lease SET expires_at = {_EXPIRY} WHERE token = ? RETURNING {NOW}"
    for (now,) in sql.execute(statement, (token,)):
        return float(now)
    raise StoreLost(f"another replica leads: {look(sql, token).holder}")


def release(sql: Sql, token: str) -> None:
    """Lets another process take the lease at once."""
    sql.execute("UPDATE lease SET expires_at = '-infinity' WHERE token = ?", (token,))


def _lease(sql: Sql | Reader, statement: str, token: str) -> Lease:
    for row in sql.execute(statement, (token,)):
        return Lease(row["holder"], row["version"], row["epoch"], row["free"], row["mine"], row["now"])
    # A person deleted it, and only a dump brings it back with the right version.
    raise StoreUnavailable("the table lease has no row")
