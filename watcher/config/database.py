"""The setting `database`: the path of a SQLite file, or the URL of a PostgreSQL database."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, unquote

from pydantic import AfterValidator, PlainValidator, ValidationInfo

from watcher.config.fields import Loading, check_path, matching, sentence
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

DEFAULT_SCHEMA: Final = "watcher"

_ALLOWED: Final = "the path of a file, or postgresql://USER@HOST/NAME"
_URL: Final = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^\s/?#@]*)@)?[^\s/?#@]*(?:/(?P<name>[^\s/?#]*))?(?:\?(?P<query>[^\s#]*))?"
)
"""What libpq takes: several hosts may stand in it, which urllib would refuse."""
_NO_PATH: Final = re.compile(r"\s*\Z|:|[A-Za-z][\w+.-]*:")
"""Names of databases that would not last (`:memory:`), and what is meant as a URL (`file:`)."""
_PASSWORDS: Final = re.compile(r"(//[^/?#@]*?:)[^/?#]*(?=@)|([?&](?:ssl)?password=)[^&#]*")
"""Where a URL holds a password: before the host, or as a parameter of libpq's."""


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """Where a schema in PostgreSQL is. `url` goes to libpq as it is, so it may hold the password."""

    url: str = field(repr=False)
    schema: str = DEFAULT_SCHEMA
    password: Secret | None = field(default=None, compare=False)
    """Is to be read at each connect, so that a rotated one needs no restart."""

    def __str__(self) -> str:
        return _PASSWORDS.sub(r"\1\2********", self.url)


def _database(value: Any, info: ValidationInfo) -> Path | PostgresqlAddress:
    if isinstance(value, PostgresqlAddress):
        return value
    loading = info.context or Loading(Redactor())
    password, schema = info.data.get("database_password"), info.data.get("database_schema", DEFAULT_SCHEMA)
    if not isinstance(value, str | Path):
        raise ValueError(_ALLOWED)  # noqa: TRY004 - pydantic collects ValueErrors only
    if "://" not in str(value):
        unused = {"password": password is not None, "schema": schema != DEFAULT_SCHEMA}
        loading.warnings.extend(
            f"database_{name}: has no effect, because the database is a SQLite file"
            for name, given in unused.items()
            if given
        )
        if _NO_PATH.match(str(value)):
            raise ValueError(_ALLOWED)
        return check_path(Path(value))
    url = str(value).strip()
    secrets = _passwords_in(url)
    for secret in secrets:
        loading.redactor.add_secret(secret)
    if secrets and password is not None:
        raise sentence("both", "has a password, and database_password is given too; give one of them")
    return PostgresqlAddress(url, schema, password)


def _passwords_in(url: str) -> list[str]:
    """Returns the passwords in a PostgreSQL URL, as they are written and decoded.

    Raises:
        ValueError: it is no such URL.
    """
    parts = _URL.fullmatch(url)
    query = parse_qs(parts["query"] or "") if parts else {}
    if not parts or not (parts["name"] or {"dbname", "service"} & query.keys()):
        raise ValueError(_ALLOWED)
    written = (parts["user"] or "").partition(":")[2]
    given = [written, unquote(written), *query.get("password", ()), *query.get("sslpassword", ())]
    return [secret for secret in given if secret]


Database = Annotated[Path | PostgresqlAddress, PlainValidator(_database)]
Schema = Annotated[
    str,
    AfterValidator(
        matching(r"(?!pg_)[a-z_][a-z0-9_]{0,62}", "a name of lower-case letters, digits and _, not pg_…")
    ),
]
