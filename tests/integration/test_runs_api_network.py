"""The client of the Runs API on real sockets: connections that break, stall, or lead through a proxy."""

import asyncio
import re
import socket
import ssl
from contextlib import AsyncExitStack, closing

import certifi
import pytest

from tests.support.api_fakes import KEY, key_of, run_bounded
from tests.support.hostile_peers import (
    Behaviour,
    Call,
    Peer,
    announces,
    answers,
    babbles,
    crumbles,
    drips,
    drips_its_head,
    hangs_up,
    hangs_up_in_its_head,
    is_busy_and_drips,
    is_busy_and_floods,
    is_busy_and_truncates,
    listening,
    reply,
    resets,
    resets_in_its_body,
    says_nothing,
    stalls,
    truncates,
)
from watcher.models import Run
from watcher.net import open_session, trusted_authorities
from watcher.runs_api.client import RunsClient
from watcher.runs_api.decoding import LARGE
from watcher.runs_api.errors import ApiError, ConnectionFailed, InvalidResponse, ServerError, TimedOut
from watcher.runs_api.transport import RECEIVED_MAX, LargeAnswers


def exchange(
    behaviour: Behaviour, *, timeout: float = 5, calls: int = 1
) -> tuple[list[Run | ApiError], Peer]:
    """What becomes of calls to a server that behaves like that, and the server."""
    peer = Peer(behaviour)

    async def run() -> list[Run | ApiError]:
        async with listening([peer]):
            return await _outcomes(peer.url, timeout, calls)

    return run_bounded(run()), peer


async def _outcomes(base_url: str, timeout: float, calls: int) -> list[Run | ApiError]:  # noqa: ASYNC109 - the client's
    outcomes: list[Run | ApiError] = []
    async with open_session(timeout) as session:
        client = RunsClient(base_url, key_of(KEY), session=session, timeout=timeout)
        for _ in range(calls):
            try:
                outcomes.append(await client.run("r1"))
            except ApiError as error:
                outcomes.append(error)
    return outcomes


def test_a_call_on_the_wire() -> None:
    """A call is one GET with the key that asks for nothing compressed; the next one uses its connection."""
    outcomes, peer = exchange(answers, calls=2)
    assert [Run("r1", "started")] * 2 == outcomes
    assert [call.head.split(b"\r\n")[0] for call in peer.calls] == [b"GET /v1/runs/r1 HTTP/1.1"] * 2
    assert f"Bearer {KEY}" == peer.calls[0].header("Authorization")
    assert "identity" == peer.calls[0].header("Accept-Encoding")
    assert peer.calls[0].writer is peer.calls[1].writer


@pytest.mark.parametrize("behaviour", [resets, hangs_up, hangs_up_in_its_head, truncates, babbles])
def test_connections_that_break(behaviour: Behaviour) -> None:
    """A connection that breaks before the whole answer is a failed call, and the key is not in its words."""
    (error,), _ = exchange(behaviour)
    assert (ConnectionFailed, False) == (type(error), KEY in str(error))


@pytest.mark.parametrize("behaviour", [stalls, says_nothing, drips_its_head, drips])
def test_connections_that_stall(behaviour: Behaviour) -> None:
    """A server that does not begin, stops in the middle, or never ends is given up after the timeout."""
    (error,), _ = exchange(behaviour, timeout=0.1)
    assert TimedOut is type(error)


@pytest.mark.parametrize("behaviour", [is_busy_and_drips, is_busy_and_truncates, is_busy_and_floods])
def test_a_refusal_whose_body_cannot_be_read(behaviour: Behaviour) -> None:
    """A refusal is told by its status though its body never ends, or breaks off."""
    (error,), _ = exchange(behaviour)
    assert (ServerError, 503) == (type(error), getattr(error, "status", None))


