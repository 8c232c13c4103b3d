"""Holds messages to people until the end of a poll, so that many new requests can be one message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from watcher.polling.context import PollContext
from watcher.store import StoreError

HOLD_SECONDS: Final = 5.0
"""The longest time that messages to people wait for the end of a poll."""


class DigestWindow:
    """Releases the held deliveries of one app; more than `digest_above` become one message."""

    def __init__(self, app: str, context: PollContext) -> None:
        self._app = app
        self._context = context
        self._anything_held = True  # an earlier process may have ended in the middle of a poll
        self._releasing = asyncio.Lock()

    def add(self) -> None:
        """Notes that deliveries are recorded now which may be held."""
        self._anything_held = True

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Releases the deliveries when the block ends, however it ends, and every few seconds until then."""
        meanwhile = asyncio.create_task(self._release_periodically())
        try:
            yield
        finally:
            async with self._releasing:  # a release that is cut short would wake no worker
                meanwhile.cancel()
            await asyncio.wait({meanwhile})
            await self._release()

    async def _release_periodically(self) -> None:
        while True:
            await asyncio.sleep(HOLD_SECONDS)
            async with self._releasing:
                with suppress(StoreError):  # the deliveries stay held, and the last release raises what lasts
                    await self._release()

    async def _release(self) -> None:
        if not self._anything_held:
            return
        self._anything_held = False  # before the release, because the poll may record more meanwhile
        try:
            released = await self._context.store.release_held(
                self._app, digest_above=self._context.settings.digest_above, now=self._context.wall()
            )
        except BaseException:
            self._anything_held = True
            raise
        if released:
            self._context.wake(released)
