"""The command line: a module for each family of commands, put together in `commands`."""


def main() -> None:
    """Runs the command that the arguments name.

    Signals are held back until they are handled: Ctrl-C during the imports would end in a traceback.
    """
    import _signal  # type: ignore[import-not-found]  # `signal` is slow to import

    _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGINT, _signal.SIGTERM})
    from watcher.cli.signals import end_by_signal

    end_by_signal()
    from watcher.cli.commands import group
    from watcher.cli.process import end_by_output_error, flush_output

    try:
        try:
            group()
        finally:
            flush_output()
    except OSError as error:
        end_by_output_error(error)
