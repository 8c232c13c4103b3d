"""A server that writes whatever bytes it is told to, on an event loop that lasts for many examples."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from tests.support.builders import soon

T = TypeVar("T")


class Peer:
    """Answers every connection with the same bytes, and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self.url = ""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads a request whole, so that closing resets nothing, and answers."""
        with_body = await reader.readuntil(b"\r\n\r\n")
        lines = with_body.decode("latin-1").lower().split("\r\n")
        sizes = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
        await reader.readexactly(sum(sizes))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


class Bench:
    """An event loop with a peer on it and a client for destinations."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.peer = Peer()
        self._runner = runner
        self._stack = AsyncExitStack()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns what the work returns, unless it hangs."""
        return self._runner.run(soon(work))  # type: ignore[no-any-return]

    async def open(self) -> None:
        """Starts the peer."""
        server = await asyncio.start_server(self.peer.serve, "127.0.0.1", 0)
        self.peer.port = server.sockets[0].getsockname()[1]
        self.peer.url = f"http://127.0.0.1:{self.peer.port}"
        self._stack.callback(server.close)

    async def close(self) -> None:
        """Ends it."""
        await self._stack.aclose()


@contextmanager
def open_bench() -> Iterator[Bench]:
    """An event loop with a peer."""
    with asyncio.Runner() as runner:
        opened = Bench(runner)
        opened.run(opened.open())
        yield opened
        opened.run(opened.close())
