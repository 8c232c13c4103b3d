"""What the watcher says in Slack on typical occasions, said by the real notifier to the fake Slack.

The golden files (`tests/golden/slack`) and the pictures (`tests/slack_page`) are made from these.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.support.events import make_delivery
from tests.support.fakes import FakeSlack, served
from tests.support.sending import notifier_context, open_test_session, slack_config
from tests.support.slack_html import Post
from watcher.models import (
    App,
    AppEvent,
    Digest,
    DigestEntry,
    DigestEvent,
    Event,
    Failure,
    InputRequest,
    Json,
    MessageRef,
    NotifierEvent,
    NotifierFailure,
    Outcome,
    Reminder,
    RequestEvent,
    Resolution,
    Run,
    SampleEvent,
)
from watcher.notifiers.slack.notifier import SlackNotifier
from watcher.sanitize.redactor import MASK

SEEN_AT: Final = 1781082939.7
"""2026-06-10T09:15:39Z and a bit."""

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "slack"

_REFUND: Final = """\
Order A-10482 was charged twice on 3 June. The customer asks for the second payment back and has sent a \
statement of the bank that shows both.

Refund 620.00 EUR to the card ending in 4417?"""
_PARAMS: Final[dict[str, Json]] = {
    "order_id": "A-10482",
    "amount": 620,
    "currency": "EUR",
    "reason": "duplicate charge",
}
_STATEMENT: Final = """\
DELETE FROM carts
 WHERE updated_at < now() - interval '30 days'
   AND customer_id NOT IN (
         SELECT customer_id
           FROM orders
          WHERE state = 'open'
       );"""
_CONTRACT: Final = """\
Clause 9.2 caps liability at 12 months of fees; the playbook says 24.
- Accept 12 months, as the customer proposes
- Insist on 24 months
- Offer 18 months as a compromise

What shall I answer?"""
_QUESTIONS: Final = (
    "Refund 620.00 EUR to the card ending in 4417?",
    "Send the answer to Marta Lindqvist?",
    """\
The customer asks for a discount of 15 %. The playbook allows 10 %, more for contracts of two years.

