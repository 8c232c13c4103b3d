"""The build of the package: imports go one way, quick commands load little, modules stay short."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final, get_args

import watcher
from watcher import simulator
from watcher.cli import queries
from watcher.models import DeliveryState

ROOT: Final = Path(watcher.__file__).parent

HEAVY: Final = (
    "aiohttp", "apprise", "apscheduler", "httpx", "jinja2", "prometheus_client", "pydantic", "pydantic_core",
    "pydantic_settings", "rich", "slack_sdk", "structlog",
)  # fmt: skip


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh interpreter has after running some code."""
    code = f"import sys; {code}; print([name for name in {names} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.stderr, answer.returncode) == ("", 0)
    return list(ast.literal_eval(answer.stdout))


def test_imports_go_downwards() -> None:
    """The layers in pyproject.toml hold: no module imports one of its own layer or of a higher one."""
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (linted.returncode, linted.stderr) == (0, ""), linted.stdout


def test_modules_are_short() -> None:
    """No module has more than 350 lines, so each can be read in one go."""
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in ROOT.rglob("*.py")}
    assert {} == {str(file): lines for file, lines in lengths.items() if lines > 350}


def test_the_command_line_loads_nothing_heavy() -> None:
    """`--help` and `--version` answer fast: importing the command line loads no library but its own."""
    assert [] == loaded("import watcher.cli.commands", (*HEAVY, "watcher.models"))
    assert get_args(DeliveryState) == queries.DELIVERY_STATES


def test_the_help_of_the_simulator_loads_nothing_heavy() -> None:
    """The list of scenarios is there without the simulator that plays them."""
    run = "CliRunner().invoke(group, ['simulate', '-h'])"
    code = f"from click.testing import CliRunner; from watcher.cli.commands import group; {run}"
    assert ["watcher.simulator.catalog"] == loaded(
        code, (*HEAVY, "watcher.simulator.state", "watcher.simulator.catalog")
    )


def test_the_healthcheck_loads_nothing_heavy() -> None:
    """A probe that runs every few seconds costs next to nothing."""
    assert [] == loaded("from watcher.cli import healthcheck; healthcheck.ask('127.0.0.1', 1)", HEAVY)


def test_what_only_the_endpoints_need_is_loaded_with_them() -> None:
    """A daemon without endpoints, and `once`, do without the libraries for metrics and the status page."""
    assert [] == loaded("import watcher.daemon", ("jinja2", "prometheus_client", "aiohttp.web"))


def test_a_daemon_loads_no_rich() -> None:
    """A daemon does without what only a terminal needs, and whoever needs it can still have it."""
    code = "from watcher.cli import service\nwith service.without_rich(): import watcher.daemon"
    assert [] == loaded(f"exec({code!r})", ("rich", "pygments"))
    assert ["rich"] == loaded(f"exec({code!r}); import watcher.cli.output", ("rich",))


def test_templates_are_loaded_with_the_first_status_page() -> None:
    """A daemon whose status page nobody looks at does without what makes it."""
    assert [] == loaded("import watcher.monitoring.server, watcher.monitoring.metrics", ("jinja2",))


def test_the_simulator_knows_nothing_of_the_watcher() -> None:
    """It imports nothing of the rest, so it cannot share the mistakes."""
    folder = Path(simulator.__file__).parent
    imported = {
        name
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.startswith("watcher")
    }

    assert {"watcher.simulator"} == {".".join(name.split(".")[:2]) for name in imported}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
