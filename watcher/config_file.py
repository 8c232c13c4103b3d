"""Which configuration file counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


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
