"""A bound on what HTTP clients can take: connections, time and bytes.

Every step of a connection has a time limit, which a client cannot extend by sending or reading slowly. If
there are too many connections, the one without progress for longest gives way, so a probe always gets in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Final

from aiohttp import web

CONNECTIONS_MAX: Final = 64
HEAD_SECONDS: Final = 10.0
"""How long a client may take to send a request, on a new connection or after the last answer."""
ANSWER_SECONDS: Final = 60.0
"""How long an answer may take as a whole."""
WRITE_SECONDS: Final = 10.0
"""How long a client may take to read one piece of an answer."""
_ABORTED_SECONDS: Final = 0.1
"""How long the handlers of aborted connections may take to end."""
RECEIVED_MAX: Final = 1 << 16
"""Bytes that a client may send for one request, body included, which is not read."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Makes the connections and keeps their number within the limit."""

    def __init__(self, handler: Handler, refuse: Callable[[int], web.Response]) -> None:
        """`refuse` makes the response of this status for a request that is not valid HTTP."""
        super().__init__(handler, handler_cancellation=True)
        self.refuse = refuse
        self._open: dict[Connection, None] = {}  # the one that made no progress for longest comes first
        self._closed = asyncio.Event()
        self._closed.set()

    def __call__(self) -> web.RequestHandler:
        """Returns the protocol of a new connection."""
        return Connection(self)

    def progressed(self, connection: "Connection") -> None:
        """Puts a connection last in the order in which connections give way."""
        self._open.pop(connection, None)
        self._open[connection] = None
        self._closed.clear()
        if len(self._open) > CONNECTIONS_MAX:
            *others, _ = self._open
            next((other for other in others if not other.busy), others[0]).abort()

    def left(self, connection: "Connection") -> None:
        """Forgets a connection that is closed or being aborted."""
        self._open.pop(connection, None)
        if not self._open:
            self._closed.set()

    async def close(self, seconds: float) -> None:
        """Closes all connections; answers under way may take `seconds`."""
        for connection in list(self._open):
            if connection.busy:
                connection.close()
            else:
                connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        for connection in list(self._open):
            connection.abort()
        await self.shutdown(_ABORTED_SECONDS)


class Connection(web.RequestHandler):
    """One connection, which is aborted when its client does not keep to the limits."""

    __slots__ = ("_received", "_server", "_socket", "_timer", "busy")

    def __init__(self, server: BoundedServer) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=HEAD_SECONDS)
        self._server = server
        self._socket: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the time for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        super().connection_made(transport)
        self.limit(HEAD_SECONDS)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Ends the limits."""
        if self._timer is not None:
            self._timer.cancel()
        self._socket = None
        self._server.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what the client sends, unless it is too much."""
        self._received += len(data)
        if self._received > RECEIVED_MAX:
            self.abort()
        else:
            super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuses what is not valid HTTP, without a line in the log; an error of ours is logged.

        Raises:
            ConnectionError: the client is gone, or has a part of the answer.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            super().handle_error(request, status, exc, message)
        response = self._server.refuse(status)
        response.force_close()
        return response

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Marks the block as the answer to a request; the time for the next request starts at its end."""
        self.busy = True
        self.limit(ANSWER_SECONDS)
        try:
            yield
        finally:
            self.busy = False
            self._received = 0
            self.limit(HEAD_SECONDS)

    def limit(self, seconds: float) -> None:
        """Notes progress; the next progress must come within `seconds`."""
        if self._socket is None or self._socket.is_closing():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)
        self._server.progressed(self)

    def abort(self) -> None:
        """Closes the connection at once, whatever was not sent yet."""
        self._server.left(self)
        if self._socket is not None:
            self._socket.abort()
