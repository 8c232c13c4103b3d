"""Pure: a message as text in Slack's markup, and everything that acts in it: our mentions, links and code.

https://docs.slack.dev/messaging/formatting-message-text
"""

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from watcher.messages import Message, fit, notification_line, plain_text
from watcher.sanitize.text import truncate

TEXT_MAX: Final = 3000
FALLBACK_MAX: Final = 1000

_LINK_MAX: Final = 1500
_MENTIONS_MAX: Final = 1000

_GROUPS: Final = {"here": "<!here>", "channel": "<!channel>", "everyone": "<!everyone>"}
_LOUD: Final = frozenset({"urgent", "reminder", "trouble"})

_LOOKALIKES: Final = (
    ("*", "\N{ASTERISK OPERATOR}"),
    ("~", "\N{TILDE OPERATOR}"),
    ("`", "\N{MODIFIER LETTER GRAVE ACCENT}"),
    ("@", "\N{FULLWIDTH COMMERCIAL AT}"),
)
_IN_LINK: Final = str.maketrans({"&": "&amp;", "<": "%3C", ">": "%3E", "|": "%7C", " ": "%20"})
_QUOTES: Final = re.compile(r"^([ \t]*)>", re.MULTILINE)
# These begin with the character that they look for: a search passes over all others at once.
_EMPHASIS: Final = re.compile(r"_(?:(?<![^\W_]_)|(?![^\W_]))")
_SCHEMES: Final = re.compile(r":(?:(?<=\w:)(?=//)|(?<=mailto:)|(?<=tel:))", re.IGNORECASE)
_EMOJI: Final = re.compile(r":(?=[\w+'-]+:)")
_DOMAIN: Final = re.compile(r"\.(?<=\w\.)(?=[^\W\d_]{2})")


def fallback(message: Message) -> str:
    """Returns the escaped text that Slack shows in notifications.

    The question comes first, because a phone shows little more than a line.
    """
    first = notification_line(message)
    rest = replace(message, title=first, body="", details="")

    def measure(text: str) -> int:
        return utf16_length(_escaped(text))

    shorter = fit(rest, FALLBACK_MAX, lambda message: measure(plain_text(message)))
    return _escaped(truncate(plain_text(shorter), FALLBACK_MAX, size=measure))


def plain(message: Message, mention: Sequence[str] = ()) -> str:
    """Returns the message as text alone, for when Slack rejects the blocks.

    Only our mentions and our link act.
    """
    called = f"{mentions(message, mention)}\n".lstrip()
    link = f"\n<{message.link.translate(_IN_LINK)}|Open>" if message.link else ""
    link = link if utf16_length(link) <= _LINK_MAX else ""
    room = TEXT_MAX - utf16_length(called) - utf16_length(link)

    def measure(text: str) -> int:
        return utf16_length(neutralize_markup(text))

    shorter = fit(replace(message, link=None), room, lambda message: measure(plain_text(message)))
    return called + neutralize_markup(truncate(plain_text(shorter), room, size=measure)) + link


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
    text = _QUOTES.sub("\\1\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}", text)
    for character, lookalike in _LOOKALIKES:  # much faster than `str.translate`
        text = text.replace(character, lookalike)
    text = _EMPHASIS.sub("\N{FULLWIDTH LOW LINE}", text)
    text = _EMOJI.sub("\N{MODIFIER LETTER COLON}", _SCHEMES.sub("\N{MODIFIER LETTER COLON}", text))
    return _escaped(_DOMAIN.sub("\N{ONE DOT LEADER}", text))


def utf16_length(text: str) -> int:
    """Counts as the strictest reading of Slack's limits does: in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def _mention(who: str) -> str:
    if who in _GROUPS:
        return _GROUPS[who]
    return f"<!subteam^{who}>" if who.startswith("S") else f"<@{who}>"


def _escaped(text: str) -> str:
    """Escapes the three characters that Slack's markup is made of.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return html.escape(text, quote=False)
