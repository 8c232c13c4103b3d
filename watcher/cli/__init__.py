"""The command line: a module for each family of commands, put together in `commands`."""


def main() -> None:
    """Runs the command that the arguments name."""
    from watcher.cli.commands import group

    group()
