"""The command line. Whatever is slow to import is imported inside the command that needs it."""

import os
import sys
import time
from collections.abc import Coroutine
from contextlib import closing, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from watcher import __version__

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from watcher.config.models import Config
    from watcher.models import DeliveryRecord, DeliveryState
    from watcher.store.errors import StoreError

USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130
"""As shells say it of a command that Ctrl-C ended: 128 and the number of the signal."""
DELIVERY_STATES: Final = ("pending", "sent", "superseded", "dead")
"""As in `models`, which takes a third of the time of `--help` to import."""

NEWEST_SHOWN: Final = 50
"""Deliveries in the table, unless told otherwise: what a person looks through."""

T = TypeVar("T")

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with the settings [default: $WATCHER_CONFIG, else ./config.toml if it exists]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Duration(click.ParamType[float]):
    """A duration such as `30s`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the seconds."""
        from watcher.config.durations import parse_duration  # noqa: PLC0415

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="watcher")
def main() -> None:
    """Tells people when a Dynamiq agent run waits for a human.

    Settings come from WATCHER_… environment variables and a TOML file.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # not every locale knows every character
        sys.stdout.reconfigure(errors="backslashreplace")


@main.command()
@config_option
def run(config_file: Path | None) -> None:
    """Run the daemon: poll, compare, deliver, until SIGTERM or SIGINT."""
    with _without_rich():
        from watcher import daemon  # noqa: PLC0415

    config = _load(config_file)
    _until_done(daemon.run(config))


@main.command()
@config_option
def once(config_file: Path | None) -> None:
    """Poll every app once, deliver what is due, and exit.

    Exits with 1 if an app could not be polled whole or something due is undelivered.
    """
    with _without_rich():
        from watcher import daemon  # noqa: PLC0415

    config = _load(config_file)
    sys.exit(0 if _until_done(daemon.once(config)) else 1)


@main.command()
@config_option
@click.option("--send", is_flag=True, help="Also send a test message through every notifier.")
def check(config_file: Path | None, *, send: bool) -> None:
    """Check configuration, database, apps and notifiers, a line each.

    Exits with 1 if something is not good.
    """
    from watcher.cli import checks  # noqa: PLC0415

    config = _load(config_file)

    async def report() -> bool:
        good = True
        async for finding in checks.check_results(config, send=send):
            good = good and finding.good
            mark = "FAIL" if not finding.good else "WARN" if finding.warning else "ok  "
            click.echo(f"{mark}  {finding.subject}: {finding.words}")
        return good

    sys.exit(0 if _until_done(report()) else 1)


@main.command()
@config_option
@json_option
def pending(config_file: Path | None, *, as_json: bool) -> None:
    """List the requests that wait now, and who was told."""
    from watcher.cli import output  # noqa: PLC0415
    from watcher.monitoring.health import MISSED_INTERVALS  # noqa: PLC0415
    from watcher.store import queries  # noqa: PLC0415
    from watcher.store.requests import SUCCESS_SECONDS  # noqa: PLC0415

    config = _load(config_file, need_secrets=False)
    intervals = {app.name: app.poll_interval for app in config.apps}
    with _reading(config) as connection:
        if connection is not None:
            standing = queries.apps(connection)
            for name, interval in intervals.items():
                output.warn_of_old(
                    name,
                    standing[name].failure if name in standing else None,
                    polled_at=standing[name].last_success_at if name in standing else None,
                    usual_age=MISSED_INTERVALS * interval + SUCCESS_SECONDS,
                )
            waiting = queries.pending_requests(connection, list(intervals), details=not as_json)
            output.show_pending(waiting, as_json=as_json)
        elif as_json:
            output.show_pending([], as_json=True)


@main.command()
@config_option
@json_option
@click.option("--state", type=click.Choice(DELIVERY_STATES), help="Only those in this state.")
@click.option("--notifier", metavar="NAME", help="Only those to this notifier.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Only the newest N, 0: all [default: {NEWEST_SHOWN}; with --json all]",
)
def deliveries(
    config_file: Path | None,
    *,
    as_json: bool,
    state: "DeliveryState | None",
    notifier: str | None,
    limit: int | None,
) -> None:
    """List the deliveries, the newest last: what was sent, what waits, what was given up."""
    from watcher.cli import output  # noqa: PLC0415
    from watcher.store import queries  # noqa: PLC0415

    config = _load(config_file, need_secrets=False)
    most = limit if limit is not None else 0 if as_json else NEWEST_SHOWN
    found: list[DeliveryRecord] = []
    with _reading(config) as connection:
        exists = connection is not None
        if connection is not None:
            newest = most + 1 if most else -1  # one more tells whether there are more
            found = queries.deliveries(connection, state, now=time.time(), notifier=notifier, newest=newest)
    names = [section.name for section in config.notifiers]
    unknown = notifier is not None and notifier not in names and not found
    if as_json or (exists and not unknown):
        output.show_deliveries(found[-most:], as_json=as_json)
    if limit is None and 0 < most < len(found):
        click.echo(f"watcher: only the newest {most} are shown; all with --limit 0", err=True)
    if unknown:
        click.echo(f"watcher: there is no notifier {notifier!r}; configured: {', '.join(names)}", err=True)


@main.command()
@config_option
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@click.option("--all-dead", is_flag=True, help="Every delivery that was given up.")
def retry(config_file: Path | None, ids: tuple[int, ...], *, all_dead: bool) -> None:
    """Put dead deliveries back, by the ids that `watcher deliveries` shows."""
    from watcher.cli.retrying import NotDeadError, requeue  # noqa: PLC0415
    from watcher.store.errors import StoreError  # noqa: PLC0415

    if bool(ids) == all_dead:
        raise click.UsageError("name deliveries by ID, or give --all-dead, and not both")
    config = _load(config_file, need_secrets=False)
    try:
        count = requeue(config.database, None if all_dead else ids)
    except (NotDeadError, StoreError) as error:
        _usage_error(str(error))
    click.echo(f"{count} {'delivery' if count == 1 else 'deliveries'} put back")


@main.command("config")
@config_option
def show_config(config_file: Path | None) -> None:
    """Show the effective configuration and where each value came from. Secrets are masked."""
    from watcher.cli import output  # noqa: PLC0415
    from watcher.config.sources import effective  # noqa: PLC0415

    config = _load(config_file)
    output.show_settings(effective(config))
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)


@main.command("healthcheck")
@config_option
def healthcheck_command(config_file: Path | None) -> None:
    """Ask the daemon on this machine whether it is ready, for a container's HEALTHCHECK.

    Exits with 1 if it is not, or cannot be asked.
    """
    import watcher.cli.healthcheck as check  # noqa: PLC0415

    try:
        host, port = check.address(config_file, environ=os.environ, directory=Path.cwd())
    except check.UnusableError as error:
        _usage_error(str(error))
    answer = check.ask(host, port)
    click.echo(answer.words if answer.ready else f"not ready: {answer.words}")
    sys.exit(0 if answer.ready else 1)


@main.command("demo")
@config_option
@click.option("--for", "seconds", type=Duration(), metavar="DURATION", help="End by itself, e.g. after 30s.")
def demo_command(config_file: Path | None, seconds: float | None) -> None:
    """Show everything at once: a simulated app, watched, with every message on the terminal.

    Needs no configuration and no network; --config is accepted and not used.
    """
    del config_file
    import watcher.cli.demo as show  # noqa: PLC0415

    click.echo("Watching a simulated app; every message a person would get is shown here. Ctrl-C ends it.")
    _until_done(show.run(seconds, announce=click.echo))


class _WithScenarios(click.Command):
    """Tells below its options of the scenarios, and how to steer the simulator."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes both."""
        from watcher.simulator.catalog import DESCRIPTIONS, VERBS  # noqa: PLC0415

        del ctx
        with formatter.section("Scenarios"):
            formatter.write_dl(list(DESCRIPTIONS.items()))
        with formatter.section("To answer a request (GET / says which wait)"):
            formatter.write('  curl -d \'{"run_id": "…", "request_id": "…"}\' URL/_control/answer\n')
        with formatter.section("What can be posted to /_control/VERB"):
            formatter.write_text(", ".join(VERBS))


