"""When people are told of what a poll found: at its end, so that many requests can be one message."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from watcher.store import Store, StoreError

HOLD_SECONDS: Final = 5.0
"""How long people wait for the end of a poll that found something new, at most."""


class DigestWindow:
    """The news of one app that is held for people."""

    def __init__(
        self,
        app: str,
        *,
        digest_above: int,
        store: Store,
        wake: Callable[[], None],
        wall: Callable[[], float],
    ) -> None:
        """More than `digest_above` new requests become one message; `wake` is called when news is let go."""
        self._app = app
        self._digest_above = digest_above
        self._store = store
        self._wake = wake
        self._wall = wall
        self._some = True  # what a process that ended in the middle of a poll has left

    def add(self) -> None:
        """News was recorded, and is held where it may go into a digest."""
        self._some = True

    @asynccontextmanager
    async def until_the_end(self) -> AsyncIterator[None]:
        """Lets the news go when the block ends, however it ends, and every few seconds until then."""
        meanwhile = asyncio.create_task(self._release_again_and_again())
        try:
            yield
        finally:
            meanwhile.cancel()
            await asyncio.wait({meanwhile})
            await self._release()

    async def _release_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(HOLD_SECONDS)
            with suppress(StoreError):  # it stays held, and is tried again
                await self._release()

    async def _release(self) -> None:
        if not self._some:
            return
        self._some = False  # at once, for the poll goes on meanwhile
        try:
            released = await self._store.release_held(
                self._app, digest_above=self._digest_above, now=self._wall()
            )
        except BaseException:
            self._some = True
            raise
        if released:
            self._wake()
