"""The webhook notifier against a real receiver."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from standardwebhooks import Webhook

from tests.support.events import (
    ALL_EVENTS,
    FAILING,
    RECOVERED,
    REMINDED,
    REQUEST,
    REQUESTED,
    RESOLVED,
    RUN,
    TEST,
    make_delivery,
    request_event,
)
from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.sending import (
    NOW,
    SIGNING_SECRET,
    open_test_session,
    send_webhook,
    webhook_config,
)
from watcher import __version__
from watcher.config.models import WebhookConfig
from watcher.messages import ADVICE
from watcher.models import AppGroupEvent, DigestEvent, Event, Json
from watcher.notifiers.base import NotifierContext
from watcher.notifiers.webhook import WebhookNotifier, encode, payload, signature
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret, SecretError


def sent(receiver: WebhookReceiver, path: str = "/hook", event: Event = REQUESTED, **settings: Any) -> None:
    """Serves the receiver and sends it one event."""

    async def scenario() -> None:
        async with served(receiver) as url:
            await send_webhook(webhook_config(f"{url}{path}", **settings), event)

    asyncio.run(scenario())


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
                "masked": [],
                "first_seen_at": "2026-06-10T09:15:39Z",
                "waiting_seconds": 1,
            },
        },
    }
    assert expected == payload(REQUESTED)


def test_payload_of_the_other_events() -> None:
    """Reminder, resolution and failure come with their own events and with no other."""
    data = {
        event.type: payload(event)["data"]
        for event in ALL_EVENTS
        if not isinstance(event, DigestEvent | AppGroupEvent)
    }
    common = {"app", "run", "request"}
    expected = {
        "run.input_requested": common,
        "run.input_reminder": common | {"reminder"},
        "run.input_resolved": common | {"resolution"},
        "watcher.app_failing": {"app", "failure"},
        "watcher.app_recovered": {"app", "failure"},
        "watcher.notifier_failing": {"notifier", "failure"},
        "watcher.notifier_recovered": {"notifier", "failure"},
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
        "message": f"invalid key (What to do: {ADVICE[401]})",
        "since": "2026-06-10T09:15:39Z",
        "pending_known": 2,
    }
    assert expected_failure == data[FAILING.type]["failure"]
    assert expected_failure == data[RECOVERED.type]["failure"]


def test_payload_without_what_is_not_to_be_shown() -> None:
    """Parameters and input are absent where they are not included; empty ones are shown as empty."""
    hidden = payload(request_event(params=None, editable=("amount",)))["data"]
    assert "params" not in hidden["request"]
    assert hidden["request"]["editable_params"] == ["amount"]
    assert "input" not in hidden["run"]
    assert payload(request_event(params={}))["data"]["request"]["params"] == {}
    with_input = replace(REQUESTED, run=replace(RUN, input={"q": 1}, started_at=None))
    assert payload(with_input)["data"]["run"]["input"] == {"q": 1}
    assert payload(with_input)["data"]["run"]["started_at"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"is_browser_takeover": False}, {"is_browser_takeover": False}),
        (
            {"questions": [{"question": "Which?"}], "is_browser_takeover": True},
            {"questions": [{"question": "Which?"}], "is_browser_takeover": True},
        ),
    ],
)
def test_payload_of_questions(given: dict[str, Any], expected: dict[str, Json]) -> None:
    """Questions and the takeover flag are there where the API gives them, and nowhere else."""
    shown = payload(replace(REQUESTED, request=replace(REQUEST, **given)))["data"]["request"]
    assert expected == {name: shown[name] for name in ("questions", "is_browser_takeover") if name in shown}


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
    body = encode(payload(request_event("\ud83d", {"n": float("nan"), "i": float("-inf"), "d": nested})))
    shown = json.loads(body.decode("ascii"), parse_constant=refuse)["data"]["request"]
    assert (shown["prompt"], shown["params"]["n"]) == ("\ufffd", "nan")


@pytest.mark.parametrize("event", ALL_EVENTS)
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
    """Custom headers are sent as written, none replaces ours, and without a secret nothing is signed."""
    receiver = WebhookReceiver()
    sent(receiver, headers={"X-Team": "ops", "Content-Type": "text/plain", "Webhook-Id": "forged"})
    assert receiver.received[0].headers.keys() >= {"X-Team", "Content-Type", "webhook-id"}
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


def test_secrets_are_read_afresh(tmp_path: Path) -> None:
    """A rotated secret is used by the next send, and a missing file fails it."""
    file = tmp_path / "url"

    async def scenario() -> tuple[list[str], str]:
        receiver = WebhookReceiver()
        async with served(receiver) as url, open_test_session() as session:
            section = WebhookConfig(name="audit", url=Secret("notifiers.audit.url", Redactor(), file=file))
            notifier = WebhookNotifier(section, NotifierContext(session, 5, lambda: NOW))
            for path in ("/first", "/second"):
                file.write_text(f"{url}{path}\n")
                await notifier.send(make_delivery())
            file.unlink()
            with pytest.raises(SecretError) as caught:
                await notifier.send(make_delivery(TEST))
        return [received.path for received in receiver.received], str(caught.value)

    paths, error = asyncio.run(scenario())
    assert paths == ["/first", "/second"]
    assert "notifiers.audit.url" in error


def test_check_sends_nothing() -> None:
    """The check reads the secrets and says what a real test needs."""

    async def scenario() -> str:
        async with open_test_session() as session:
            section = webhook_config("http://127.0.0.1:1/", key=SIGNING_SECRET)
            notifier = WebhookNotifier(section, NotifierContext(session, 5, lambda: NOW))
            return await notifier.check()

    assert asyncio.run(scenario()) == "configured; use --send to test it"
