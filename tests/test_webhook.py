"""The webhook notifier against a real receiver."""

import asyncio
import gzip
import json
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import time_machine
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from standardwebhooks import Webhook

from tests.events import (
    EVERY,
    FAILING,
    RECOVERED,
    REMINDED,
    REQUEST,
    REQUESTED,
    RESOLVED,
    RUN,
    TEST,
    asking,
    delivery,
)
from tests.fakes import Reply, WebhookReceiver, served
from watcher import __version__
from watcher.config import WebhookConfig
from watcher.models import Event
from watcher.notifiers.base import DeliveryError
from watcher.notifiers.outgoing import trouble
from watcher.notifiers.webhook import WebhookNotifier, encode, payload, signature
from watcher.secrets import Redactor, Secret, SecretError

NOW = 1781082940.5
KEY = ConnectionKey("secret.example", 443, True, True, None, None, None)  # noqa: FBT003 - its own fields
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def secret(value: str) -> Secret:
    """Returns a secret of a fixed value."""
    return Secret("notifiers.audit.secret", Redactor(), value=value)


def config(
    url: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, ca_file: Path | None = None
) -> WebhookConfig:
    """Returns the section of a webhook."""
    return WebhookConfig(
        name="audit",
        url=secret(url),
        secret=secret(key) if key else None,
        headers={name: secret(value) for name, value in (headers or {}).items()},
        ca_file=ca_file,
    )


async def send(section: WebhookConfig, event: Event = REQUESTED, timeout: float = 5.0) -> None:  # noqa: ASYNC109
    """Sends one event with a session of its own."""
    async with aiohttp.ClientSession() as session:
        notifier = WebhookNotifier(section, session=session, request_timeout=timeout, clock=lambda: NOW)
        assert await notifier.send(delivery(event)) is None


def sent(receiver: WebhookReceiver, path: str = "/hook", event: Event = REQUESTED, **settings: Any) -> None:
    """Serves the receiver and sends it one event."""

    async def scenario() -> None:
        async with served(receiver) as url:
            await send(config(f"{url}{path}", **settings), event)

    asyncio.run(scenario())


def failure(run: Callable[[], Awaitable[None]]) -> DeliveryError:
    """Returns the error that a send ends with."""

    async def scenario() -> None:
        await run()

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(scenario())
    return caught.value


def test_payload_of_a_request() -> None:
    """The body has exactly the documented fields."""
    expected = {
        "version": 1,
        "id": "evt_1",
        "type": "run.input_requested",
        "timestamp": "2026-06-10T09:15:40Z",
        "data": {
            "app": {"name": "support", "base_url": "https://support.example"},
            "run": {
                "id": "8c2c",
                "status": "awaiting_input",
                "started_at": "2026-06-10T09:15:21Z",
                "user_id": "customer-7421",
                "session_id": "3d3e",
                "link": None,
            },
            "request": {
                "id": "7a1b",
                "type": "approval_request",
                "prompt": "Approve the refund?",
                "params": {"amount": 620, "customer": "Ada"},
                "editable_params": ["amount"],
                "first_seen_at": "2026-06-10T09:15:39Z",
                "waiting_seconds": 1,
            },
        },
    }
    assert expected == payload(REQUESTED)


def test_payload_of_the_other_events() -> None:
    """Reminder, resolution and failure come with their own events and with no other."""
    data = {event.type: payload(event)["data"] for event in EVERY}
    common = {"app", "run", "request"}
    expected = {
        "run.input_requested": common,
        "run.input_reminder": common | {"reminder"},
        "run.input_resolved": common | {"resolution"},
        "watcher.app_failing": {"app", "failure"},
        "watcher.app_recovered": {"app", "failure"},
        "watcher.test": set(),
    }
    assert expected == {name: set(fields) for name, fields in data.items()}
    assert data[REMINDED.type]["reminder"] == {"number": 1, "of": 3}
    assert data[REMINDED.type]["request"]["waiting_seconds"] == 1800
    assert data[RESOLVED.type]["resolution"] == {
        "outcome": "answered",
        "run_status": "completed",
        "resolved_at": "2026-06-10T09:20:51Z",
        "waited_seconds": 312,
    }
    expected_failure = {
        "status": 401,
        "code": "unauthorized",
        "message": "invalid key",
        "since": "2026-06-10T09:15:39Z",
        "pending_known": 2,
    }
    assert expected_failure == data[FAILING.type]["failure"]
    assert expected_failure == data[RECOVERED.type]["failure"]


