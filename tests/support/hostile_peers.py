"""A server on a raw socket, and the ways in which it misbehaves: it hangs, drips, drops, babbles, floods."""

import asyncio
import re
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

DRIP_SECONDS: Final = 0.05
BODY: Final = b'{"data": {"id": "r1", "status": "started"}}'
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
BOMB_MIB: Final = 1024
"""What `explodes` becomes when it is inflated."""

_TLS_HELLO: Final = b"\x16"
_CHUNK: Final = b"10000\r\n" + b" " * 2**16 + b"\r\n"
_COMPRESSED: Final = b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came in, the state that the server was in, and the connection to answer it on."""

    head: bytes
    body: bytes
    ill: bool
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def path(self) -> str:
        """The path and the query."""
        return self.head.split(b" ", 2)[1].decode()

    def header(self, name: str) -> str:
        """The value of a header, empty if there is none."""
        found = re.search(rf"(?im)^{name}: *(.*?)\r$".encode(), self.head)
        return found[1].decode() if found else ""

    async def say(self, *parts: bytes) -> None:
        """Sends something."""
        self.writer.writelines(parts)
        await self.writer.drain()

    async def say_for_ever(self, part: bytes, *, every: float = 0) -> None:
        """Sends something again and again until the other side gives up."""
        while not self.writer.is_closing():
            await self.say(part)
            await asyncio.sleep(every)

    async def wait_for_the_end(self) -> None:
        """Waits until the other side gives up."""
        await self.reader.read()


Behaviour = Callable[[Call], Awaitable[None]]


async def answers(call: Call) -> None:
    """Answers as it should."""
    await call.say(HEAD + BODY)


async def says_nothing(call: Call) -> None:
    """Takes the request and answers nothing."""
    await call.wait_for_the_end()


async def drips_its_head(call: Call) -> None:
    """Sends a header without an end, byte by byte."""
    await call.say(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await call.say_for_ever(b"x", every=DRIP_SECONDS)


async def drips(call: Call) -> None:
    """Sends a body without an end, byte by byte."""
    await call.say(HEAD.replace(b"%d" % len(BODY), b"1000000"))
    await call.say_for_ever(b" ", every=DRIP_SECONDS)


async def stalls(call: Call) -> None:
    """Stops in the middle of the body."""
    await call.say(HEAD + BODY[:10])
    await call.wait_for_the_end()


async def keeps_one_waiting(call: Call) -> None:
    """Announces its answer without an end, and gives none."""
    await call.say_for_ever(b"HTTP/1.1 102 Processing\r\n\r\n", every=DRIP_SECONDS)


async def hangs_up(call: Call) -> None:
    """Closes the connection instead of answering."""
    call.writer.close()


async def hangs_up_in_its_head(call: Call) -> None:
    """Closes the connection in the middle of the head."""
    await call.say(HEAD[:25])
    call.writer.close()


async def truncates(call: Call) -> None:
    """Closes the connection in the middle of the body."""
    await call.say(HEAD + BODY[:10])
    call.writer.close()


async def resets(call: Call) -> None:
    """Resets the connection instead of answering."""
    raw = call.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    call.writer.transport.abort()


async def resets_in_its_body(call: Call) -> None:
    """Resets the connection in the middle of the body."""
    await call.say(HEAD + BODY[:10])
    await resets(call)


async def crumbles(call: Call) -> None:
    """Sends its answer in chunks of one byte, without end."""
    await call.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await call.say_for_ever(b"1\r\nx\r\n" * 10_000, every=0)


async def announces(call: Call) -> None:
    """Sends interim answers as fast as it can, and no other one."""
    await call.say_for_ever(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, every=0)


async def babbles(call: Call) -> None:
    """Speaks something that is not HTTP."""
    await call.say(b"220 mail.example ESMTP\r\n\r\n")
    call.writer.close()


async def is_another_site(call: Call) -> None:
    """Answers 200 with a page for people, as the network of a hotel does."""
    await call.say(reply(b"<html><h1>Log in</h1></html>", kind=b"text/html"))


async def sends_noise(call: Call) -> None:
    """Calls random bytes JSON."""
    await call.say(reply(bytes(range(256)) * 4))


async def names_no_charset(call: Call) -> None:
    """Names as its character set a codec that is none of texts."""
    await call.say(reply(BODY, kind=b"application/json; charset=zlib"))


async def nests(call: Call) -> None:
    """Sends JSON that is nested too deeply to be read by recursion."""
    await call.say(reply(b"[" * 100_000))


async def has_a_huge_header(call: Call) -> None:
    """Sends one header of 200 KB."""
    await call.say(HEAD[:-2], b"X-Large: " + b"x" * 200_000 + b"\r\n\r\n" + BODY)


async def has_headers_without_end(call: Call) -> None:
    """Sends header after header."""
    await call.say(HEAD[:-2])
    await call.say_for_ever(b"X-More: of this\r\n" * 1000)


async def floods(call: Call) -> None:
    """Sends a body without an end, as fast as it is taken."""
    await call.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    await call.say_for_ever(_CHUNK * 16)


async def breaks_a_chunk(call: Call) -> None:
    """Sends a chunk whose size is no number."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    await call.say(head, b'5\r\n{"dat\r\nlots\r\n')
    await call.wait_for_the_end()


