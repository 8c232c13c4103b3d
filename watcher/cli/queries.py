"""`watcher pending`, `watcher deliveries` and `watcher retry`: the database, beside a running daemon."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from watcher.cli.options import Whole, config_option, json_option, row_id
from watcher.cli.process import describe_store_error, end_by_store_error, load_config, usage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from watcher.config.models import Config
    from watcher.models import DeliveryRecord, DeliveryState, PendingRequest
    from watcher.store.sql import Database, Reader

DELIVERY_STATES: Final = ("pending", "sent", "superseded", "dead")
"""As in `models`, which takes a third of the time of `--help` to import."""

NEWEST_SHOWN: Final = 50
"""Deliveries in the table by default: as many as a person looks through."""


class NotDeadError(Exception):
    """Deliveries do not exist or are not dead, and so cannot be retried; `problems` has a line for each."""

    def __init__(self, problems: "Sequence[str]") -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@click.command(short_help="List pending requests and who was notified.")
@config_option
@json_option
@click.argument("number", metavar="[ID]", type=row_id, required=False)
def pending(config_file: Path | None, *, as_json: bool, number: int | None) -> None:
    """List pending requests and who was notified, the longest waiting first.

    With an ID that the list shows, show the whole of that request, also after it has ended.
    """
    from watcher.cli import output
    from watcher.messages import MessageSettings
    from watcher.store import queries
    from watcher.store.events import load_request

    config = load_config(config_file, need_secrets=False)
    intervals = {app.name: app.poll_interval for app in config.apps}
    with _reading(config) as (reader, now):
        if reader is None:
            if as_json:
                output.show_pending_json([], [], now)
            return
        apps = queries.apps(reader, intervals, now=now)
        names = list(intervals)
        event = None if number is None else load_request(reader, number)
        if event is not None:  # it may be of an app that is no longer configured
            names, apps = [event.app.name], [app for app in apps if app.name == event.app.name]
        elif number is not None:
            usage_error(f"there is no request {number}; `watcher pending` lists those that are pending")
        waiting: Iterable[PendingRequest] = (
            queries.all_pending(reader, names)
            if as_json
            else queries.pending_requests(reader, names, details=True)
        )
        if number is not None:
            waiting = [request for request in waiting if request.id == number]
        if as_json:
            output.show_pending_json(waiting, apps, now)
        elif event is None:
            output.show_pending(list(waiting), apps, now)
        else:
            told = [notifier for request in waiting for notifier in request.told]
            settings = MessageSettings(config.answer_hints, config.public_url)
            output.show_request(event, told, apps, settings, now)


@click.command(short_help="List deliveries: pending, sent, superseded or dead.")
@config_option
@json_option
@click.option("--state", type=click.Choice(DELIVERY_STATES), help="Only deliveries in this state.")
@click.option("--notifier", metavar="NAME", help="Only deliveries to this notifier.")
@click.option(
    "--limit",
    type=Whole(min=0),
    metavar="N",
    help=f"Only the newest N; 0 lists all [default: {NEWEST_SHOWN}, with --json all]",
)
def deliveries(
    config_file: Path | None,
    *,
    as_json: bool,
    state: "DeliveryState | None",
    notifier: str | None,
    limit: int | None,
) -> None:
    """List deliveries, the newest last: pending, sent, superseded or dead."""
    from watcher.cli import output
    from watcher.store import queries

    config = load_config(config_file, need_secrets=False)
    most = limit if limit is not None else 0 if as_json else NEWEST_SHOWN
    found: list[DeliveryRecord] = []
    names = [section.name for section in config.notifiers]
    with _reading(config) as (reader, now):
        exists = reader is not None
        known = notifier is None or notifier in names
        if reader is not None:
            newest = most + 1 if most else None  # one more tells whether there are more
            found = queries.deliveries(reader, state, now=now, notifier=notifier, newest=newest)
            # One that was taken out of the configuration may have deliveries, even if not in this state.
            known = known or bool(queries.deliveries(reader, None, now=now, notifier=notifier, newest=1))
    if not known:
        usage_error(f"no notifier is named {notifier!r}; configured: {', '.join(names)}")
    if as_json or exists:
        output.show_deliveries(found[-most:], now, as_json=as_json)
    if limit is None and 0 < most < len(found):
        click.echo(f"watcher: showing the newest {most}; --limit 0 lists all", err=True)


@click.command(short_help="Retry dead deliveries.")
@config_option
@click.argument("ids", metavar="[ID]...", nargs=-1, type=row_id)
@click.option("--all-dead", is_flag=True, help="Retry every dead delivery.")
def retry(config_file: Path | None, ids: tuple[int, ...], *, all_dead: bool) -> None:
    """Retry dead deliveries, by the ids that `watcher deliveries --state dead` shows."""
    if bool(ids) == all_dead:
        raise click.UsageError("give either one or more delivery IDs or --all-dead")
    config = load_config(config_file, need_secrets=False)
    with open_database(config) as database:
        if not database.exists():
            usage_error(database.absence)
        try:
            count = requeue(database, None if all_dead else ids)
        except NotDeadError as error:
            usage_error(*error.problems, "no delivery was retried")
    click.echo(f"{count} {'delivery' if count == 1 else 'deliveries'} will be retried")


def requeue(database: "Database", ids: "Sequence[int] | None") -> int:
    """Makes these dead deliveries, or all, pending again and returns how many.

    Raises:
        NotDeadError: some of them are not dead; then nothing was changed.
        StoreError: the database cannot be used.
    """
    from watcher.store import outbox

    with database.changing(database.now()) as tx:
        states = outbox.states(tx, ids or ())
        problems = [
            f"delivery {number}: it is {states[number]}; only dead deliveries can be retried"
            if number in states
            else f"delivery {number}: no such delivery"
            for number in dict.fromkeys(ids or ())
            if states.get(number) != "dead"
        ]
        if problems:
            raise NotDeadError(problems)
        return outbox.requeue(tx, ids)


@contextmanager
def _reading(config: "Config") -> "Iterator[tuple[Reader | None, float]]":
    """Opens the database to read, with its Unix time; None where there is none yet, which is no error."""
    with open_database(config) as database:
        now = database.now()
        if not database.exists():
            click.echo(f"watcher: {database.absence}", err=True)
            yield None, now
            return
        with database.reading() as reader:
            yield reader, now


@contextmanager
def open_database(config: "Config") -> "Iterator[Database]":
    """Gives the configured database; an error of it in the block ends the process with a message."""
    from watcher.store.databases import locate
    from watcher.store.errors import StoreError

    try:
        yield locate(config.database)
    except StoreError as error:
        end_by_store_error(error, describe_store_error(error, config.database))
