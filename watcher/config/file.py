"""The configuration file. A container's probe needs it too, so nothing here loads pydantic."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from watcher.sanitize.files import UnreadableFileError, read_regular_file

HTTP_HOST: Final = "127.0.0.1"
HTTP_PORT: Final = 8080
"""Where the endpoints listen by default."""

_SIZE_MAX: Final = 16 * 1024 * 1024

_KUBERNETES: Final = re.compile(
    r"WATCHER_(PORT|(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?))"
)
_KUBERNETES_VALUE: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


class ConfigFileError(Exception):
    """The file cannot be used; the message names it, and who named it."""


class ConfigFile(NamedTuple):
    """A file and who named it: `--config`, `WATCHER_CONFIG`, or the default (`config.toml`)."""

    path: Path
    origin: str


def find(named: Path | None, environ: Mapping[str, str], directory: Path) -> ConfigFile | None:
    """Returns the file that was named, whether it exists or not, else `config.toml` if there is one."""
    if named is not None:
        return ConfigFile(named, "--config")
    if by_variable := environ.get("WATCHER_CONFIG", "").strip():
        return ConfigFile(Path(by_variable), "WATCHER_CONFIG")
    usual = ConfigFile(directory / "config.toml", "config.toml")
    return usual if usual.path.exists() else None


def read(file: ConfigFile) -> dict[str, Any]:
    """Returns the tables of a file.

    Raises:
        ConfigFileError: it is not a regular file, cannot be read, is not UTF-8 text, not TOML, nested too
            deeply, or holds a number of more bits than TOML's 64, some of which Python could not even write.
    """
    try:
        tree = tomllib.loads(read_regular_file(file.path, _SIZE_MAX).decode("utf-8-sig"))
        if _numbers_fit(tree):
            return tree
        why = "a whole number has more than 64 bits"
    except UnreadableFileError as error:
        raise ConfigFileError(f"{file.origin}: {error}") from None
    except RecursionError:
        why = "it is nested too deeply"
    except UnicodeDecodeError:
        why = "it is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        why = f"invalid TOML: {error}"
    except ValueError as error:  # a number has too many digits
        why = str(error)
    raise ConfigFileError(f"{file.origin}: cannot read {file.path}: {why}")


def is_from_kubernetes(variable: str, value: str) -> bool:
    """Tells whether Kubernetes set a variable, for a Service named `watcher` or `watcher-…`."""
    return bool(_KUBERNETES.fullmatch(variable) or _KUBERNETES_VALUE.fullmatch(value))


def _numbers_fit(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_numbers_fit, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or -(2**63) <= value < 2**63
