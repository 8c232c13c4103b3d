"""The units of work of delivering: what is due, what became of it. One transaction each."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from watcher.models import (
    App,
    AppEvent,
    Delivery,
    DeliveryRecord,
    DigestEvent,
    Event,
    Failure,
    InputRequest,
    Json,
    MessageRef,
    NotifierEvent,
    NotifierFailure,
    Reminder,
    RequestEvent,
    Resolution,
    Run,
)
from watcher.store import digests, reminders
from watcher.store.enqueue import NewId, mark_superseded, record, supersede
from watcher.store.results import Claim, Dead, NotifierPolicy, Result, Retry, Sent


@dataclass(frozen=True, slots=True)
class Withheld:
    """Deliveries up to a number that are about certain apps, whose names are a JSON list."""

    until_delivery: int = 0
    apps: str = "[]"


def leftover_deliveries(connection: sqlite3.Connection) -> tuple[int, set[str]]:
    """Returns the number of the newest delivery, and the apps that unfinished ones are about."""
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM deliveries").fetchone()[0]
    rows = connection.execute(
        "SELECT DISTINCT e.app FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.state = 'pending' AND e.app <> ''"
    )
    return int(newest), {row[0] for row in rows}


def settle(
    connection: sqlite3.Connection,
    results: Iterable[Result],
    terms: NotifierPolicy,
    *,
    now: float,
    new_id: NewId,
) -> list[DeliveryRecord]:
    """Records what became of sends; returns deliveries that are not tried again because they became stale.

    What was told, or given up, is followed by the next reminder of it.
    """
    stale: list[DeliveryRecord] = []
    for result in results:
        match result:
            case Sent(delivery, receipt):
                connection.execute(
                    "UPDATE deliveries SET state = 'sent', attempts = attempts + 1, last_error = NULL,"
                    " receipt = ?, finished_at = ? WHERE id = ?",
                    (json.dumps(dict(receipt.values)) if receipt else None, now, delivery),
                )
            case Retry(delivery, error, at, doubtful):
                connection.execute(
                    "UPDATE deliveries SET attempts = attempts + 1, last_error = ?, next_attempt_at = ?,"
                    " doubtful = (doubtful & 1) | ? WHERE id = ?",
                    (error, at, doubtful, delivery),
                )
                stale += _supersede_if_stale(connection, delivery, now=now)
            case Dead(delivery, error, doubtful):
                connection.execute(
                    "UPDATE deliveries SET attempts = attempts + 1, last_error = ?,"
                    " doubtful = (doubtful & 1) | ? WHERE id = ?",
                    (error, doubtful, delivery),
                )
                stale += _supersede_if_stale(connection, delivery, now=now)
                connection.execute(
                    "UPDATE deliveries SET state = 'dead', finished_at = ?"
                    " WHERE id = ? AND state = 'pending'",
                    (now, delivery),
                )
        if terms.remind_after and not isinstance(result, Retry):
            reminders.plan_next(
                connection, delivery, terms.remind_after, apps=terms.apps, now=now, new_id=new_id
            )
    return stale


def claim(
    connection: sqlite3.Connection,
    *,
    notifier: str,
    limit: int,
    pause_until: float | None,
    in_flight: Collection[int],
    withheld: Withheld,
    now: float,
) -> Claim:
    """Returns up to `limit` deliveries of a notifier that are due and not under way, longest due first.

    Of one subject only the first that is unfinished and whose turn has come is given out: order holds, also
    where the clock was set back meanwhile. From now on nothing is given out before `pause_until`, and nothing
    of what is `withheld`.
    """
    if pause_until is not None:
        connection.execute(
            "INSERT INTO notifiers (name, paused_until) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET"
            " paused_until = max(paused_until, excluded.paused_until)",
            (notifier, pause_until),
        )
    paused = connection.execute("SELECT paused_until FROM notifiers WHERE name = ?", (notifier,)).fetchone()
    if paused is not None and paused["paused_until"] > now:
        return Claim((), paused["paused_until"])
    due = connection.execute(
        "SELECT d.id FROM deliveries d WHERE d.notifier = ? AND d.state = 'pending'"
        " AND d.next_attempt_at <= ? AND NOT d.held AND NOT (d.id <= ? AND EXISTS (SELECT 1 FROM events v"
        " WHERE v.id = d.event AND v.app IN (SELECT value FROM json_each(?))))"
        " AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.subject = d.subject AND e.notifier = d.notifier"
        " AND e.id < d.id AND e.state = 'pending' AND (e.due_at <= ? OR e.attempts > 0"
        " OR e.id IN (SELECT value FROM json_each(?))))"
        " ORDER BY d.next_attempt_at, d.id LIMIT ?",
        (
            notifier,
            now,
            withheld.until_delivery,
            withheld.apps,
            now,
            json.dumps(list(in_flight)),
            limit + len(in_flight),
        ),
    )
    ids = [row["id"] for row in due if row["id"] not in in_flight][:limit]
    _mark_given_out(connection, ids)
    wake = connection.execute(
        "SELECT min(next_attempt_at) FROM deliveries WHERE notifier = ? AND state = 'pending'"
        " AND next_attempt_at > ?",
        (notifier, now),
    ).fetchone()
    return Claim(tuple(_load(connection, number) for number in ids), wake[0])


def _mark_given_out(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Lets it be known after a crash that a person may have been told.

    2 stands for that while nothing is known of what became of it, 1 for an earlier attempt of that kind.
    Machines hear of everything anyway, so it is not worth a write of theirs.
    """
    connection.execute(
        "UPDATE deliveries SET doubtful = 2 + (doubtful <> 0)"
        " WHERE for_people AND id IN (SELECT value FROM json_each(?))",
        (json.dumps(numbers),),
    )


