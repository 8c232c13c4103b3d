"""The client of the Runs API: what it makes of every answer, and of none."""

import gzip
import json
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Final

import aiohttp
import httpx
import pytest

from tests.support.api_fakes import (
    KEY,
    RUN,
    Body,
    FakeApi,
    api_error,
    fetch_pages,
    fetch_run,
    key_of,
    refusal,
    response,
)
from watcher.models import Json, Run
from watcher.runs_api import transport
from watcher.runs_api.decoding import LARGE
from watcher.runs_api.errors import (
    ApiError,
    BadRequest,
    ConnectionFailed,
    Forbidden,
    InvalidResponse,
    KeyUnreadable,
    NotFound,
    RateLimited,
    Redirected,
    Refused,
    ResponseTooLarge,
    ServerError,
    TimedOut,
    Unauthorized,
)
from watcher.runs_api.parser import Skipped
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

HTML: Final = b"<html><h1>Who are you?</h1></html>"
MISSING: Final = Secret("apps.support.access_key", Redactor(), file=Path("/nowhere/key"))


def raises(error: Exception) -> httpx.Response:
    """An answer that never comes."""
    raise error


@dataclass(frozen=True)
class Case:
    """An answer, and the error that it ends in."""

    kind: type[ApiError]
    status: int | None
    code: str
    answer: Callable[[], httpx.Response]
    key: Secret | None = None


CASES: Final = [
    Case(
        ConnectionFailed, None, "connection_failed", lambda: raises(aiohttp.ClientConnectionError("refused"))
    ),
    Case(ConnectionFailed, None, "connection_failed", lambda: raises(ConnectionResetError("reset"))),
    Case(ConnectionFailed, None, "connection_failed", lambda: raises(ssl.SSLError("bad certificate"))),
    Case(ConnectionFailed, None, "connection_failed", lambda: raises(aiohttp.InvalidURL("no host"))),
    Case(TimedOut, None, "timeout", lambda: raises(aiohttp.ServerTimeoutError())),
    Case(InvalidResponse, 200, "invalid_response", lambda: response(HTML)),
    Case(InvalidResponse, 200, "invalid_response", lambda: response(b"")),
    Case(InvalidResponse, 200, "invalid_response", lambda: response(b'{"data": {"id": "r1", ')),
    Case(InvalidResponse, 200, "invalid_response", lambda: response([RUN])),
    Case(InvalidResponse, 200, "invalid_response", lambda: response(None)),
    Case(InvalidResponse, 200, "invalid_response", lambda: response({})),
    Case(InvalidResponse, 200, "invalid_response", lambda: response({"data": None})),
    Case(InvalidResponse, 200, "invalid_response", lambda: response({"data": []})),
    Case(InvalidResponse, 200, "invalid_response", lambda: response({"data": {"id": "r1"}})),
    Case(InvalidResponse, 200, "invalid_response", lambda: response({"data": {"id": "r2", "status": "x"}})),
    Case(
        InvalidResponse,
        200,
        "invalid_response",
        lambda: response(b"{}", Content_Encoding="gzip"),
    ),
    Case(InvalidResponse, 200, "invalid_response", lambda: response(b"{}", Content_Encoding="br, gzip")),
    *(
        Case(Redirected, status, "redirect", partial(response, b"", status, Location="/x"))
        for status in (300, 301, 302, 303, 307, 308)
    ),
    Case(Redirected, 302, "redirect", lambda: response(b"", 302)),
    Case(ResponseTooLarge, 200, "response_too_large", lambda: response(b" " * 70_000)),
    Case(KeyUnreadable, None, "access_key_unreadable", lambda: response(RUN), MISSING),
    Case(BadRequest, 400, "bad_request", lambda: response(HTML, 400)),
    Case(Unauthorized, 401, "unauthorized", lambda: response(HTML, 401)),
    Case(Forbidden, 403, "forbidden", lambda: response(HTML, 403)),
    Case(NotFound, 404, "not_found", lambda: response(HTML, 404)),
    Case(RateLimited, 429, "rate_limited", lambda: response(HTML, 429)),
    *(
        Case(ServerError, status, "server_error", partial(response, HTML, status))
        for status in (500, 501, 502, 503, 504, 520, 599)
    ),
    *(
        Case(Refused, status, "refused", partial(response, HTML, status))
        for status in (201, 204, 402, 405, 408, 409, 410, 415, 418, 422)
    ),
    Case(
        ServerError, 503, "server_error", lambda: response(gzip.compress(HTML), 503, Content_Encoding="gzip")
    ),
    Case(Unauthorized, 401, "unauthorized", lambda: response(b" " * 70_000, 401)),
    Case(Forbidden, 403, "project_mismatch", lambda: refusal(403, code="project_mismatch")),
]


