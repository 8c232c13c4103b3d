"""Pure: a message in Slack's blocks, within Slack's limits.

Other people's text goes only into `plain_text` and `rich_text`, which parse no markup at all
(https://docs.slack.dev/reference/block-kit/blocks/rich-text-block), and always in quotes, in code or
preformatted, so that it can be told from our own words.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

from watcher.messages import (
    Item,
    Message,
    Note,
    Question,
    Tone,
    fit,
    format_timestamp,
    has_columns,
    lost_reply,
    more_items,
    more_rows,
    row_lines,
    show_name,
)
from watcher.models import Json
from watcher.notifiers.slack.markup import mentions, utf16_length
from watcher.sanitize.text import truncate

HEADER_MAX: Final = 150
TEXT_MAX: Final = 3000
"""Limits of a header block and of any other text, https://docs.slack.dev/reference/block-kit/blocks."""

BLOCKS_MAX: Final = 12_000
"""Characters of JSON. Slack rejects a message near 13,200 characters in all, without documenting it; this and
the fallback text stay below."""

_LINK_MAX: Final = 1500
_ITEM_LINK_MAX: Final = 500
_ROW_COST: Final = 100
"""Characters of JSON that a parameter in a list takes at least."""

_SIGNS: Final[dict[Tone, str]] = {
    "urgent": "\N{BELL}",
    "reminder": "\N{ALARM CLOCK}",
    "trouble": "\N{LARGE RED CIRCLE}",
    "answered": "\N{SPEECH BALLOON}",
    "closed": "\N{MEDIUM WHITE CIRCLE}",
    "good": "\N{LARGE GREEN CIRCLE}",
    "info": "\N{LARGE BLUE CIRCLE}",
}
"""The only colour that blocks can show: it tells closed from open requests in a channel."""


def blocks(message: Message, mention: Sequence[str] = ()) -> list[Json]:
    """Returns the message as blocks, at most `BLOCKS_MAX` characters of JSON; they say what is missing.

    Parameters are a list if all of them fit, else lines of one text: most JSON of a list is not text.
    """
    called = mentions(message, mention)

    def measure(shorter: Message, *, dense: bool = False) -> int:
        return utf16_length(json.dumps(list(_blocks(shorter, called, dense=dense)), ensure_ascii=False))

    shorter = fit(message, BLOCKS_MAX, measure, row_cost=_ROW_COST)
    if shorter.dropped_rows == message.dropped_rows:
        return list(_blocks(shorter, called))
    return list(_blocks(fit(message, BLOCKS_MAX, partial(measure, dense=True)), called, dense=True))


def _blocks(message: Message, called: str, *, dense: bool = False) -> Iterator[Json]:
    if message.brief:
        yield from _brief(message)
        return
    title = f"{_SIGNS[message.tone]} {message.title}"
    yield {"type": "header", "text": _plain_text(truncate(title, HEADER_MAX, size=utf16_length))}
    if called:
        yield {"type": "section", "text": {"type": "mrkdwn", "text": called}}
    yield from _asked(message)
    yield from _parameters(message, dense=dense)
    if message.items:
        more = more_items(message) if message.dropped_items else ""
        yield {"type": "rich_text", "elements": [_list([_item(item) for item in message.items], more)]}
    if answer := _answer(message):
        yield _sentence(*answer)
    yield from _facts(message)


def _asked(message: Message) -> Iterator[Json]:
    if message.lead:
        yield _sentence(*_texts(message.lead))
    if message.advice:
        yield _sentence(*_texts("What to do: ", bold=True), *_texts(message.advice))
    if message.body:
        yield _quote(message.body) if message.quoted else _sentence(*_texts(message.body))
    for number, question in enumerate(message.questions, start=1):
        yield from _question(question, f"Question {number} of {len(message.questions)}. ")


def _parameters(message: Message, *, dense: bool) -> Iterator[Json]:
    if dense:
        yield _section("rich_text_preformatted", _texts("\n".join(row_lines(message))))
    elif message.rows or message.dropped_rows:
        yield {"type": "rich_text", "elements": _rows(message)}
    elif message.details:
        yield _sentence(*_texts(message.details, code=True))
    for note in message.notes:
        yield _note(note)


def _brief(message: Message) -> Iterator[Json]:
    """Yields a line that says what became of a request, and its question in another, if there is one."""
    title = truncate(f"{_SIGNS[message.tone]} {message.title}", HEADER_MAX, size=utf16_length)
    lead = _texts(f" — {message.lead[0].lower()}{message.lead[1:]}") if message.lead else []
    yield _sentence(*_texts(title, bold=True), *lead)
    shown = " · ".join(part for part in (message.body, message.details) if part)
    if shown:
        yield _section("rich_text_quote", _texts(shown)) if message.quoted else _sentence(*_texts(shown))


