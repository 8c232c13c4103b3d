"""`watcher healthcheck`: asks the daemon on this machine whether it is ready.

It runs every few seconds in a container, so it loads little, and needs of the settings only where the daemon
listens: a secret that is missing here is not its business.
"""

import http.client
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from watcher import config_file
from watcher.text import cut, printable

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
    port = str(settings["http_port"])
    if not port.isdecimal() or int(port) not in range(65536):
        raise UnusableError(f"http_port: got {cut(repr(port), 100)}; must be a port, or 0")
    return str(settings["http_host"]), int(port)


def ask(host: str, port: int) -> Answer:
    """Asks `/readyz`; what cannot be reached is not ready."""
    if port == 0:
        return Answer(ready=False, words="http_port is 0, so there is nobody to ask")
    connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(_READ_AT_MOST)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        return Answer(ready=False, words=f"cannot ask {host} port {port}: {printable(why)}")
    finally:
        connection.close()
    if response.status == http.client.OK:
        return Answer(ready=True, words="ready")
    return Answer(ready=False, words=cut(_problems(body) or f"HTTP {response.status}", _SHOWN))


def _from_file(found: config_file.ConfigFile | None) -> dict[str, Any]:
    if found is None:
        return {}
    try:
        tree = tomllib.loads(found.path.read_text(encoding="utf-8"))
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
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return printable("; ".join(reasons))
