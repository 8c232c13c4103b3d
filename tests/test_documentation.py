"""What the documents say of the settings is true and complete."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from watcher.config_reading import APP_SHORTCUTS, NOTIFIER_SHORTCUTS
from watcher.config_schema import (
    AppriseTable,
    AppTable,
    ConsoleTable,
    Settings,
    SlackTable,
    Table,
    WebhookTable,
)
from watcher.config_sources import load

ROOT = Path(__file__).parent.parent
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

TABLES: dict[str, type[Table]] = {
    "apps.support": AppTable,
    "notifiers.approvals": SlackTable,
    "notifiers.audit": WebhookTable,
    "notifiers.phone": AppriseTable,
}
GLOBAL = [name for name in Settings.model_fields if name not in {"apps", "notifiers"}]


def uncommented(text: str) -> str:
    """Returns the example with every setting in effect."""
    return re.sub(r"^# (?=(\w+ = |\[\w+\.\w+\]$))", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", GLOBAL)
def test_every_global_setting_is_documented(name: str) -> None:
    """Each global setting stands in the example and, but for twins, in the README with its variable."""
    assert name in tomllib.loads(uncommented(EXAMPLE))
    if not name.endswith("_file"):
        assert f"`{name}`" in README
        assert f"`WATCHER_{name.upper()}`" in README


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_of_a_table_is_documented(table: str) -> None:
    """Each setting of an app and of a notifier stands in the example and, but for twins, in the README."""
    first, second = table.split(".")
    written = tomllib.loads(uncommented(EXAMPLE))[first][second]
    fields = list(TABLES[table].model_fields)
    common = set(ConsoleTable.model_fields) - {"type"}
    expected = [name for name in fields if table == "notifiers.approvals" or name not in common]
    assert [name for name in expected if name not in written] == []
    assert [name for name in fields if not name.endswith("_file") and f"`{name}`" not in README] == []


def test_every_shortcut_is_documented() -> None:
    """Each variable that needs no table stands in the README, or its twin without _FILE does."""
    names = [f"WATCHER_{name.upper()}" for name in [*APP_SHORTCUTS, *NOTIFIER_SHORTCUTS]]
    assert [name for name in names if f"`{name.removesuffix('_FILE')}`" not in README] == []


def test_the_example_says_the_real_defaults() -> None:
    """What the example shows as a default is the default."""
    written: dict[str, Any] = tomllib.loads(uncommented(EXAMPLE))
    defaults = Settings.model_construct()
    without = {"apps", "notifiers", "link_template", "heartbeat_url", "heartbeat_url_file"}
    shown = {name: value for name, value in written.items() if name not in without}
    assert Settings(**shown).model_dump() == defaults.model_dump()
    slack = SlackTable(**written["notifiers"]["approvals"])
    assert [getattr(slack, name) for name in ("after", "remind_after", "resolved", "mention")] == [
        SlackTable.model_fields[name].default for name in ("after", "remind_after", "resolved", "mention")
    ]


def test_the_example_can_be_used_as_it_stands(tmp_path: Path) -> None:
    """The example is a configuration without problems or warnings."""
    file = tmp_path / "config.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    config = load(None, environ={}, directory=tmp_path)
    assert [app.name for app in config.apps] == ["support"]
    assert [notifier.name for notifier in config.notifiers] == ["approvals", "audit"]
    assert config.warnings == ()
