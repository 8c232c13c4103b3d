"""`watcher healthcheck`: asks the daemon on this machine whether it is ready.

A container runs it every few seconds, so it imports little. Of the settings it needs only where the daemon
listens, so a missing secret does not matter.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from watcher.cli.options import config_option
from watcher.cli.process import usage_error

TIMEOUT: Final = 5.0
"""Seconds that the daemon may take to answer."""
_LOOPBACK_OF: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not listened on
_READ_AT_MOST: Final = 1 << 20
_SHOWN: Final = 1000


class UnusableError(Exception):
    """The settings do not say where the daemon listens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the daemon is ready, and if not, why."""

    ready: bool
    text: str


@click.command(short_help="Ask the local daemon whether it is ready.")
@config_option
def healthcheck(config_file: Path | None) -> None:
    """Ask the daemon on this machine whether it is ready, for a container's HEALTHCHECK.

    Exits with 1 if it is not ready or does not answer.
    """
    try:
        host, port = address(config_file, environ=os.environ, directory=Path.cwd())
    except UnusableError as error:
        usage_error(str(error))
    answer = ask(host, port)
    click.echo(answer.text if answer.ready else f"not ready: {answer.text}")
    sys.exit(0 if answer.ready else 1)


def address(named: Path | None, *, environ: Mapping[str, str], directory: Path) -> tuple[str, int]:
    """Returns host and port of the endpoints, by the same precedence as all settings.

    Raises:
        UnusableError: the file cannot be read, or a value is not allowed.
    """
    from watcher.config import file

    settings: dict[str, Any] = {"http_host": file.HTTP_HOST, "http_port": file.HTTP_PORT}
    found = file.find(named, environ, directory)
    try:
        written = {} if found is None else file.read(found)
    except file.ConfigFileError as error:
        raise UnusableError(str(error)) from None
    for name, default in settings.items():
        variable = f"WATCHER_{name.upper()}"
        value = environ.get(variable, "").strip()
        ours = value and not file.is_from_kubernetes(variable, value)
        settings[name] = value if ours else written.get(name, default)
    return str(settings["http_host"]), _port(settings["http_port"])


def ask(host: str, port: int) -> Answer:
    """Asks `/readyz`; a daemon that does not answer is not ready."""
    import http.client

    from watcher.sanitize.text import one_line, truncate

    if port == 0:
        return Answer(ready=False, text="http_port is 0, so the daemon has no endpoints to ask")
    try:
        with closing(
            http.client.HTTPConnection(_LOOPBACK_OF.get(host, host), port, timeout=TIMEOUT)
        ) as connection:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read(_READ_AT_MOST)
    except ConnectionRefusedError:
        return Answer(ready=False, text=f"the daemon isn't answering on {host}:{port}. Is it running?")
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid host name
        why = str(error) or type(error).__name__
        shown = one_line(f"the daemon isn't answering on {host}:{port}: {why}")
        return Answer(ready=False, text=truncate(shown, _SHOWN))
    if response.status == http.client.OK:
        return Answer(ready=True, text="ready")
    return Answer(ready=False, text=truncate(_problems(body) or f"HTTP {response.status}", _SHOWN))


def _port(value: Any) -> int:
    from watcher.sanitize.text import truncate

    try:
        written = str(value)
        if written.isdecimal() and int(written) in range(65536):
            return int(written)
    except ValueError:  # Python limits the digits that it reads and writes
        written = "a number with too many digits"
    raise UnusableError(f"http_port: got {truncate(repr(written), 100)}; must be a port from 0 to 65535")


def _problems(body: bytes) -> str:
    """Returns the daemon's reasons in one line, or nothing if it is not the daemon that answers."""
    import json

    from watcher.sanitize.text import one_line

    try:
        problems = json.loads(body)["problems"]
        reasons = [
            " ".join(
                name if kind == "part" else f"{kind} {name}"
                for kind, name in problem.items()
                if kind != "reason"
            )
            + f": {problem['reason']}"
            for problem in problems
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return one_line("; ".join(reasons))
