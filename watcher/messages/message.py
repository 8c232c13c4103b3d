"""Pure: a message, independent of its subject and of where it is shown, and its form as plain text."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import indent
from typing import Final, Literal

from watcher.messages.formatting import count, format_timestamp
from watcher.messages.values import ShownValue, show_name, show_value
from watcher.models import Json
from watcher.sanitize.text import one_line, truncate_middle

_HEADLINED: Final = 3
"""How many requests of a digest a notification names."""
_NOTIFIED: Final = 160
"""Characters of the question in a notification: a phone shows little more, parameters included."""
_HOW_TO_REPLY: Final = re.compile(r"(?<=\S) send nothing for approval.*", re.IGNORECASE)
"""What the platform's default template ends in; in a notification it would stand before the parameters."""

Tone = Literal["urgent", "reminder", "answered", "closed", "trouble", "good", "info"]
"""`answered` is neutral: the Runs API does not tell an approval from a rejection."""


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter of a request; `given` is False for an editable one that the API left out."""

    name: str
    value: Json = None
    editable: bool = False
    given: bool = True

    @property
    def shown(self) -> ShownValue:
        """The value as text."""
        return show_value(self.value) if self.given else ShownValue("(not given)", "note")


@dataclass(frozen=True, slots=True)
class Question:
    """One question of several in a request. `rule` says, in our words, how it can be answered."""

    text: str
    options: tuple[str, ...]
    rule: str


@dataclass(frozen=True, slots=True)
class Item:
    """One of the requests, or of the apps, that a message names.

    Of a request there are its question and first parameters in short lines, a note and its run.
    """

    text: str
    note: str = ""
    run: str = ""
    link: str | None = None
    details: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A detail shown below the question. A float is a timestamp in Unix time."""

    label: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence of ours about parameters, and their names."""

    words: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message for people.

    `lead`, `advice`, `hint` and `outlook` are our own sentences: what happened, what to fix, where to answer,
    what happens next. `quoted` says that the body is other people's text; `details` are the first parameters
    in a line, shown where there are no `rows`. `link` leads to where a request is answered, `page` to a page
    that shows all of it. `dropped_rows` counts the parameters that are not shown, `dropped_items` the items;
    `items_are` is the noun for one item. A `brief` message is as short as possible, because its question was
    shown before. With `reply_is_lost` the question asks for a reply that this message cannot carry.
    """

    tone: Tone
    title: str
    body: str
    quoted: bool = False
    lead: str | None = None
    advice: str | None = None
    questions: tuple[Question, ...] = ()
    details: str = ""
    rows: tuple[Row, ...] = ()
    dropped_rows: int = 0
    notes: tuple[Note, ...] = ()
    items: tuple[Item, ...] = ()
    items_are: str = "request"
    dropped_items: int = 0
    link: str | None = None
    page: str | None = None
    hint: str | None = None
    reply_is_lost: bool = False
    outlook: str | None = None
    facts: tuple[Fact, ...] = ()
    brief: bool = False


def titled(title: str, name: str) -> str:
    """Returns the title of a message about an app or a notifier of that name."""
    return f"{title} · {one_line(name)}"


def notification_line(message: Message) -> str:
    """Returns title, question and first parameters in a line, or the first questions of a digest."""
    asked = message.body or (message.questions[0].text if message.questions else "")
    question = truncate_middle(_HOW_TO_REPLY.sub("", one_line(asked)), _NOTIFIED)
    parts = [question, message.details] if question else [_entry(item) for item in message.items[:_HEADLINED]]
    told = " · ".join(part for part in parts if part)
    return f"{message.title}: {told}" if told else message.title


def facts(message: Message) -> Iterator[tuple[str, str]]:
    """Yields label and value of each fact as plain text."""
    for fact in message.facts:
        yield fact.label, fact.value if isinstance(fact.value, str) else format_timestamp(fact.value)


def more_rows(message: Message) -> str:
    """Returns the line that counts the parameters that are not shown."""
    return f"… {count(message.dropped_rows, 'more parameter')}"


def more_items(message: Message) -> str:
    """Returns the line that counts the items that are not shown."""
    return f"… {count(message.dropped_items, f'more {message.items_are}')}"


def lost_reply(place: str) -> str:
    """Returns the warning for a question that asks for a reply where none can be given."""
    return f"A reply {place} does not reach the run."


def plain_text(message: Message, quote: Callable[[str], str] = str) -> str:
    """Returns the whole message as lines of plain text without markup.

    The question is quoted by `> ` and all other text of other people is indented, so that no line of theirs
    can pass for one of ours. `quote` makes their text harmless to the markup of a destination.
    """
    return "\n".join(_lines(message, quote))


def _lines(message: Message, quote: Callable[[str], str]) -> Iterator[str]:
    yield message.title
    if message.lead:
        yield message.lead
    if message.advice:
        yield f"What to do: {message.advice}"
    if message.body:
        yield indent(quote(message.body), "> ", lambda _: True) if message.quoted else message.body
    for number, question in enumerate(message.questions, start=1):
        yield f"Question {number} of {len(message.questions)}. {question.rule}"
        yield indent(quote(question.text), "> ", lambda _: True)
        yield from (f">   - {quote(option)}" for option in question.options)
    if message.details and not message.rows:
        yield f"  {quote(message.details)}"
    yield from row_lines(message, quote)
    for note in message.notes:
        yield f"{note.words}: {quote(', '.join(note.names))}"
    yield from _item_lines(message, quote)
    yield from answer_lines(message)
    for label, value in facts(message):
        yield f"{label}: {quote(value)}"


def row_lines(message: Message, quote: Callable[[str], str] = str) -> Iterator[str]:
    """Yields the parameters as lines of plain text, as `plain_text` has them."""
    for row in message.rows:
        name = f"  {quote(show_name(row.name))}{' (editable)' if row.editable else ''}:"
        shown = row.shown
        if shown.kind == "block":
            yield name
            yield indent(quote(shown.text), "    ", lambda _: True)
        else:
            yield f"{name} {quote(shown.text)}"
    if message.dropped_rows:
        yield f"  {more_rows(message)}"


def _item_lines(message: Message, quote: Callable[[str], str]) -> Iterator[str]:
    for item in message.items:
        run = f"run {quote(item.run)}" if item.run and not item.link else ""
        about = ", ".join(part for part in (item.note, run) if part)
        yield f"  - {quote(_entry(item))}{f' ({about})' if about else ''}"
        if item.link:
            yield f"    {item.link}"
    if message.dropped_items:
        yield f"  {more_items(message)}"


def answer_lines(message: Message) -> Iterator[str]:
    """Yields where to answer, what does not answer, and what happens next."""
    if message.link:
        yield f"Open the request: {message.link}"
    if message.page:
        yield f"Show everything: {message.page}"
    if message.reply_is_lost:
        yield lost_reply("to this message")
    for words in (message.hint, message.outlook):
        if words:
            yield words


def _entry(item: Item) -> str:
    return f"{item.text} · {item.details}" if item.details else item.text
