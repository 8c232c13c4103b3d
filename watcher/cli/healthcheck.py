"""`watcher healthcheck`: asks the daemon on this machine whether it is ready.

It runs every few seconds in a container, so it loads little, and needs of the settings only where the daemon
listens: a secret that is missing here is not its business.
"""

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from watcher.config import file as config_file
from watcher.sanitize.text import one_line, truncate

TIMEOUT: Final = 5.0
"""Seconds that the daemon may take to answer."""
DEFAULTS: Final = {"http_host": "127.0.0.1", "http_port": 8080}
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked instead of them
_READ_AT_MOST: Final = 1 << 20
_SHOWN: Final = 1000


class UnusableError(Exception):
    """The settings do not say where the daemon listens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the daemon is ready, and in words why not."""

    ready: bool
    words: str


def address(named: Path | None, *, environ: Mapping[str, str], directory: Path) -> tuple[str, int]:
    """Returns host and port of the endpoints, by the same precedence as all settings.

    Raises:
        UnusableError: the file cannot be read, or a value is none that is allowed.
    """
    settings = {**DEFAULTS, **_from_file(config_file.find(named, environ, directory))}
    for name in DEFAULTS:
        if given := environ.get(f"WATCHER_{name.upper()}", "").strip():
            settings[name] = given
    return str(settings["http_host"]), _port(settings["http_port"])


def ask(host: str, port: int) -> Answer:
    """Asks `/readyz`; what cannot be reached is not ready."""
    if port == 0:
        return Answer(ready=False, words="http_port is 0, so there is nobody to ask")
    try:
        with closing(
            http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=TIMEOUT)
        ) as connection:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read(_READ_AT_MOST)
    except (OSError, http.client.HTTPException, ValueError) as error:  # a ValueError is a host that is none
        why = str(error) or type(error).__name__
        words = one_line(f"cannot ask {host} port {port}: {why}")
        return Answer(ready=False, words=truncate(words, _SHOWN))
    if response.status == http.client.OK:
        return Answer(ready=True, words="ready")
    return Answer(ready=False, words=truncate(_problems(body) or f"HTTP {response.status}", _SHOWN))


def _port(value: Any) -> int:
    try:
        written = str(value)
        if written.isdecimal() and int(written) in range(65536):
            return int(written)
    except ValueError:  # Python writes and reads no more digits than a limit
        written = "a number without end"
    raise UnusableError(f"http_port: got {truncate(repr(written), 100)}; must be a port, or 0")


def _from_file(found: config_file.ConfigFile | None) -> dict[str, Any]:
    if found is None:
        return {}
    try:
        tree = config_file.read(found.path)
    except (OSError, ValueError) as error:
        raise UnusableError(f"{found.origin}: cannot read {found.path}: {error}") from None
    return {name: tree[name] for name in DEFAULTS if name in tree}


def _problems(body: bytes) -> str:
    """Returns the reasons that the daemon gives, in a line; nothing if it is not the daemon that answers."""
    try:
        problems = json.loads(body)["problems"]
        reasons = [
            " ".join(f"{kind} {name}" for kind, name in problem.items() if kind != "reason")
            + f": {problem['reason']}"
            for problem in problems
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return one_line("; ".join(reasons))
