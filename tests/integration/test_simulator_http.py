"""The simulator over HTTP: the API, its faults, and the control endpoint."""

import asyncio
import inspect
import json
import zlib
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.simulator_bench import (
    BEARER,
    KEY,
    RUN_1,
    served,
    simulation,
)
from watcher.simulator import catalog
from watcher.simulator.control import VERBS
from watcher.simulator.faults import Fault
from watcher.simulator.options import Options
from watcher.simulator.request_log import LoggedRequest, RequestLog

pytestmark = pytest.mark.anyio


async def test_the_api_over_http() -> None:
    """A client lists, reads, answers and cancels, with a key, as the documentation shows."""
    app = simulation(keys=frozenset({KEY}))
    run_id = app.start_run()
    request_id = app.ask(run_id, type="human_feedback", prompt="Which?")
    async with served(app, headers=BEARER) as (_, client):
        listing = await client.get("/v1/runs", params={"status": ["failed", "awaiting_input"]})
        detail = await client.get(f"/v1/runs/{run_id}")
        body = {"type": "human_feedback", "data": {"request_id": request_id, "feedback": "That one."}}
        answer = await client.post(f"/v1/runs/{run_id}/input", json=body)
        again = await client.post(f"/v1/runs/{run_id}/input", json=body)
        cancel = await client.post(f"/v1/runs/{run_id}/cancel")

    assert [run_id] == [item["id"] for item in listing.json()["data"]]
    assert [request["prompt"] for request in detail.json()["data"]["input_requests"]] == ["Which?"]
    assert (answer.status_code, answer.json()) == (200, {"message": "ok"})
    assert (again.status_code, again.json()["error"]["details"]["request_id"]) == (400, "is not pending")
    assert (cancel.status_code, cancel.json()) == (200, {"message": "canceled"})
    assert [given.feedback for given in app.answers] == ["That one."]


async def test_errors_come_in_the_envelope() -> None:
    """Every refusal is JSON with a code of its own, unknown paths and methods too."""
    app = simulation(keys=frozenset({KEY}))
    run_id = app.start_run()
    async with served(app, headers=BEARER) as (_, client):
        responses = [
            await client.get("/v1/runs?page=x"),
            await client.get("/v1/runs", headers={"Authorization": "Bearer wrong"}),
            await client.get("/v1/runs", headers={"Authorization": "Bearer dyn_pat_x"}),
            await client.get("/v1/runs/unknown"),
            await client.get("/apps/unknown/v1/runs"),
            await client.get("/v2/nothing"),
            await client.put("/v1/runs"),
            await client.post(f"/v1/runs/{run_id}/input", data={"type": "form"}),
            await client.post(
                f"/v1/runs/{run_id}/input", content=b"{", headers={"Content-Type": "application/json"}
            ),
            await client.post(
                f"/v1/runs/{run_id}/input", content=b"\xff", headers={"Content-Type": "application/json"}
            ),
            await client.post(
                f"/v1/runs/{run_id}/input", content=b"[NaN]", headers={"Content-Type": "application/json"}
            ),
            await client.post(f"/v1/runs/{run_id}/input"),
        ]

    assert [(response.status_code, response.json()["error"]["code"]) for response in responses] == [
        (400, "bad_request"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (404, "not_found"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (415, "unsupported_media_type"),
        (400, "bad_request"),
        (400, "bad_request"),
        (400, "bad_request"),
        (400, "bad_request"),
    ]
    assert responses[6].headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("object", {"page": "must be a positive integer"}),
        ("text", "page must be a positive integer"),
        ("absent", None),
    ],
)
async def test_details_of_errors(form: Any, expected: Any) -> None:
    """An error's details are an object, a text, or not there, as the option says."""
    async with served(simulation(Options(error_details=form))) as (_, client):
        error = (await client.get("/v1/runs?page=x")).json()["error"]

    assert expected == error.get("details")


async def test_several_apps_share_a_server() -> None:
    """Each app has its own runs and keys under its own path; the first is also found without one."""
    first, second = simulation(), simulation(keys=frozenset({KEY}))
    first.start_run(run_id="a")
    second.start_run(run_id="b")
    async with served(first, second, headers=BEARER) as (server, client):
        urls = ("/v1/runs", f"{server.app_url('default')}/v1/runs", f"{server.app_url('support')}/v1/runs")
        found = [[item["id"] for item in (await client.get(url)).json()["data"]] for url in urls]

        assert found == [["a"], ["a"], ["b"]]
        assert (server.finished(), server.finished(app="support")) == (2, 1)


