"""Whatever bytes come from the Runs API and from destinations, they end as it is documented, in no other way.

`pytest tests/test_fuzz_*.py --hypothesis-profile=long` looks for new ones, see `strategies.fuzz`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Final

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.api_fakes import KEY, Body, key_of, with_client
from tests.support.builders import BOUND, WatchedStore, claim, pending
from tests.support.databases import OnSqlite
from tests.support.fuzz_bench import Bench, open_bench
from tests.support.harmless import assert_harmless
from tests.support.poll_bench import Answer, PollBench, ScriptedApi, api_run, question
from tests.support.strategies import (
    LONG,
    bodies,
    fuzz,
    header_values,
    http_answers,
    json_values,
    pages,
    paginations,
    retry_after_values,
    run_items,
    statuses,
)
from watcher.backoff import RETRY_AFTER_MAX, retry_after
from watcher.models import Delivery, Json, RequestEvent, Route, Run
from watcher.net import open_session
from watcher.notifiers.webhook import encode, payload
from watcher.runs_api.client import TOO_LARGE_MAX, RunsClient
from watcher.runs_api.errors import ApiError, Refused
from watcher.runs_api.transport import MESSAGE_MAX
from watcher.store import Sent, Store

pytestmark = pytest.mark.timeout(0 if LONG else 120)

NOW: Final = 1781092800.0
NUMBERS: Final = count(1)
STRANGE: Final = (
    rb'{"id": "r1", "status": "awaiting_input\udc80", "user_id": "\ud800",'
    rb' "started_at": "0001-01-01T00:00:00+23:59", "input_requests": [{"id": "\udfff", "type": "\ud800",'
    rb' "prompt": "\ud83d and", "editable_params": ["\ud800"],'
    rb' "params": {"\ud800": [NaN, -Infinity, 1e999, "\udc00"], "deep": ' + b"[" * 300 + b"]" * 300 + b"}}]}"
)
"""A run in which everything that cannot be stored is somewhere."""

page_bodies: Final = bodies(pages)
run_bodies: Final = bodies(st.fixed_dictionaries({"data": run_items}))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """An event loop that lasts for many examples."""
    with open_bench() as opened:
        yield opened


async def read(client: RunsClient) -> None:
    """Reads the list and a run, either of which may fail as an ApiError, and checks what came of it."""
    try:
        async for page in client.awaiting(page_size=100):
            for run in page.runs:
                assert_storable(run)
            assert all(len(skipped.reason) < 100 for skipped in page.skipped)
    except ApiError as error:
        assert_fit(error)
    try:
        run = await client.run("r1")
    except ApiError as error:
        assert_fit(error)
    else:
        assert "r1" == run.id
        assert_storable(run)


def assert_storable(run: Run) -> None:
    """Fails if something of a run cannot be stored, written as JSON or told of."""
    asked = [(one.id, one.type, one.prompt, one.params, one.editable_params) for one in run.requests]
    stored = [run.id, run.status, run.user_id, run.session_id, run.started_at, asked]
    assert json.dumps(stored, ensure_ascii=False, allow_nan=False).encode()
    assert run.id


def assert_fit(error: ApiError) -> None:
    """Fails if an error cannot be stored and logged, is without bounds, or tells the key."""
    assert 0 < len(error.code) <= MESSAGE_MAX
    assert 0 < len(error.message) <= 2 * MESSAGE_MAX + len(" ()")
    assert f"{error.code}{error.message}".encode()
    assert KEY not in f"{error.code}{error.message}"
    assert error.retry_after is None or 0 < error.retry_after <= RETRY_AFTER_MAX


@fuzz(60)
@given(page_bodies, run_bodies)
@example(b'{"data": [' + STRANGE + b"]}", b'{"data": ' + STRANGE + b"}")
@example(b'{"data": [{"id": "r1", "status": "awaiting_input"}], "pagination": {"page_count": 1e400}}', b"")
def test_any_answer_of_the_api(listing: bytes, single: bytes) -> None:
    """Whatever a list or a run holds, it is read as runs that can be stored or fails as one of our errors."""
    asked: Counter[str] = Counter()

    def api(request: httpx.Request) -> httpx.Response:
        asked[request.url.params.get("page_size", "one run")] += 1
        body = listing if request.url.path.endswith("/runs") else single
        return httpx.Response(200, stream=Body(iter([body])))

    with_client(api, read)
    assert asked.pop("1", 0) <= 1 + TOO_LARGE_MAX, "runs that are too large are not skipped for ever"
    assert max(asked.values()) <= 5, "a page that comes again and again is not read on"


@fuzz(100)
@given(
    statuses,
    bodies(
        st.fixed_dictionaries(
            {
                "error": json_values
                | st.dictionaries(
                    st.sampled_from(["code", "message", "details"]),
                    json_values | st.just(f"x{KEY}") | st.just("e" * 9999),
                )
            }
        )
    ),
    st.dictionaries(st.sampled_from(["Content-Type", "Content-Encoding", "Location"]), header_values),
    st.none() | retry_after_values,
    header_values | st.just(KEY) | st.just("r" * 9999),
)
def test_any_refusal_of_the_api(
    status: int, body: bytes, headers: dict[str, str], wait: str | None, reason: str
) -> None:
    """Every status but 200 is one of our errors, whatever comes with it: bounded, and without our key."""
    given = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    given += [] if wait is None else [(b"Retry-After", wait.encode("utf-8", "surrogatepass"))]

    def api(_: httpx.Request) -> httpx.Response:
        extensions = {"reason_phrase": reason.encode("latin-1")}
        return httpx.Response(status, headers=given, stream=Body(iter([body])), extensions=extensions)

    if status != 200:
        with pytest.raises(ApiError) as raised:
            with_client(api, lambda client: client.run("r1"), key=key_of(KEY))
        assert_fit(raised.value)
        assert isinstance(raised.value, Refused) or 300 <= status < 400
        assert raised.value.status == status or 300 <= status < 400


@fuzz(60)
@given(http_answers(page_bodies | run_bodies))
@example(b"HTTP/1.1 200 OK\r\n" + f"{KEY} ".encode() + b"x" * 20_000 + b"\r\n\r\n")
def test_any_bytes_on_the_wire(bench: Bench, written: bytes) -> None:
    """Whatever bytes a server writes for HTTP, a call returns runs or fails as one of our errors."""
    bench.answer = written

    async def scenario() -> None:
        async with open_session(BOUND) as session:
            await read(RunsClient(bench.peer.url, key_of(KEY), session=session, timeout=BOUND))

    bench.run(scenario())


@fuzz(200)
@given(retry_after_values)
@example("Wed, 10 Jun 2026 12:00:30 +99999999999999")
def test_any_retry_after(value: str) -> None:
    """Whatever a header asks for, it is a wait that can be made, or none."""
    wait = retry_after(value, now=NOW)
    assert wait is None or (math.isfinite(wait) and 0 < wait <= RETRY_AFTER_MAX)


class AnyApi(ScriptedApi):
    """Lists in a page what it is told to, bytes for bytes, and shows the same of every run."""

    def __init__(self) -> None:
        super().__init__()
        self.listing: Json = {"data": []}
        self.single: tuple[int, bytes] = (404, b"")

    def _answer(self, call: str) -> Answer:
        return Answer(200, self.listing) if call.startswith("page ") else Answer(*self.single)


HEALTHY: Final = api_run("healthy", question())


@pytest.fixture(scope="module")
def store(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedStore]:
    """A store that lasts for many examples, each of which has apps and notifiers of its own."""
    opened = WatchedStore(OnSqlite(tmp_path_factory.mktemp("fuzz") / "watcher.db"))
    yield opened
    bench.run(opened.close())


@fuzz(30)
@given(
    st.tuples(st.lists(run_items, max_size=4), st.lists(run_items, max_size=2)),
    paginations,
    st.tuples(st.sampled_from([200, 200, 200, 404, 401, 429, 500, 302]), run_bodies),
)
def test_any_listing_is_polled(
    bench: Bench,
    store: WatchedStore,
    strangers: tuple[list[Json], list[Json]],
    claims: Json,
    single: tuple[int, bytes],
) -> None:
    """Whatever stands beside a healthy run, that run is told of, and the poll ends as a success or a failure.

    All that is told can be told by every notifier; when the strange ones have gone, a poll is a success.
    """
    number = next(NUMBERS)
    routes = (Route(f"slack{number}", for_people=True), Route(f"hook{number}", for_people=False))
    api = AnyApi()
    api.single = single
    around = PollBench(store.database, store, api)

    async def scenario() -> None:
        poller = around.poller(
            name=f"app{number}", routes=routes, redact=["*a*"], include_input=True, watch_paused=True,
            link_template="https://x.example/{app}/{run_id}?{request_id}", alert_after=0.0,
        )  # fmt: skip
        try:
            for strange in strangers:
                api.listing = {"data": [*strange, HEALTHY], "pagination": claims}
                wait = (await poller.poll()).wait
                assert wait is None or 0 < wait <= RETRY_AFTER_MAX
                around.clock.now += 3600
            api.listing, api.single = {"data": [HEALTHY]}, (200, b'{"data": 3}')
            assert (await poller.poll()).error is None
            api.single = (404, b'{"error": {"code": "not_found"}}')
            assert (await poller.poll()).error is None
        finally:
            await poller.close()

    with capture_logs():
        bench.run(scenario())
    told = [delivery for route in routes for delivery in bench.run(told_of(store, route.notifier, around))]
    asked = [one.event for one in told if isinstance(one.event, RequestEvent)]
    healthy = [event.type for event in asked if event.run.id == "healthy"]
    assert ["run.input_requested"] * 2 == healthy
    for one in told:
        assert_harmless(one.event)
        assert json.loads(encode(payload(one.event)), parse_constant=pytest.fail)
    assert ["healthy"] == [request.run_id for request in pending(store.database, f"app{number}")]


async def told_of(store: Store, notifier: str, around: PollBench) -> tuple[Delivery, ...]:
    """Takes all that a notifier is to tell."""
    found: tuple[Delivery, ...] = ()
    while more := await claim(store, notifier, now=around.clock.now):
        found += more
        done = [Sent(one.id, None) for one in more]
        await store.settle_and_claim(notifier, done, limit=0, now=around.clock.now)
    return found
