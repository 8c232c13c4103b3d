"""Whatever bytes come from where something is sent to, they end as it is documented, in no other way."""

import asyncio
import json
from collections.abc import Iterator
from typing import Final

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import sending
from tests.support.builders import BOUND
from tests.support.events import REMINDED, REQUESTED, RESOLVED
from tests.support.fuzz_bench import Bench, open_bench
from tests.support.harmless import assert_one_line
from tests.support.strategies import LONG, any_text, bodies, fuzz, http_answers, json_values
from watcher.backoff import RETRY_AFTER_MAX
from watcher.cli import healthcheck
from watcher.models import Event, MessageRef
from watcher.monitoring.health import HealthReport
from watcher.monitoring.heartbeat import Heartbeat
from watcher.notifiers.base import DeliveryError

pytestmark = pytest.mark.timeout(0 if LONG else 120)

FIRST: Final = MessageRef({"channel": sending.CHANNEL, "ts": "1781082940.000001"})

slack_answers: Final = http_answers(
    bodies(
        json_values
        | st.fixed_dictionaries(
            {"ok": st.booleans() | json_values},
            optional={
                "error": st.sampled_from(["invalid_blocks", "message_not_found", "ratelimited"])
                | json_values,
                "needed": json_values,
                "channel": st.just("C1") | json_values,
                "ts": st.just("1.2") | json_values,
                "response_metadata": json_values,
            },
        )
    )
    | st.sampled_from([b"ok", b"invalid_payload", b"no_text"])
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """An event loop that lasts for many examples."""
    with open_bench() as opened:
        yield opened


@fuzz(80)
@given(slack_answers, st.sampled_from(sending.KINDS), st.sampled_from([REQUESTED, REMINDED, RESOLVED]))
@example(b'HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=base64\r\n\r\n{"ok": true}', "bot", REQUESTED)
@example(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"[" * 100_000, "bot", REQUESTED)
@example(b'HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\n\r\n{"ok": false}', "bot", REQUESTED)
def test_any_answer_of_slack(bench: Bench, written: bytes, kind: str, event: Event) -> None:
    """Whatever answers in Slack's place, a message is accepted or fails as a delivery; so is a check."""
    bench.answer = written

    async def scenario() -> None:
        for call in (sending.send_event(event, FIRST), lambda notifier: notifier.check()):
            try:
                receipt = await sending.use_notifier(sending.slack_config(bench.peer.url, kind), call)
            except DeliveryError as error:
                assert_told(error)
            else:
                accepted(receipt)

    def accepted(receipt: MessageRef | str | None) -> None:
        if isinstance(receipt, str):
            assert_one_line(receipt)
        elif kind == "bot":
            assert json.loads(written.partition(b"\r\n\r\n")[2])["ok"]
        else:
            assert written.startswith(b"HTTP/1.1 2")

    bench.run(scenario())


def assert_told(error: DeliveryError) -> None:
    """Fails if an error is more than a line, or asks for no wait that can be made."""
    assert_one_line(str(error))
    assert 0 < len(str(error)) < 1000
    assert error.retry_after is None or 0 < error.retry_after <= RETRY_AFTER_MAX


@fuzz(60)
@given(http_answers(st.binary(max_size=6000)))
def test_any_answer_to_a_webhook(bench: Bench, written: bytes) -> None:
    """Whatever a receiver answers, the event is accepted with a 2xx or fails as a delivery."""
    bench.answer = written

    async def scenario() -> None:
        try:
            await sending.send_webhook(sending.webhook_config(f"{bench.peer.url}/x"))
        except DeliveryError as error:
            assert_told(error)
        else:
            assert b" 2" in written.splitlines()[0]

    bench.run(scenario())


@fuzz(40)
@given(http_answers(st.binary(max_size=100)))
def test_any_answer_to_a_heartbeat(bench: Bench, written: bytes) -> None:
    """Whatever answers a ping, nothing comes of it but a line of the log."""
    bench.answer = written

    async def ready() -> HealthReport:
        return HealthReport()

    async def scenario() -> None:
        async with aiohttp.ClientSession() as session:
            url = sending.make_secret(f"{bench.peer.url}/ping")
            await Heartbeat(url, apps=(), ready=ready, session=session, timeout=BOUND).beat()

    with capture_logs() as logged:
        bench.run(scenario())
    assert [
        {"log_level": "warning", "event": "heartbeat.failed", "error": line["error"]} for line in logged
    ] == logged
    for line in logged:
        assert_one_line(line["error"])


@fuzz(40)
@given(
    http_answers(
        bodies(
            st.fixed_dictionaries(
                {"problems": st.lists(st.dictionaries(any_text, json_values)) | json_values}
            )
        )
    )
)
@example(b'HTTP/1.1 503 x\r\n\r\n{"problems": [{"app": "\\n", "reason": "\\u001b[31m\\u202e"}]}')
@example(b"HTTP/1.1 503 x\r\n\r\n" + b"[" * 100_000)
def test_any_answer_to_a_probe(bench: Bench, written: bytes) -> None:
    """Whatever answers the probe of the container, it is ready or not, with the reason in a line."""
    bench.answer = written
    found = bench.run(asyncio.to_thread(healthcheck.ask, "127.0.0.1", bench.peer.port))
    assert_one_line(found.text)
    assert 0 < len(found.text) < 1200
    assert not found.ready or b" 200" in written.splitlines()[0]


@pytest.mark.parametrize("host", ["a\nb", "a\0b", "x" * 64, "\udc80", "", " ", "é" * 300, "[::1"])
def test_a_host_that_is_none(host: str) -> None:
    """A host that cannot be asked is not ready, without a traceback."""
    found = healthcheck.ask(host, 1)
    assert not found.ready
    assert_one_line(found.text)
