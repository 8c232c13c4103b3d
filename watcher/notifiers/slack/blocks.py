"""Pure: a message in Slack's blocks, or as plain text, within Slack's limits.

Other people's text goes only into `plain_text` and `rich_text`, which parse no markup at all
(https://docs.slack.dev/reference/block-kit/blocks/rich-text-block); `mrkdwn` holds only our own words.
Where Slack shows the plain text, `neutralize_markup` keeps every character from acting.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from watcher.messages import (
    Fact,
    Item,
    Message,
    Row,
    Tone,
    format_timestamp,
    more_items,
    more_rows,
    notification_line,
    plain_text,
    truncated,
)
from watcher.models import Json
from watcher.sanitize.text import truncate

HEADER_MAX: Final = 150
TEXT_MAX: Final = 3000
"""Limits of a header block and of any other text, https://docs.slack.dev/reference/block-kit/blocks."""

BLOCKS_MAX: Final = 12_000
FALLBACK_MAX: Final = 1000
"""Slack rejects a message near 13,200 characters in all, without documenting it; these two stay below."""

_LINK_MAX: Final = 1500
_ITEM_LINK_MAX: Final = 500
_MENTIONS_MAX: Final = 1000

_STEPS: Final = ((TEXT_MAX, 500, 30), (TEXT_MAX, 250, 25), (2500, 120, 20), (1000, 60, 15), (1000, 60, 5))
"""Body, value and rows, ever shorter; the last step fits whatever the texts are made of."""

_GROUPS: Final = {"here": "<!here>", "channel": "<!channel>", "everyone": "<!everyone>"}
_LOUD: Final = frozenset({"urgent", "reminder", "trouble"})
_SIGNS: Final[dict[Tone, str]] = {
    "urgent": "\N{BELL}",
    "reminder": "\N{ALARM CLOCK}",
    "trouble": "\N{LARGE RED CIRCLE}",
    "done": "\N{WHITE HEAVY CHECK MARK}",
    "closed": "\N{MEDIUM WHITE CIRCLE}",
    "good": "\N{LARGE GREEN CIRCLE}",
    "info": "\N{LARGE BLUE CIRCLE}",
}
"""The only colour that blocks can show: it tells closed from open requests in a channel."""

_LOOKALIKES: Final = str.maketrans({
    "*": "\N{ASTERISK OPERATOR}",
    "~": "\N{TILDE OPERATOR}",
    "`": "\N{MODIFIER LETTER GRAVE ACCENT}",
    "@": "\N{FULLWIDTH COMMERCIAL AT}",
})  # fmt: skip
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_IN_LINK: Final = str.maketrans({"&": "&amp;", "<": "%3C", ">": "%3E", "|": "%7C", " ": "%20"})
_QUOTES: Final = re.compile(r"^([ \t]*)>", re.MULTILINE)
_EMPHASIS: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_SCHEMES: Final = re.compile(r"(?<=\w):(?=//)|(?<=mailto):|(?<=tel):", re.IGNORECASE)
_EMOJI: Final = re.compile(r":(?=[\w+'-]+:)")
_DOMAIN: Final = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})")


def blocks(message: Message, mention: Sequence[str] = ()) -> list[Json]:
    """Returns the message as blocks, at most `BLOCKS_MAX` characters of JSON; they say what is missing."""
    for body, value, rows in _STEPS:
        shorter = truncated(message, body=body, value=value, rows=rows, size=_size)
        built = list(_blocks(shorter, mentions(message, mention)))
        if _size(json.dumps(built, ensure_ascii=False)) <= BLOCKS_MAX:
            break
    return built


def fallback(message: Message) -> str:
    """Returns the escaped text that Slack shows in notifications.

    The question comes first, because a phone shows little more than a line.
    """
    rest = plain_text(replace(message, body="")).split("\n")[1:]
    text = "\n".join([notification_line(message), *rest])
    return _escaped(truncate(text, FALLBACK_MAX, size=lambda text: _size(_escaped(text))))


def plain(message: Message, mention: Sequence[str] = ()) -> str:
    """Returns the message as text alone, for when Slack rejects the blocks.

    Only our mentions and our link act.
    """
    called = f"{mentions(message, mention)}\n".lstrip()
    link = f"\n<{message.link.translate(_IN_LINK)}|Open>" if message.link else ""
    link = link if _size(link) <= _LINK_MAX else ""
    room = TEXT_MAX - _size(called) - _size(link)
    text = plain_text(replace(message, link=None))
    return (
        called
        + neutralize_markup(truncate(text, room, size=lambda text: _size(neutralize_markup(text))))
        + link
    )