@main.command(cls=_WithScenarios)
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=4010, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--scenario",
    default="demo",
    show_default=True,
    metavar="NAME",
    help="What happens in it: one of those below.",
)
def simulate(config_file: Path | None, host: str, port: int, scenario: str) -> None:
    """Run the Runs API simulator by itself, to develop against.

    --config is accepted and not used.
    """
    del config_file
    from watcher.simulator.catalog import DESCRIPTIONS  # noqa: PLC0415

    if scenario not in DESCRIPTIONS:
        _usage_error(f"--scenario: there is no {scenario!r}; there are {', '.join(DESCRIPTIONS)}")
    from watcher.simulator import standalone  # noqa: PLC0415

    try:
        _until_done(standalone.run(host, port, scenario, announce=click.echo))
    except OSError as error:
        _usage_error(f"--host, --port: cannot listen on {host}:{port}: {error.strerror}")


@contextmanager
def _without_rich() -> "Iterator[None]":
    """Hides what httpx and structlog load where they find it, for things a daemon never shows: 4 MiB."""
    hidden = {"rich", "pygments"} - sys.modules.keys()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system takes it for: there is none
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _load(config_file: Path | None, *, need_secrets: bool = True) -> "Config":
    from watcher import logs  # noqa: PLC0415
    from watcher.config.sources import ConfigError, load  # noqa: PLC0415

    try:
        config = load(config_file, environ=os.environ, directory=Path.cwd(), need_secrets=need_secrets)
    except ConfigError as error:
        _usage_error(*error.problems)
    logs.configure(level=config.log_level, format=config.log_format, redactor=config.redactor)
    return config