def _quote(text: str) -> Json:
    """Returns other people's text as a quotation; one with columns is preformatted, so that they stay."""
    style = "rich_text_preformatted" if has_columns(text) else "rich_text_quote"
    return _section(style, _texts(text))


def _question(question: Question, number: str) -> Iterator[Json]:
    yield _sentence(*_texts(number, bold=True), *_texts(question.rule))
    options = "".join(f"\n  • {option}" for option in question.options)
    yield _section("rich_text_quote", _texts(f"{question.text}{options}"))


def _rows(message: Message) -> list[Json]:
    """Returns the parameters as lists, between which values of several lines stand preformatted."""
    elements: list[Json] = []
    listed: list[Json] = []
    for row in message.rows:
        mark = _texts(" ✎ editable", italic=True) if row.editable else []
        name = _texts(show_name(row.name), bold=True)
        shown = row.shown
        is_ours = shown.kind == "note"
        if shown.kind == "block":
            listed.append([*name, *_texts(":"), *mark])
            elements += [_list(listed), {"type": "rich_text_preformatted", "elements": _texts(shown.text)}]
            listed = []
        else:
            value = _texts(shown.text, italic=is_ours, code=not is_ours)
            listed.append([*name, *_texts(": "), *value, *mark])
    if listed or message.dropped_rows:
        elements.append(_list(listed, more_rows(message) if message.dropped_rows else ""))
    return elements


def _note(note: Note) -> Json:
    names = [element for name in note.names for element in (*_texts(", "), *_texts(name, code=True))]
    return _sentence(*_texts(f"{note.words}: ", italic=True), *names[1:])


def _answer(message: Message) -> list[Json]:
    """Returns where a request is answered, and what does not answer it."""
    links = ((message.link, "Open the request"), (message.page, "Show everything"))
    # Not buttons: they would call back our app, which takes no calls, and Slack would show a warning.
    parts = [
        [{"type": "link", "url": url, "text": words, "style": {"bold": True}}]
        for url, words in links
        if url and utf16_length(url) <= _LINK_MAX
    ]
    warning = lost_reply("in Slack") if message.reply_is_lost else ""
    parts += [_texts(words) for words in (warning, message.hint) if words]
    return [element for part in parts for element in (*_texts("  "), *part)][1:]


def _item(item: Item) -> list[Json]:
    shown = f"“{item.text}”" if not item.details else f"“{item.text}” · “{item.details}”"
    if item.link and utf16_length(item.link) <= _ITEM_LINK_MAX:
        link = {"type": "link", "url": item.link, "text": shown}
        return [link, *_texts(f" — {item.note}", italic=True)]
    about = ", ".join(part for part in (item.note, "run " if item.run else "") if part)
    note = _texts(f" — {about}", italic=True) if about else []
    return [*_texts(shown), *note, *_texts(item.run, code=True)]


def _facts(message: Message) -> Iterator[Json]:
    """Yields ids, which people can copy, and in small print what happens next and when what happened.

    Only `mrkdwn` shows a time in the reader's own time zone.
    """
    ids = [(fact.label, fact.value) for fact in message.facts if isinstance(fact.value, str)]
    listed = [[*_texts(f" · {label}: "), *_texts(value, code=True)] for label, value in ids]
    if listed:
        listed[0][0]["text"] = f"{ids[0][0]}: "
        yield _sentence(*chain.from_iterable(listed))
    times = [f"{fact.label}: {_date(fact.value)}" for fact in message.facts if isinstance(fact.value, float)]
    small = [message.outlook, *times] if message.outlook else times
    if small:
        texts = [f"{text} ·" for text in small[:-1]] + small[-1:]
        yield {"type": "context", "elements": [{"type": "mrkdwn", "text": text} for text in texts]}


def _date(time: float) -> str:
    return f"<!date^{int(time)}^{{date_short_pretty}} {{time}}|{format_timestamp(time)}>"


def _sentence(*elements: Json) -> Json:
    return _section("rich_text_section", list(elements))


def _section(style: str, elements: list[Json]) -> Json:
    return {"type": "rich_text", "elements": [{"type": style, "elements": elements}]}


def _list(entries: list[list[Json]], more: str = "") -> Json:
    last = [_texts(more, italic=True)] if more else []
    items = [{"type": "rich_text_section", "elements": elements} for elements in entries + last]
    return {"type": "rich_text_list", "style": "bullet", "elements": items}


def _plain_text(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}


def _texts(text: str, **style: bool) -> list[Json]:
    """Returns a text as elements of rich text, in pieces that are each short enough."""
    chosen = {name: True for name, wanted in style.items() if wanted}
    styled = {"style": chosen} if chosen else {}
    # A character takes one or two of the units that are counted.
    step = TEXT_MAX if utf16_length(text) == len(text) else TEXT_MAX // 2
    return [{"type": "text", "text": text[at : at + step], **styled} for at in range(0, len(text), step)]
