"""How the webhook notifier fails."""

import asyncio
import gzip
import os
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey

from tests.support.certificates import Authority
from tests.support.events import REQUESTED, make_delivery
from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.hostile_peers import Peer, answers, babbles, listening
from tests.support.sending import (
    NOW,
    error_of,
    hanging_reads,
    open_test_session,
    send_to,
    send_webhook,
    webhook_config,
)
from watcher.notifiers import webhook
from watcher.notifiers.base import DeliveryError, NotifierContext
from watcher.notifiers.http_post import from_client_error
from watcher.notifiers.webhook import WebhookNotifier
from watcher.sanitize.files import READS_MAX
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

KEY = ConnectionKey("secret.example", 443, True, True, None, None, None)  # noqa: FBT003 - its own fields


@pytest.mark.parametrize(
    ("status", "fixable"),
    [
        *((status, True) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, True) for status in (400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451, 499)),
        *((status, False) for status in (408, 425, 429)),
        *((status, False) for status in (500, 501, 502, 503, 504, 599)),
    ],
)
def test_every_other_status_is_a_failure(status: int, *, fixable: bool) -> None:
    """Redirects and client errors tell what to fix, what may pass by itself does not."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(status, "" if status == 304 else "words", {"Location": "/elsewhere"}))
    error = error_of(lambda: send_to(receiver))
    assert ("HTTP 304" if status == 304 else f"HTTP {status}: words") == str(error)
    assert fixable == (error.fix is not None)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [429, 503, 500, 404])
@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), ("Wed, 10 Jun 2026 09:16:00 GMT", 19.5), ("soon", None), ("-1", None)],
)
def test_retry_after(status: int, value: str, expected: float | None) -> None:
    """What the receiver asks for is passed on, in seconds or as a date; 429 and 503 pause the notifier."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(status, "", {"Retry-After": value}))
    error = error_of(lambda: send_to(receiver))
    assert (expected, status in {429, 503}) == (error.retry_after, error.pauses)


def test_a_receiver_that_does_not_answer() -> None:
    """Silence is a failure after the timeout."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(silent=True))
    error = error_of(lambda: send_to(receiver, within=0.05))
    assert (str(error), error.fix) == ("no answer within 0.05 s", None)


def test_a_receiver_that_hangs_up() -> None:
    """A lost answer is a failure, for nobody knows."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(drop=True))
    assert str(error_of(lambda: send_to(receiver))) == "the connection broke before an answer came"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/token-of-mine", "cannot connect: connection refused"),
        ("http://", "the URL is not valid"),
        ("http://127.0.0.1:1/token-of-mine#\x00", "cannot connect: connection refused"),
    ],
)
def test_no_connection(url: str, words: str) -> None:
    """A destination that cannot be reached is told in few words, without its URL."""
    assert words == str(error_of(lambda: send_webhook(webhook_config(url))))


def test_a_header_that_cannot_be_sent() -> None:
    """A header that a rotated secret made impossible is a failure with a fix."""

    async def scenario() -> None:
        async with served(WebhookReceiver()) as url:
            await send_webhook(webhook_config(url, headers={"X-Key": "line\nbreak"}))

    error = error_of(scenario)
    assert str(error) == "the URL or a header cannot be sent in HTTP"
    assert error.fix is not None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ClientError("https://secret.example"), "the request failed: ClientError"),
        (TimeoutError(), "no answer within 5 s"),
        (aiohttp.ServerTimeoutError(), "no answer within 5 s"),
        (
            aiohttp.ClientPayloadError("https://secret.example"),
            "the connection broke in the middle of the answer",
        ),
        (ConnectionResetError(), "the connection broke before an answer came"),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "secret.example")),
            "the host name cannot be resolved",
        ),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(111, "secret")), "cannot connect to the proxy"),
        (aiohttp.ClientConnectorError(KEY, OSError("secret.example")), "cannot connect: it failed"),
        (
            aiohttp.ClientConnectorError(KEY, ConnectionResetError()),  # what asyncio raises then
            "cannot connect: the connection broke during the TLS handshake; is it http://?",
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, OSError(1, "secret.example")),
            "TLS: the handshake failed; is it http://?",
        ),
        (
            aiohttp.ClientHttpProxyError(cast("aiohttp.RequestInfo", None), (), status=407),
            "the proxy answered HTTP 407",
        ),
    ],
)
def test_what_the_client_raises(error: Exception, words: str) -> None:
    """Every kind of trouble is told in our words, none of which comes from the URL."""
    assert words == str(from_client_error(error, 5))


def test_not_http() -> None:
    """A server that speaks something else is a failure."""
    peer = Peer(babbles)

    async def scenario() -> None:
        async with listening([peer]):
            await send_webhook(webhook_config(peer.url))

    assert str(error_of(scenario)) == "the answer is not valid HTTP; is it https://?"


