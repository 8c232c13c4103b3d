"""The client of the Runs API: what it sends, and how it reads pages."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from httpx import Response

from tests.support.api_fakes import (
    KEY,
    RUN,
    FakeApi,
    FakeList,
    api_error,
    fetch_ids,
    fetch_pages,
    fetch_run,
    key_of,
    refusal,
    response,
    waiting_items,
    with_client,
)
from watcher import __version__
from watcher.models import Json, Run
from watcher.runs_api import client as api
from watcher.runs_api import decoding as documents
from watcher.runs_api.client import Page, RunsClient
from watcher.runs_api.errors import InvalidResponse, KeyUnreadable, NotFound, ServerError
from watcher.runs_api.parser import Skipped
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret


def test_asks_for_runs_that_wait() -> None:
    """The list is asked for by status, page, page size and oldest first, without filters nobody set."""
    fake = FakeApi(lambda: response({"data": []}))
    assert fetch_pages(fake, 50) == [Page((), (), last=True)]
    expected = [("status", "awaiting_input"), ("page_size", "50"), ("sort", "started_at"), ("page", "1")]
    assert sorted(expected) == sorted(fake.requests[0].url.params.multi_items())
    assert fake.requests[0].url.path == "/v1/runs"


def test_asks_for_paused_runs_too() -> None:
    """With paused runs the status is repeated, not joined."""
    fake = FakeApi(lambda: response({"data": []}))
    fetch_pages(fake, paused=True)
    assert fake.requests[0].url.params.get_list("status") == ["awaiting_input", "paused"]


def test_sends_filters() -> None:
    """The filters by user and session are the API's, encoded."""
    fake = FakeApi(lambda: response({"data": []}))
    fetch_pages(fake, user_id="a&b=c", session_id="3d3e")
    assert "user_id=a%26b%3Dc&session_id=3d3e" in fake.requests[0].url.query.decode()


def test_sends_headers() -> None:
    """A call says who asks and for what, and carries the key."""
    fake = FakeApi(lambda: response(RUN))
    fetch_run(fake, key=key_of(KEY))
    headers = fake.requests[0].headers
    sent = [headers[name] for name in ("User-Agent", "Authorization", "Accept")]
    assert [f"dynamiq-watcher/{__version__}", f"Bearer {KEY}", "application/json"] == sent


@pytest.mark.parametrize("key", [None, key_of("")])
def test_a_public_app_gets_no_key(key: Secret | None) -> None:
    """Without a key no Authorization header is sent."""
    fake = FakeApi(lambda: response(RUN))
    fetch_run(fake, key=key)
    assert "Authorization" not in fake.requests[0].headers


def test_reads_the_key_afresh(tmp_path: Path) -> None:
    """A key that is rotated in its file is used by the very next call."""
    file, fake = tmp_path / "key", FakeApi(lambda: response(RUN))
    key = Secret("apps.support.access_key", Redactor(), file=file)

    async def twice(client: RunsClient) -> None:
        for value in ("first-key\n", "second-key\n"):
            file.write_text(value)
            await client.run("r1")

    with_client(fake, twice, key=key)
    assert [request.headers["Authorization"] for request in fake.requests] == [
        "Bearer first-key",
        "Bearer second-key",
    ]


@pytest.mark.parametrize("value", ["abc\ndefghi", "abc\x00defghi", "schl\u00fcssel", "abc\x7fdefghi"])
def test_a_key_that_no_header_can_carry(value: str) -> None:
    """A key with line breaks or foreign letters is not sent, and not quoted by the error."""
    fake = FakeApi(lambda: response(RUN))
    error = api_error(fake, key=key_of(value))
    assert (KeyUnreadable, []) == (type(error), fake.requests)
    assert str(error) == "apps.support.access_key: holds characters that no HTTP header can carry"


@pytest.mark.parametrize(
    ("run_id", "segment"),
    [
        ("r1", "r1"),
        ("7", "7"),
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("%2F", "%252F"),
        ("ü ", "%C3%BC%20"),
        ("\n", "%0A"),
    ],
)
def test_quotes_run_ids(run_id: str, segment: str) -> None:
    """An id of any characters is one segment of the path."""
    fake = FakeApi(lambda: response({"data": {"id": run_id, "status": "started"}}))
    assert run_id == fetch_run(fake, run_id).id
    assert f"/v1/runs/{segment}" == fake.requests[0].url.raw_path.decode()


@pytest.mark.parametrize("base_url", ["https://app.test/proxy/x", "https://app.test/proxy/x/"])
def test_a_base_url_may_have_a_path(base_url: str) -> None:
    """Paths are appended to the base URL, with or without a slash at its end."""
    fake = FakeApi(lambda: response(RUN))
    fetch_run(fake, base_url=base_url)
    assert str(fake.requests[0].url) == "https://app.test/proxy/x/v1/runs/r1"


