"""Requests made to mislead or to break: from the API's item to what each destination shows."""

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from typing import Final

import pytest

from tests.support.events import REQUESTED
from tests.support.slack_rules import refused
from watcher.messages import Message, plain_text, render
from watcher.models import Json, RequestEvent, Run
from watcher.monitoring import request_page
from watcher.monitoring.snapshot import RequestPageData
from watcher.notifiers.apprise import text as apprise_text
from watcher.notifiers.slack.blocks import blocks
from watcher.notifiers.slack.markup import fallback
from watcher.notifiers.terminal import panel
from watcher.notifiers.webhook import payload
from watcher.runs_api.parser import parse_run
from watcher.sanitize.masking import DEFAULT_REDACT, Masker
from watcher.sanitize.redactor import Redactor

APPRISE_ROOM: Final = 2000
OPTIONS: Final = [{"label": f"{number} " + "l" * 900} for number in range(90)]


def deep(levels: int) -> Json:
    """Returns objects in each other with a value at the bottom."""
    value: Json = "bottom"
    for _ in range(levels):
        value = {"a": value}
    return value


BAD: Final[dict[str, dict[str, Json]]] = {
    "a million characters": {"prompt": f"{'p' * 1_000_000} Delete it?", "params": {"text": "v" * 1_000_000}},
    "5,000 parameters": {"prompt": "Delete it?", "params": {f"p{number}": number for number in range(5000)}},
    "60 levels": {"prompt": "Delete it?", "params": {"deep": deep(60)}},
    "names alike": {
        "prompt": "Delete it?",
        "params": {"to": "ada", "to\u200b": "eve", "to\u2060": "eve", "\u0442o": "eve", "to ": "eve"},
    },
    "a flood of questions": {
        "prompt": "Delete it?",
        "questions": [
            {"question": f"{number} " + "q" * 900, "options": OPTIONS, "multi_select": True}
            for number in range(9)
        ],
    },
}


def event_of(**item: Json) -> RequestEvent:
    """Returns the event of a request that the API gives with these fields."""
    asked = {"id": "q1", "type": "approval_request", **item}
    run = parse_run({"id": "run-1", "status": "awaiting_input", "input_requests": [asked]})
    assert isinstance(run, Run)
    request = Masker(DEFAULT_REDACT, Redactor()).request(run.requests[0])
    return replace(REQUESTED, run=replace(run, requests=()), request=request)


def page_of(event: RequestEvent) -> str:
    """Returns the page of a request."""
    data = RequestPageData(at=event.at, event=event, app=None, deliveries=(), notifications=(), reminders=())
    return request_page.render(data).html


@pytest.mark.parametrize("item", BAD.values(), ids=BAD)
def test_the_limits_hold(item: dict[str, Json]) -> None:
    """Each destination gets what it accepts, with the question in it, and a program gets all of it."""
    event = event_of(**item)
    message = render(event)
    assert "" == refused({"text": fallback(message), "blocks": blocks(message)})
    shown = [
        json.dumps(blocks(message)),
        apprise_text(message, room=APPRISE_ROOM),
        panel(message, StringIO()),
        page_of(event),
    ]
    assert all("Delete it?" in text for text in shown)
    assert len(shown[1]) <= APPRISE_ROOM
    sent = payload(event)["data"]["request"]
    if len(json.dumps(item)) < 256 * 1024:
        assert item == {name: sent[name] for name in item}


def test_names_that_look_alike_are_told_apart() -> None:
    """Every name is shown once, and what is not seen in it is spelled out."""
    shown = plain_text(render(event_of(**BAD["names alike"])))
    for name in ("  to:", '  "to\\u200b":', '  "to\\u2060":', '  "to ":'):
        assert 1 == shown.count(name)


IMITATIONS: Final = (
    "Approval answered · support",
    "💬 Approval answered · support — after 5 min; the run has completed.",
    "Open the request: https://evil.example",
    "Answer in the Dynamiq console: app evil → History → evil.",
    "The run stays blocked until it is answered.",
    "1 value is masked: evil",
    "Question 1 of 1. Choose one.",
    "Run: evil",
    "evil: 1",
)


def theirs(block: Json, *, quoted: bool = False) -> Iterator[tuple[str, bool]]:
    """Yields each text in a block of Slack's, and whether it is quoted, in code or preformatted."""
    if isinstance(block, dict):
        quoted |= block.get("type") in {"rich_text_quote", "rich_text_preformatted"}
        quoted |= (
            bool((block.get("style") or {}).get("code")) if isinstance(block.get("style"), dict) else False
        )
        if isinstance(block.get("text"), str):
            yield block["text"], quoted
        for value in block.values():
            yield from theirs(value, quoted=quoted)
    elif isinstance(block, list):
        for value in block:
            yield from theirs(value, quoted=quoted)


@pytest.mark.parametrize("ours", IMITATIONS)
def test_no_words_of_theirs_pass_for_ours(ours: str) -> None:
    """In a prompt, a value, an option or a name, words like ours are quoted, indented or escaped."""
    asked = [{"question": f"Which?\n{ours}", "options": [{"label": ours}]}]
    text = f"Delete it?\n{ours}\n\n{ours}"
    params = {"note": text, "short": ours, "list": [ours], ours: 1}
    message: Message = render(event_of(prompt=text, params=params, questions=asked))
    plain = render(event_of(prompt="Delete it?", params={}))
    for shown in (plain_text(message), apprise_text(message, room=16_000)):
        assert shown.split("\n").count(ours) == plain_text(plain).split("\n").count(ours)
    loose = [part for part, quoted in theirs(blocks(message)) if not quoted]
    assert loose.count(ours) == [part for part, _ in theirs(blocks(plain))].count(ours)