def test_payload_without_what_is_not_to_be_shown() -> None:
    """Parameters and input are absent where they are not included; empty ones are shown as empty."""
    hidden = payload(asking(params=None, editable=("amount",)))["data"]
    assert "params" not in hidden["request"]
    assert hidden["request"]["editable_params"] == ["amount"]
    assert "input" not in hidden["run"]
    assert payload(asking(params={}))["data"]["request"]["params"] == {}
    with_input = replace(REQUESTED, run=replace(RUN, input={"q": 1}, started_at=None))
    assert payload(with_input)["data"]["run"]["input"] == {"q": 1}
    assert payload(with_input)["data"]["run"]["started_at"] is None


def test_payload_of_a_question_that_is_not_visible() -> None:
    """Such a request has no id and no prompt, and never a negative wait."""
    request = replace(REQUEST, id="", type="unknown", prompt=None)
    shown = payload(replace(REQUESTED, request=request, at=0))["data"]["request"]
    assert tuple(shown[key] for key in ("id", "type", "prompt", "waiting_seconds")) == (
        None,
        "unknown",
        None,
        0,
    )


def test_json_is_strictly_valid() -> None:
    """Numbers and characters that JSON does not know leave as something that it does."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    nested: Any = "deep"
    for _ in range(5000):
        nested = [nested]
    body = encode(payload(asking("\ud83d", {"n": float("nan"), "i": float("-inf"), "d": nested})))
    shown = json.loads(body.decode("ascii"), parse_constant=refuse)["data"]["request"]
    assert (shown["prompt"], shown["params"]["n"]) == ("\ufffd", "nan")


@pytest.mark.parametrize("event", EVERY)
def test_signature_is_verified_by_an_independent_library(event: Event) -> None:
    """Every event arrives signed over the very bytes that were sent."""
    receiver = WebhookReceiver()
    sent(receiver, event=event, key=SIGNING_SECRET)
    (received,) = receiver.received
    with time_machine.travel(NOW, tick=False):
        verified = Webhook(SIGNING_SECRET).verify(received.body, dict(received.headers))
    assert payload(event) == verified


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("any text", b"any text"),
        ("whsec_not base64!", b"whsec_not base64!"),
        ("whsec_", b"whsec_"),
        ("whsec_aGVsbG8=", b"hello"),
        ("whsec_aGVsbG8", b"hello"),
        ("ключ", "ключ".encode()),
    ],
)
def test_secrets_of_any_form_sign(key: str, raw: bytes) -> None:
    """A prefixed base64 secret stands for its bytes, any other text for itself."""
    at = datetime.fromtimestamp(1781082940, UTC)
    assert Webhook(raw).sign("evt_1", at, "{}") == signature(key, "evt_1", 1781082940, b"{}")


def test_headers() -> None:
    """Custom headers are sent, ours cannot be replaced by them, and without a secret nothing is signed."""
    receiver = WebhookReceiver()
    sent(receiver, headers={"X-Team": "ops", "Content-Type": "text/plain", "Webhook-Id": "forged"})
    headers = {name.lower(): value for name, value in receiver.received[0].headers.items()}
    assert headers["x-team"] == "ops"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "evt_1"
    assert headers["webhook-timestamp"] == "1781082940"
    assert headers["user-agent"] == f"dynamiq-watcher/{__version__}"
    assert "webhook-signature" not in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_accepted(status: int) -> None:
    """Any status of success counts."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(status, ""))
    sent(receiver)
    assert len(receiver.received) == 1


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
    error = failure(lambda: _send_to(receiver))
    assert ("HTTP 304" if status == 304 else f"HTTP {status}: words") == str(error)
    assert fixable == (error.fix is not None)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [429, 503, 500, 404])
@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), ("Wed, 10 Jun 2026 09:16:00 GMT", 19.5), ("soon", None), ("-1", None)],
)
def test_retry_after(status: int, value: str, expected: float | None) -> None:
    """What the receiver asks for is passed on, in seconds or as a date."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(status, "", {"Retry-After": value}))
    assert expected == failure(lambda: _send_to(receiver)).retry_after


def test_a_receiver_that_does_not_answer() -> None:
    """Silence is a failure after the timeout."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(silent=True))
    error = failure(lambda: _send_to(receiver, timeout=0.05))
    assert (str(error), error.fix) == ("no answer within 0.05 s", None)


