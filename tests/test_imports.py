"""Imports go one way: who may know of whom, and what a quick command must not load."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final, get_args

import pytest

import watcher
from watcher import cli
from watcher.models import DeliveryState

ROOT: Final = Path(watcher.__file__).parent

LAYERS: Final = (
    {"__main__"},
    {"cli"},
    {"checks", "demo", "healthcheck", "retrying"},
    {"daemon"},
    {"parts"},
    {"dispatcher", "endpoints", "schedule"},
    {"status_page"},
    {"heartbeat", "metrics", "monitor", "poller", "server"},
    {"app_alert", "holding", "sightings"},
    {"api", "diff", "logs", "notifiers", "redaction", "store", "tables"},
    {"health", "pending"},
    {"api_errors", "config_sources", "messages", "runs"},
    {"config_checking"},
    {"config", "config_reading"},
    {"config_file", "config_schema", "documents", "observer", "simulator", "sizes"},
    {
        "backoff",
        "durations",
        "ids",
        "models",
        "pace",
        "proxies",
        "scenario_names",
        "secrets",
        "text",
        "threads",
        "vitals",
        "writing",
    },
)
"""From the top downwards: a part imports itself and what stands in a layer below its own, no other.

A part is a module of the package or a whole subpackage.
"""
LOADING: Final = {"config_sources", "config_checking", "config_reading", "config_schema"}
"""How a configuration comes together; everybody else is handed the section that concerns them."""
WHOLE_CONFIGURATION: Final = {"cli", "checks", "demo", "daemon", "parts", "config_sources"}
COMMANDS: Final = {"cli", "checks", "demo", "daemon", "parts"}
HEAVY: Final = (
    "aiohttp", "apprise", "apscheduler", "httpx", "jinja2", "prometheus_client", "pydantic", "pydantic_core",
    "pydantic_settings", "rich", "slack_sdk", "structlog",
)  # fmt: skip


def part_of(module: str) -> str:
    """`notifiers` for `watcher.notifiers.slack.notifier`."""
    return module.split(".")[1]


def imported(file: Path) -> set[str]:
    """What a file imports, by its full name, `watcher.config.models.Config` for a name out of a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports() -> dict[str, set[str]]:
    """What each part imports of the others, by name."""
    found: dict[str, set[str]] = {}
    for file in ROOT.rglob("*.py"):
        part = file.relative_to(ROOT).with_suffix("").parts[0]
        names = {name for name in imported(file) if name.startswith("watcher.")}
        found.setdefault(part, set()).update(names - {"watcher.__version__"})
    del found["__init__"]
    return found


IMPORTS: Final = imports()
DEPENDENCIES: Final = {part: {part_of(name) for name in names} - {part} for part, names in IMPORTS.items()}
DEPTH: Final = {part: depth for depth, layer in enumerate(LAYERS) for part in layer}


def reached(part: str) -> set[str]:
    """Everything that comes along when a part is imported."""
    found: set[str] = set()
    left = {part}
    while left:
        found |= left
        left = set().union(*(DEPENDENCIES[one] for one in left)) - found
    return found - {part}


def users(parts: set[str]) -> set[str]:
    """Who imports one of the parts, apart from themselves."""
    return {part for part, others in DEPENDENCIES.items() if others & parts} - parts


def test_every_part_has_its_layer() -> None:
    """A new module is given a layer, so that what it may import is decided and not left to chance."""
    assert set() == DEPENDENCIES.keys() - DEPTH.keys()


def test_imports_go_downwards() -> None:
    """No part imports one of its own layer or of a higher one, which also rules out cycles."""
    upwards = [
        f"{part} imports {other}"
        for part, others in DEPENDENCIES.items()
        for other in others
        if DEPTH[other] <= DEPTH[part]
    ]
    assert sorted(upwards) == []


