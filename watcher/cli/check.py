"""`watcher check`: a line for everything that the daemon will need."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.cli.options import config_option
from watcher.cli.process import load_config, run_async

if TYPE_CHECKING:
    from watcher.config.models import Config


@click.command(short_help="Check configuration, database, apps and notifiers.")
@config_option
@click.option("--send", is_flag=True, help="Also send a test message through every notifier.")
def check(config_file: Path | None, *, send: bool) -> None:
    """Check configuration, database, apps and notifiers, and print a line for each.

    Exits with 1 if any check fails.
    """
    config = load_config(config_file)
    sys.exit(0 if run_async(_report(config, send=send)) else 1)


async def _report(config: "Config", *, send: bool) -> bool:
    from watcher.cli.probes import check_results

    good = True
    async for result in check_results(config, send=send):
        good = good and result.good
        mark = "FAIL" if not result.good else "WARN" if result.warning else "ok  "
        click.echo(f"{mark}  {result.subject}: {result.text}")
    return good