This one is for three years, and the customer pays in advance. What shall I offer?""",
    "Close account A-20417?",
    "Delete 14 duplicate contacts?",
)


def _asking(
    prompt: str | None,
    params: Json = None,
    *,
    kind: str = "approval_request",
    editable: tuple[str, ...] = (),
    app: str = "support",
) -> RequestEvent:
    run = Run(
        "8c2c6b1e-4f0d-4a57-9a43-0e6d2b1f7a10",
        "awaiting_input",
        SEEN_AT - 18,
        "customer-7421",
        "3d3e9f52-7c1b-4e0a-b1f4-5a9d0c7e2b66",
    )
    return RequestEvent(
        id="evt_requested",
        type="run.input_requested",
        at=SEEN_AT + 1,
        app=App(app, f"https://{app}.apps.example"),
        run=run,
        request=InputRequest("7a1b", kind, prompt, params, editable, "f"),
        first_seen_at=SEEN_AT,
        link=f"https://console.example/runs/{run.id}",
    )


E = TypeVar("E", RequestEvent, DigestEvent)


def _reminded(event: E, number: int, after: float) -> E:
    return replace(
        event,
        id=f"evt_reminder_{number}",
        type="run.input_reminder",
        at=SEEN_AT + after,
        reminder=Reminder(number, 3),
    )


def _resolved(event: RequestEvent, outcome: Any, status: str | None, after: float) -> RequestEvent:
    return replace(
        event,
        id="evt_resolved",
        type="run.input_resolved",
        at=SEEN_AT + after + 4,
        run=replace(event.run, status=status or "awaiting_input"),
        resolution=Resolution(outcome, status, SEEN_AT + after),
    )


def _digest(waiting: int, outcomes: tuple[tuple[Outcome, int], ...] = ()) -> Digest:
    """Returns 40 requests of which so many wait; those that ended are named when none waits."""
    ended = [outcome for outcome, count in outcomes for _ in range(count)]
    entries = tuple(
        DigestEntry(
            run_id := f"{number:08x}-4f0d-4a57-9a43-0e6d2b1f7a10",
            "unknown" if number == 11 else "human_feedback" if number % 4 == 2 else "approval_request",
            None if number == 11 else _QUESTIONS[number % len(_QUESTIONS)],
            SEEN_AT + number,
            f"https://console.example/runs/{run_id}" if number % 6 else None,
            None if waiting else ended[number],
            None if waiting else 300.0 + 97 * number,
        )
        for number in range(min(waiting or 40, 12))
    )
    return Digest(40, waiting, outcomes, SEEN_AT, entries)


def _ended(number: int, digest: Digest, after: float) -> DigestEvent:
    return replace(
        _MANY, id=f"evt_ended_{number}", type="run.input_resolved", at=SEEN_AT + after, digest=digest
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """What happens, in order. Follow-ups refer to the message of the first event."""

    name: str
    events: tuple[Event, ...]
    mention: tuple[str, ...] = ("here",)


_APPROVAL: Final = _asking(_REFUND, _PARAMS)
_EDITABLE: Final = _asking(_REFUND, _PARAMS, editable=("amount", "reason"))
_FAILING: Final = AppEvent(
    "evt_failing",
    "watcher.app_failing",
    SEEN_AT + 120,
    app=App("support", "https://support.apps.example"),
    failure=Failure(401, "unauthorized", "Access key is invalid or has been revoked.", SEEN_AT, 2),
)
_SILENT: Final = NotifierEvent(
    "evt_silent",
    "watcher.notifier_failing",
    SEEN_AT + 120,
    failure=NotifierFailure("audit", "HTTP 410: this address is no longer in use", SEEN_AT, 7),
)
_PARKED: Final = _asking(None, kind="unknown")
_MANY: Final = DigestEvent(
    "evt_many",
    "run.input_requested",
    SEEN_AT + 1,
    app=App("support", "https://support.apps.example"),
    digest=_digest(40),
)
_MANY_REMINDED: Final = replace(_reminded(_MANY, 1, 1800), digest=_digest(9, (("answered", 31),)))
_FEW_LEFT: Final = _digest(2, (("answered", 35), ("canceled", 3)))
_NONE_LEFT: Final = _digest(0, (("answered", 36), ("canceled", 4)))

SAMPLES: Final = (
    Sample("approval", (_APPROVAL,)),
    Sample("approval-editable", (_EDITABLE,)),
    Sample(
        "approval-code",
        (
            replace(
                _asking(
                    "Approve calling 'run_sql' with these arguments?",
                    {"database": "shop-production", "statement": _STATEMENT, "max_rows": 5000},
                    editable=("max_rows",),
                ),
                next_reminder_at=SEEN_AT + 1800,
            ),
        ),
    ),
    Sample(
        "approval-masked",
        (
            _asking(
                f"Rotate the key {MASK} of the payment provider?", {"provider": "Acme Pay", "api_key": MASK}
            ),
        ),
        mention=("U0123ABCD", "S0456EFGH"),
    ),
    Sample("approval-second-of-three", (replace(_APPROVAL, position=(2, 3)),), mention=()),
    Sample(
        "approval-nested",
        (
            _asking(
                "Create this purchase order?",
                {
                    "supplier": {"name": "Nordwind GmbH", "iban": "DE89 3704 0044 0532 0130 00"},
                    "lines": [{"sku": "T-100", "quantity": 40}, {"sku": "T-200", "quantity": 5}],
                    "note": "Deliver to the side entrance.\nRing twice.",
                    "express": True,
                    "discount": None,
                    "reference": "",
                },
                app="procurement",
            ),
        ),
    ),
    Sample("feedback", (_asking(_CONTRACT, kind="human_feedback", app="legal"),)),
    Sample(
        "unknown-kind", (_asking("Take over the browser and sign in.", kind="browser_takeover", app="rpa"),)
    ),
    Sample("hidden", (_asking(None, kind="unknown"),)),
    Sample("parked", (replace(_PARKED, run=replace(_PARKED.run, status="paused")),)),
    Sample("reminder", (_APPROVAL, _reminded(_APPROVAL, 1, 1800))),
    Sample("digest", (_MANY,)),
    Sample("digest-reminder", (_MANY, _MANY_REMINDED)),
    Sample("digest-partly-ended", (_MANY, _ended(1, _FEW_LEFT, 1500))),
    Sample("digest-ended", (_MANY, _MANY_REMINDED, _ended(1, _FEW_LEFT, 2500), _ended(2, _NONE_LEFT, 4000))),
    Sample("answered", (_APPROVAL, _resolved(_APPROVAL, "answered", "completed", 312))),
    Sample(
        "answered-after-reminders",
        (
            _EDITABLE,
            _reminded(_EDITABLE, 1, 1800),
            _reminded(_EDITABLE, 2, 7200),
            _resolved(_EDITABLE, "answered", "running", 7640),
        ),
    ),
    Sample("canceled", (_APPROVAL, _resolved(_APPROVAL, "canceled", "canceled", 95000))),
    Sample("gone", (_APPROVAL, _resolved(_APPROVAL, "gone", None, 95000))),
    Sample("replaced", (_APPROVAL, _resolved(_APPROVAL, "replaced", "awaiting_input", 60))),
    Sample("failing", (_FAILING,)),
    Sample(
        "recovered",
        (_FAILING, replace(_FAILING, id="evt_recovered", type="watcher.app_recovered", at=SEEN_AT + 3720)),
    ),
    Sample("notifier-failing", (_SILENT,)),
    Sample(
        "notifier-recovered",
        (
            _SILENT,
            replace(_SILENT, id="evt_heard", type="watcher.notifier_recovered", at=SEEN_AT + 3720),
        ),
    ),
    Sample("test", (SampleEvent("evt_test", SEEN_AT),)),
    Sample(
        "hostile",
        (
            _asking(
                "<!channel> *Approve now* <https://evil.example|your bank> :tada:\n> *quoted* `code` @here",
                {"<!here>": "_x_ https://evil.example", "note": "```fence``` <@U0123>"},
            ),
        ),
    ),
    Sample(
        "long",
        (
            _asking(
                "Every message of the conversation follows. " * 120 + "\nSend the answer?",
                {f"attachment_{number}": "lorem ipsum dolor sit amet " * 30 for number in range(45)},
            ),
        ),
    ),
)


async def said(sample: Sample) -> FakeSlack:
    """Lets the notifier say it all and returns the Slack that heard it."""
    slack = FakeSlack()
    async with served(slack) as url, open_test_session() as session:
        notifier = SlackNotifier(
            slack_config(url, mention=sample.mention), notifier_context(session, clock=lambda: slack.now)
        )
        first: MessageRef | None = None
        reminders: tuple[MessageRef, ...] = ()
        for event in sample.events:
            slack.now = event.at
            if not event.type.startswith("run."):
                await notifier.send(make_delivery(event))
                continue
            receipt = await notifier.send(make_delivery(event, first, reminders))
            if event.type == "run.input_reminder" and receipt:
                reminders = (*reminders, receipt)
            else:
                first = receipt
    return slack


def calls(slack: FakeSlack) -> list[dict[str, Any]]:
    """Returns what was asked of Slack, in order: the method and its arguments."""
    return [{"method": call.path.removeprefix("/api/"), "arguments": call.json()} for call in slack.received]


def channel(slack: FakeSlack) -> list[Post]:
    """Returns the channel as people see it now.

    Slack marks no edit of a message of blocks, https://docs.slack.dev/reference/methods/chat.update.
    """
    posts: list[Post] = []
    for (where, ts), message in slack.messages.items():
        edited = len(slack.history[where, ts]) > 1 and not message.get("blocks")
        parent = slack.messages.get((where, message.get("thread_ts", "")))
        if parent is None or message.get("reply_broadcast"):
            replies = tuple(
                Post(reply, float(reply_ts))
                for (_, reply_ts), reply in slack.messages.items()
                if reply.get("thread_ts") == ts
            )
            posts.append(Post(message, float(ts), edited=edited, parent=parent, replies=replies))
    return posts


def golden(said_calls: Sequence[dict[str, Any]]) -> str:
    """Returns the text of a golden file."""
    return json.dumps(said_calls, ensure_ascii=False, indent=2) + "\n"