@pytest.mark.parametrize(
    ("part", "strangers"),
    [
        ("notifiers", {"store", "api", "poller"}),
        ("api", {"store", "notifiers", "config"}),
        ("store", {"notifiers", "api", "config", "messages"}),
        ("diff", {"store", "api", "config", "secrets"}),
        ("health", {"store", "api", "config", "poller"}),
        ("server", {"api", "config", "poller", "dispatcher", "notifiers"}),
        ("monitor", {"api", "config", "poller", "dispatcher", "notifiers"}),
        ("poller", {"metrics", "server", "monitor"}),
        ("dispatcher", {"metrics", "server", "monitor"}),
        ("messages", {"store", "api", "config"}),
        ("models", set(DEPTH) - {"models"}),
        ("simulator", set(DEPTH) - {"simulator", "scenario_names", "models"}),
    ],
)
def test_strangers(part: str, strangers: set[str]) -> None:
    """Some parts never come to know of some others, not even through a third."""
    assert set() == reached(part) & strangers


def test_only_commands_load_the_configuration() -> None:
    """How settings are found and checked concerns nobody but the commands."""
    assert set() == users(LOADING) - COMMANDS


def test_few_know_the_whole_configuration() -> None:
    """The parts get their own section, not everything that was configured."""
    knowing = {part for part, names in IMPORTS.items() if "watcher.config.models.Config" in names}
    assert set() == knowing - WHOLE_CONFIGURATION


def test_only_commands_run_the_simulator() -> None:
    """What imitates the Runs API is no part of what speaks to it."""
    assert users({"simulator"}) <= {"cli", "demo"}


def test_only_the_client_knows_httpx() -> None:
    """The library that speaks to the Runs API can be exchanged in one module."""
    knowing = [
        file.name for file in ROOT.rglob("*.py") if "httpx" in {name.split(".")[0] for name in imported(file)}
    ]
    assert knowing == ["api.py"]


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh interpreter has after running some code."""
    code = f"import sys; {code}; print([name for name in {names} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.stderr, answer.returncode) == ("", 0)
    return list(ast.literal_eval(answer.stdout))


def test_the_command_line_loads_nothing_heavy() -> None:
    """`--help` and `--version` answer fast: importing the command line loads no library but its own."""
    assert [] == loaded("import watcher.cli", (*HEAVY, "watcher.models"))
    assert get_args(DeliveryState) == cli.DELIVERY_STATES


def test_the_help_of_the_simulator_loads_nothing_heavy() -> None:
    """The list of scenarios is there without the simulator that plays them."""
    run = "CliRunner().invoke(main, ['simulate', '-h'])"
    code = f"from click.testing import CliRunner; from watcher.cli import main; {run}"
    assert ["watcher.simulator.catalog"] == loaded(
        code, (*HEAVY, "watcher.simulator", "watcher.simulator.catalog")
    )


def test_the_healthcheck_loads_nothing_heavy() -> None:
    """A probe that runs every few seconds costs next to nothing."""
    assert [] == loaded("import watcher.cli, watcher.cli.healthcheck", HEAVY)


def test_what_only_the_endpoints_need_is_loaded_with_them() -> None:
    """A daemon without endpoints, and `once`, do without the libraries for metrics and the status page."""
    assert [] == loaded("import watcher.daemon", ("jinja2", "prometheus_client", "aiohttp.web"))


def test_a_daemon_loads_no_rich() -> None:
    """A daemon does without what only a terminal needs, and whoever needs it can still have it."""
    code = "from watcher import cli\nwith cli._without_rich(): import watcher.daemon"
    assert [] == loaded(f"exec({code!r})", ("rich", "pygments"))
    assert ["rich"] == loaded(f"exec({code!r}); import watcher.cli.output", ("rich",))


def test_templates_are_loaded_with_the_first_status_page() -> None:
    """A daemon whose status page nobody looks at does without what makes it."""
    assert [] == loaded("import watcher.monitoring.endpoints", ("jinja2",))