async def test_requests_are_recorded_and_waited_for() -> None:
    """A test waits for a call without sleeping, sees what was sent, and gets an error if none comes."""
    async with served(simulation()) as (server, client):
        waiting = asyncio.create_task(server.wait_for_calls(2))
        await client.get("/v1/runs?status=failed&status=paused", headers={"X-Mark": "1"})
        assert not waiting.done()
        await client.get("/v1/runs?page=x")
        await waiting

        first, second = server.requests
        assert (
            first.number,
            first.call,
            first.method,
            first.path,
            first.status,
        ) == (1, "list", "GET", "/v1/runs", 200)
        assert first.query == (("status", "failed"), ("status", "paused"))
        assert (first.headers["x-mark"], second.status) == ("1", 400)
        assert first.monotonic <= second.monotonic
        with pytest.raises(TimeoutError):
            await server.wait_for_calls(3, within=0.01)


def test_the_request_log_is_bounded_and_counts_on() -> None:
    """Only the last 10,000 requests are kept; one that was forgotten meanwhile still counts as finished."""
    log = RequestLog()
    request = LoggedRequest(
        number=0,
        app="default",
        call="list",
        method="GET",
        path="/v1/runs",
        query=(),
        headers={},
        at=0.0,
        monotonic=0.0,
    )
    numbers = [log.begin(request) for _ in range(10_001)]
    log.finish(numbers[0], "default", "list", 200)
    log.finish(numbers[-1], "default", "list", 200)

    assert [request.number for request in log.requests] == numbers[1:]
    assert log.finished("default", "list") == 2


async def test_a_request_is_recorded_before_it_is_answered() -> None:
    """A call that hangs can be waited for; it is finished, without a status, when the caller gives up."""
    app = simulation()
    app.faults.add(Fault(kind="delay", seconds=3600))
    async with served(app) as (server, client):
        call = asyncio.create_task(client.get("/v1/runs"))
        await server.wait_for(lambda: len(server.requests) == 1)
        assert (server.requests[0].status, server.requests[0].finished) == (None, False)
        call.cancel()
        await server.wait_for_calls(1)
        assert None is server.requests[0].status


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(kind="status"), (500, "application/json", "internal_server_error")),
        (Fault(kind="status", status=429, retry_after=3), (429, "application/json", "too_many_requests")),
        (Fault(kind="status", status=503, body="<h1>busy</h1>"), (503, "text/html", "<h1>busy</h1>")),
        (Fault(kind="status", status=400, body={"x": 1}), (400, "application/json", '{"x": 1}')),
        (Fault(kind="shape", body={"data": None}), (200, "application/json", '{"data": null}')),
        (Fault(kind="shape", body=[]), (200, "application/json", "[]")),
        (Fault(kind="shape"), (200, "application/json", "null")),
        (Fault(kind="html"), (502, "text/html", "502 from a gateway")),
        (Fault(kind="echo_secret"), (401, "application/json", f"Bearer {KEY} is not a valid key")),
        (Fault(kind="delay", seconds=0.001), (200, "application/json", '"total_count": 1')),
        (Fault(kind="drip", seconds=0), (200, "application/json", '"total_count": 1')),
        (Fault(kind="oversize", size=200_000), (200, "application/json", "x" * 200_000 + '"}')),
    ],
)
async def test_faults_that_answer(fault: Fault, expected: tuple[int, str, str]) -> None:
    """Each fault answers with its own status, type and text, and the next call is answered rightly."""
    app = simulation()
    app.start_run()
    app.faults.add(fault)
    async with served(app, headers=BEARER) as (_, client):
        response = await client.get("/v1/runs")
        right = await client.get("/v1/runs")

    kind = response.headers["Content-Type"].partition(";")[0]
    assert expected[:2] == (response.status_code, kind)
    assert expected[2] in response.text
    assert [item["id"] for item in right.json()["data"]] == [RUN_1]


async def test_an_oversize_answer_is_still_json() -> None:
    """The padding is one more field, so that only the size is wrong."""
    app = simulation()
    app.faults.add(Fault(kind="oversize", size=70_001))
    async with served(app) as (_, client):
        document = (await client.get("/v1/runs")).json()

    assert (document["data"], len(document["padding"])) == ([], 70_001)


async def test_retry_after_headers() -> None:
    """A fault asks for patience in seconds or as a date, and may carry any other header."""
    app = simulation()
    app.faults.add(Fault(kind="status", status=429, retry_after=2.5, headers={"X-Proxy": "edge"}))
    app.faults.add(Fault(kind="status", status=503, retry_after=86_400, retry_after_form="date"))
    async with served(app) as (server, client):
        seconds = await client.get("/v1/runs")
        date = await client.get("/v1/runs")
        asked_at = server.requests[1].at

    assert (seconds.headers["Retry-After"], seconds.headers["X-Proxy"]) == ("2.5", "edge")
    ahead = parsedate_to_datetime(date.headers["Retry-After"]).timestamp() - asked_at
    assert 86_398 < ahead <= 86_401


