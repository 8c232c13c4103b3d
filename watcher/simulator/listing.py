"""Which runs a list call finds, and in which order."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from watcher.simulator.options import Options
from watcher.simulator.parsing import ListQuery
from watcher.simulator.runs import OPEN, Ask, SimulatedRun, shown_status


class Row(NamedTuple):
    """A run with those of its requests that are visible just now."""

    run: SimulatedRun
    asks: tuple[Ask, ...]


def select(rows: Iterable[Row], query: ListQuery, options: Options) -> list[Row]:
    """Returns the rows that a query finds, in its order; equals go in the order of their start."""
    if query.nothing:
        return []
    found = [row for row in rows if _matches(row, query, options)]
    found.sort(key=lambda row: row.run.number, reverse=query.sort[0][1])
    for name, descending in reversed(query.sort):
        found.sort(key=partial(_sort_key, name), reverse=descending)
    return found


def _matches(row: Row, query: ListQuery, options: Options) -> bool:
    statuses = {shown_status(row.run, row.asks)}
    if options.awaiting_matches_base and row.run.base in OPEN:
        statuses.add(row.run.base)
    return (
        (not query.statuses or not statuses.isdisjoint(query.statuses))
        and query.user_id in (None, row.run.user_id)
        and query.session_id in (None, row.run.session_id)
    )


def _sort_key(name: str, row: Row) -> tuple[bool, float | str]:
    """Runs that have not ended count as ending last (assumed)."""
    if name == "status":
        return (False, shown_status(row.run, row.asks))
    if name == "ended_at":
        return (row.run.ended_at is None, row.run.ended_at or 0.0)
    return (False, row.run.started_at)
