"""How a server of the benchmarks misbehaves for a while."""

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

_TORN: Final = (
    b'HTTP/1.1 200 -\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"data":[{"id'
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done instead of answering.

    By `answer` another answer is given, `retry_after` seconds with it if that is set; `hang` never answers,
    `reset` and `close` end the connection, and `tear` does so in the middle of an answer. With `only` it
    befalls just those calls that hold these words in their head or body.
    """

    way: Literal["answer", "hang", "reset", "close", "tear"] = "answer"
    status: int = 500
    body: str = ""
    retry_after: int | None = None
    only: str = ""

    def befalls(self, call: bytes) -> bool:
        """Returns whether a call is not answered as it should be."""
        return self.only.encode() in call

    def commit(self, transport: asyncio.Transport) -> bool:
        """Misbehaves on a connection; returns whether that can be used further."""
        match self.way:
            case "hang":
                return False
            case "reset":
                transport.abort()
                return False
            case "tear":
                transport.write(_TORN)
                transport.close()
                return False
            case "close":
                transport.close()
                return False
        retry = f"Retry-After: {self.retry_after}\r\n" if self.retry_after is not None else ""
        head = f"HTTP/1.1 {self.status} -\r\nContent-Type: application/json\r\n{retry}"
        transport.write(f"{head}Content-Length: {len(self.body)}\r\n\r\n{self.body}".encode())
        return True
