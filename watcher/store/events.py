"""What is sent: claimed deliveries, each with its event, read back from the database."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from watcher.models import (
    App,
    AppEvent,
    AppGroupEvent,
    Delivery,
    Digest,
    DigestEvent,
    Event,
    Failure,
    InputRequest,
    MessageRef,
    NotifierEvent,
    NotifierFailure,
    Reminder,
    RequestEvent,
    Resolution,
    Run,
)
from watcher.store.digests import load_digests
from watcher.store.sql import Listed, Reader, Row, Transaction

_REQUEST: Final = (
    " r.key, r.run_id, r.request_id, r.fingerprint, r.type, r.prompt, r.params, r.editable_params, r.masked,"
    " r.questions, r.is_browser_takeover, r.run_status, r.started_at, r.user_id, r.session_id, r.run_input,"
    " r.link, r.position, r.first_seen_at, r.resolved_at, r.outcome, r.resolved_status,"
    # A run whose question is not visible has no id of it, and may ask something else each time.
    " (SELECT max(o.first_seen_at) FROM requests o WHERE o.fingerprint = r.fingerprint"
    " AND substr(o.run_id, 1, 64) = substr(r.run_id, 1, 64) AND o.outcome = 'answered'"
    " AND o.run_id = r.run_id AND o.app = r.app AND o.key < r.key AND r.request_id <> '') AS asked_before"
)
_CLAIMED: Final = (
    "SELECT d.id, d.notifier, d.attempts, d.due_at, d.tried_for, d.last_attempt_at, d.thread_key,"
    " e.id AS event, e.type AS event_type, e.at,"
    f" e.app AS event_app, e.base_url AS event_base_url, e.digest_id, e.detail,{_REQUEST}"
    " FROM deliveries d JOIN events e ON e.id = d.event"
    " LEFT JOIN requests r ON r.key = e.request WHERE d.id IN (SELECT value FROM json_each(?))"
)
_BY_KEY: Final = (
    "SELECT r.app AS event_app, r.base_url AS event_base_url, CASE WHEN r.resolved_at IS NULL"
    f" THEN 'run.input_requested' ELSE 'run.input_resolved' END AS event_type,{_REQUEST} FROM requests r"
    " WHERE r.key = ?"
)
_RECEIPTS: Final = (
    "SELECT d.id, d.thread_key, d.receipt, e.type FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE d.thread_key IN (SELECT c.thread_key FROM deliveries c"
    " WHERE c.id IN (SELECT value FROM json_each(?))) AND d.notifier = ? AND d.receipt IS NOT NULL"
    " ORDER BY d.id"
)


def load_messages(tx: Transaction, notifier: str, messages: Sequence[Sequence[int]]) -> tuple[Delivery, ...]:
    """Returns what a notifier is to send: one delivery, or several in one, for each message."""
    if not messages:
        return ()
    ids = Listed([delivery for message in messages for delivery in message])
    rows, earlier = tx.execute_all([(_CLAIMED, (ids,)), (_RECEIPTS, (ids, notifier))])
    receipts: dict[str, list[Row]] = {}
    for row in earlier:
        receipts.setdefault(row["thread_key"], []).append(row)
    digests = load_digests(tx, {row["digest_id"] for row in rows if row["digest_id"] is not None})
    loaded = {row["id"]: _delivery(row, receipts.get(row["thread_key"], ()), digests) for row in rows}
    return tuple(_together([loaded[delivery] for delivery in message]) for message in messages)


def _together(deliveries: Sequence[Delivery]) -> Delivery:
    first = deliveries[0]
    events = [each.event for each in deliveries if isinstance(each.event, AppEvent)]
    if len(events) < 2:  # noqa: PLR2004 - one makes no group
        return first
    group = AppGroupEvent(
        first.event.id, events[0].type, first.event.at, tuple((event.app, event.failure) for event in events)
    )
    same_thread = all(each.first_message == first.first_message for each in deliveries)
    return replace(
        first,
        event=group,
        first_message=first.first_message if same_thread else None,
        together_with=tuple(each.id for each in deliveries[1:]),
    )


def load_request(reader: Reader, key: int) -> RequestEvent | None:
    """Returns a request as an event that was never sent: that it is pending, or how it ended."""
    row = reader.first(_BY_KEY, (key,))
    if row is None:
        return None
    at = row["first_seen_at"] if row["resolved_at"] is None else row["resolved_at"]
    return _request_event({"id": "", "type": row["event_type"], "at": at}, row)


def _delivery(row: Row, receipts: Collection[Row], digests: Mapping[str, Digest]) -> Delivery:
    sent = [
        (MessageRef(json.loads(earlier["receipt"])), earlier["type"] == "run.input_reminder")
        for earlier in receipts
        if earlier["id"] < row["id"]
    ]
    messages = [receipt for receipt, is_reminder in sent if not is_reminder]
    return Delivery(
        id=row["id"],
        notifier=row["notifier"],
        event=_event(row, digests),
        attempt=row["attempts"] + 1,
        due_at=row["due_at"],
        first_message=messages[-1] if messages else None,
        reminders=tuple(receipt for receipt, is_reminder in sent if is_reminder),
        tried_for=row["tried_for"],
        last_attempt_at=row["last_attempt_at"],
    )


def _event(row: Row, digests: Mapping[str, Digest]) -> Event:
    at = max(row["at"], row["due_at"])  # an escalation happens when its time comes
    head: dict[str, Any] = {"id": row["event"], "type": row["event_type"], "at": at}
    match row["event_type"]:
        case "watcher.notifier_failing" | "watcher.notifier_recovered":
            return NotifierEvent(**head, failure=NotifierFailure(**json.loads(row["detail"])))
        case "watcher.app_failing" | "watcher.app_recovered":
            return AppEvent(**head, app=_app(row), failure=Failure(**json.loads(row["detail"])))
        case "run.input_reminder":
            head["reminder"] = Reminder(**json.loads(row["detail"]))
    if row["digest_id"] is not None:
        return DigestEvent(**head, app=_app(row), digest=digests[row["digest_id"]])
    return _request_event(head, row)


def _app(row: Row) -> App:
    return App(row["event_app"], row["event_base_url"])


def _request_event(head: dict[str, Any], row: Row) -> RequestEvent:
    ended = row["event_type"] == "run.input_resolved"
    request = InputRequest(
        id=row["request_id"],
        type=row["type"],
        prompt=row["prompt"],
        params=json.loads(row["params"]),
        editable_params=tuple(json.loads(row["editable_params"])),
        fingerprint=row["fingerprint"],
        masked=tuple(json.loads(row["masked"])),
        questions=json.loads(row["questions"]),
        is_browser_takeover=json.loads(row["is_browser_takeover"]),
    )
    run = Run(
        id=row["run_id"],
        status=(ended and row["resolved_status"]) or row["run_status"],
        started_at=row["started_at"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        input=json.loads(row["run_input"]),
    )
    position = json.loads(row["position"])
    return RequestEvent(
        **head,
        app=_app(row),
        run=run,
        request=request,
        first_seen_at=row["first_seen_at"],
        link=row["link"],
        position=tuple(position) if position else None,
        resolution=Resolution(row["outcome"], row["resolved_status"], row["resolved_at"]) if ended else None,
        key=row["key"],
        asked_before=row["asked_before"],
    )