def test_a_client_recovers() -> None:
    """After a connection that broke the next call makes a new one and succeeds."""
    turns = iter([hangs_up, answers])

    async def in_turn(call: Call) -> None:
        await next(turns)(call)

    (failed, succeeded), _ = exchange(in_turn, calls=2)
    assert (ConnectionFailed, Run("r1", "started")) == (type(failed), succeeded)


def test_a_connection_that_was_dropped_meanwhile() -> None:
    """A call on a connection that breaks when it is used again is made once more, on a new one."""
    turns = iter([answers, resets, answers, hangs_up, hangs_up])

    async def in_turn(call: Call) -> None:
        await next(turns)(call)

    (*succeeded, failed), peer = exchange(in_turn, calls=3)
    assert ([Run("r1", "started")] * 2, ConnectionFailed) == (succeeded, type(failed))
    first, second, third, fourth, fifth = (call.writer for call in peer.calls)
    assert (first, third) == (second, fourth)
    assert 3 == len({first, third, fifth})


BREAKS = [resets, hangs_up, hangs_up_in_its_head, truncates, resets_in_its_body]


@pytest.mark.parametrize("breaks", BREAKS)
@pytest.mark.parametrize("path", ["list", "run"])
def test_a_connection_that_breaks_when_it_is_used_again(path: str, breaks: Behaviour) -> None:
    """A GET that breaks on a used connection, before or after the first byte, is repeated on a new one."""
    outcomes, peer = get_in_turn(path, well, breaks, well, calls=2)
    assert [None, None] == outcomes
    first, second, third = (call.writer for call in peer.calls)
    assert (True, False) == (first is second, first is third)


@pytest.mark.parametrize("breaks", BREAKS)
@pytest.mark.parametrize("path", ["list", "run"])
def test_a_new_connection_that_breaks(path: str, breaks: Behaviour) -> None:
    """A GET that breaks on a new connection has failed: its server may not bear it a second time."""
    (error,), peer = get_in_turn(path, breaks, well, calls=1)
    assert (ConnectionFailed, 1) == (type(error), len(peer.calls))


async def well(call: Call) -> None:
    """Answers a GET of the list or of a run."""
    run = b'{"id":"r1","status":"started"}'
    body = b'{"data":%b}' % (run if call.path.endswith("/r1") else b"[]")
    await call.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def get_in_turn(path: str, *turns: Behaviour, calls: int) -> tuple[list[ApiError | None], Peer]:
    """What becomes of GETs to a server that behaves differently from call to call."""
    behaviours = iter(turns)

    async def in_turn(call: Call) -> None:
        await next(behaviours)(call)

    async def run() -> list[ApiError | None]:
        outcomes: list[ApiError | None] = []
        async with listening([peer]), open_session(5) as session:
            client = RunsClient(peer.url, None, session=session, timeout=5)
            for _ in range(calls):
                try:
                    await (client.run("r1") if path == "run" else anext(client.awaiting(page_size=1)))
                    outcomes.append(None)
                except ApiError as error:
                    outcomes.append(error)
        return outcomes

    peer = Peer(in_turn)
    return run_bounded(run()), peer


@pytest.mark.parametrize(
    ("floods", "kind", "words"),
    [
        (crumbles, InvalidResponse, "chunks of less than 64 bytes"),
        (announces, ConnectionFailed, "too much came before an answer"),
    ],
)
@pytest.mark.parametrize("path", ["list", "run"])
def test_answers_that_would_take_all_the_time(
    path: str, floods: Behaviour, kind: type[ApiError], words: str
) -> None:
    """An answer in crumbs, and interim answers without end, are given up long before their time is over."""
    (error,), peer = get_in_turn(path, floods, calls=1)
    assert (kind, True, 1) == (type(error), words in str(error), len(peer.calls))


def test_interim_answers_are_passed_over() -> None:
    """A few of them, as proxies send, come before an answer; the bound counts anew for each call."""

    async def hints(call: Call) -> None:
        await call.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 10_000)
        await well(call)

    assert [None] * 4 == get_in_turn("run", *[hints] * 4, calls=4)[0]