def kinds(root: type[Exception]) -> Iterator[type[Exception]]:
    """All errors of a tree, without its root."""
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of more than 64 KiB are too large."""
    monkeypatch.setattr(transport, "RESPONSE_MAX", 65_536)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind.__name__}-{case.status}")
def test_every_answer_is_told_apart(case: Case) -> None:
    """Each status, each failure to answer and each answer of the wrong shape becomes its own error."""
    error = api_error(FakeApi(case.answer), key=case.key)
    assert (case.kind, case.status, case.code) == (type(error), error.status, error.code)
    assert str(error) == error.message != ""


def test_every_error_is_produced() -> None:
    """The tree of errors holds none that the client never raises."""
    assert set(kinds(ApiError)) == {case.kind for case in CASES}


@pytest.mark.parametrize("kind", [aiohttp.ClientError, *kinds(aiohttp.ClientError)])
def test_everything_that_aiohttp_raises_is_translated(kind: type[Exception]) -> None:
    """Timeouts are told from other failures to connect, and no error of the library gets through."""
    expected = TimedOut if issubclass(kind, TimeoutError) else ConnectionFailed
    assert expected is type(api_error(FakeApi(lambda: raises(made_up(kind)))))


def made_up(kind: type[Exception]) -> Exception:
    """An error of that kind, made without what the library puts into it."""
    error = kind.__new__(kind)
    Exception.__init__(error, "what happened")
    error.__dict__.update(status=500, _os_error=OSError(), _certificate_error=ssl.SSLError())
    return error


def test_an_error_without_words() -> None:
    """Where the library says nothing, the message names the host and at least the kind of failure."""
    assert (
        "app.test: the request failed: ClientError"
        == api_error(FakeApi(lambda: raises(aiohttp.ClientError()))).message
    )


def test_which_failures_concern_the_whole_app() -> None:
    """A key that does not work stops the poll of the app; one run that cannot be read does not."""
    whole = {KeyUnreadable, Unauthorized, Forbidden, RateLimited}
    assert whole == {kind for kind in kinds(ApiError) if issubclass(kind, ApiError) and kind.affects_app}


def test_which_failures_concern_a_run_alone() -> None:
    """An answer that cannot be read is the run's own; a redirect is something that stands before the API."""
    alone = {InvalidResponse, ResponseTooLarge}
    assert alone == {kind for kind in kinds(ApiError) if issubclass(kind, ApiError) and kind.affects_run_only}


def test_an_error_document_without_end() -> None:
    """A refusal with a very large body is not looked into: that is no error document."""
    body = json.dumps({"error": {"code": "not_found", "message": "x" * LARGE}}).encode()
    error = api_error(FakeApi(lambda: response(body, 404)))
    assert isinstance(error, NotFound)
    assert (False, "Not Found") == (error.is_api_error, error.message)


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (
            {"session_id": "must be a UUID", "page": "too large"},
            "Wrong. (session_id: must be a UUID; page: too large)",
        ),
        ("session_id is no UUID", "Wrong. (session_id is no UUID)"),
        ({"session_id": [[]], "page": 5}, "Wrong."),
        ([], "Wrong."),
        (None, "Wrong."),
    ],
)
def test_a_refusal_in_the_envelope(details: Json, message: str) -> None:
    """Code and message of the API's own error arrive, with what it says of single parameters."""
    error = api_error(FakeApi(lambda: refusal(400, code="validation", message="Wrong.", details=details)))
    assert isinstance(error, BadRequest)
    assert (message, "validation", True) == (error.message, error.code, error.is_api_error)


@pytest.mark.parametrize(
    "document",
    [{}, [], None, "no", {"error": None}, {"error": "gone"}, {"error": []}, {"error": {}}, {"message": "x"}],
)
def test_a_refusal_in_another_form(document: Json) -> None:
    """A body in no envelope leaves status, code and a reason, and is known as not the API's."""
    error = api_error(FakeApi(lambda: response(document, 404)))
    assert isinstance(error, NotFound)
    assert (error.is_api_error, error.code, error.message) == (False, "not_found", "Not Found")


@pytest.mark.parametrize("body", [HTML, b"", b"\xff\xfe\x00"])
def test_a_page_that_is_not_found_is_not_the_apis(body: bytes) -> None:
    """A 404 of a proxy does not say that a run is gone."""
    error = api_error(FakeApi(lambda: response(body, 404)))
    assert isinstance(error, NotFound)
    assert not error.is_api_error


