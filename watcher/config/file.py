"""Which configuration file counts, and what it holds."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file and who named it: `--config`, `WATCHER_CONFIG`, or nobody (`config.toml`)."""

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


def read(path: Path) -> dict[str, Any]:
    """Returns the tables of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8 text, not TOML (a `tomllib.TOMLDecodeError`), nested too deeply, or holds
            a number of more bits than TOML's 64.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # Python reads longer ones, but some of those it could not even write.
    if any(not -(2**63) <= number < 2**63 for number in _whole_numbers(tree)):
        raise ValueError("a whole number has more than 64 bits")
    return tree


def _whole_numbers(tree: dict[str, Any]) -> Iterator[int]:
    left: list[Any] = [tree]
    while left:
        match left.pop():
            case dict() as table:
                left += table.values()
            case list() as items:
                left += items
            case int() as number:
                yield number
