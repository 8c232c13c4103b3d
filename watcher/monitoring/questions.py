"""Work that HTTP clients ask for: one question at a time, few waiting, identical ones answered once."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from watcher.concurrency import run_blocking

T = TypeVar("T")


class TooManyQuestionsError(Exception):
    """So many questions are waiting that another one is refused."""


@dataclass(slots=True)
class _Question:
    """One piece of work, and how many clients want its answer."""

    task: asyncio.Task[Any]
    clients: int = 0
    begun: bool = False


class Questions:
    """Answers one question at a time, on a thread, so that many clients take little from the daemon."""

    def __init__(self, *, waiting: int) -> None:
        """At most `waiting` questions wait while another one is answered."""
        self._waiting = waiting
        self._turn = asyncio.Lock()
        self._asked: dict[Hashable, _Question] = {}

    async def ask(self, key: Hashable, answer: Callable[[], T], *, admitted: bool = False) -> T:
        """Returns the answer, or raises what `answer` raises; the same `key` means the same question.

        A question that no client waits for any more is dropped, unless it is being answered. An `admitted`
        question is never refused: it is a part of one that was accepted before.

        Raises:
            TooManyQuestionsError: too many others are waiting.
        """
        question = self._asked.get(key)
        if question is None:
            if len(self._asked) > self._waiting and not admitted:
                raise TooManyQuestionsError
            question = self._asked[key] = _Question(asyncio.create_task(self._answer(key, answer)))
            question.task.add_done_callback(_take_note)
        question.clients += 1
        try:
            found: T = await asyncio.shield(question.task)
        finally:
            question.clients -= 1
            if not question.clients and not question.begun:
                self._asked.pop(key, None)
                question.task.cancel()
        return found

    async def _answer(self, key: Hashable, answer: Callable[[], T]) -> T:
        async with self._turn:
            self._asked[key].begun = True
            try:
                return await run_blocking(answer)
            finally:
                del self._asked[key]


def _take_note(task: asyncio.Task[Any]) -> None:
    """Keeps asyncio from reporting an error for which every client has left."""
    if not task.cancelled():
        task.exception()
