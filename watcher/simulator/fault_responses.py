"""How the simulator responds with each kind of fault, on a real connection."""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Final

from aiohttp import web

from watcher.simulator.faults import Fault
from watcher.simulator.options import Json, error_body

NormalResponse = Callable[[], Awaitable[web.Response]]
_CHUNK: Final = 64 * 1024
_STATUSES: Final = {"shape": 200, "html": 502, "redirect": 302, "echo_secret": 401}
"""What a fault responds with unless it names another status; all others 500."""
_PAGE: Final = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


def json_response(body: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Returns a JSON response in ASCII, which can carry any string, lone surrogates too."""
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json"
    )


async def fault_response(
    fault: Fault, request: web.Request, normal: NormalResponse, now: float
) -> web.StreamResponse:
    """Responds to a request with a fault; `normal` makes the normal response, `now` is Unix seconds."""
    response = _instead(fault, request) or await _spoiled(fault, request, normal)
    if not response.prepared:
        response.headers.update({**fault.headers, **_retry_after(fault, now)})
    return response


def _instead(fault: Fault, request: web.Request) -> web.Response | None:
    """Returns what comes instead of the normal response, None for a fault that spoils that one."""
    status = fault.status or _STATUSES.get(fault.kind, 500)
    response: web.Response | None = None
    match fault.kind:
        case "status" if isinstance(fault.body, str):
            response = _html_response(fault.body, status)
        case "status":
            response = json_response(error_body(status) if fault.body is None else fault.body, status)
        case "shape":
            response = json_response(fault.body, status)
        case "html":
            response = _html_response(_PAGE.format(f"{status} from a gateway"), status)
        case "redirect":
            response = web.Response(status=status, headers={"Location": fault.location})
        case "echo_secret":
            message = f"{request.headers.get('Authorization')} is not a valid key"
            response = json_response(error_body(status, message=message), status)
        case "reset":
            _reset(request)
            response = web.Response()
    return response


async def _spoiled(fault: Fault, request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
        return await normal()
    whole = await normal()
    body = whole.body
    assert isinstance(body, bytes)
    match fault.kind:
        case "truncated":
            half = body[: len(body) // 2]
            return web.Response(body=half, status=whole.status, content_type="application/json")
        case "gzip":
            packed, headers = gzip.compress(body + b" " * fault.size), {"Content-Encoding": "gzip"}
            return web.Response(
                body=packed, status=whole.status, headers=headers, content_type="application/json"
            )
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    if fault.kind != "oversize":
        response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        async for piece in _pieces(fault, body):
            await response.write(piece)
    if fault.kind == "cut" and request.transport is not None:
        request.transport.close()
    return response


async def _pieces(fault: Fault, body: bytes) -> AsyncIterator[bytes]:
    match fault.kind:
        case "drip":
            for index in range(len(body)):
                yield body[index : index + 1]
                await asyncio.sleep(fault.seconds)
        case "cut":
            yield body[: len(body) // 2]
        case "oversize":
            yield body[:-1] + b', "padding": "'
            for begin in range(0, fault.size, _CHUNK):
                yield b"x" * min(_CHUNK, fault.size - begin)
            yield b'"}'


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        # With a linger of zero seconds, closing sends RST instead of FIN.
        plain_socket = request.transport.get_extra_info("socket")
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


def _retry_after(fault: Fault, now: float) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after_form == "date":
        return {"Retry-After": formatdate(now + fault.retry_after, usegmt=True)}
    return {"Retry-After": f"{fault.retry_after:g}"}


def _html_response(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")
