"""Many requests of one app in one message."""

from collections.abc import Iterator

from watcher.messages.formatting import format_elapsed
from watcher.messages.message import Fact, Item, Message, Tone, titled
from watcher.messages.requests import (
    MessageSettings,
    ended,
    first_details,
    no_prompt,
    reminder_number,
    request_label,
    web_link,
    where_to_answer,
)
from watcher.messages.values import show_prompt
from watcher.models import DigestEntry, DigestEvent
from watcher.sanitize.text import one_line, truncate, truncate_middle

_PROMPT_SHOWN, _RUN_SHOWN = 150, 100
"""Characters, few enough to be never cut again."""
_BLOCKED = "Each run stays blocked until its request is answered."


def digest_message(event: DigestEvent, settings: MessageSettings) -> Message:
    """Returns the message about many requests that are new, are still waiting, or have all ended."""
    digest = event.digest
    tone, title = _headline(event)
    items = tuple(_item(entry, settings) for entry in digest.entries)
    all_linked = all(item.link for item in items)
    hint = where_to_answer(event.app, settings, "the run with the id beside a request")
    return Message(
        tone=tone,
        title=titled(title, event.app.name),
        lead=" ".join(_sentences(event)) or None,
        body="",
        items=items,
        dropped_items=(digest.waiting or digest.total) - len(digest.entries),
        hint=hint if digest.waiting and not all_linked else None,
        outlook=_BLOCKED if digest.waiting else None,
        facts=tuple(_facts(event)) if digest.waiting else (),
    )


def _facts(event: DigestEvent) -> Iterator[Fact]:
    if event.next_reminder_at is not None:
        yield Fact("Next reminder", event.next_reminder_at)
    yield Fact("Oldest waiting since", event.digest.oldest)


def _headline(event: DigestEvent) -> tuple[Tone, str]:
    digest = event.digest
    still = f"{digest.waiting} of {digest.total} requests still waiting"
    match event.type:
        case "run.input_requested":
            need = "request needs" if digest.waiting == 1 else "requests need"
            return "urgent", f"{digest.waiting} {need} input"
        case "run.input_reminder":
            return "reminder", f"Reminder: {still}"
        case _ if digest.waiting:
            return "info", still
    return "closed", f"All {digest.total} requests are closed"


def _sentences(event: DigestEvent) -> Iterator[str]:
    digest = event.digest
    if event.reminder:
        yield f"Oldest waiting for {format_elapsed(event.at - digest.oldest)}."
        yield reminder_number(event.reminder)
    if digest.outcomes:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in digest.outcomes)
        yield f"So far: {counts}." if digest.waiting else f"{counts}."
    if digest.waiting > len(digest.entries):
        yield "Waiting longest:"


def _item(entry: DigestEntry, settings: MessageSettings) -> Item:
    note = request_label(entry.type)
    if entry.outcome is not None:
        note += f", {ended(entry.outcome, entry.waited)}"
    return Item(
        text=truncate_middle(one_line(show_prompt(entry.prompt)), _PROMPT_SHOWN) or no_prompt(entry.type),
        note=note,
        run=truncate(one_line(entry.run_id), _RUN_SHOWN) or "(no id)",
        link=web_link(entry.link) or settings.page(entry.key),
        details=first_details(entry.params),
    )