def test_large_answers_wait_for_room() -> None:
    """While there is no room large answers wait, beyond their time limit too, and small ones do not."""
    body = b'{"data":{"id":"r1","status":"started"}}'

    async def in_size(call: Call) -> None:
        large = call.path.endswith("/large")
        said = body.replace(b"r1", b"large").ljust(10 * LARGE) if large else body
        await call.say(reply(said))

    async def run() -> tuple[list[Run], bool]:
        room = LargeAnswers()
        async with listening([peer]), open_session(5) as session:
            client = RunsClient(peer.url, None, session=session, timeout=0.5, large=room)
            async with AsyncExitStack() as others:
                for _ in range(RECEIVED_MAX):
                    await others.enter_async_context(room.receiving)
                waiting = asyncio.create_task(client.run("large"))
                found = [await client.run("r1") for _ in range(20)]
                await asyncio.sleep(0.7)  # more than the time limit
                held_up = not waiting.done()
            return [*found, await waiting], held_up

    peer = Peer(in_size)
    found, held_up = run_bounded(run())
    assert (["r1"] * 20 + ["large"], True) == ([each.id for each in found], held_up)


def test_a_port_where_nobody_listens() -> None:
    """A refused connection is a failed call."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        (error,) = run_bounded(_outcomes(f"http://127.0.0.1:{taken.getsockname()[1]}", 5, 1))
    assert ConnectionFailed is type(error)
    assert re.fullmatch(r"127\.0\.0\.1:\d+: cannot connect: connection refused", str(error))


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (hangs_up, "the connection broke before an answer came"),
        (resets, "the connection broke before an answer came"),
        (truncates, "the connection broke in the middle of the answer"),
        (babbles, "the answer is not valid HTTP; is it https://?"),
    ],
)
def test_the_words_name_the_cause(behaviour: Behaviour, cause: str) -> None:
    """A failed call says which host, and what happened there."""
    (error,), peer = exchange(behaviour)
    assert f"{peer.url.removeprefix('http://')}: {cause}" == str(error)


def test_a_server_without_tls() -> None:
    """Where a server does not speak TLS, the words ask whether the scheme is right."""
    peer = Peer(answers)

    async def run() -> list[Run | ApiError]:
        async with listening([peer]):
            return await _outcomes(peer.url.replace("http://", "https://"), 5, 1)

    (error,) = run_bounded(run())
    assert str(error).endswith(": TLS: the handshake failed; is it http://?")


@pytest.mark.parametrize(
    "base_url", ["http://[bad", "http://app.test:port", "ftp://app.test", "app.test", ""]
)
def test_a_base_url_that_cannot_be_called(base_url: str) -> None:
    """An address that is none is a failed call as well."""
    (error,) = run_bounded(_outcomes(base_url, 5, 1))
    assert type(error) is ConnectionFailed


def test_a_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard variable for a proxy sends the call there."""
    proxy = Peer(answers)

    async def run() -> list[Run | ApiError]:
        async with listening([proxy]):
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            return await _outcomes("http://app.test", 5, 1)

    assert [Run("r1", "started")] == run_bounded(run())
    assert ["http://app.test/v1/runs/r1"] == [call.path for call in proxy.calls]


def test_certificates_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system or the standard variable names certificates, they are what is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert trusted_authorities() is True


def test_a_system_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no certificates, the bundled ones are trusted, and certificates are checked."""
    nothing = ssl.get_default_verify_paths()._replace(cafile="", capath="")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    context = trusted_authorities()
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509_ca"] > 50


@pytest.mark.parametrize("base_url", ["http://xn--a.example", "http://a\udcff.example"])
def test_a_host_name_that_is_none(base_url: str) -> None:
    """A name that the rules for international names refuse is a failed call, not the end of the daemon."""
    (outcome,) = run_bounded(_outcomes(base_url, 5, 1))
    assert isinstance(outcome, ConnectionFailed)
