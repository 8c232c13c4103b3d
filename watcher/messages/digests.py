"""Many requests of one app in one message."""

from collections.abc import Iterator
from typing import Final

from watcher.messages.model import Fact, Item, Message, Tone
from watcher.messages.requests import ENDED, NOT_VISIBLE, kind, web_link
from watcher.messages.times import duration
from watcher.models import Digest, DigestEntry, Event
from watcher.text import cut, printable

_PROMPT_SHOWN: Final = 150


def about_digest(event: Event, digest: Digest) -> Message:
    """Returns the message about many requests: what is new, what still waits, or that all are over."""
    tone, title = _headline(event, digest)
    return Message(
        tone=tone,
        title=f"{title} · {printable(event.app.name)}" if event.app else title,
        lead=_lead(event),
        body=_body(digest),
        items=tuple(_item(entry) for entry in digest.entries),
        dropped_items=(digest.waiting or digest.total) - len(digest.entries),
        facts=tuple(_facts(digest)),
    )


def _headline(event: Event, digest: Digest) -> tuple[Tone, str]:
    needs = "1 request needs" if digest.waiting == 1 else f"{digest.waiting} requests need"
    still = f"{digest.waiting} of {digest.total} requests still wait"
    match event.type:
        case "run.input_requested":
            return "urgent", f"{needs} input"
        case "run.input_reminder":
            return "reminder", f"Reminder: {still}"
        case _ if digest.waiting:
            return "info", still
        case _:
            return "done", f"All {digest.total} requests are closed"


def _lead(event: Event) -> str | None:
    return f"This is reminder {event.reminder.number} of {event.reminder.of}." if event.reminder else None


def _body(digest: Digest) -> str:
    if not digest.waiting:
        return "Nothing of this waits any more."
    if digest.waiting > len(digest.entries):
        return f"These {len(digest.entries)} wait the longest:"
    return "These wait:"


def _item(entry: DigestEntry) -> Item:
    prompt = cut(printable(entry.prompt or ""), _PROMPT_SHOWN)
    link = web_link(entry.link)
    words = kind(entry.type)
    if entry.outcome is not None:
        words += f", {ENDED[entry.outcome]}"
        words += f" after {duration(entry.waited)}" if entry.waited is not None else ""
    if link is None:
        words += f", run {printable(entry.run_id)}"
    return Item(prompt or NOT_VISIBLE, words, link, over=entry.outcome is not None)


def _facts(digest: Digest) -> Iterator[Fact]:
    if digest.waiting:
        yield Fact("The oldest waits since", digest.oldest)
    for outcome, count in digest.outcomes:
        yield Fact(outcome.capitalize(), str(count))
