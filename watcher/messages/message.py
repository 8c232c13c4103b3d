"""Pure: a message, independent of its subject and of where it is shown, and its form as plain text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from textwrap import indent
from typing import Final, Literal

from watcher.messages.formatting import count, format_timestamp
from watcher.sanitize.text import one_line, truncate

_HEADLINED: Final = 3
"""How many requests of a digest a notification names."""

Tone = Literal["urgent", "reminder", "done", "closed", "trouble", "good", "info"]
"""`done` is for what was answered, `closed` for what ended otherwise."""


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter of a request. `masked` says that its value is hidden, `code` that it is JSON."""

    name: str
    value: str
    editable: bool = False
    masked: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a digest: its question in one short line, a note, its run and its link."""

    text: str
    note: str
    run: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A detail shown below the question. A float is a timestamp in Unix time."""

    label: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Message:
    """What is shown.

    `lead` is the first sentence, always ours; `quoted` says that the body is other people's text.
    `dropped_rows` counts the parameters, `dropped_items` the requests that are not shown.
    """

    tone: Tone
    title: str
    body: str
    quoted: bool = False
    lead: str | None = None
    rows: tuple[Row, ...] = ()
    dropped_rows: int = 0
    items: tuple[Item, ...] = ()
    dropped_items: int = 0
    advice: str | None = None
    facts: tuple[Fact, ...] = ()
    link: str | None = None


def titled(title: str, name: str) -> str:
    """Returns the title of a message about an app or a notifier of that name."""
    return f"{title} · {one_line(name)}"


def notification_line(message: Message) -> str:
    """Returns title and question in one line, as notifications show them; of a digest the first questions."""
    question = one_line(message.body) or " · ".join(item.text for item in message.items[:_HEADLINED])
    return f"{message.title}: {question}" if question else message.title


def map_text(message: Message, change: Callable[[str], str]) -> Message:
    """Returns the message with every text changed but its title, which is ours, and its links."""
    return replace(
        message,
        body=change(message.body),
        lead=change(message.lead) if message.lead else None,
        rows=tuple(replace(row, name=change(row.name), value=change(row.value)) for row in message.rows),
        items=tuple(
            replace(item, text=change(item.text), note=change(item.note), run=change(item.run))
            for item in message.items
        ),
        facts=tuple(
            replace(fact, value=change(fact.value)) if isinstance(fact.value, str) else fact
            for fact in message.facts
        ),
    )


def plain_text(message: Message) -> str:
    """Returns the whole message as lines of plain text without markup.

    Other people's text is indented, so that no line of theirs can pass for one of ours.
    """
    return "\n".join(_lines(message))


def without_details(message: Message, body: int) -> Message:
    """Returns the message without lists and facts, its body cut, for where the question was shown before."""
    return replace(
        message,
        body=truncate(message.body, body),
        rows=(),
        dropped_rows=0,
        items=(),
        dropped_items=0,
        facts=(),
    )


def truncated(
    message: Message, *, body: int, value: int, rows: int, size: Callable[[str], int] = len
) -> Message:
    """Returns the message with its body and values cut to these sizes, and with at most `rows` of each list.

    `size` measures a text, see `truncate`.
    """
    kept = tuple(
        replace(row, name=truncate(row.name, value, size=size), value=truncate(row.value, value, size=size))
        for row in message.rows[:rows]
    )
    shown = tuple(
        replace(fact, value=truncate(fact.value, value, size=size)) if isinstance(fact.value, str) else fact
        for fact in message.facts
    )
    named = message.items[:rows]
    return replace(
        message,
        body=truncate(message.body, body, size=size),
        rows=kept,
        dropped_rows=message.dropped_rows + len(message.rows) - len(kept),
        items=named,
        dropped_items=message.dropped_items + len(message.items) - len(named),
        facts=shown,
    )


def facts(message: Message) -> Iterator[tuple[str, str]]:
    """Yields label and value of each fact as plain text."""
    for fact in message.facts:
        yield fact.label, fact.value if isinstance(fact.value, str) else format_timestamp(fact.value)


def more_rows(message: Message) -> str:
    """Returns the line that counts the parameters that are not shown."""
    return f"… {count(message.dropped_rows, 'more parameter')}"


def more_items(message: Message) -> str:
    """Returns the line that counts the requests that are not shown."""
    return f"… {count(message.dropped_items, 'more request')}"


def _lines(message: Message) -> Iterator[str]:
    yield message.title
    if message.lead:
        yield message.lead
    if message.advice:
        yield f"What to do: {message.advice}"
    if message.body:
        yield indent(message.body, "  ") if message.quoted else message.body
    for row in message.rows:
        note = " (editable)" if row.editable else ""
        yield f"  {row.name}{note}: {indent(row.value, '    ').lstrip()}"
    if message.dropped_rows:
        yield f"  {more_rows(message)}"
    yield from _item_lines(message)
    if message.link:
        yield message.link
    for label, value in facts(message):
        yield f"{label}: {value}"


def _item_lines(message: Message) -> Iterator[str]:
    for item in message.items:
        if item.link:
            yield f"  - {item.text} ({item.note})"
            yield f"    {item.link}"
        else:
            yield f"  - {item.text} ({item.note}, run {item.run})"
    if message.dropped_items:
        yield f"  {more_items(message)}"