def undelivered(
    connection: sqlite3.Connection,
    apps: Sequence[str],
    notifiers: Sequence[str],
    *,
    untried: bool,
    now: float,
) -> int:
    """Returns how many deliveries about these apps, or none, should have been sent by these notifiers.

    With `untried` only those that were not even tried.
    """
    row = connection.execute(
        "SELECT count(*) FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.state = 'pending' AND d.due_at <= ? AND d.notifier IN (SELECT value FROM json_each(?))"
        " AND (e.app = '' OR e.app IN (SELECT value FROM json_each(?))) AND (NOT ? OR d.attempts = 0)",
        (now, json.dumps(notifiers), json.dumps(apps), untried),
    ).fetchone()
    return int(row[0])


def dead_letter_removed(
    connection: sqlite3.Connection, notifiers: Sequence[str], now: float
) -> list[DeliveryRecord]:
    """Gives up the deliveries of notifiers that are not among the configured ones, and returns them."""
    marks = ", ".join("?" * len(notifiers))
    rows = connection.execute(
        f"SELECT id FROM deliveries WHERE state = 'pending' AND notifier NOT IN ({marks})",  # noqa: S608 - only question marks
        tuple(notifiers),
    ).fetchall()
    connection.executemany(
        "UPDATE deliveries SET state = 'dead', held = 0, finished_at = ?,"
        " last_error = 'the notifier is no longer configured' WHERE id = ?",
        [(now, row["id"]) for row in rows],
    )
    return [record(connection, row["id"]) for row in rows]


def shift_timestamps(connection: sqlite3.Connection, seconds: float) -> None:
    """Moves what is measured from by as much as the clock was set; waits stay as long as they were."""
    connection.execute(
        "UPDATE deliveries SET due_at = due_at + ?, next_attempt_at = next_attempt_at + ?"
        " WHERE state = 'pending'",
        (seconds, seconds),
    )
    connection.execute(
        "UPDATE notifiers SET paused_until = paused_until + ?, failing_since = failing_since + ?",
        (seconds, seconds),
    )
    connection.execute("UPDATE apps SET failing_since = failing_since + ?", (seconds,))
    connection.execute("UPDATE hidden_runs SET since = since + ?", (seconds,))


def dead(connection: sqlite3.Connection) -> set[int]:
    """Returns the numbers of the deliveries that were given up."""
    return {row[0] for row in connection.execute("SELECT id FROM deliveries WHERE state = 'dead'")}


def state(connection: sqlite3.Connection, number: int) -> str | None:
    """Returns the state of a delivery, None if there is no such."""
    row = connection.execute("SELECT state FROM deliveries WHERE id = ?", (number,)).fetchone()
    return None if row is None else str(row[0])


def requeue(connection: sqlite3.Connection, numbers: Sequence[int], now: float) -> None:
    """Makes dead deliveries due again; giving up is counted from now. People are spared what is over."""
    connection.executemany(
        "UPDATE deliveries SET state = 'pending', attempts = 0, due_at = ?, next_attempt_at = ?,"
        " finished_at = NULL WHERE id = ? AND state = 'dead'",
        [(now, now, number) for number in numbers],
    )
    for number in numbers:
        _supersede_if_stale(connection, number, now=now)


