"""An event loop that lasts for many examples, with a server on it that answers with any bytes."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.support.builders import soon
from tests.support.hostile_peers import Call, Peer, listening

T = TypeVar("T")


class Bench:
    """The event loop, and the server: it sends `answer` to every request and hangs up."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.answer = b""
        self.peer = Peer(self._respond)
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns what the work returns, unless it hangs."""
        return self._runner.run(soon(work))  # type: ignore[no-any-return]

    async def _respond(self, call: Call) -> None:
        await call.say(self.answer)
        call.writer.close()


@contextmanager
def open_bench() -> Iterator[Bench]:
    """Starts both, and ends them after the block."""
    with asyncio.Runner() as runner:
        bench = Bench(runner)
        serving = listening([bench.peer])
        runner.run(serving.__aenter__())
        yield bench
        runner.run(serving.__aexit__(None, None, None))
