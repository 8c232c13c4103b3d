"""The tolerant reader: what the API may send, and what becomes of it."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import json_values, questions, run_items
from watcher.messages import format_timestamp
from watcher.models import INVISIBLE, InputRequest, Json, Run
from watcher.runs_api.decoding import parse_json
from watcher.runs_api.parser import (
    Skipped,
    fingerprint,
    parse_run,
    parse_time,
    unseen_request,
)
from watcher.sanitize.limits import CUT, normalize_json

QUESTION: Final[dict[str, Json]] = {
    "id": "q1",
    "type": "approval_request",
    "prompt": "Refund?",
    "params": {"amount": 620, "to": {"name": "Ada", "tags": ["a", "b"]}},
    "editable_params": ["amount", "to"],
}
ABSENT: Final = object()


def run_of(**fields: Json) -> Run:
    """The run that is read from those fields."""
    run = parse_run({"id": "r1", "status": "awaiting_input", **fields})
    assert isinstance(run, Run)
    return run


def request_of(**fields: Json) -> InputRequest:
    """The one request that is read from the usual question with those fields; ABSENT leaves one out."""
    item = {key: value for key, value in {**QUESTION, **fields}.items() if value is not ABSENT}
    (request,) = run_of(input_requests=[item]).requests
    return request


def nested(depth: int) -> bytes:
    """A list of runs, one of which has lists in lists as its input."""
    runs = b'{"id":"r1","status":"started"},{"id":"r2","status":"started","input":'
    return b'{"data":[' + runs + b"[" * depth + b"]" * depth + b"}]}"


def test_reads_a_whole_run() -> None:
    """Every field of a run that waits for approval arrives."""
    item = {
        "id": "r1",
        "status": "awaiting_input",
        "started_at": "2026-06-10T09:15:21Z",
        "user_id": "customer-7421",
        "session_id": "3d3e",
        "input": {"order": 7},
        "input_requests": [QUESTION],
        "a_field_of_tomorrow": {"x": 1},
    }
    request = InputRequest(
        id="q1",
        type="approval_request",
        prompt="Refund?",
        params={"amount": 620, "to": {"name": "Ada", "tags": ["a", "b"]}},
        editable_params=("amount", "to"),
        fingerprint=fingerprint(QUESTION),
    )
    expected = Run(
        "r1", "awaiting_input", 1781082921.0, "customer-7421", "3d3e", {"order": 7}, requests=(request,)
    )
    assert expected == parse_run(item)


def test_reads_the_least_of_runs() -> None:
    """Only an id and a status, known or not, are needed."""
    assert Run("r1", "hibernating") == parse_run({"id": "r1", "status": "hibernating"})


def test_optional_fields_may_be_of_any_type() -> None:
    """Where an optional field holds nonsense, the field is missing and the run is not."""
    run = run_of(started_at=5, user_id=["x"], session_id=True, input="text", input_requests="none")
    assert Run("r1", "awaiting_input", input="text") == run


def test_numeric_ids_are_texts() -> None:
    """Ids that come as numbers, zero included, are told apart like any other."""
    run = parse_run({"id": 0, "status": "started", "user_id": 42, "session_id": 43})
    assert Run("0", "started", user_id="42", session_id="43") == run
    assert request_of(id=7).id == "7"


@pytest.mark.parametrize(
    ("item", "skipped"),
    [
        (None, Skipped(None, "it is not an object")),
        ("r1", Skipped(None, "it is not an object")),
        ([], Skipped(None, "it is not an object")),
        ({}, Skipped(None, "it has no id")),
        ({"id": None, "status": "started"}, Skipped(None, "it has no id")),
        ({"id": "", "status": "started"}, Skipped(None, "it has no id")),
        ({"id": True, "status": "started"}, Skipped(None, "it has no id")),
        ({"id": {"a": 1}, "status": "started"}, Skipped(None, "it has no id")),
        ({"id": "r1"}, Skipped("r1", "it has no status")),
        ({"id": "r1", "status": 3}, Skipped("r1", "it has no status")),
    ],
)
def test_skips_what_is_no_run(item: Json, skipped: Skipped) -> None:
    """An item without id or status is no run, and the reason is given."""
    assert skipped == parse_run(item)


@pytest.mark.parametrize("nothing", [ABSENT, None, [], {}, "", "x", 5, [None, "x", 5, []]])
def test_lists_need_not_carry_requests(nothing: Json) -> None:
    """Requests that are absent, null, empty or no list of objects are no requests."""
    assert run_of(**({} if nothing is ABSENT else {"input_requests": nothing})).requests == ()


def test_junk_beside_requests_is_passed_over() -> None:
    """Among items that are no objects the requests that are there are found, in their order."""
    asked = run_of(input_requests=[None, {"id": "q1"}, "x", {"id": "q2"}, 5]).requests
    assert [request.id for request in asked] == ["q1", "q2"]


def test_notices_are_no_requests() -> None:
    """What the feedback tool only tells needs no answer; what it asks does."""
    asked = run_of(input_requests=[{"id": "q1", "action": "info"}, {"id": "q2", "action": "ask"}]).requests
    assert [request.id for request in asked] == ["q2"]


@pytest.mark.parametrize("kind", [ABSENT, None, "", 5, ["approval_request"]])
def test_a_request_without_a_type_is_unknown(kind: Json) -> None:
    """A request whose type cannot be read is passed on as unknown, not dropped."""
    assert request_of(type=kind).type == INVISIBLE


def test_types_of_tomorrow_pass() -> None:
    """A type that nobody knows yet is kept as it is."""
    assert request_of(type="plan_approval").type == "plan_approval"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("\n   Approve Refund?\n\n", "\n   Approve Refund?\n\n"),
        ("", None),
        (None, None),
        (ABSENT, None),
        ({"text": "Ünter?"}, '{"text": "Ünter?"}'),
        (5, "5"),
    ],
)
def test_prompts(sent: Json, read: str | None) -> None:
    """Prompts keep their spaces and lines, may be missing, and are shown as JSON where they are no texts."""
    assert read == request_of(prompt=sent).prompt


@pytest.mark.parametrize(
    ("sent", "read"),
    [(ABSENT, ()), (None, ()), ("amount", ()), ([], ()), (["a", 1, None], ("a", "1", "None"))],
)
def test_editable_params(sent: Json, read: tuple[str, ...]) -> None:
    """What is no list of keys makes nothing editable."""
    assert read == request_of(editable_params=sent).editable_params


@pytest.mark.parametrize(("sent", "read"), [(ABSENT, {}), (None, {}), ([1], [1]), ("text", "text"), (0, 0)])
def test_params(sent: Json, read: Json) -> None:
    """Parameters that are missing are empty; those of any other shape are kept."""
    assert read == request_of(params=sent).params


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01 00:00:01", 1.0),
        ("1970-01-01T00:00:00.5Z", 0.5),
        ("1970-01-01T00:00:00,25Z", 0.25),
        ("1970-01-01T00:00:00.123456789Z", 0.123456789),
        ("1970-01-01T05:30:00+05:30", 0.0),
        ("1970-01-01T05:30:00+0530", 0.0),
        ("1969-12-31T14:00:00-10:00", 0.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """RFC 3339 times are read with any fraction and offset, and as UTC where none is given."""
    assert seconds == parse_time(text)


@pytest.mark.parametrize(
    "value",
    [None, 5, True, [], "", "today", "2026-06-10", "2026-13-10T00:00:00Z", "2026-06-10T25:00:00Z",
     "2026-06-10T09:15:21.Z", "2026-06-10T09:15:21+99:00", "0001-01-01T00:00:00+14:00",
     "2026-06-10T09:15:21.\u0665Z"],
)  # fmt: skip
def test_no_times(value: Json) -> None:
    """What is no time is none, and nothing fails."""
    assert parse_time(value) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_the_first_and_the_last_time_can_be_shown(text: str, shown: str) -> None:
    """The ends of the calendar, which some programs write for none, are read and shown like other times."""
    seconds = parse_time(text)
    assert seconds is not None
    assert shown == format_timestamp(seconds)


@given(
    time=st.datetimes(datetime(1902, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - the zone is drawn below
    minutes=st.integers(-23 * 60, 23 * 60),
    digits=st.text("0123456789", max_size=9),
)
def test_any_offset_and_fraction(time: datetime, minutes: int, digits: str) -> None:
    """Every time with 0 to 9 fraction digits and every offset is read to the microsecond."""
    zoned = time.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    sign, size = ("-" if minutes < 0 else "+"), abs(minutes)
    fraction = f".{digits}" if digits else ""
    text = f"{zoned:%H:%M:%S}{fraction}{sign}{size // 60:02}:{size % 60:02}"
    expected = (zoned - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() + float(f"0.{digits or 0}")
    assert expected == pytest.approx(parse_time(f"{zoned.date()}T{text}"), abs=1e-4, rel=0)


@pytest.mark.parametrize(
    "same",
    [
        {"id": "q2"},
        {"asked_at": "2026-06-10T09:15:21Z", "status": "pending", "action": "ask"},
        {"params": {"to": {"tags": ["a", "b"], "name": "Ada"}, "amount": 620}},
        {"params": {**QUESTION["params"], "note": None}},
        {"params": {**QUESTION["params"], "note": ""}},
        {"params": {**QUESTION["params"], "note": []}},
        {"params": {**QUESTION["params"], "note": {}}},
        {"params": {**QUESTION["params"], "note": {"deep": {"er": None}}}},
        {"params": {"amount": 620, "to": {"name": "Ada", "tags": ["a", "b"], "mail": ""}}},
        {"editable_params": ["to", "amount"]},
        {"questions": None},
        {"questions": []},
        {"is_browser_takeover": None},
        {"is_browser_takeover": False},
    ],
)
def test_same_content(same: dict[str, Json]) -> None:
    """Order, missing versus null versus empty at any depth, and what is not asked make no difference."""
    assert request_of().fingerprint == request_of(**same).fingerprint


@pytest.mark.parametrize("field", ["prompt", "params", "editable_params", "questions"])
def test_nothing_is_nothing(field: str) -> None:
    """A field of a question may be missing, null or empty: it is the same question."""
    forms = [ABSENT, None, "", [], {}]
    assert len({request_of(**{field: form}).fingerprint for form in forms}) == 1


def test_nothing_in_a_list_is_nothing() -> None:
    """Within a list, too, null and empty are the same, but every item keeps its place."""
    forms: list[Json] = [[1, None], [1, ""], [1, []], [1, {}], [1, {"x": None}]]
    assert len({request_of(params={"rows": form}).fingerprint for form in forms}) == 1
    assert request_of(params=[None, 1]).fingerprint != request_of(params=[1, None]).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"type": "human_feedback"},
        {"prompt": "Refund again?"},
        {"prompt": ABSENT},
        {"params": ABSENT},
        {"params": {**QUESTION["params"], "amount": 621}},
        {"params": {**QUESTION["params"], "amount": "620"}},
        {"params": {**QUESTION["params"], "note": 0}},
        {"params": {**QUESTION["params"], "note": False}},
        {"params": {"amount": 620, "to": {"name": "Ada", "tags": ["b", "a"]}}},
        {"editable_params": ["amount"]},
        {"questions": [{"question": "Which?"}]},
        {"questions": [{"question": "Which?", "multi_select": True}]},
        {"is_browser_takeover": True},
    ],
)
def test_other_content(other: dict[str, Json]) -> None:
    """Whatever a human would be asked differently is another question, zero and false included."""
    assert request_of().fingerprint != request_of(**other).fingerprint


def test_a_fingerprint_outlives_upgrades() -> None:
    """Without questions and takeover it is what it always was: a pending request is not announced again."""
    assert "bed7bba535789491e82ba283ef66539a" == fingerprint(QUESTION)


@pytest.mark.parametrize("given", [ABSENT, None, [], "", {}])
def test_a_request_without_questions(given: Json) -> None:
    """However the API writes that there are no questions, there are none."""
    assert request_of(questions=given).questions is None


@pytest.mark.parametrize(
    ("given", "read"), [(ABSENT, None), (None, None), ("yes", None), (False, False), (True, True)]
)
def test_a_takeover_of_the_browser(given: Json, *, read: bool | None) -> None:
    """The flag is read where the API gives it."""
    assert read is request_of(is_browser_takeover=given).is_browser_takeover


def test_questions_are_read_as_they_are() -> None:
    """Every field of a question is kept, also one that is not known."""
    asked = [{"question": "Which?", "options": [{"label": "a", "x": 1}], "multi_select": True}]
    assert asked == request_of(questions=asked).questions


def test_masking_cannot_hide_a_change() -> None:
    """Two secrets that are masked alike are two questions: the content is identified as it came."""
    assert (
        request_of(params={"token": "abcdef"}).fingerprint
        != request_of(params={"token": "ghijkl"}).fingerprint
    )


def test_the_unseen_request_is_like_no_other() -> None:
    """A request that cannot be seen has no id and no prompt, and no visible one is taken for it."""
    unseen = unseen_request()
    assert (unseen.id, unseen.type, unseen.prompt, unseen.params) == ("", INVISIBLE, None, None)
    assert unseen.fingerprint not in {request_of().fingerprint, request_of(type=ABSENT).fingerprint}


def test_deep_nesting_spoils_no_page() -> None:
    """A run nested 500 deep leaves the page readable, and is cut where it is stored."""
    _, deep = (parse_run(item) for item in parse_json(nested(500))["data"])
    assert isinstance(deep, Run)
    shown = json.dumps(normalize_json(deep.input), ensure_ascii=False)
    assert f'"{CUT}"' == shown.strip("[]")


def test_a_deep_question_is_cut() -> None:
    """A question nested too deeply is asked with what is too deep cut off."""
    request = request_of(params=parse_json(nested(300)))
    assert CUT in json.dumps(request.params, ensure_ascii=False)


@pytest.mark.parametrize(("depth", "is_cut"), [(63, False), (64, True)])
def test_how_deep_a_question_may_be(depth: int, *, is_cut: bool) -> None:
    """64 levels of a question are kept, its parameters being the first below it, and no more."""
    params: Json = 5
    for _ in range(depth):
        params = [params]
    assert is_cut == (CUT in json.dumps(request_of(params=params).params, ensure_ascii=False))
    assert request_of(params=params).params == normalize_json(params, 1)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("a\ud800", "a\ufffd"),
        ("a\0", "a\ufffd"),
        ({"k\0": ["\0"]}, {"k\ufffd": ["\ufffd"]}),
        ({"k\udfff": 1}, {"k\ufffd": 1}),
        ([math.inf], ["inf"]),
        ([-math.inf, math.nan], ["-inf", "nan"]),
    ],
)
def test_a_question_can_be_stored(sent: Json, read: Json) -> None:
    """What cannot be stored is replaced in a question, however little else is there."""
    assert read == request_of(params=sent).params
    assert request_of(params=sent).fingerprint == request_of(params=read).fingerprint


@given(questions)
def test_a_question_is_tidied_only_where_that_shows(question: Json) -> None:
    """The short way around large content leads to what looking at every value leads to."""
    for request in run_of(input_requests=[question]).requests:
        assert request.params == normalize_json(request.params)
        assert request.fingerprint == fingerprint(normalize_json(question))


@pytest.mark.parametrize("text", ["\\ud800", "NaN", "Infinity", "null", '""', "[]{}", "\U0001f600"])
def test_words_that_look_untidy_are_kept(text: str) -> None:
    """A text that holds the signs of what needs tidying comes through, and counts."""
    request = request_of(prompt=text, params={"a": text, "b": None, "c": []})
    assert (text, {"a": text, "b": None, "c": []}) == (request.prompt, request.params)
    assert request.fingerprint == request_of(prompt=text, params={"a": text}).fingerprint
    assert request.fingerprint != request_of(prompt=text).fingerprint


def test_tidies_what_cannot_be_stored() -> None:
    """NUL and lone surrogates, in keys too, and numbers unknown to JSON become texts that can be stored."""
    untidy = {"a\ud800": ["\udfff", "\0", math.inf, -math.inf, 1.5, True, None], "\0": "\0"}
    tidy = {"a\ufffd": ["\ufffd", "\ufffd", "inf", "-inf", 1.5, True, None], "\ufffd": "\ufffd"}
    assert tidy == normalize_json(untidy)
    assert normalize_json(math.nan) == "nan"


def test_ids_and_statuses_are_tidied() -> None:
    """A lone surrogate or a NUL in what identifies a run can be stored and put into a URL."""
    run = parse_run({"id": "r\ud800\0", "status": "s\ud800\0", "user_id": "u\0"})
    assert Run("r\ufffd\ufffd", "s\ufffd\ufffd", user_id="u\ufffd") == run


def test_names_that_become_alike_hide_no_value() -> None:
    """Names that differ only in what cannot be stored keep their values, each under a name of its own."""
    expected = {"a\ufffd": 1, "a\ufffd'": [2], "b": "\ufffd"}
    assert expected == normalize_json({"a\ud800": 1, "a\0": [2], "b": "\0"})


@pytest.mark.parametrize("run_id", [".", "..", "x" * 1001, "é" * 1_000_000])
def test_an_id_that_names_no_run(run_id: str) -> None:
    """An id that would lead to another resource, or fill the log, makes no run, and little of it is shown."""
    assert Skipped(run_id[:100], "its id cannot stand in a URL") == parse_run({"id": run_id, "status": "x"})


@pytest.mark.parametrize("name", ["user_id", "session_id"])
def test_other_ids_are_shortened(name: str) -> None:
    """A long id of something else is kept apart from others by a digest."""
    one, other = (getattr(run_of(**{name: "x" * 5000 + end}), name) for end in ("a", "b"))
    assert one != other
    assert 117 == len(one) == len(other)
    assert "x" * 1000 == getattr(run_of(**{name: "x" * 1000}), name)


def test_a_long_id_of_a_request_is_shortened() -> None:
    """The same holds for the id of a request, which stands in every message."""
    assert 117 == len(request_of(id="x" * 1_000_000).id)


@given(run_items)
def test_no_item_fails(item: Json) -> None:
    """Whatever a list item is, it is a run or skipped, and all of it but the raw input can be stored."""
    run = parse_run(item)
    if isinstance(run, Run):
        asked = [(one.id, one.type, one.prompt, one.params, one.editable_params) for one in run.requests]
        stored = [
            run.id,
            run.status,
            run.user_id,
            run.session_id,
            run.started_at,
            normalize_json(run.input),
            asked,
        ]
        assert json.dumps(stored, ensure_ascii=False, allow_nan=False).encode()


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_fails_otherwise(body: bytes) -> None:
    """Whatever bytes come, they are JSON or a ValueError."""
    try:
        parse_json(body)
    except ValueError:
        return
    assert body