def test_a_run_that_is_gone() -> None:
    """A 404 in the API's envelope, without details, says so."""
    error = api_error(FakeApi(lambda: refusal(404, code="not_found", message="run not found")))
    assert isinstance(error, NotFound)
    assert (error.is_api_error, error.message) == (True, "run not found")


@pytest.mark.parametrize(
    ("message", "read"),
    [("x" * 9000, "x" * 500), ("a\ud800b", "a\ufffdb"), (5, "Conflict"), ("", "Conflict")],
)
def test_messages_are_fit_to_be_stored(message: Json, read: str) -> None:
    """An endless message is cut, a lone surrogate replaced, and what is no text is passed over."""
    assert read == api_error(FakeApi(lambda: refusal(409, message=message, code=message))).message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Wed, 10 Jun 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "86400"}, 3600),
        ({"Retry-After": "later"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 401])
def test_retry_after(status: int, headers: Mapping[str, str], seconds: float | None) -> None:
    """What the API asks for is passed on in seconds, whether it was given as such or as a date."""
    assert seconds == api_error(FakeApi(lambda: response(b"", status, **headers))).retry_after


@pytest.mark.parametrize(
    "location", ["https://evil.test/v1/runs/r1", "//evil.test/", "/login", "http://app.test/"]
)
def test_the_key_does_not_follow_a_redirect(location: str) -> None:
    """A redirect is an error: no second call is made, to no host."""
    fake = FakeApi(lambda: response(b"", 307, Location=location), lambda: response(RUN))
    error = api_error(fake, key=key_of(KEY))
    assert (Redirected, ["app.test"]) == (type(error), [request.url.host for request in fake.requests])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind.__name__}-{case.status}")
def test_no_error_quotes_the_key(case: Case) -> None:
    """Whatever the answer, the words of the error hold no key."""
    error = api_error(FakeApi(case.answer), key=case.key or key_of(KEY))
    assert KEY not in f"{error!r} {error} {error.code} {error.__cause__!r}"


def test_a_large_answer_is_not_read_to_its_end() -> None:
    """An endless body is refused once it has passed the bound."""
    body = Body(repeat(b" " * 1024))
    error = api_error(FakeApi(lambda: httpx.Response(200, stream=body)))
    assert (ResponseTooLarge, 65) == (type(error), body.taken)


def test_an_answer_may_be_as_large_as_the_bound() -> None:
    """An answer of exactly the most bytes is read."""
    document = b'{"data": {"id": "r1", "status": "started"}}'
    assert Run("r1", "started") == fetch_run(FakeApi(lambda: response(document.ljust(65_536))))


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_an_answer_that_says_it_is_not_compressed(encoding: str) -> None:
    """A header that names the encoding asked for is no reason to refuse."""
    assert Run("r1", "started") == fetch_run(FakeApi(lambda: response(RUN, Content_Encoding=encoding)))


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP", "deflate"])
def test_an_answer_that_is_compressed_all_the_same(encoding: str) -> None:
    """What was not asked for is read, within the same bound, which a small answer can exceed by far."""
    compress = zlib.compress if encoding == "deflate" else gzip.compress
    document = b'{"data": {"id": "r1", "status": "started"}}'

    def answer(body: bytes) -> FakeApi:
        return FakeApi(lambda: response(compress(body), Content_Encoding=encoding))

    assert Run("r1", "started") == fetch_run(answer(document.ljust(65_536)))
    assert ResponseTooLarge is type(api_error(answer(document.ljust(65_537))))


def test_one_odd_run_spoils_no_page() -> None:
    """Lone surrogates, infinities, deep nesting or no run at all leave the other runs readable."""
    items = (
        b'{"id":"a","status":"awaiting_input","input":"\\ud800"}',
        b'{"id":"b","status":"awaiting_input","input":[NaN,1e999]}',
        b'{"id":"c","status":"awaiting_input","input":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"id":"d","status":"awaiting_input","input":' + b"9" * 5000 + b"}",
        b"null",
        b'{"id":"e","status":"awaiting_input"}',
    )
    (page,) = fetch_pages(
        FakeApi(lambda: response(b'{"data":[' + b",".join(items) + b'],"pagination":{"page_count":1}}')), 6
    )
    assert [run.id for run in page.runs] == ["a", "b", "c", "d", "e"]
    assert (Skipped(None, "it is not an object"),) == page.skipped


def test_a_key_at_the_cut_of_a_message() -> None:
    """Where a long message of the API is cut, no half of an echoed key is left."""
    fake = FakeApi(lambda: refusal(401, code="unauthorized", message="x" * 450 + KEY))
    error = api_error(fake, key=key_of(KEY))
    assert "x" * 450 + "[redacted]" == error.message
