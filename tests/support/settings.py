"""Settings to load, and how the tests of the configuration load them."""

from collections.abc import Callable
from typing import Final

from watcher.config.models import Config

APP: Final = {"WATCHER_BASE_URL": "https://app.example.com"}
NEEDED_APP: Final = '[apps.a]\nbase_url = "https://app.example.com"\n'
CONSOLE: Final = '[notifiers.c]\ntype = "console"\n'
SECRET_VALUE: Final = "LEAKED-0123456789"
SESSION: Final = "3D3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d"

Load = Callable[..., Config]
"""Loads from a TOML text and variables."""
Problems = Callable[..., tuple[str, ...]]
"""The same for what cannot be used; returns the problems."""
