"""The units of work of delivery: what became of sends, what is sent next, and what is tried again."""

import json
import math
from collections.abc import Collection, Sequence
from typing import Final

from watcher.models import DeliveryRecord
from watcher.store import claiming, incidents, reminders, revival
from watcher.store.enqueue import load_threads, mark_superseded, records, unfinished
from watcher.store.events import load_messages
from watcher.store.results import Claim, ClaimRequest, Dead, NotifierPolicy, Result, Retry, Sent
from watcher.store.sql import Listed, Reader, Transaction

_NEWEST: Final = "SELECT coalesce(max(id), 0) AS newest FROM deliveries"
_UNFINISHED_APPS: Final = "SELECT DISTINCT app FROM deliveries WHERE state = 'pending' AND app <> ''"
_SENT: Final = (
    "UPDATE deliveries SET state = 'sent', attempts = attempts + 1, attempt_open = 0, last_error = NULL,"
    " receipt = ?, finished_at = ? WHERE id = ?"
)
_FAILED: Final = (
    "UPDATE deliveries SET attempts = attempts + 1, attempt_open = 0, last_error = ?,"
    " possibly_delivered = CASE WHEN possibly_delivered <> 0 THEN 1 ELSE ? END,"
    " next_attempt_at = coalesce(?, next_attempt_at), tried_for = ?, last_attempt_at = ? WHERE id = ?"
)
_DEAD: Final = (
    "UPDATE deliveries SET state = 'dead', finished_at = ?"
    " WHERE id IN (SELECT value FROM json_each(?)) AND state = 'pending'"
)
_STALE: Final = (
    "SELECT d.id, d.thread_key, d.notifier, CASE WHEN EXISTS (SELECT 1 FROM deliveries o"
    " WHERE o.thread_key = d.thread_key AND o.notifier = d.notifier"
    " AND (o.state = 'sent' OR o.attempt_open <> 0 OR o.possibly_delivered <> 0))"
    " THEN 1 ELSE 0 END AS reached FROM deliveries d JOIN events e ON e.id = d.event"
    " LEFT JOIN requests r ON r.key = e.request"
    " WHERE d.id IN (SELECT value FROM json_each(?)) AND d.for_people <> 0 AND ("
    "(e.type IN ('run.input_requested', 'run.input_reminder') AND (r.resolved_at IS NOT NULL"
    " OR (e.digest_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM digest_members m"
    " WHERE m.digest_id = e.digest_id"
    " AND (SELECT w.resolved_at FROM requests w WHERE w.key = m.request) IS NULL LIMIT 1 OFFSET 0))))"
    " OR (e.type IN ('watcher.app_failing', 'watcher.notifier_failing')"
    " AND NOT EXISTS (SELECT 1 FROM incidents i WHERE i.announced_event = e.id)))"
)
"""Deliveries to people about what is over, and whether another message of the thread reached them."""
_UNDELIVERED: Final = (
    "SELECT count(*) AS number FROM deliveries WHERE state = 'pending' AND due_at <= ?"
    " AND notifier IN (SELECT value FROM json_each(?))"
    " AND (app = '' OR app IN (SELECT value FROM json_each(?)))"
)
_GIVE_UP_REMOVED: Final = (
    "UPDATE deliveries SET state = 'dead', held = 0, finished_at = ?,"
    " last_error = 'the notifier is no longer configured'"
    " WHERE state = 'pending' AND NOT (notifier IN (SELECT value FROM json_each(?))) RETURNING id"
)
_STATES: Final = "SELECT id, state FROM deliveries WHERE id IN (SELECT value FROM json_each(?))"
_REQUEUE: Final = (
    "UPDATE deliveries SET state = 'pending', attempts = 0, due_at = :now, next_attempt_at = :now,"
    " tried_for = 0, last_attempt_at = NULL, finished_at = NULL WHERE state = 'dead'"
)


def settle_and_claim(
    tx: Transaction,
    notifier: str,
    results: Sequence[Result],
    policy: NotifierPolicy,
    wanted: ClaimRequest,
) -> Claim:
    """Records what became of a notifier's sends and claims what it is to send next."""
    tx.claimed_ids -= {result.delivery for result in results}
    stale = _settle(tx, results, policy) if results else []
    failing, recovered = incidents.record_results(tx, notifier, results, policy)
    revived = revival.revive_dead(tx, notifier, policy) if recovered.closed else 0
    messages, wake_at = claiming.claim(tx, notifier, policy, wanted)
    tx.claimed_ids |= {delivery for message in messages for delivery in message}
    return Claim(
        load_messages(tx, notifier, messages),
        wake_at if math.isinf(wanted.due_by) else None,
        superseded=(*stale, *recovered.superseded),
        failing=failing.failure,
        recovered=recovered.failure,
        revived=revived,
    )