async def test_a_redirect_names_its_target_and_nothing_follows() -> None:
    """The target is the fault's, and a caller that stays away leaves no second request."""
    app = simulation()
    app.faults.add(Fault(kind="redirect", status=307, location="https://elsewhere.example/"))
    async with served(app) as (server, client):
        response = await client.get("/v1/runs")
        assert (response.status_code, response.headers["Location"]) == (307, "https://elsewhere.example/")
        assert len(server.requests) == 1


@pytest.mark.parametrize(("kind", "error"), [("reset", httpx.ReadError), ("cut", httpx.RemoteProtocolError)])
async def test_faults_that_break_the_connection(kind: Any, error: type[Exception]) -> None:
    """The caller sees a reset, or a body that ends too early; the record shows no status."""
    app = simulation()
    app.faults.add(Fault(kind=kind))
    async with served(app) as (server, client):
        with pytest.raises(error):
            await client.get("/v1/runs")
        await server.wait_for_calls(1)
        assert None is server.requests[0].status
        assert (await client.get("/v1/runs")).status_code == 200


async def test_truncated_json_ends_in_the_middle() -> None:
    """The answer is whole to HTTP, but not to JSON."""
    app = simulation()
    app.faults.add(Fault(kind="truncated"))
    async with served(app) as (_, client):
        response = await client.get("/v1/runs")

    assert (response.status_code, response.text[:25]) == (200, '{"data": [], "pagination"')
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_gzip_comes_unasked_and_inflates() -> None:
    """The body is compressed though the caller refused that, and much larger than what was sent."""
    app = simulation()
    app.faults.add(Fault(kind="gzip", size=1_000_000))
    async with served(app, headers={"Accept-Encoding": "identity"}) as (server, _):
        address = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, packed = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    assert b"content-encoding: gzip" in head.lower()
    assert len(packed) < 10_000
    body = zlib.decompress(packed, wbits=31)
    assert (len(body) - len(body.rstrip()), json.loads(body)["data"]) == (1_000_000, [])


async def test_a_fault_stays_until_cleared_and_spares_other_calls() -> None:
    """A lasting fault of the list leaves reading a run alone and ends when it is cleared."""
    app = simulation()
    app.start_run()
    app.faults.add(Fault(kind="status", status=401, match="list", times=None))
    async with served(app) as (_, client):
        statuses = [
            (await client.get(path)).status_code for path in ("/v1/runs", "/v1/runs", f"/v1/runs/{RUN_1}")
        ]
        app.faults.clear()
        statuses.append((await client.get("/v1/runs")).status_code)

    assert statuses == [401, 401, 200, 200]


async def test_the_control_endpoint_drives_an_app() -> None:
    """Another process starts runs, asks, answers, turns options and faults, and reads state and requests."""
    async with served(simulation()) as (_, client):

        async def control(verb: str, **arguments: Any) -> Any:
            response = await client.post(f"/_control/{verb}", json=arguments)
            assert response.status_code == 200, response.text
            return response.json()["result"]

        run_id = await control("start_run", app="billing", input={"a": 1}, user_id="u")
        request_id = await control("ask", app="billing", run_id=run_id, prompt="Really?", params={"b": 2})
        await control("options", app="billing", list_requests="present")
        await control("fault", app="billing", kind="status", status=503, match="list")
        statuses = [(await client.get("/apps/billing/v1/runs")).status_code for _ in range(2)]
        items = (await client.get("/apps/billing/v1/runs")).json()["data"]
        await control("fault", app="billing", kind="reset", times=None)
        await control("clear_faults", app="billing")
        await control("answer", app="billing", run_id=run_id, request_id=request_id, is_approved=True)
        state = (await client.get("/_control/state?app=billing")).json()
        requests = (await client.get("/_control/requests?app=billing&after=1")).json()
        await control("keys", app="billing", keys=["k"])
        locked = await client.get("/apps/billing/v1/runs")
        await control("reset", app="billing")
        emptied = (await client.get("/apps/billing/v1/runs")).json()["data"]

    assert statuses == [503, 200]
    assert [[request["prompt"] for request in item["input_requests"]] for item in items] == [["Really?"]]
    assert [(run_id, "started", [])] == [(run["id"], run["base"], run["pending"]) for run in state["runs"]]
    assert [(request_id, True)] == [(given["request_id"], given["is_approved"]) for given in state["answers"]]
    assert [(request["number"], request["status"]) for request in requests] == [(2, 200), (3, 200)]
    assert (locked.status_code, emptied) == (401, [])


