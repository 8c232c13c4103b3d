"""The console notifier: standard output, for trying things out and for logs that people read."""

from typing import Final, TextIO

from watcher.concurrency import run_blocking
from watcher.config.models import ConsoleConfig
from watcher.logs import write_whole
from watcher.messages import fit, plain_text, render
from watcher.models import Delivery, Event, MessageRef
from watcher.notifiers.base import DeliveryError, NotifierContext
from watcher.notifiers.webhook import encode, payload

_TEXT_MAX: Final = 20_000
"""Characters that fit ten screens or so."""


class ConsoleNotifier:
    """Writes each event as a panel to a terminal, and as plain lines or a line of JSON to anything else."""

    max_concurrency = 1
    min_interval = 0.0
    for_people = True
    digests = False

    def __init__(self, config: ConsoleConfig, context: NotifierContext) -> None:
        self.name = self.rate_limit_key = config.name
        self._context = context

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Writes at once. See `Notifier.send`."""
        # A reader that stops reading must delay neither polling nor shutdown.
        await run_blocking(lambda: self._write(delivery.event))
        return None

    async def check(self) -> str:
        """Returns what it writes to. See `Notifier.check`."""
        stream = self._context.stream
        if stream is None or stream.closed:
            raise _closed("it is closed")
        return "writes to standard output"

    def _write(self, event: Event) -> None:
        stream = self._context.stream
        if stream is None:
            raise _closed("there is none")
        try:
            text = self._text(event, stream)
            encoding = stream.encoding or "utf-8"
            # Not through the stream: a write that hangs holds its lock, for which Python waits at exit.
            write_whole(stream.fileno(), text.encode(encoding, "backslashreplace"))
        except (OSError, ValueError) as error:
            raise _closed(str(error)) from None

    def _text(self, event: Event, stream: TextIO) -> str:
        is_terminal = stream.isatty()
        message = render(event, self._context.messages)
        if self._context.json_lines and not is_terminal:
            # Programs know no digests, so one is printed as text.
            body = payload(event) | ({"text": plain_text(message)} if message.items else {})
            return f"{encode(body).decode()}\n"
        message = fit(message, _TEXT_MAX, lambda shorter: len(plain_text(shorter)))
        if not is_terminal:
            return f"{plain_text(message)}\n\n"
        from watcher.notifiers.terminal import panel  # noqa: PLC0415 - rich is slow to import

        return panel(message, stream)


def _closed(reason: str) -> DeliveryError:
    return DeliveryError(
        f"cannot write to standard output: {reason}",
        fix="connect standard output to a reader, or remove the console notifier",
    )
