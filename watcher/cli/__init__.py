"""The command line: a module for each family of commands, put together in `commands`."""


def main() -> None:
    """Runs the command that the arguments name."""
    from watcher.cli.signals import end_by_signal

    end_by_signal()
    from watcher.cli.commands import group

    group()