def _supersede_if_stale(connection: sqlite3.Connection, number: int, *, now: float) -> list[DeliveryRecord]:
    """A person is not told, late, of what is over by now, nor reminded of it.

    Who knows of it, or may know, still hears how it ended.
    """
    row = connection.execute(
        "SELECT d.subject, d.notifier, EXISTS (SELECT 1 FROM deliveries o WHERE o.subject = d.subject"
        " AND o.notifier = d.notifier AND (o.state = 'sent' OR o.doubtful)) AS reached"
        " FROM deliveries d JOIN events e ON e.id = d.event"
        " LEFT JOIN requests r ON r.key = e.request WHERE d.id = ? AND d.for_people"
        " AND ((e.type IN ('run.input_requested', 'run.input_reminder') AND (r.resolved_at IS NOT NULL"
        " OR (r.key IS NULL AND NOT EXISTS (SELECT 1 FROM digest_members m"
        " JOIN requests w ON w.key = m.request AND w.resolved_at IS NULL"
        " WHERE m.digest = json_extract(e.detail, '$.digest')))))"
        " OR (e.type = 'watcher.app_failing'"
        " AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.alert_event = e.id))"
        " OR (e.type = 'watcher.notifier_failing'"
        " AND NOT EXISTS (SELECT 1 FROM notifiers n WHERE n.alert_event = e.id)))",
        (number,),
    ).fetchone()
    if row is None:
        return []
    if row["reached"]:
        return mark_superseded(connection, [number], now=now)
    # Of one subject no other delivery to this notifier can be under way: the order holds.
    return supersede(connection, row["subject"], row["notifier"], in_flight=(), now=now)


def _load(connection: sqlite3.Connection, number: int) -> Delivery:
    row = connection.execute(
        "SELECT d.id, d.notifier, d.attempts, d.due_at, d.subject, e.id AS event, e.type AS event_type, e.at,"
        " e.app AS event_app, e.base_url AS event_base_url, e.detail, r.*"
        " FROM deliveries d JOIN events e ON e.id = d.event LEFT JOIN requests r ON r.key = e.request"
        " WHERE d.id = ?",
        (number,),
    ).fetchone()
    receipts = connection.execute(
        "SELECT d.receipt, e.type FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.subject = ? AND d.notifier = ? AND d.id < ? AND d.receipt IS NOT NULL ORDER BY d.id",
        (row["subject"], row["notifier"], number),
    ).fetchall()
    sent = [
        (MessageRef(json.loads(earlier["receipt"])), earlier["type"] == "run.input_reminder")
        for earlier in receipts
    ]
    messages = [receipt for receipt, is_reminder in sent if not is_reminder]
    return Delivery(
        id=row["id"],
        notifier=row["notifier"],
        event=_event(connection, row),
        attempt=row["attempts"] + 1,
        due_at=row["due_at"],
        first_message=messages[-1] if messages else None,
        reminders=tuple(receipt for receipt, is_reminder in sent if is_reminder),
    )


def _event(connection: sqlite3.Connection, row: sqlite3.Row) -> Event:
    at = max(row["at"], row["due_at"])  # an escalation happens when its time comes
    detail = json.loads(row["detail"])
    head = {"id": row["event"], "type": row["event_type"], "at": at}
    if "notifier_failure" in detail:
        return NotifierEvent(**head, failure=NotifierFailure(**detail["notifier_failure"]))
    head["app"] = App(row["event_app"], row["event_base_url"])
    if "failure" in detail:
        return AppEvent(**head, failure=Failure(**detail["failure"]))
    head["reminder"] = Reminder(**detail["reminder"]) if "reminder" in detail else None
    if "digest" in detail:
        return DigestEvent(**head, digest=digests.load(connection, detail["digest"]))
    return _request_event(head, row)


def _request_event(head: dict[str, Json], row: sqlite3.Row) -> RequestEvent:
    ended = row["event_type"] == "run.input_resolved"
    request = InputRequest(
        id=row["request_id"],
        type=row["type"],
        prompt=row["prompt"],
        params=json.loads(row["params"]),
        editable_params=tuple(json.loads(row["editable_params"])),
        fingerprint=row["fingerprint"],
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
        run=run,
        request=request,
        first_seen_at=row["first_seen_at"],
        link=row["link"],
        position=tuple(position) if position else None,
        resolution=Resolution(row["outcome"], row["resolved_status"], row["resolved_at"]) if ended else None,
    )
