"""The console notifier: standard output, for trying things out and for logs that people read."""

from typing import Final, TextIO

from watcher.concurrency import run_blocking
from watcher.config.models import ConsoleConfig
from watcher.logs import write_whole
from watcher.messages import Message, Tone, facts, more_rows, plain_text, render, truncated
from watcher.models import Delivery, MessageRef
from watcher.notifiers.base import DeliveryError

_BODY, _VALUE, _ROWS = 3000, 500, 40
"""What fits a screen."""

_COLORS: Final[dict[Tone, str]] = {
    "urgent": "yellow",
    "reminder": "magenta",
    "done": "green",
    "closed": "white",
    "trouble": "red",
    "good": "green",
    "info": "cyan",
}


class ConsoleNotifier:
    """Writes each event as a panel to a terminal, or as a few plain lines to anything else."""

    max_concurrency = 1
    min_interval = 0.0
    for_people = True
    digests = False

    def __init__(self, config: ConsoleConfig, *, stream: TextIO | None) -> None:
        self.name = self.rate_limit_key = config.name
        self._stream = stream

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Writes at once. See `Notifier.send`."""
        message = truncated(render(delivery.event), body=_BODY, value=_VALUE, rows=_ROWS)
        # A reader that stops reading must delay neither polling nor shutdown.
        await run_blocking(lambda: self._write(message))
        return None

    async def check(self) -> str:
        """Returns what it writes to. See `Notifier.check`."""
        if self._stream is None or self._stream.closed:
            raise _closed("it is closed")
        return "writes to standard output"

    def _write(self, message: Message) -> None:
        if self._stream is None:
            raise _closed("there is none")
        try:
            text = _panel(message, self._stream) if self._stream.isatty() else f"{plain_text(message)}\n\n"
            encoding = self._stream.encoding or "utf-8"
            # Not through the stream: a write that hangs holds its lock, for which Python waits at exit.
            write_whole(self._stream.fileno(), text.encode(encoding, "backslashreplace"))
        except (OSError, ValueError) as error:
            raise _closed(str(error)) from None


def _closed(reason: str) -> DeliveryError:
    return DeliveryError(
        f"cannot write to standard output: {reason}",
        fix="connect standard output to a reader, or remove the console notifier",
    )


def _panel(message: Message, stream: TextIO) -> str:
    """Returns the message as a panel; every text is a `Text`, in which no markup of rich's is parsed."""
    from rich.console import Console, Group, RenderableType  # noqa: PLC0415 - only a terminal needs it
    from rich.panel import Panel  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

    color = _COLORS[message.tone]
    parts: list[RenderableType] = [Text(message.lead)] if message.lead else []
    if message.advice:
        parts.append(Text(f"What to do: {message.advice}", style="bold"))
    if message.body:
        parts.append(Text(message.body, style="bold" if message.quoted else ""))
    if message.rows:
        rows = Table.grid(padding=(0, 2), pad_edge=False)
        for row in message.rows:
            value = Text(row.value, style="dim" if row.masked else "")
            rows.add_row(Text(row.name, style="cyan"), value, Text("✎ editable" if row.editable else ""))
        parts += [Text(), rows]
    if message.dropped_rows:
        parts.append(Text(more_rows(message), style="dim"))
    if message.link:
        parts.append(Text(message.link, style="underline"))
    if message.facts:
        shown = "  ·  ".join(f"{label} {value}" for label, value in facts(message))
        parts += [Text(), Text(shown, style="dim")]
    title = Text(f" {message.title} ", style=f"bold {color}")
    panel = Panel(Group(*parts), title=title, title_align="left", border_style=color, padding=(1, 2))
    console = Console(file=stream)
    with console.capture() as capture:
        console.print(panel)
    return capture.get()
