"""What is asked of a PostgreSQL server before a daemon relies on it. Nothing is changed."""

from dataclasses import dataclass
from typing import Final

from watcher.store.lease import NOW
from watcher.store.sql import Sql

_INSPECT: Final = f"""
SELECT current_setting('server_version') AS server,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE) AS encrypted,
    coalesce(inet_client_addr() = inet_server_addr(), TRUE) AS local, {NOW} AS now,
    (SELECT CAST(extract(epoch FROM max(clock_timestamp() - xact_start)) AS float8) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS longest_transaction,
    has_database_privilege(current_database(), 'CREATE') AS may_make_schema,
    has_schema_privilege(to_regnamespace(:schema), 'CREATE') AS may_make_tables,
    to_regclass(:lease) IS NOT NULL AS has_tables,
    has_table_privilege(to_regclass(:lease), 'SELECT') AND has_table_privilege(to_regclass(:lease), 'UPDATE')
        AND has_table_privilege(to_regclass(:requests), 'INSERT') AS may_write
"""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A server and a schema in it, at the Unix time `now` of the server.

    `local` says that the connection stays on this machine. `longest_transaction` is how many seconds the
    oldest open transaction of another session has lasted, as far as the role may see it. `lacking` names the
    right that is missing.
    """

    server: str
    encrypted: bool
    local: bool
    now: float
    longest_transaction: float | None
    has_tables: bool
    lacking: str | None


def inspect(sql: Sql, schema: str) -> Inspection:
    """Asks the server about itself and about the schema, which need not exist."""
    (row,) = sql.execute(
        _INSPECT, {"schema": schema, "lease": f"{schema}.lease", "requests": f"{schema}.requests"}
    )
    lacking = None
    if row["has_tables"]:
        lacking = None if row["may_write"] else f"rights on the tables of the schema {schema}"
    elif row["may_make_tables"] is None and not row["may_make_schema"]:
        lacking = f"the right to make the schema {schema} (CREATE on the database)"
    elif row["may_make_tables"] is False:
        lacking = f"the right to make tables in the schema {schema}"
    return Inspection(
        server=row["server"],
        encrypted=row["encrypted"],
        local=row["local"],
        now=row["now"],
        longest_transaction=row["longest_transaction"],
        has_tables=row["has_tables"],
        lacking=lacking,
    )
