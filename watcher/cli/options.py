"""Options and parameter types that several commands share."""

from pathlib import Path
from typing import Any

import click

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with the settings [default: $WATCHER_CONFIG, else ./config.toml if it exists]",
)


class Whole(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


row_id = Whole(1, 2**63 - 1)
"""The type of an id of a request or a delivery; neither database has a larger one."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Duration(click.ParamType[float]):
    """A duration such as `30s`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the seconds."""
        from watcher.config.fields import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is not {error}.", param, ctx)
