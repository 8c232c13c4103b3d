"""Pure: an event as a message for people, independent of where it is shown.

Texts hold no character that acts on its surroundings (see `sanitize.text`), but nothing is escaped: each
notifier escapes for its own markup. No message says how to answer: in Dynamiq an empty reply approves and any
text, "yes" included, rejects, so every short instruction would be wrong.
"""

from watcher.messages.digests import digest_message
from watcher.messages.fitting import fit
from watcher.messages.formatting import count, format_elapsed, format_timestamp, sentence
from watcher.messages.incidents import ADVICE, app_group_message, app_message, notifier_message
from watcher.messages.message import (
    Fact,
    Item,
    Message,
    Note,
    Question,
    Row,
    Tone,
    answer_lines,
    facts,
    lost_reply,
    more_items,
    more_rows,
    notification_line,
    plain_text,
    row_lines,
)
from watcher.messages.questions import given_fields, read_questions, without_questions
from watcher.messages.requests import (
    TAKEOVER,
    MessageSettings,
    missing_prompt,
    no_prompt,
    outcome_sentence,
    parameter_notes,
    parameters,
    question_text,
    request_label,
    request_message,
    web_link,
)
from watcher.messages.values import (
    has_columns,
    show_name,
    show_prompt,
)
from watcher.models import (
    AppEvent,
    AppGroupEvent,
    DigestEvent,
    Event,
    NotifierEvent,
    RequestEvent,
    SampleEvent,
)
from watcher.sanitize.redactor import MASK

__all__ = [
    "ADVICE",
    "TAKEOVER",
    "Fact",
    "Item",
    "Message",
    "MessageSettings",
    "Note",
    "Question",
    "Row",
    "Tone",
    "answer_lines",
    "count",
    "facts",
    "fit",
    "format_elapsed",
    "format_timestamp",
    "given_fields",
    "has_columns",
    "lost_reply",
    "missing_prompt",
    "more_items",
    "more_rows",
    "no_prompt",
    "notification_line",
    "outcome_sentence",
    "parameter_notes",
    "parameters",
    "plain_text",
    "question_text",
    "read_questions",
    "render",
    "request_label",
    "request_message",
    "row_lines",
    "sentence",
    "show_name",
    "show_prompt",
    "web_link",
    "without_questions",
]

_SAMPLE = Message(
    tone="info",
    title="Test message, no action needed",
    lead="If you can read this, watcher can reach you. A request looks like this:",
    body="Approve a refund of 620 USD for order A-20417? It is above the 500 USD limit.",
    quoted=True,
    rows=(
        Row("amount", 620, editable=True),
        Row("customer", "Marta Lindqvist"),
        Row("payment_api_token", MASK),
    ),
)


def render(event: Event, settings: MessageSettings = MessageSettings()) -> Message:  # noqa: B008 - frozen
    """Returns the message for an event; a test message looks like a request and says that it is a test."""
    match event:
        case RequestEvent():
            return request_message(event, settings)
        case DigestEvent():
            return digest_message(event, settings)
        case AppEvent():
            return app_message(event)
        case AppGroupEvent():
            return app_group_message(event)
        case NotifierEvent():
            return notifier_message(event)
        case SampleEvent():
            return _SAMPLE
