"""What the documents say of settings, commands, metrics and the log is true and complete."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import watcher
from watcher.cli.commands import group
from watcher.config.models import (
    AppConfig,
    AppriseConfig,
    GlobalSettings,
    NotifierConfig,
    SlackConfig,
    Table,
    WebhookConfig,
)
from watcher.config.sources import SHORT_VARIABLES, load
from watcher.monitoring.health import Status
from watcher.monitoring.metrics import Metrics
from watcher.store.results import AppStatus, NotifierStatus

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "deploy" / "settings.md").read_text(encoding="utf-8")
MONITORING = (ROOT / "deploy" / "monitoring.md").read_text(encoding="utf-8")

TABLES: dict[str, type[Table]] = {
    "apps.support": AppConfig,
    "notifiers.approvals": SlackConfig,
    "notifiers.audit": WebhookConfig,
    "notifiers.phone": AppriseConfig,
}


def uncommented(text: str) -> str:
    """Returns the example with every setting in effect."""
    return re.sub(r"^# (?=(\w+ = |\[\w+\.\w+\]$))", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", GlobalSettings.setting_names())
def test_every_global_setting_is_documented(name: str) -> None:
    """Each global setting stands in the example and, but for twins, in settings.md with its variable."""
    assert name in tomllib.loads(uncommented(EXAMPLE))
    if not name.endswith("_file"):
        assert f"`{name}`" in SETTINGS
        assert f"`WATCHER_{name.upper()}`" in SETTINGS


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_of_a_table_is_documented(table: str) -> None:
    """Each setting of an app and of a notifier stands in the example and, but for twins, in settings.md."""
    first, second = table.split(".")
    written = tomllib.loads(uncommented(EXAMPLE))[first][second]
    fields = TABLES[table].setting_names()
    common = set(NotifierConfig.setting_names())
    expected = [name for name in fields if table == "notifiers.approvals" or name not in common]
    assert [name for name in expected if name not in written] == []
    assert [name for name in fields if not name.endswith("_file") and f"`{name}`" not in SETTINGS] == []


def test_every_shortcut_is_documented() -> None:
    """Each variable that needs no table stands in settings.md, or its twin without _FILE does."""
    assert [name for name in SHORT_VARIABLES if f"`{name.removesuffix('_FILE')}`" not in SETTINGS] == []


def test_the_example_says_the_real_defaults() -> None:
    """What the example shows as a default is the default."""
    written: dict[str, Any] = tomllib.loads(uncommented(EXAMPLE))
    without = {"apps", "notifiers", "link_template", "public_url", "heartbeat_url", "heartbeat_url_file"}
    without |= {"database_password", "database_password_file"}
    shown = {name: value for name, value in written.items() if name not in without}
    assert GlobalSettings(**shown) == GlobalSettings()
    names = ("after", "remind_after", "resolved", "mention")
    approvals = written["notifiers"]["approvals"]
    given = {"webhook_url": "https://hooks.slack.com/x", **{name: approvals[name] for name in names}}
    slack = SlackConfig.model_validate({"name": "approvals", **given})
    assert [getattr(slack, name) for name in names] == [
        SlackConfig.model_fields[name].default for name in names
    ]


def test_the_example_can_be_used_as_it_stands(tmp_path: Path) -> None:
    """The example is a configuration without problems or warnings."""
    file = tmp_path / "config.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    config = load(None, environ={}, directory=tmp_path)
    assert [app.name for app in config.apps] == ["support"]
    assert [notifier.name for notifier in config.notifiers] == ["approvals", "audit"]
    assert config.warnings == ()


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the last table in a section of monitoring.md, without its head."""
    section = MONITORING.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    table = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[-1]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def quoted(cell: str) -> list[str]:
    """Returns the names in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_command_is_documented() -> None:
    """Each command stands in the README."""
    assert [name for name in group.commands if f"`watcher {name}" not in README] == []


def test_every_metric_is_documented() -> None:
    """monitoring.md names exactly the metrics that there are, with exactly their labels."""
    metrics = Metrics(apps=["a"], notifiers=["n"], outcomes=["success"], version="1")
    app = AppStatus("a", 1.0, 1.0, 1.0, 1.0, 1.0, worked=True, failure=None, pending=0, oldest_pending=None)
    metrics.show(lambda: Status((app,), (NotifierStatus("n", 0, None, None, 0, None, None),)))
    text = metrics.text().decode()
    real = {
        name: sorted(
            {
                label
                for labels in re.findall(rf"^{name}(?:_bucket)?\{{(.*)\}}", text, re.MULTILINE)
                for label in re.findall(r"(\w+)=", labels)
            }
            - {"le"}
        )
        for name in re.findall(r"^# TYPE (watcher_\w+)", text, re.MULTILINE)
    }
    written = {quoted(row[0])[0]: sorted(quoted(row[1])) for row in rows("Metrics")}
    assert written == real


LOGGING = {"debug", "info", "warning", "error", "exception", "write"}


def logged() -> set[str]:
    """Returns every name of an event that the package logs, directly or by way of a variable."""
    found: set[str] = set()
    for file in Path(watcher.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        values = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            first = node.args[0]
            given = values.get(first.id, first) if isinstance(first, ast.Name) else first
            if name in LOGGING:
                texts = [str(part.value) for part in ast.walk(given) if isinstance(part, ast.Constant)]
                found |= {text for text in texts if re.fullmatch(r"[a-z_]+\.[a-z_]+", text)}
    return found


def test_every_event_of_the_log_is_documented() -> None:
    """monitoring.md names exactly the events that the package can log."""
    written = {name for row in rows("Log") for name in quoted(row[0])}
    assert sorted(written) == sorted(logged())
