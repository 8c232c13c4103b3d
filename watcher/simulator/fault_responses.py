"""How each kind of fault is done to a real connection."""

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

RightAnswer = Callable[[], Awaitable[web.Response]]
_CHUNK: Final = 64 * 1024
_PAGE: Final = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


def json_response(body: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Returns a JSON answer; its text is plain ASCII, so that any string survives."""
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json"
    )


async def misbehave(
    fault: Fault, request: web.Request, right_answer: RightAnswer, now: float
) -> web.StreamResponse:
    """Answers a request as a fault wants it. `now` is Unix seconds."""
    response = await _WAYS[fault.kind](fault, request, right_answer)
    if not response.prepared:
        response.headers.update({**fault.headers, **_retry_after(fault, now)})
    return response


async def _status(fault: Fault, _request: web.Request, _right_answer: RightAnswer) -> web.StreamResponse:
    status = fault.status or 500
    if isinstance(fault.body, str):
        return _html_response(fault.body, status)
    return json_response(error_body(status) if fault.body is None else fault.body, status)


async def _shape(fault: Fault, _request: web.Request, _right_answer: RightAnswer) -> web.StreamResponse:
    return json_response(fault.body, fault.status or 200)


async def _html(fault: Fault, _request: web.Request, _right_answer: RightAnswer) -> web.StreamResponse:
    status = fault.status or 502
    return _html_response(_PAGE.format(f"{status} from a gateway"), status)


async def _redirect(fault: Fault, _request: web.Request, _right_answer: RightAnswer) -> web.StreamResponse:
    return web.Response(status=fault.status or 302, headers={"Location": fault.location})


async def _echo_secret(fault: Fault, request: web.Request, _right_answer: RightAnswer) -> web.StreamResponse:
    status = fault.status or 401
    message = f"{request.headers.get('Authorization')} is not a valid key"
    return json_response(error_body(status, message=message), status)


async def _delay(fault: Fault, _request: web.Request, right_answer: RightAnswer) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return await right_answer()


async def _drip(fault: Fault, request: web.Request, right_answer: RightAnswer) -> web.StreamResponse:
    right = await right_answer()
    body = _body(right)
    response = web.StreamResponse(status=right.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        for index in range(len(body)):
            await response.write(body[index : index + 1])
            await asyncio.sleep(fault.seconds)
    return response


async def _reset(_fault: Fault, request: web.Request, _right_answer: RightAnswer) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # Closing with a linger of zero seconds sends RST instead of FIN.
        plain_socket = transport.get_extra_info("socket")
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _cut(_fault: Fault, request: web.Request, right_answer: RightAnswer) -> web.StreamResponse:
    body = _body(await right_answer())
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _truncated(_fault: Fault, _request: web.Request, right_answer: RightAnswer) -> web.StreamResponse:
    right = await right_answer()
    body = _body(right)
    return web.Response(body=body[: len(body) // 2], status=right.status, content_type="application/json")


async def _oversize(fault: Fault, request: web.Request, right_answer: RightAnswer) -> web.StreamResponse:
    right = await right_answer()
    response = web.StreamResponse(status=right.status, headers={"Content-Type": "application/json"})
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write(_body(right)[:-1] + b', "padding": "')
        for begin in range(0, fault.size, _CHUNK):
            await response.write(b"x" * min(_CHUNK, fault.size - begin))
        await response.write(b'"}')
    return response


async def _gzip(fault: Fault, _request: web.Request, right_answer: RightAnswer) -> web.StreamResponse:
    right = await right_answer()
    packed = gzip.compress(_body(right) + b" " * fault.size)
    return web.Response(
        body=packed,
        status=right.status,
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


_WAYS: Final[
    Mapping[FaultKind, Callable[[Fault, web.Request, RightAnswer], Awaitable[web.StreamResponse]]]
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
