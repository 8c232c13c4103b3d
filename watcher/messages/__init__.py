"""Pure: an event as a message for people, independent of where it is shown.

Everything here is free of characters that act (see `text`), but nothing is escaped: each notifier does that
for its own markup. No word here says how to answer: in Dynamiq an empty reply approves and any text, "yes"
included, rejects, so that every short instruction would be a wrong one.
"""

from watcher.messages.digests import about_digest
from watcher.messages.formatting import duration, moment
from watcher.messages.incidents import ADVICE, about_app, about_notifier
from watcher.messages.message import (
    Fact,
    Item,
    Message,
    Row,
    Tone,
    briefly,
    changed,
    facts,
    headline,
    more_items,
    more_rows,
    shortened,
    summary,
)
from watcher.messages.requests import NOT_VISIBLE, PARKED, about_request, kind, parameters, web_link
from watcher.models import AppEvent, DigestEvent, Event, NotifierEvent, RequestEvent, SampleEvent
from watcher.sanitize.secrets import MASK

__all__ = [
    "ADVICE",
    "NOT_VISIBLE",
    "PARKED",
    "Fact",
    "Item",
    "Message",
    "Row",
    "Tone",
    "briefly",
    "changed",
    "duration",
    "facts",
    "headline",
    "kind",
    "moment",
    "more_items",
    "more_rows",
    "parameters",
    "render",
    "shortened",
    "summary",
    "web_link",
]

_SAMPLE = Message(
    tone="info",
    title="Test message, nothing waits",
    body="Approve a refund of 620 USD for order A-20417? It is above the 500 USD limit.",
    quoted=True,
    rows=(
        Row("amount", "620", editable=True),
        Row("customer", "Marta Lindqvist"),
        Row("payment_api_token", MASK, masked=True),
    ),
    lead="This is what a request looks like. Whoever reads it can be reached by watcher.",
)


def render(event: Event) -> Message:
    """Returns the message for an event; for a test one that looks like a request and says that it is none."""
    match event:
        case RequestEvent():
            return about_request(event)
        case DigestEvent():
            return about_digest(event)
        case AppEvent():
            return about_app(event)
        case NotifierEvent():
            return about_notifier(event)
        case SampleEvent():
            return _SAMPLE
