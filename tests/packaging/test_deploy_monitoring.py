"""The alerts and the dashboard ask for metrics that there are, and say what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
(GROUP,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]

LABELS = {
    "watcher_polls_total": {"app", "outcome"},
    "watcher_poll_duration_seconds_bucket": {"app", "le"},
    "watcher_last_success_timestamp_seconds": {"app"},
    "watcher_app_up": {"app"},
    "watcher_pending_requests": {"app"},
    "watcher_oldest_pending_seconds": {"app"},
    "watcher_requests_total": {"app", "type"},
    "watcher_resolved_total": {"app", "outcome"},
    "watcher_time_to_answer_seconds_bucket": {"app", "le"},
    "watcher_deliveries_total": {"notifier", "event", "outcome"},
    "watcher_undelivered": {"notifier"},
    "watcher_oldest_undelivered_seconds": {"notifier"},
    "watcher_notify_latency_seconds_bucket": {"notifier", "le"},
    "watcher_build_info": {"version"},
    "watcher_leader": set(),
}
"""What the watcher shows, with the labels of each."""
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""
PANELS = {"row", "stat", "state-timeline", "table", "timeseries"}
"""Kinds of panels that come with Grafana."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, of Prometheus, is not installed here"
)


def panels() -> list[dict[str, Any]]:
    """Returns the panels that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Yields what the dashboard asks, with values for its variables."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "2m")
            yield expression.replace("$app", ".*").replace("$notifier", ".*")


EXPRESSIONS = [*(rule["expr"] for rule in RULES), *queries()]


def promtool(*arguments: str | Path) -> None:
    """Runs promtool and fails with what it says."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_is_one_of_ours(expression: str) -> None:
    """No alert and no panel asks for a metric or a label that the watcher does not show."""
    names = set(re.findall(r"\bwatcher_\w+", expression))
    assert names - LABELS.keys() == set()
    assert names or expression.startswith("up{")
    allowed = SCRAPED.union(*(LABELS[name] for name in names))
    listed = re.findall(r"\b(?:by|on) ?\(([\w, ]*)\)", expression)
    matched = re.findall(r'(\w+)=~?"', expression)
    used = {label.strip() for text in listed for label in text.split(",")} | set(matched)
    assert used - {""} - allowed == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """An alert has a severity, a summary in one sentence and a description of some length."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 100


def test_alerts_name_only_labels_that_they_have() -> None:
    """A text that is filled in with a label is filled in with one that is left of the expression."""
    for rule in RULES:
        text = " ".join(rule["annotations"].values())
        grouped = re.findall(r"\bsum by \(([\w, ]*)\)", rule["expr"])
        for label in re.findall(r"\$labels\.(\w+)", text):
            names = re.findall(r"\bwatcher_\w+", rule["expr"])
            assert label in SCRAPED.union(*(LABELS[name] for name in names))
            assert not grouped or label in grouped


def test_the_dashboard_fits_any_grafana() -> None:
    """Panels have ids of their own, do not overlap, need no plugin, and ask whichever source is chosen."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert {panel["type"] for panel in DASHBOARD["panels"]} <= PANELS
    taken = [cell for panel in DASHBOARD["panels"] for cell in cells(panel["gridPos"])]
    assert len(taken) == len(set(taken))
    assert max(column for column, _ in taken) < 24
    source = {"type": "prometheus", "uid": "${datasource}"}
    asked = [part["datasource"] for panel in panels() for part in (panel, *panel["targets"])]
    assert [other for other in asked if other != source] == []


def cells(position: dict[str, int]) -> list[tuple[int, int]]:
    """Returns the cells of the grid that a panel covers."""
    columns = range(position["x"], position["x"] + position["w"])
    rows = range(position["y"], position["y"] + position["h"])
    return [(column, row) for column in columns for row in rows]


def test_missing_data_is_shown_as_missing() -> None:
    """No query fills a gap with zero, and no current figure is an old one."""
    assert [] == [expression for expression in EXPRESSIONS if "vector(" in expression]
    figures = [panel for panel in panels() if panel["type"] in {"stat", "table"}]
    assert {"no data"} == {panel["fieldConfig"]["defaults"]["noValue"] for panel in figures}
    assert all(target.get("instant") for panel in figures for target in panel["targets"])


def test_the_variables_of_the_dashboard_are_used_and_known() -> None:
    """The dashboard can be narrowed to apps and notifiers, by metrics that each of them always has."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "app", "notifier"]
    for name in ("app", "notifier"):
        ((metric, label),) = re.findall(r"^label_values\((\w+), (\w+)\)$", variables[name]["definition"])
        assert label == name
        assert label in LABELS[metric]


@needs_promtool
def test_promtool_finds_the_alerts_right() -> None:
    """The rules are valid, and fire in the cases they are for and in no other."""
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", ALERTS.with_name("alerts.test.yaml"))


@needs_promtool
def test_promtool_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """What the panels ask is PromQL."""
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", "--lint=none", file)


def test_every_alert_is_tried() -> None:
    """Each alert is expected to fire in one of the cases of the rules' own tests."""
    cases = ALERTS.with_name("alerts.test.yaml").read_text(encoding="utf-8")
    firing = set(re.findall(r'alertname="(\w+)",\s+alertstate="firing"', cases))
    for case in yaml.safe_load(cases)["tests"]:
        firing |= {tried["alertname"] for tried in case.get("alert_rule_test", []) if tried["exp_alerts"]}
    assert firing == {rule["alert"] for rule in RULES}