def test_a_receiver_that_hangs_up() -> None:
    """A lost answer is a failure, for nobody knows."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(drop=True))
    assert str(failure(lambda: _send_to(receiver))) == "the connection broke before an answer came"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/token-of-mine", "cannot connect: Connection refused"),
        ("http://", "the URL is not valid"),
        ("http://127.0.0.1:1/token-of-mine#\x00", "cannot connect: Connection refused"),
    ],
)
def test_no_connection(url: str, words: str) -> None:
    """A destination that cannot be reached is told in few words, without its URL."""
    assert words == str(failure(lambda: send(config(url))))


def test_a_header_that_cannot_be_sent() -> None:
    """A header that a rotated secret made impossible is a failure with a fix."""

    async def scenario() -> None:
        async with served(WebhookReceiver()) as url:
            await send(config(url, headers={"X-Key": "line\nbreak"}))

    error = failure(scenario)
    assert str(error) == "the URL or a header cannot be sent in HTTP"
    assert error.fix is not None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ClientError("https://secret.example"), "the request failed: ClientError"),
        (TimeoutError(), "no answer within 5 s"),
        (aiohttp.ServerTimeoutError(), "no answer within 5 s"),
        (aiohttp.ClientPayloadError("https://secret.example"), "the answer is not valid HTTP"),
        (ConnectionResetError(), "the connection broke before an answer came"),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "secret.example")),
            "the host name cannot be resolved",
        ),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(111, "secret")), "cannot connect to the proxy"),
        (aiohttp.ClientConnectorError(KEY, OSError("secret.example")), "cannot connect: it failed"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError(1, "secret.example")), "TLS: the handshake failed"),
        (
            aiohttp.ClientHttpProxyError(cast("aiohttp.RequestInfo", None), (), status=407),
            "the proxy answered HTTP 407",
        ),
    ],
)
def test_what_the_client_raises(error: Exception, words: str) -> None:
    """Every kind of trouble is told in our words, none of which comes from the URL."""
    assert words == str(trouble(error, 5))


def test_not_http() -> None:
    """A server that speaks something else is a failure."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await send(config(f"http://127.0.0.1:{port}/"))

    assert str(failure(scenario)) == "the answer is not valid HTTP"


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
                    await send(config(url))
                errors.append(str(caught.value))
        receiver.handle = endless  # type: ignore[method-assign]
        async with served(receiver) as url:
            await send(config(f"{url}/?status=200"))
        return errors

    expected = ["HTTP 500: " + "y" * 200 + "…", "HTTP 500"]
    assert expected == asyncio.run(scenario())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file with a certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return both


def test_a_private_authority(certificate: Path) -> None:
    """A certificate is trusted with its authority's file, and refused with a reason and a fix without."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    async def scenario(ca_file: Path | None) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        app = web.Application()
        app.router.add_post("/", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            await send(config(f"https://127.0.0.1:{runner.addresses[0][1]}/", ca_file=ca_file))
        finally:
            await runner.cleanup()

    asyncio.run(scenario(certificate))
    error = failure(lambda: scenario(None))
    assert str(error) == "TLS: the certificate was refused: self-signed certificate"
    assert error.fix is not None


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    """A file without certificates is a failure that names it."""
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    assert str(failure(lambda: send(config("https://127.0.0.1:1/", ca_file=empty)))).startswith(
        f"ca_file {empty}"
    )


def test_secrets_are_read_afresh(tmp_path: Path) -> None:
    """A rotated secret is used by the next send, and a missing file fails it."""
    file = tmp_path / "url"

    async def scenario() -> tuple[list[str], str]:
        receiver = WebhookReceiver()
        async with served(receiver) as url, aiohttp.ClientSession() as session:
            section = WebhookConfig(name="audit", url=Secret("notifiers.audit.url", Redactor(), file=file))
            notifier = WebhookNotifier(section, session=session, request_timeout=5, clock=lambda: NOW)
            for path in ("/first", "/second"):
                file.write_text(f"{url}{path}\n")
                await notifier.send(delivery())
            file.unlink()
            with pytest.raises(SecretError) as caught:
                await notifier.send(delivery(TEST))
        return [received.path for received in receiver.received], str(caught.value)

    paths, error = asyncio.run(scenario())
    assert paths == ["/first", "/second"]
    assert "notifiers.audit.url" in error


def test_check_sends_nothing() -> None:
    """The check reads the secrets and says what a real test needs."""

    async def scenario() -> str:
        async with aiohttp.ClientSession() as session:
            section = config("http://127.0.0.1:1/", key=SIGNING_SECRET)
            notifier = WebhookNotifier(section, session=session, request_timeout=5, clock=lambda: NOW)
            return await notifier.check()

    assert asyncio.run(scenario()) == "configured; a test needs --send"


async def _send_to(receiver: WebhookReceiver, timeout: float = 5.0) -> None:  # noqa: ASYNC109
    async with served(receiver) as url:
        await send(config(f"{url}/token-of-mine"), timeout=timeout)