@pytest.mark.parametrize(
    ("count", "read"), [(0, [1]), (1, [1]), (2, [1]), (3, [1, 2]), (4, [1, 2]), (5, [1, 2, 3])]
)
def test_reads_all_pages_and_no_more(count: int, read: list[int]) -> None:
    """Of none, one, exactly a page and more runs each page is read once, and only the last is the last."""
    fake = FakeList(waiting_items(*map(str, range(count))))
    found = fetch_pages(fake)
    assert ([str(number) for number in range(count)], read) == (
        [run.id for page in found for run in page.runs],
        fake.pages,
    )
    assert [False] * (len(read) - 1) + [True] == [page.last for page in found]


@pytest.mark.parametrize(
    ("pagination", "read"),
    [
        (lambda _count, _total: None, [1, 2, 3, 4]),
        (lambda _count, _total: "none", [1, 2, 3, 4]),
        (lambda _count, _total: {}, [1, 2, 3, 4]),
        (lambda _count, _total: {"page_count": None, "total_count": "5"}, [1, 2, 3, 4]),
        (lambda count, _total: {"page_count": count}, [1, 2, 3]),
        (lambda _count, total: {"total_count": total}, [1, 2, 3]),
        (lambda _count, total: {"page_count": 1, "total_count": total}, [1, 2, 3]),
        (lambda count, _total: {"page_count": count, "total_count": 0}, [1, 2, 3]),
        (lambda _count, _total: {"page_count": 99, "total_count": 999}, [1, 2, 3, 4]),
    ],
)
def test_missing_or_lying_pagination(pagination: Callable[[int, int], Json], read: list[int]) -> None:
    """As long as one number is right, or none is there, all runs are found and reading comes to an end."""
    fake = FakeList(waiting_items("a", "b", "c", "d", "e"), pagination=pagination)
    assert (["a", "b", "c", "d", "e"], read) == (fetch_ids(fake), fake.pages)


@pytest.mark.parametrize("junk", [[], [None], [{"id": "x"}, float("nan")]])
@pytest.mark.parametrize(
    ("pagination", "read"),
    [(lambda _count, _total: None, [1, 2]), (lambda _count, _total: {"page_count": 99}, [1, 2, 3])],
)
def test_a_server_that_ignores_the_page(
    junk: list[Json], pagination: Callable[[int, int], Json], read: list[int]
) -> None:
    """A server that gives the first page for ever is asked twice, or thrice if it says that there is more."""
    fake = FakeList(
        [*waiting_items("a"), *junk, *waiting_items("b")], pagination=pagination, ignore_page=True
    )
    fetch_pages(fake, 1 + len(junk))
    assert read == fake.pages


def test_a_page_of_known_runs_among_others() -> None:
    """Runs that shift while pages are read may fill a page again, behind which others still wait."""
    three = {"page_count": 3}
    answers = [
        response({"data": waiting_items(*ids), "pagination": three})
        for ids in (("a", "b"), ("b", "a"), ("c",))
    ]
    assert ["a", "b", "b", "a", "c"] == fetch_ids(FakeApi(*[lambda one=one: one for one in answers]))


