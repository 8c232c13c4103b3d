"""The webhook notifier: signed JSON by POST, for programs.

Headers and signature follow the Standard Webhooks specification
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

import base64
import binascii
import hashlib
import hmac
import json
import ssl
from contextlib import suppress
from typing import Final

from multidict import CIMultiDict

from watcher import __version__
from watcher.config.fields import CA_FILE_MAX
from watcher.config.models import WebhookConfig
from watcher.messages import ADVICE, format_timestamp, given_fields
from watcher.models import (
    App,
    AppEvent,
    Delivery,
    Event,
    Failure,
    InputRequest,
    Json,
    MessageRef,
    NotifierEvent,
    RequestEvent,
    Run,
)
from watcher.notifiers.base import DeliveryError, NotifierContext
from watcher.notifiers.http_post import from_response, post
from watcher.sanitize.files import FileReads, HangingFileError, UnreadableFileError, read_regular_file
from watcher.sanitize.limits import normalize_json
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

PAYLOAD_VERSION: Final = 1

_CERTIFICATES: Final = "give ca_file the certificates of the authority, in PEM"
_CHECK_URL: Final = "check the webhook's URL"
_CHECK_CREDENTIALS: Final = "check the webhook's headers and the receiver's access rules"
_FIXES: Final = {
    401: _CHECK_CREDENTIALS,
    403: _CHECK_CREDENTIALS,
    404: _CHECK_URL,
    405: "the receiver doesn't accept POST: check the webhook's URL",
    410: _CHECK_URL,
    413: "let the receiver accept larger bodies, or set include_params = false",
}
_OTHERWISE: Final = "the receiver rejected the request: see its logs"


class WebhookNotifier:
    """Posts every event; several at once, for a program reads them."""

    max_concurrency = 8
    min_interval = 0.0
    for_people = False
    digests = False

    def __init__(self, config: WebhookConfig, context: NotifierContext) -> None:
        self.name = self.rate_limit_key = config.name
        self._config = config
        self._context = context
        self._redactor = Redactor()
        self._reads = None if config.ca_file is None else FileReads(config.ca_file)
        self._trust: tuple[bytes, ssl.SSLContext] | None = None

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Posts once; a 2xx is acceptance. See `Notifier.send`."""
        body = encode(payload(delivery.event))
        answer = await post(
            self._context.session,
            await self._read(self._config.url),
            body=body,
            headers=await self._headers(delivery.event.id, body),
            timeout=self._context.request_timeout,
            clock=self._context.clock,
            context=await self._trusted(),
        )
        if not answer.accepted:
            raise from_response(answer, fixes=_FIXES, otherwise=_OTHERWISE, redact=self._redactor.redact)
        return None

    async def check(self) -> str:
        """Reads the secrets, which is all that can be tried without sending. See `Notifier.check`."""
        await self._read(self._config.url)
        await self._headers("", b"")
        await self._trusted()
        return "configured; use --send to test it"

    async def _headers(self, event_id: str, body: bytes) -> CIMultiDict[str]:
        timestamp = int(self._context.clock())
        headers = CIMultiDict({"User-Agent": f"dynamiq-watcher/{__version__}"})
        for name, value in self._config.headers.items():
            headers[name] = await self._read(value)
        headers["Content-Type"] = "application/json"
        headers["webhook-id"] = event_id
        headers["webhook-timestamp"] = str(timestamp)
        if self._config.secret:
            secret = await self._read(self._config.secret)
            headers["webhook-signature"] = signature(secret, event_id, timestamp, body)
        return headers

    async def _read(self, secret: Secret) -> str:
        value = await secret.fetch()
        self._redactor.add_secret(value)
        return value

    async def _trusted(self) -> ssl.SSLContext | None:
        """Returns what trusts the certificates that are in the file now."""
        file = self._config.ca_file
        if file is None or self._reads is None:
            return None
        try:
            certificates = await self._reads.run(lambda: read_regular_file(file, CA_FILE_MAX))
            if self._trust is None or self._trust[0] != certificates:
                self._trust = certificates, _trust_in(certificates)
        except HangingFileError as error:
            raise DeliveryError(f"ca_file: {error}") from None
        except UnreadableFileError as error:
            raise DeliveryError(f"ca_file: {error}", fix=_CERTIFICATES) from None
        except ssl.SSLError:
            raise DeliveryError(f"ca_file: {file} holds no certificate", fix=_CERTIFICATES) from None
        return self._trust[1]


