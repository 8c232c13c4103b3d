"""`watcher simulate`: the Runs API simulator by itself."""

import os
from pathlib import Path

import click

from watcher.cli.options import Whole, config_option
from watcher.cli.process import run_async, usage_error


class _WithScenarios(click.Command):
    """Lists below its options the scenarios, and how to control the simulator."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes both."""
        from watcher.simulator.catalog import DESCRIPTIONS, VERBS

        del ctx
        with formatter.section("Scenarios"):
            formatter.write_dl(list(DESCRIPTIONS.items()))
        with formatter.section("To answer a request (GET / lists those that are pending)"):
            formatter.write('  curl -d \'{"run_id": "…", "request_id": "…"}\' URL/_control/answer\n')
        with formatter.section(
            "Verbs for URL/_control/VERB, which take their arguments ([optional]) as a JSON object"
        ):
            formatter.write_dl([(name, str(verb)) for name, verb in VERBS.items()])


@click.command(cls=_WithScenarios, short_help="Run the Runs API simulator by itself, to develop against.")
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4010, show_default=True, type=Whole(0, 65535), help="0 picks a free port.")
@click.option(
    "--scenario", default="demo", show_default=True, metavar="NAME", help="One of the scenarios below."
)
def simulate(config_file: Path | None, host: str, port: int, scenario: str) -> None:
    """Run the Runs API simulator by itself, to develop against.

    It needs no configuration: --config is accepted and ignored.
    """
    del config_file
    from watcher.simulator.catalog import DESCRIPTIONS

    if scenario not in DESCRIPTIONS:
        usage_error(f"--scenario: {scenario!r} is not one of: {', '.join(DESCRIPTIONS)}")
    from watcher.simulator import standalone

    try:
        run_async(standalone.run(host, port, scenario, announce=click.echo))
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that is no name at all
        number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
        # The text of asyncio says a second time that it cannot listen there.
        reason = os.strerror(number) if number and number > 0 else text or str(error)
        usage_error(f"--host, --port: cannot listen on {host}:{port}: {reason}")