def test_a_page_count_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that brings new runs for ever is an error, not an endless poll."""
    monkeypatch.setattr(api, "PAGES_MAX", 3)
    with pytest.raises(InvalidResponse, match="no end after 3 pages"):
        fetch_pages(FakeList(waiting_items(*map(str, range(9)))))


def test_runs_that_shift_onto_the_next_page() -> None:
    """A run that is put in front while pages are read makes one be listed twice, and none be missed."""

    def put_in_front(runs: list[Json]) -> None:
        if len(runs) == 4:
            runs[:0] = waiting_items("new")

    assert fetch_ids(FakeList(waiting_items("a", "b", "c", "d"), between=put_in_front)) == [
        "a",
        "b",
        "b",
        "c",
        "d",
    ]


def test_malformed_runs_do_not_end_the_list() -> None:
    """A page that holds nothing readable is reported, and the pages behind it are read."""
    found = fetch_pages(
        FakeList([None, {"id": "x"}, *waiting_items("a", "b")], pagination=lambda _count, _total: None)
    )
    assert (Skipped(None, "it is not an object"), Skipped("x", "it has no status")) == found[0].skipped
    assert [run.id for page in found for run in page.runs] == ["a", "b"]


def test_a_later_page_that_fails() -> None:
    """Pages that were read are there before the error of a later one is."""
    fake = FakeApi(
        lambda: response({"data": waiting_items("a"), "pagination": {"page_count": 2}}),
        lambda: refusal(502),
    )
    found: list[Page] = []

    async def read(client: RunsClient) -> None:
        async for page in client.awaiting(page_size=1):
            found.append(page)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ServerError):
        with_client(fake, read)
    assert [(page.runs[0].id, page.last) for page in found] == [("a", False)]


@pytest.mark.parametrize("status", [400, 404])
def test_a_list_that_became_shorter_than_its_counts(status: int) -> None:
    """When the API has no page where its counts promised one the list is over, and its last page is empty."""
    fake = FakeApi(
        lambda: response({"data": waiting_items("a"), "pagination": {"page_count": 3, "total_count": 3}}),
        lambda: refusal(status, code="not_found", message="no such page"),
    )
    first, last = fetch_pages(fake, 1)
    assert (["a"], False) == ([run.id for run in first.runs], first.last)
    assert Page((), (), last=True) == last


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([lambda: refusal(404, code="not_found")], id="the first page"),
        pytest.param(
            [lambda: response({"data": waiting_items("a")}), lambda: response(b"<h1>Not here</h1>", 404)],
            id="a proxy's",
        ),
    ],
)
def test_a_404_that_ends_no_list(answers: list[Callable[[], Response]]) -> None:
    """A list without a first page is no list, and a page that a proxy does not find may be there."""
    with pytest.raises(NotFound):
        fetch_pages(FakeApi(*answers), 1)


@pytest.mark.parametrize("size", [documents.LARGE, documents.LARGE + 1])
def test_a_large_answer_is_read_beside_the_loop(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long to read is read in a thread of its own, so that other apps go on; the rest at once."""
    threads: list[threading.Thread] = []

    def watched(body: bytes, **options: bool) -> Json:
        threads.append(threading.current_thread())
        return documents.parse_document(body, **options)

    monkeypatch.setattr(api, "parse_document", watched)
    body = json.dumps({"data": waiting_items("a"), "pagination": {"page_count": 1}}).encode().ljust(size)
    assert ["a"] == fetch_ids(FakeApi(lambda: response(body)))
    assert [size > documents.LARGE] == [thread is not threading.main_thread() for thread in threads]


async def poll_twice(client: RunsClient) -> list[Run]:
    """Reads the list two times."""
    return [run for _ in range(2) async for page in client.awaiting(page_size=9) for run in page.runs]


@pytest.mark.parametrize("keep", [True, False])
def test_the_input_is_read_only_if_it_is_kept(*, keep: bool) -> None:
    """The input of runs, which may be most of a page, takes no memory where no message shows it."""
    run = waiting_items("a")[0] | {"input": {"order": 7}}
    fake = FakeApi(lambda: response({"data": [run], "pagination": {"page_count": 1}}))
    assert [{"order": 7} if keep else None] * 2 == [
        run.input for run in with_client(fake, poll_twice, keep_input=keep)
    ]


@pytest.mark.parametrize(("values", "kept"), [(api.KEPT_VALUES_MAX // 2, True), (api.KEPT_VALUES_MAX, False)])
def test_nothing_large_is_kept_between_polls(values: int, *, kept: bool) -> None:
    """What was read out of a page that becomes many values is read again at the next poll."""
    request = {"id": "q", "type": "x", "params": {"a": [1] * values}}
    run = waiting_items("a")[0] | {"input_requests": [request]}
    fake = FakeApi(lambda: response({"data": [run], "pagination": {"page_count": 1}}))
    first, second = with_client(fake, poll_twice)
    assert (first, kept) == (second, first is second)


def test_a_large_answer_that_is_no_list() -> None:
    """What is wrong with a large answer is said as of a small one."""
    with pytest.raises(InvalidResponse, match="no list of runs in `data`"):
        fetch_pages(FakeApi(lambda: response(b'{"data": 5}'.ljust(documents.LARGE + 1))))


@pytest.mark.parametrize("data", [None, {}, "none", 5, {"id": "r1", "status": "started"}])
def test_a_list_without_a_list(data: Json) -> None:
    """A list answer whose data are null or no list is an error with its status, never an empty list."""
    with pytest.raises(InvalidResponse, match="no list of runs in `data`") as failure:
        fetch_pages(FakeApi(lambda: response({"data": data})))
    assert failure.value.status == 200


def test_a_page_that_stays_as_it_was() -> None:
    """A page that is the same at the next poll is not read anew, and one that is not is."""
    fake = FakeList(waiting_items("r1", "r2"))

    async def twice(client: RunsClient) -> tuple[list[Page], list[Page]]:
        before = [page async for page in client.awaiting(page_size=1)]
        fake.runs[1:] = waiting_items("r3")
        return before, [page async for page in client.awaiting(page_size=1)]

    before, after = with_client(fake, twice)
    assert [["r1"], ["r2"]] == [[run.id for run in page.runs] for page in before]
    assert [["r1"], ["r3"]] == [[run.id for run in page.runs] for page in after]
    assert after[0].runs[0] is before[0].runs[0]