@pytest.mark.parametrize(
    ("verb", "arguments", "status", "name", "problem"),
    [
        ("explode", {}, 404, "verb", "is unknown; the verbs are start_run, ask, answer, "),
        ("ask", {"run_id": "unknown"}, 404, "run_id", "is unknown"),
        ("answer", {"run_id": RUN_1, "request_id": "x"}, 400, "request_id", "is not pending"),
        ("start_run", {"inptu": 1}, 400, "inptu", "is not an argument; start_run takes input, run_id, "),
        ("reset", {"all": True}, 400, "all", "is not an argument; reset takes no arguments"),
        ("answer", {"run_id": RUN_1}, 400, "request_id", "is required"),
        ("pause", {"run_id": [RUN_1]}, 400, "run_id", "must be a text"),
        ("start_run", {"started_at": "x"}, 400, "started_at", "must be a number"),
        ("start_run", {"base": "begun"}, 400, "base", "must be 'created', 'started', 'paused', "),
        ("options", {"list_requests": "presnt"}, 400, "list_requests", "must be 'absent', 'present', "),
        ("options", {"page_size_limit": 1.5}, 400, "page_size_limit", "must be a whole number"),
        ("fault", {"kind": "rest"}, 400, "kind", "must be 'status', 'shape', "),
        ("fault", {"kind": "html", "status": 600}, 400, "status", "must be less than or equal to 599"),
        ("fault", {"kind": "html", "headers": {"a b": "c"}}, 400, "headers", "has a character that HTTP"),
        ("override", {"run_id": RUN_1, "fields": 3}, 400, "fields", "must be an object"),
        ("keys", {"keys": "k"}, 400, "keys", "must be a list"),
        ("start_run", {"app": 7}, 400, "app", "must be a text"),
        ("start_run", ["list"], 400, "body", "must be an object"),
    ],
)
async def test_wrong_control_calls_are_refused(
    verb: str, arguments: Any, status: int, name: str, problem: str
) -> None:
    """A misspelled verb, argument or value is an error that names it, whatever form the API's errors have."""
    app = simulation(Options(error_details="absent"))
    app.start_run()
    async with served(app) as (_, client):
        response = await client.post(f"/_control/{verb}", json=arguments)

    assert status == response.status_code
    details = response.json()["error"]["details"]
    assert [name] == list(details)
    assert details[name].startswith(problem)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented_with_its_arguments(verb: str) -> None:
    """The catalog has the verbs that there are, and for each the arguments that its function takes."""
    described = catalog.VERBS[verb]
    tables = {"fault": Fault, "options": Options}
    parameters = [*inspect.signature(tables.get(verb, VERBS[verb])).parameters.values()]
    if verb not in tables:
        parameters = parameters[1:]  # the app
    assert [parameter.name for parameter in parameters] == described.names
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    assert needed == described.required
    assert list(VERBS) == list(catalog.VERBS)


@pytest.mark.parametrize("path", ["/_control/state?app=unknown", "/_control/requests?after=x"])
async def test_wrong_questions_to_the_control_endpoint(path: str) -> None:
    """Asking for an unknown app or after no number is refused."""
    async with served(simulation()) as (_, client):
        assert (await client.get(path)).status_code in (400, 404)


async def test_the_first_page_says_what_there_is_to_do() -> None:
    """`/` lists calls, verbs and pending requests, line by line; it counts as no call to the API."""
    app = simulation(keys=frozenset({KEY}))
    run_id = app.start_run()
    request_id = app.ask(run_id, type="human_feedback", prompt="Which?")
    async with served(app) as (server, client):
        response = await client.get("/")
        assert (
            '\n    "POST /_control/pause": "run_id: pause a run; its requests stay pending",\n'
            in response.text
        )
        shown = response.json()
        (waiting,) = shown["waiting"]
        assert (run_id, request_id, "Which?") == (waiting["run_id"], waiting["request_id"], waiting["prompt"])
        assert {"GET /v1/runs", "POST /_control/answer"} <= {*shown["api"], *shown["control"]}
        answer = {"run_id": run_id, "request_id": request_id}
        assert 200 == (await client.post("/_control/answer", json=answer)).status_code
        assert [] == (await client.get("/")).json()["waiting"]
        assert 404 == (await client.get("/elsewhere")).status_code
    assert ["/elsewhere"] == [request.path for request in server.requests]