async def explodes(call: Call) -> None:
    """Sends a megabyte of gzip that inflates to a gigabyte."""
    await call.say(reply(_bomb(), more=_COMPRESSED))


async def is_busy_and_drips(call: Call) -> None:
    """Answers 503 with a body that drips."""
    await call.say(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\n")
    await call.say_for_ever(b"x", every=DRIP_SECONDS)


async def is_busy_and_truncates(call: Call) -> None:
    """Answers 503 and closes the connection in the middle of the body."""
    await call.say(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\nsorry")
    call.writer.close()


async def is_busy_and_explodes(call: Call) -> None:
    """Answers 503 with a megabyte of gzip that inflates to a gigabyte."""
    await call.say(reply(_bomb(), b"503 Busy", more=_COMPRESSED))


async def is_busy_and_floods(call: Call) -> None:
    """Answers 503 with a body without an end."""
    await call.say(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n")
    await call.say_for_ever(_CHUNK * 16)


def redirects_to(location: str) -> Behaviour:
    """Answers with a redirect that repeats the request as it was, body and all."""

    async def redirects(call: Call) -> None:
        await call.say(reply(b"", b"307 Moved", more=f"Location: {location}\r\n".encode()))

    return redirects


def reply(
    body: bytes,
    status: bytes = b"200 OK",
    *,
    kind: bytes = b"application/json",
    more: bytes = b"",
) -> bytes:
    """Returns a whole answer after which the connection is not used again; `more` are headers."""
    typed = b"" if b"Content-Type" in more else b"Content-Type: " + kind + b"\r\n"
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\n" + length + typed + more + b"Connection: close\r\n\r\n" + body


def _bomb() -> bytes:
    """Packs a mebibyte once; after a full flush the same bytes may come again."""
    packer = zlib.compressobj(wbits=31)
    mebibyte = b" " * 2**20
    beginning = packer.compress(mebibyte) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(mebibyte) + packer.flush(zlib.Z_FULL_FLUSH)
    return beginning + block * (BOMB_MIB - 1)


class Peer:
    """A server that misbehaves on connections of the time when it is ill, and keeps the calls that it got.

    `ill` and `well` are how it behaves; `tls` says with which context it shakes hands in either state, if at
    all. A greeting in TLS to a server that speaks none counts as a call.
    """

    def __init__(
        self,
        ill: Behaviour,
        well: Behaviour = answers,
        *,
        tls: tuple[ssl.SSLContext | None, ssl.SSLContext | None] = (None, None),
        secure: bool = False,
    ) -> None:
        """`secure` says whether clients are told to use TLS; `tls` is for ill and for well."""
        self.ill = ill
        self.is_ill = True
        self.calls: list[Call] = []
        self.port = 0
        self._well = well
        self._tls = tls
        self._scheme = "https" if secure else "http"
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it is reached, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talks on one connection until it ends."""
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            # Whatever the other side does to the connection is not this side's failure, and so is the end.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                ill = self.is_ill
                if context := self._tls[0 if ill else 1]:
                    await writer.start_tls(context)
                while not writer.is_closing():
                    head, body = await _request(reader)
                    call = Call(head, body, ill, reader, writer)
                    self.calls.append(call)
                    await (self.ill if ill else self._well)(call)
        finally:
            self._talks.discard(talk)
            writer.close()

    async def close(self) -> None:
        """Ends all conversations."""
        talks = list(self._talks)
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    first = await reader.readexactly(1)
    if first == _TLS_HELLO:
        return first, b""
    head = first + await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    return head, await reader.readexactly(int(length[1])) if length else b""


@asynccontextmanager
async def listening(peers: Iterable[Peer]) -> AsyncIterator[None]:
    """Serves peers, each on a port of its own."""
    peers = list(peers)
    servers = [await asyncio.start_server(peer.serve, "127.0.0.1", 0) for peer in peers]
    for peer, server in zip(peers, servers, strict=True):
        peer.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for peer in peers:
            await peer.close()
