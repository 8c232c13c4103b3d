"""Work that HTTP clients ask for: one piece at a time, few waiting, the same piece done once for all."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from watcher.concurrency import run_blocking

T = TypeVar("T")


class QueueFullError(Exception):
    """So much work is waiting that more is refused."""


@dataclass(slots=True)
class _Piece:
    """One piece of work, and how many clients want its result."""

    task: asyncio.Task[Any]
    clients: int = 0
    begun: bool = False


class WorkQueue:
    """Does one piece of work at a time, on a thread, so that many clients take little from the daemon."""

    def __init__(self, *, waiting: int) -> None:
        """At most `waiting` pieces wait while another one is done."""
        self._waiting = waiting
        self._turn = asyncio.Lock()
        self._pieces: dict[Hashable, _Piece] = {}

    async def do(self, key: Hashable, work: Callable[[], T], *, admitted: bool = False) -> T:
        """Returns what `work` returns, or raises what it raises; the same `key` means the same work.

        Work that no client waits for any more is dropped, unless it has begun. `admitted` work is never
        refused: it is a part of some that was accepted before.

        Raises:
            QueueFullError: too much other work is waiting.
        """
        piece = self._pieces.get(key)
        if piece is None:
            if len(self._pieces) > self._waiting and not admitted:
                raise QueueFullError
            piece = self._pieces[key] = _Piece(asyncio.create_task(self._begin(key, work)))
            piece.task.add_done_callback(_take_note)
        piece.clients += 1
        try:
            found: T = await asyncio.shield(piece.task)
        finally:
            piece.clients -= 1
            if not piece.clients and not piece.begun:
                self._pieces.pop(key, None)
                piece.task.cancel()
        return found

    async def _begin(self, key: Hashable, work: Callable[[], T]) -> T:
        async with self._turn:
            self._pieces[key].begun = True
            try:
                return await run_blocking(work)
            finally:
                del self._pieces[key]


def _take_note(task: asyncio.Task[Any]) -> None:
    """Keeps asyncio from reporting an error for which every client has left."""
    if not task.cancelled():
        task.exception()