def _settle(tx: Transaction, results: Sequence[Result], policy: NotifierPolicy) -> list[DeliveryRecord]:
    """Records what became of sends; returns deliveries that are not tried again because they became stale.

    After a delivery that was accepted or given up, its next reminder is planned.
    """
    sent = [result for result in results if isinstance(result, Sent)]
    failed = [result for result in results if isinstance(result, Retry | Dead)]
    dead = [result.delivery for result in failed if isinstance(result, Dead)]
    stale: list[DeliveryRecord] = []
    if sent:
        tx.execute_many(_SENT, [(_receipt(each), tx.now, each.delivery) for each in sent])
    if failed:
        tx.execute_many(_FAILED, [_failed_row(result, tx.now) for result in failed])
        stale = _supersede_stale(tx, [result.delivery for result in failed])
    if dead:
        tx.execute(_DEAD, (tx.now, Listed(dead)))
    done = [*(each.delivery for each in sent), *dead]
    if policy.remind_after and done:
        reminders.plan_next(tx, done, lambda _, app: policy.remind_after if policy.covers(app) else ())
    return stale


def _receipt(result: Sent) -> str | None:
    return json.dumps(dict(result.receipt.values)) if result.receipt else None


def _failed_row(result: Retry | Dead, now: float) -> tuple[object, ...]:
    error = result.error.replace("\0", "\ufffd")  # PostgreSQL refuses it in a text
    next_attempt_at = result.at if isinstance(result, Retry) else None
    tried_for = result.tried_for if isinstance(result, Retry) else 0.0
    return (error, int(result.possibly_delivered), next_attempt_at, tried_for, now, result.delivery)


def leftover_deliveries(tx: Transaction) -> tuple[int, set[str]]:
    """Returns the id of the newest delivery, and the apps that unfinished ones are about."""
    (newest,) = tx.execute(_NEWEST)[0]
    return newest, {row["app"] for row in tx.execute(_UNFINISHED_APPS)}


def undelivered(tx: Transaction, apps: Sequence[str], notifiers: Sequence[str], *, untried: bool) -> int:
    """Returns how many deliveries about these apps, or none, should have been sent by these notifiers.

    With `untried` only those that were not even tried.
    """
    statement = f"{_UNDELIVERED} AND attempts = 0" if untried else _UNDELIVERED
    (number,) = tx.execute(statement, (tx.now, Listed(notifiers), Listed(apps)))[0]
    return int(number)


def dead_letter_removed(tx: Transaction, notifiers: Sequence[str]) -> list[DeliveryRecord]:
    """Gives up the deliveries of notifiers that are not among these, and returns them."""
    rows = tx.execute(_GIVE_UP_REMOVED, (tx.now, Listed(notifiers)))
    return records(tx, [row["id"] for row in rows])


def states(reader: Reader, ids: Collection[int]) -> dict[int, str]:
    """Returns the states of those of these deliveries that exist."""
    return {row["id"]: row["state"] for row in reader.execute(_STATES, (Listed(ids),))}


def requeue(tx: Transaction, ids: Collection[int] | None) -> int:
    """Makes those of these deliveries that are dead, or all that are, due again, and returns how many.

    The time until they are given up counts from now. What would tell people about what is over is superseded.
    """
    chosen = "" if ids is None else " AND id IN (SELECT value FROM json_each(:ids))"
    parameters = {"now": tx.now, "ids": Listed(ids or ())}
    requeued = tx.execute(f"{_REQUEUE}{chosen} RETURNING id", parameters)
    _supersede_stale(tx, [row["id"] for row in requeued])
    return len(requeued)


def _supersede_stale(tx: Transaction, ids: Collection[int]) -> list[DeliveryRecord]:
    """Supersedes those of these deliveries that would tell people, late, about what is over by now.

    Where people got a message about it, or may have, its resolution is still sent.
    """
    rows = tx.execute(_STALE, (Listed(ids),))
    stale = {row["id"] for row in rows if row["reached"]}
    if unknown := {(row["thread_key"], row["notifier"]) for row in rows if not row["reached"]}:
        # Of one thread no other delivery to this notifier can be under way: the order holds.
        for thread, deliveries in load_threads(tx, {thread_key for thread_key, _ in unknown}).items():
            if thread in unknown:
                stale |= {delivery["id"] for delivery in unfinished(deliveries, ())}
    return mark_superseded(tx, stale)