def mentions(message: Message, mention: Sequence[str]) -> str:
    """Returns the mentions in Slack's markup, empty for messages that need no one's attention.

    https://docs.slack.dev/messaging/formatting-message-text#mentioning-users
    """
    if message.tone not in _LOUD:
        return ""
    called = ""
    for who in mention:
        longer = f"{called} {_mention(who)}".lstrip()
        if len(longer) > _MENTIONS_MAX:
            break
        called = longer
    return called


def neutralize_markup(text: str) -> str:
    """Returns the text so that `mrkdwn` shows it and nothing in it acts.

    Slack offers no way to escape its characters for formatting, emoji and automatic links, so look-alikes
    replace them where they would act.
    """
    text = _QUOTES.sub("\\1\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}", text).translate(_LOOKALIKES)
    text = _EMPHASIS.sub("\N{FULLWIDTH LOW LINE}", text)
    text = _EMOJI.sub("\N{MODIFIER LETTER COLON}", _SCHEMES.sub("\N{MODIFIER LETTER COLON}", text))
    return _escaped(_DOMAIN.sub("\N{ONE DOT LEADER}", text))


def _blocks(message: Message, called: str) -> Iterator[Json]:
    title = f"{_SIGNS[message.tone]} {message.title}"
    yield {"type": "header", "text": _plain_text(truncate(title, HEADER_MAX, size=_size))}
    if called:
        yield {"type": "section", "text": {"type": "mrkdwn", "text": called}}
    if message.lead:
        yield _sentence(_text(message.lead))
    if message.advice:
        yield _sentence(_text("What to do: ", bold=True), _text(message.advice))
    if message.body:
        style = "rich_text_quote" if message.quoted else "rich_text_section"
        yield {"type": "rich_text", "elements": [{"type": style, "elements": [_text(message.body)]}]}
    if message.rows:
        yield _list([_row(row) for row in message.rows], more_rows(message) if message.dropped_rows else "")
    if message.items:
        more = more_items(message) if message.dropped_items else ""
        yield _list([_item(item) for item in message.items], more)
    if message.link and _size(message.link) <= _LINK_MAX:
        # Not a button: it would call back our app, which takes no calls, and Slack would show a warning.
        link = {"type": "link", "url": message.link, "text": "Open the request", "style": {"bold": True}}
        yield _sentence(link)
    if message.facts:
        *others, last = message.facts
        shown = [*(_fact(fact, " ·") for fact in others), _fact(last, "")]
        yield {"type": "context", "elements": shown}


def _sentence(*elements: Json) -> Json:
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": list(elements)}]}


def _list(entries: list[Json], more: str) -> Json:
    last = [{"type": "rich_text_section", "elements": [_text(more, italic=True)]}] if more else []
    listed = {"type": "rich_text_list", "style": "bullet", "elements": entries + last}
    return {"type": "rich_text", "elements": [listed]}


def _item(item: Item) -> Json:
    if item.link and _size(item.link) <= _ITEM_LINK_MAX:
        question = {"type": "link", "url": item.link, "text": item.text}
        elements = [question, _text(f" — {item.note}", italic=True)]
    else:
        note = _text(f" — {item.note}, run ", italic=True)
        elements = [_text(item.text), note, _text(item.run, code=True)]
    return {"type": "rich_text_section", "elements": elements}


def _row(row: Row) -> Json:
    elements = [_text(row.name, bold=True), _text(": "), _text(row.value, italic=row.masked, code=row.code)]
    if row.editable:
        elements.append(_text(" ✎ editable", italic=True))
    return {"type": "rich_text_section", "elements": elements}


def _fact(fact: Fact, more: str) -> Json:
    """Returns a fact and what follows it; only `mrkdwn` shows a time in the reader's own time zone."""
    if isinstance(fact.value, str):
        return _plain_text(f"{fact.label}: {fact.value}{more}")
    date = f"<!date^{int(fact.value)}^{{date_short_pretty}} {{time}}|{format_timestamp(fact.value)}>"
    return {"type": "mrkdwn", "text": f"{fact.label}: {date}{more}"}


def _plain_text(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}


def _text(text: str, **style: bool) -> Json:
    chosen = {name: True for name, wanted in style.items() if wanted}
    return {"type": "text", "text": text, **({"style": chosen} if chosen else {})}


def _mention(who: str) -> str:
    if who in _GROUPS:
        return _GROUPS[who]
    return f"<!subteam^{who}>" if who.startswith("S") else f"<@{who}>"


def _escaped(text: str) -> str:
    """Escapes the three characters that Slack's markup is made of.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.translate(_ESCAPES)


def _size(text: str) -> int:
    """Counts as the strictest reading of Slack's limits does: in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2
