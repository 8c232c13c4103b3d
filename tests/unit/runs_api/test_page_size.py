"""The client of the Runs API: how it reads a list whose pages are too large."""

import pytest
from httpx import Request, Response

from tests.support.api_fakes import FakeApi, FakeList, fetch_pages, response, with_client
from watcher.models import Json
from watcher.runs_api import client as api
from watcher.runs_api import transport
from watcher.runs_api.client import Page, RunsClient
from watcher.runs_api.errors import InvalidResponse, ResponseTooLarge


def sizes_asked_for(fake: FakeList, client_size: int, polls: int = 1) -> tuple[list[list[Page]], list[str]]:
    """Returns the pages of some polls, and the size and number of each page that was asked for."""
    asked: list[str] = []

    def handler(request: Request) -> Response:
        asked.append(f"{request.url.params['page_size']}/{request.url.params['page']}")
        return fake(request)

    async def poll(client: RunsClient) -> list[list[Page]]:
        return [[page async for page in client.awaiting(page_size=client_size)] for _ in range(polls)]

    return with_client(handler, poll), asked


def heavy(size: int, *ids: str) -> list[Json]:
    """Returns runs with a question of so many characters."""
    question = {"id": "q", "type": "x", "prompt": "x" * size}
    return [{"id": run_id, "status": "awaiting_input", "input_requests": [question]} for run_id in ids]


def test_a_page_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages get half the size until they are not too large, and stay so small at the next poll."""
    monkeypatch.setattr(transport, "RESPONSE_MAX", 5000)
    found, asked = sizes_asked_for(FakeList(heavy(2000, *"abcde")), 8, polls=2)
    assert ["8/1", "4/1", "2/1", "2/2", "2/3", "2/1", "2/2", "2/3"] == asked
    assert [list("abcde")] * 2 == [[run.id for page in poll for run in page.runs] for poll in found]


def test_after_an_hour_pages_are_large_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was too large once may have gone, so the configured size is tried again later."""
    monkeypatch.setattr(transport, "RESPONSE_MAX", 5000)
    monkeypatch.setattr(api, "SMALL_FOR", 0.0)
    _, asked = sizes_asked_for(FakeList(heavy(2000, "a", "b", "c")), 3, polls=2)
    assert ["3/1", "1/1", "1/2", "1/3"] * 2 == asked


def test_a_run_that_is_too_large_is_skipped_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other runs are read, and one that no page has room for is reported."""
    monkeypatch.setattr(transport, "RESPONSE_MAX", 5000)
    ([*found],), _ = sizes_asked_for(FakeList([*heavy(10, "a"), *heavy(9000, "b"), *heavy(10, "c")]), 4)
    assert ["a", "c"] == list(dict.fromkeys(run.id for page in found for run in page.runs))
    assert ["the answer cannot be read: it has more than 5,000 bytes"] == [
        skipped.reason for page in found for skipped in page.skipped
    ]


def test_a_run_that_nests_without_end_is_skipped_by_itself() -> None:
    """What nests too deeply for one page is narrowed down in the same way."""
    deep = b"[" * 90_000 + b"]" * 90_000
    items = [b'{"id": "a", "status": "x"}', b'{"id": "b", "status": "x", "input": %b}' % deep]

    def handler(request: Request) -> Response:
        size, page = (int(request.url.params[name]) for name in ("page_size", "page"))
        data = b",".join(items[(page - 1) * size : page * size])
        return response(b'{"data": [%b], "pagination": {"total_count": 2}}' % data)

    found = fetch_pages(handler, 2)
    assert ["a"] == [run.id for page in found for run in page.runs]
    assert ["the answer is too large: nested too deeply"] == [
        skipped.reason for page in found for skipped in page.skipped
    ]


def test_an_api_whose_answers_are_all_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but runs that are too large is listed, the poll fails after a few of them."""
    monkeypatch.setattr(transport, "RESPONSE_MAX", 100)
    fake = FakeApi(lambda: response(b" " * 200))
    with pytest.raises(ResponseTooLarge):
        fetch_pages(fake, 4)
    assert 2 + 21 == len(fake.requests)


@pytest.mark.parametrize(("items", "good"), [(6, True), (7, False)])
def test_a_page_of_many_more_items_than_asked_for(items: int, *, good: bool) -> None:
    """An API may round the size of a page up, and is not read if it sends more than twice as many."""
    fake = FakeApi(lambda: response({"data": [None] * items, "pagination": {"page_count": 1}}))
    if good:
        assert [items] == [len(page.skipped) for page in fetch_pages(fake, 3)]
        return
    with pytest.raises(InvalidResponse, match="a page has 7 items, more than twice as many"):
        fetch_pages(fake, 3)
