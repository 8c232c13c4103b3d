"""Which runs a list call finds, in which order, and on which page."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from watcher.simulator.options import Options, Refusal
from watcher.simulator.parsing import ListQuery
from watcher.simulator.runs import OPEN, Ask, SimulatedRun, shown_status

T = TypeVar("T")


class Row(NamedTuple):
    """A run with those of its requests that are visible now."""

    run: SimulatedRun
    asks: tuple[Ask, ...]


def select(rows: Iterable[Row], query: ListQuery, options: Options) -> list[Row]:
    """Returns the rows that a query finds, in its order; equal rows go in the order of their starts."""
    if query.nothing:
        return []
    found = [row for row in rows if _matches(row, query, options)]
    found.sort(key=lambda row: row.run.number, reverse=query.sort[0][1])
    for name, descending in reversed(query.sort):
        found.sort(key=partial(_sort_key, name), reverse=descending)
    return found


def paginate(entries: Sequence[T], query: ListQuery, options: Options) -> tuple[Sequence[T], dict[str, int]]:
    """Returns the page that a query asks for, and the response's `pagination`.

    Raises:
        Refusal: 404 for a page past the end, if the options say so (assumed: an empty page).
    """
    count = -(-len(entries) // query.page_size) or options.empty_page_count
    if query.page > max(count, 1) and options.past_the_end == "not_found":
        raise Refusal(404)
    first = (query.page - 1) * query.page_size
    return entries[first : first + query.page_size], {
        "page": query.page,
        "page_size": query.page_size,
        "page_count": count,
        "total_count": len(entries),
    }


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
    """Returns what to sort by; runs that have not ended count as ending last (assumed)."""
    if name == "status":
        return (False, shown_status(row.run, row.asks))
    if name == "ended_at":
        return (row.run.ended_at is None, row.run.ended_at or 0.0)
    return (False, row.run.started_at)