def test_answers_are_read_within_bounds() -> None:
    """A long, a compressed or an endless body neither fills the memory nor decides anything."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=int(request.query["status"]))
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async def scenario() -> list[str]:
        receiver = WebhookReceiver()
        bomb = gzip.compress(b"0" * 2**24).decode("latin-1")
        receiver.replies.append(Reply(500, "y" * 2**20))
        receiver.replies.append(Reply(500, bomb, {"Content-Encoding": "gzip"}))
        errors = []
        async with served(receiver) as url:
            for _ in range(2):
                with pytest.raises(DeliveryError) as caught:
                    await send_webhook(webhook_config(url))
                errors.append(str(caught.value))
        receiver.handle = endless  # type: ignore[method-assign]
        async with served(receiver) as url:
            await send_webhook(webhook_config(f"{url}/?status=200"))
        return errors

    expected = ["HTTP 500: " + "y" * 200 + "…", "HTTP 500"]
    assert expected == asyncio.run(scenario())


def test_a_private_authority(tmp_path: Path) -> None:
    """A certificate is trusted with its authority's file, and refused with a reason and a fix without."""
    authority = Authority(tmp_path)

    async def scenario(ca_file: Path | None) -> None:
        peer = Peer(answers, tls=(authority.right, None), secure=True)
        async with listening([peer]):
            await send_webhook(webhook_config(peer.url, ca_file=ca_file))

    asyncio.run(scenario(authority.file))
    error = error_of(lambda: scenario(None))
    assert str(error) == "TLS: the certificate was refused: unable to get local issuer certificate"
    assert error.fix is not None


@pytest.mark.parametrize(
    "content", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n", "x" * 2_000_000, None]
)
def test_a_ca_file_that_is_none(tmp_path: Path, content: str | None) -> None:
    """A file without certificates, or a pipe, is a failure that names it; nothing else is trusted instead."""
    file = tmp_path / "ca.pem"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_text(content)
    error = error_of(lambda: send_webhook(webhook_config("https://127.0.0.1:1/", ca_file=file)))
    assert str(error).startswith("ca_file: ")
    assert str(file) in str(error)
    assert error.fix is not None


def test_a_ca_file_on_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt fails after a while with nothing to fix, and they do not take more and more threads."""
    file = tmp_path / "ca.pem"
    config = webhook_config("https://127.0.0.1:1/", ca_file=file)

    async def scenario() -> None:
        async with open_test_session() as session:
            notifier = WebhookNotifier(config, NotifierContext(session, 5.0, lambda: NOW))
            with hanging_reads(monkeypatch, webhook):
                for _ in range(READS_MAX + 2):
                    with pytest.raises(DeliveryError) as caught:
                        await notifier.check()
                    assert f"ca_file: cannot read {file}: its file system hangs" == str(caught.value)
                    assert caught.value.fix is None

    asyncio.run(scenario())


def test_a_ca_file_that_is_replaced(tmp_path: Path) -> None:
    """Without a restart a new authority is trusted, and the former one no longer."""
    file, url = tmp_path / "ca.pem", tmp_path / "url"
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    where = Secret("notifiers.audit.url", Redactor(), file=url)
    config = webhook_config("", ca_file=file).model_copy(update={"url": where})

    async def outcome(webhook: WebhookNotifier, authority: Authority) -> str:
        peer = Peer(answers, tls=(authority.right, None), secure=True)
        async with listening([peer]):
            url.write_text(peer.url)
            try:
                await webhook.send(make_delivery(REQUESTED))
            except DeliveryError as error:
                return str(error).rpartition(":")[0]
        return "accepted"

    async def scenario() -> list[str]:
        outcomes = []
        async with open_test_session() as session:
            webhook = WebhookNotifier(config, NotifierContext(session, 5.0, lambda: NOW))
            for trusted in (old, new):
                file.write_bytes("# Größe\n".encode() + trusted.file.read_bytes())
                outcomes += [await outcome(webhook, authority) for authority in (old, new)]
        return outcomes

    refused = "TLS: the certificate was refused"
    assert ["accepted", refused, refused, "accepted"] == asyncio.run(scenario())


@pytest.mark.parametrize(
    ("reply", "possibly_delivered"),
    [(Reply(503), False), (Reply(drop=True), True), (Reply(silent=True), True), (None, False)],
)
def test_what_may_have_been_accepted(reply: Reply | None, *, possibly_delivered: bool) -> None:
    """Only where the answer to a request did not come may it have been accepted all the same."""
    receiver = WebhookReceiver()
    if reply is None:
        error = error_of(lambda: send_webhook(webhook_config("http://127.0.0.1:1/")))
    else:
        receiver.replies.append(reply)
        error = error_of(lambda: send_to(receiver, within=0.3))
    assert possibly_delivered == error.possibly_delivered