def _trust_in(certificates: bytes) -> ssl.SSLContext:
    text = certificates.decode("ascii", "ignore")  # others stand in comments
    return ssl.create_default_context(cadata=f"{text}\n")  # without any text it would trust the system's


def payload(event: Event) -> dict[str, Json]:
    """Returns the body of an event. Times are ISO 8601 in UTC, waits are whole seconds."""
    return {
        "version": PAYLOAD_VERSION,
        "id": event.id,
        "type": event.type,
        "timestamp": format_timestamp(event.at),
        "data": _data(event),
    }


def _data(event: Event) -> dict[str, Json]:
    match event:
        case RequestEvent():
            return {"app": _app(event.app), **_about_request(event)}
        case AppEvent(failure=failure):
            words = {
                "status": failure.status,
                "code": failure.code,
                "message": _with_advice(failure),
                "since": format_timestamp(failure.since),
                "pending_known": failure.pending_known,
            }
            return {"app": _app(event.app), "failure": words}
        case NotifierEvent(failure=failure):
            words = {
                "message": failure.message,
                "since": format_timestamp(failure.since),
                "undelivered": failure.undelivered,
            }
            return {"notifier": {"name": failure.notifier}, "failure": words}
        case _:
            return {}


def _app(app: App) -> dict[str, Json]:
    return {"name": app.name, "base_url": app.base_url}


def _about_request(event: RequestEvent) -> dict[str, Json]:
    data: dict[str, Json] = {
        "run": _run(event.run, event.link),
        "request": _request(event.request, event.first_seen_at, event.at),
    }
    if event.reminder:
        data["reminder"] = {"number": event.reminder.number, "of": event.reminder.of}
    if event.resolution:
        data["resolution"] = {
            "outcome": event.resolution.outcome,
            "run_status": event.resolution.run_status,
            "resolved_at": format_timestamp(event.resolution.resolved_at),
            "waited_seconds": _seconds(event.first_seen_at, event.resolution.resolved_at),
        }
    return data


def _with_advice(failure: Failure) -> str:
    advice = ADVICE.get(failure.status)
    return f"{failure.message} (What to do: {advice})" if advice else failure.message


def encode(document: dict[str, Json]) -> bytes:
    """Returns the document as JSON that every parser takes: no NaN, no lone surrogates, no endless depth."""
    return json.dumps(normalize_json(document), allow_nan=False, separators=(",", ":")).encode()


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """Returns the `webhook-signature`: HMAC-SHA256 over `id.timestamp.body`, as Standard Webhooks has it.

    A secret of the form `whsec_` + base64 stands for the bytes that it encodes, any other text for itself.
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        encoded = secret.removeprefix("whsec_").translate(str.maketrans("-_", "+/"))
        # Padding is often left out; a text that is no base64 merely begins like such a secret.
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True) or secret.encode()
    return secret.encode()


def _run(run: Run, link: str | None) -> dict[str, Json]:
    shown = {
        "id": run.id,
        "status": run.status,
        "started_at": None if run.started_at is None else format_timestamp(run.started_at),
        "user_id": run.user_id,
        "session_id": run.session_id,
        "link": link,
    }
    return shown if run.input is None else {**shown, "input": run.input}


def _request(request: InputRequest, first_seen_at: float, now: float) -> dict[str, Json]:
    return {
        "id": request.id or None,
        "type": request.type,
        "prompt": request.prompt,
        **({} if request.params is None else {"params": request.params}),
        "editable_params": list(request.editable_params),
        "masked": list(request.masked),
        **given_fields(request),
        "first_seen_at": format_timestamp(first_seen_at),
        "waiting_seconds": _seconds(first_seen_at, now),
    }


def _seconds(since: float, until: float) -> int:
    """Counts between the moments as they are shown, so that a reader who subtracts them agrees."""
    return max(0, int(until) - int(since))
