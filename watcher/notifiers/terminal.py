"""A message as a panel for a terminal."""

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Final, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from watcher.messages import (
    Message,
    Row,
    Tone,
    answer_lines,
    facts,
    more_items,
    more_rows,
    show_name,
)

_COLORS: Final[dict[Tone, str]] = {
    "urgent": "yellow",
    "reminder": "magenta",
    "answered": "cyan",
    "closed": "white",
    "trouble": "red",
    "good": "green",
    "info": "cyan",
}


def panel(message: Message, stream: TextIO) -> str:
    """Returns the message as a panel; every text is a `Text`, in which no markup of rich's is parsed."""
    color = _COLORS[message.tone]
    title = Text(f" {message.title} ", style=f"bold {color}")
    shown = [part for part in map(list, _parts(message)) if part]
    parts = [shown[0], *([Text(), *part] for part in shown[1:])]
    group = Group(*chain.from_iterable(parts))
    panel = Panel(group, title=title, title_align="left", border_style=color, padding=(1, 2))
    console = Console(file=stream)
    with console.capture() as capture:
        console.print(panel)
    return capture.get()


def _parts(message: Message) -> Iterator[Iterable[RenderableType]]:
    """Yields the parts of a message, between which a line stays empty."""
    advice = Text(f"What to do: {message.advice}", style="bold") if message.advice else None
    yield [part for part in (Text(message.lead) if message.lead else None, advice) if part]
    yield [_Quoted(message.body, "bold") if message.quoted else Text(message.body)] if message.body else []
    for number, question in enumerate(message.questions, start=1):
        options = (f"  • {option}" for option in question.options)
        rule = Text(f"Question {number} of {len(message.questions)}. {question.rule}")
        yield [rule, _Quoted("\n".join([question.text, *options]), "bold")]
    yield _parameters(message)
    yield _items(message)
    yield map(Text, answer_lines(message))
    yield (Text(f"{label}: {value}", style="dim") for label, value in facts(message))


def _parameters(message: Message) -> Iterator[RenderableType]:
    """Yields the parameters, each value after its name, and our notes on them."""
    for row in message.rows:
        yield from _row(row)
    if message.details and not message.rows:
        yield _Quoted(message.details)
    if message.dropped_rows:
        yield Text(more_rows(message), style="dim")
    for note in message.notes:
        yield Text.assemble((f"{note.words}: ", "dim"), ", ".join(note.names))


def _items(message: Message) -> Iterator[RenderableType]:
    for item in message.items:
        run = f"run {item.run}" if item.run and not item.link else ""
        if about := ", ".join(part for part in (item.note, run) if part):
            yield Text(about, style="dim")
        yield _Quoted("\n".join(part for part in (item.text, item.details, item.link) if part))
    if message.dropped_items:
        yield Text(more_items(message), style="dim")


def _row(row: Row) -> Iterator[RenderableType]:
    name = Text.assemble((show_name(row.name), "cyan"), " ✎ editable" if row.editable else "", ": ")
    if row.shown.kind == "block":
        yield from (name, _Quoted(row.shown.text))
    else:
        yield name.append(row.shown.text, style="dim" if row.shown.kind == "note" else "")


class _Quoted:
    """Other people's text behind a bar, which tells it from our own words."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text = text
        self._style = style

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType | Segment]:

        narrower = options.update(width=options.max_width - 2)
        for text in self._text.split("\n"):
            # A line that is wrapped goes on behind another bar: in code an indentation has a meaning.
            for bar, line in zip(
                chain(["┃ "], repeat("┊ ")),
                console.render_lines(Text(text, style=self._style), narrower, pad=False),
                strict=False,
            ):
                yield from (Segment(bar, Style(dim=True)), *line, Segment.line())
