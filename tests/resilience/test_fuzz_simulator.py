"""Whatever is sent to the simulator, it answers as the API does or says what is wrong."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.builders import soon
from tests.support.simulator_bench import RUN_1, served, simulation
from tests.support.strategies import LONG, damaged, fuzz, json_values, utf8
from watcher.simulator.control import VERBS

pytestmark = pytest.mark.timeout(0 if LONG else 120)

_ARGUMENTS: Final = (
    "app", "run_id", "node", "type", "prompt", "params", "editable_params", "extra", "request_id", "feedback",
    "is_approved", "input", "user_id", "session_id", "base", "started_at", "output", "fields", "item",
    "insert", "remove", "keys", "foreign", "kind", "match", "times", "page", "status", "headers", "body",
    "location", "retry_after", "retry_after_form", "seconds", "size", "default_page_size", "page_size_limit",
    "over_limit", "wrong_params", "list_requests", "time_format", "input_window", "after_window",
    "error_details",
)  # fmt: skip
_VALUES: Final = json_values | st.sampled_from(
    [RUN_1, "default", 0, 1, -1, 10**30, 1e300, "started", "status", "html"]
)
controls: Final = st.tuples(
    st.sampled_from([*VERBS, "other"]),
    st.dictionaries(st.sampled_from(_ARGUMENTS), _VALUES, max_size=4)
    .map(lambda given: {"run_id": RUN_1, **given})
    .map(json.dumps)
    | st.fixed_dictionaries(
        {"kind": st.sampled_from(["status", "shape", "html", "redirect", "echo_secret"])},
        optional=dict.fromkeys(
            [
                "match",
                "status",
                "headers",
                "body",
                "location",
                "retry_after",
                "retry_after_form",
                "times",
                "page",
            ],
            _VALUES,
        ),
    ).map(json.dumps)
    | json_values.map(json.dumps),
)
bodies: Final = st.fixed_dictionaries(
    {
        "type": json_values | st.just("approval_request"),
        "data": json_values
        | st.dictionaries(st.sampled_from(["request_id", "feedback", "is_approved", "params"]), json_values),
    }
).map(lambda body: json.dumps(body).encode())
queries: Final[st.SearchStrategy[list[tuple[str, Any]]]] = st.lists(
    st.tuples(
        st.sampled_from(["status", "page", "page_size", "sort", "session_id", "user_id", "app", "after"]),
        utf8
        | st.sampled_from(
            ["awaiting_input", "0", "9" * 3000, "-started_at", "started_at,,", RUN_1, "\u0661"]
        ),
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """An event loop that lasts for many examples."""
    with asyncio.Runner() as opened:
        yield opened


@fuzz(25)
@given(st.lists(controls, max_size=3), queries, bodies | damaged(bodies) | st.binary(max_size=30))
@example([("options", '{"default_page_size": 0}')], [], b"")
@example([("options", '{"input_window": "x"}')], [], b"")
@example([("start_run", '{"started_at": "x"}')], [], b"")
@example([("ask", f'{{"run_id": "{RUN_1}", "extra": 3}}')], [], b"")
@example([("fault", '{"kind": "status", "status": 9999, "times": null}')], [], b"")
@example([("fault", '{"kind": "redirect", "location": "\\n", "times": null}')], [], b"")
@example([("fault", '{"kind": "html", "headers": [1], "times": null}')], [], b"")
@example(
    [("shift_next_page", '{"remove": -1}'), ("options", '{"default_page_size": 1}'), ("inject", "{}")] * 2,
    [],
    b"",
)
@example([("start_run", '{"input": ' + "[" * 600 + "]" * 600 + "}")], [], b"")
@example([("fault", '{"kind": "shape", "body": ' + "[" * 299 + "]" * 299 + "}")], [], b"")
def test_any_call(
    runner: asyncio.Runner, verbs: list[tuple[str, str]], query: list[tuple[str, Any]], body: bytes
) -> None:
    """No control call, query or body makes the simulator fail by itself, then or at the next call."""

    async def scenario() -> None:
        app = simulation()
        run_id = app.start_run(user_id="u")
        app.ask(run_id)
        async with served(app) as (_, client):
            for verb, arguments in verbs:
                answer = await client.post(f"/_control/{verb}", content=arguments.encode())
                assert answer.status_code in {200, 400, 404, 409, 415}, answer.text
            for path in ("/v1/runs", f"/v1/runs/{run_id}", "/_control/state", "/_control/requests"):
                assert_ours(await client.get(path, params=httpx.QueryParams(query)), app.faults._due)
            for path in ("input", "cancel"):
                headers = {"Content-Type": "application/json"}
                answer = await client.post(f"/v1/runs/{run_id}/{path}", content=body, headers=headers)
                assert_ours(answer, app.faults._due)

    runner.run(soon(scenario()))


def assert_ours(answer: httpx.Response, faults: list[Any]) -> None:
    """Fails for an error that is no fault which was asked for."""
    assert "Server got itself in trouble" not in answer.text, faults