def _until_done(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # noqa: PLC0415

    from watcher.daemon import CannotListenError, DaemonDiedError  # noqa: PLC0415
    from watcher.notifiers.base import NotifierUnusable  # noqa: PLC0415
    from watcher.sanitize.secrets import SecretError  # noqa: PLC0415
    from watcher.store.errors import StoreError, StoreUnusable  # noqa: PLC0415

    try:
        return asyncio.run(work)
    except StoreError as error:
        # What may pass, a full disk or a lock, is no fault of the settings: a supervisor is to try again.
        _exit_with(_of_database(error), USAGE_ERROR if isinstance(error, StoreUnusable) else 1)
    except (CannotListenError, NotifierUnusable, SecretError) as error:
        _exit_with(str(error), USAGE_ERROR)
    except DaemonDiedError as error:
        _exit_with(str(error), 1)
    except KeyboardInterrupt:  # before the daemon takes care of it, or where there is none
        _exit_with("interrupted", INTERRUPTED)


@contextmanager
def _reading(config: "Config") -> "Iterator[sqlite3.Connection | None]":
    """Opens the database to read; None where there is none yet, which is no error."""
    from watcher.store.errors import StoreError  # noqa: PLC0415
    from watcher.store.migrations import open_reader, translated  # noqa: PLC0415

    if not config.database.exists():
        click.echo(f"watcher: there is no database at {config.database} yet", err=True)
        yield None
        return
    try:
        with translated(config.database), closing(open_reader(config.database)) as connection:
            yield connection
    except StoreError as error:
        _usage_error(_of_database(error))


def _of_database(error: "StoreError") -> str:
    return f"database: {str(error).removeprefix('database ')}"


def _exit_with(words: str, status: int) -> NoReturn:
    """Ends the process with last words, after all that was logged, and be it that nobody reads them."""
    from watcher import logs  # noqa: PLC0415

    for line in words.splitlines():
        if not logs.say(f"watcher: {line}"):
            click.echo(f"watcher: {line}", err=True)
    sys.exit(status)


def _usage_error(*problems: str) -> NoReturn:
    for problem in problems:
        click.echo(f"watcher: {problem}", err=True)
    sys.exit(USAGE_ERROR)
