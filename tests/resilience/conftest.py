"""What all tests of resilience need."""

import importlib
import pkgutil

import pytest

import watcher


@pytest.fixture(scope="session", autouse=True)
def everything_is_imported() -> None:
    """Hypothesis draws constants from the loaded modules, so one that is loaded later changes the draws."""
    for found in pkgutil.walk_packages(watcher.__path__, "watcher."):
        if found.name != "watcher.__main__":
            importlib.import_module(found.name)
