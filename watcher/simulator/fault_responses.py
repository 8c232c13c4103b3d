"""How the simulator responds with each kind of fault, on a real connection."""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Final

from aiohttp import web

from watcher.simulator.faults import Fault, FaultKind
from watcher.simulator.options import Json, error_body

NormalResponse = Callable[[], Awaitable[web.Response]]
_CHUNK: Final = 64 * 1024
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
    response = await _RESPONSES[fault.kind](fault, request, normal)
    if not response.prepared:
        response.headers.update({**fault.headers, **_retry_after(fault, now)})
    return response


async def _status(fault: Fault, _request: web.Request, _normal: NormalResponse) -> web.StreamResponse:
    status = fault.status or 500
    if isinstance(fault.body, str):
        return _html_response(fault.body, status)
    return json_response(error_body(status) if fault.body is None else fault.body, status)


async def _shape(fault: Fault, _request: web.Request, _normal: NormalResponse) -> web.StreamResponse:
    return json_response(fault.body, fault.status or 200)


async def _html(fault: Fault, _request: web.Request, _normal: NormalResponse) -> web.StreamResponse:
    status = fault.status or 502
    return _html_response(_PAGE.format(f"{status} from a gateway"), status)


async def _redirect(fault: Fault, _request: web.Request, _normal: NormalResponse) -> web.StreamResponse:
    return web.Response(status=fault.status or 302, headers={"Location": fault.location})


async def _echo_secret(fault: Fault, request: web.Request, _normal: NormalResponse) -> web.StreamResponse:
    status = fault.status or 401
    message = f"{request.headers.get('Authorization')} is not a valid key"
    return json_response(error_body(status, message=message), status)


async def _delay(fault: Fault, _request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return await normal()


async def _drip(fault: Fault, request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    whole = await normal()
    body = _body(whole)
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        for index in range(len(body)):
            await response.write(body[index : index + 1])
            await asyncio.sleep(fault.seconds)
    return response


async def _reset(_fault: Fault, request: web.Request, _normal: NormalResponse) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # With a linger of zero seconds, closing sends RST instead of FIN.
        plain_socket = transport.get_extra_info("socket")
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _cut(_fault: Fault, request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    body = _body(await normal())
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _truncated(_fault: Fault, _request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    whole = await normal()
    body = _body(whole)
    return web.Response(body=body[: len(body) // 2], status=whole.status, content_type="application/json")


async def _oversize(fault: Fault, request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    whole = await normal()
    response = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write(_body(whole)[:-1] + b', "padding": "')
        for begin in range(0, fault.size, _CHUNK):
            await response.write(b"x" * min(_CHUNK, fault.size - begin))
        await response.write(b'"}')
    return response


async def _gzip(fault: Fault, _request: web.Request, normal: NormalResponse) -> web.StreamResponse:
    whole = await normal()
    packed = gzip.compress(_body(whole) + b" " * fault.size)
    return web.Response(
        body=packed,
        status=whole.status,
        headers={"Content-Encoding": "gzip"},
        content_type="application/json",
    )


def _retry_after(fault: Fault, now: float) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after_form == "date":
        return {"Retry-After": formatdate(now + fault.retry_after, usegmt=True)}
    return {"Retry-After": f"{fault.retry_after:g}"}


def _html_response(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


def _body(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


_RESPONSES: Final[
    Mapping[FaultKind, Callable[[Fault, web.Request, NormalResponse], Awaitable[web.StreamResponse]]]
] = {
    "status": _status,
    "shape": _shape,
    "html": _html,
    "redirect": _redirect,
    "echo_secret": _echo_secret,
    "delay": _delay,
    "drip": _drip,
    "reset": _reset,
    "cut": _cut,
    "truncated": _truncated,
    "oversize": _oversize,
    "gzip": _gzip,
}
