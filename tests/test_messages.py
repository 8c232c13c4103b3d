"""Events in words for people."""

import re
from dataclasses import replace
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.events import (
    EVERY,
    FAILING,
    FAILURE,
    RECOVERED,
    REMINDED,
    REQUEST,
    REQUESTED,
    RESOLVED,
    RUN,
    asking,
)
from watcher.messages import NOT_VISIBLE, Fact, Message, Row, duration, moment, render, shortened, summary
from watcher.models import Event, Outcome, Resolution
from watcher.secrets import MASK

ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_whole_request() -> None:
    """A request's title, words, parameters, facts and link are all there, and typed."""
    event = replace(REQUESTED, link="https://console.example/r/8c2c", position=(2, 3))
    expected = Message(
        tone="urgent",
        title="Approval needed · support",
        body="Approve the refund?",
        quoted=True,
        rows=(Row("amount", "620", editable=True), Row("customer", "Ada")),
        facts=(
            Fact("Request", "2 of 3 that wait in this run"),
            Fact("Waiting since", 1781082939.7),
            Fact("Run", "8c2c"),
            Fact("User", "customer-7421"),
            Fact("Session", "3d3e"),
        ),
        link="https://console.example/r/8c2c",
    )
    assert expected == render(event)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (asking(), "Approval needed · support"),
        (asking(type="human_feedback"), "Feedback needed · support"),
        (asking(type="something_new"), "Input needed · support"),
        (asking(type="unknown"), "Input needed · support"),
        (REMINDED, "Reminder: approval needed · support"),
        (RESOLVED, "Approval request answered · support"),
        (FAILING, "App failing · support"),
        (RECOVERED, "App recovered · support"),
        (EVERY[-1], "Test message"),
    ],
)
def test_titles(event: Event, expected: str) -> None:
    """Each kind of event and request has its own title."""
    assert expected == render(event).title


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("answered", "Approval request answered · support"),
        ("canceled", "Approval request closed: the run was canceled · support"),
        ("failed", "Approval request closed: the run failed · support"),
        ("gone", "Approval request closed: the run no longer exists · support"),
        ("replaced", "Approval request replaced: it was asked anew · support"),
    ],
)
def test_outcomes(outcome: Outcome, expected: str) -> None:
    """Every outcome is told in words."""
    event = replace(RESOLVED, resolution=Resolution(outcome, None, RESOLVED.at))
    assert expected == render(event).title


def test_resolved_and_reminder_facts() -> None:
    """A resolved request says how long it waited and what became of the run, a reminder which one it is."""
    assert Fact("Waited", "5 min 12 s") == render(RESOLVED).facts[0]
    assert Fact("Run is now", "completed") in render(RESOLVED).facts
    assert (Fact("Reminder", "1 of 3"), Fact("Waiting since", REQUESTED.first_seen_at or 0)) == render(
        REMINDED
    ).facts[:2]
    assert Fact("Waiting for", "30 min 0 s") in render(REMINDED).facts


@pytest.mark.parametrize("event", [asking(None), asking("\u200b\n"), asking("x", type="unknown")])
def test_a_question_that_is_not_visible(event: Event) -> None:
    """A request without visible words is told as such, in words of ours."""
    message = render(event)
    assert (message.body, message.quoted) == (NOT_VISIBLE, False)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, ()),
        ({}, ()),
        ({"a": {"b": [1, None, True]}}, (Row("a", '{"b":[1,null,true]}'),)),
        ({"key": MASK}, (Row("key", MASK, masked=True),)),
        ({"": "", "\u202ex": "\x07"}, (Row('""', '""'), Row("x", "\ufffd"))),
        ({"n": float("nan"), "e": "é"}, (Row("n", "NaN"), Row("e", "é"))),
        (["a", 1], (Row("params", '["a",1]'),)),
        (MASK, (Row("params", MASK, masked=True),)),
        ({"n": 10**5000}, (Row("n", "(cannot be shown)"),)),
    ],
)
def test_rows(params: object, expected: tuple[Row, ...]) -> None:
    """Parameters of any JSON type become rows of harmless text."""
    assert expected == render(asking(params=params)).rows


def test_editable_without_params() -> None:
    """Where parameters are not to be shown, the names of the editable ones still are."""
    assert Fact("Editable", "amount, note") in render(asking(editable=("amount", "note"))).facts


def test_only_links_to_the_web() -> None:
    """A link of any other scheme is left out."""
    assert render(replace(REQUESTED, link="javascript:alert(1)")).link is None


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "rotated"), (403, "Personal Access Token"), (404, "base_url"), (500, None), (None, None)],
)
def test_what_to_do(status: int | None, words: str | None) -> None:
    """For an app that fails lastingly the message says what to mend, and what failed in any case."""
    message = render(replace(FAILING, failure=replace(FAILURE, status=status)))
    assert (words is None) == (message.advice is None)
    assert words is None or words in (message.advice or "")
    assert "unauthorized: invalid key" in message.body
    assert (Fact("Failing since", FAILURE.since), Fact("Known requests that wait", "2")) == message.facts


def test_recovered_says_how_long() -> None:
    """A recovery tells how long the app failed."""
    assert render(RECOVERED).body == "It can be polled again, after 10 min 0 s."


def test_a_summary() -> None:
    """The plain text is what a person would read."""
    expected = """\
Approval needed · support
  Approve the refund?
  Run: forged
  amount (editable): 620
  note: one
    two
Waiting since: 2026-06-10T09:15:39Z
Run: 8c2c"""
    event = asking(
        "Approve the refund?\nRun: forged", {"amount": 620, "note": "one\ntwo"}, editable=("amount",)
    )
    assert expected == summary(render(replace(event, run=replace(RUN, user_id=None, session_id=None))))


def test_shortened_says_what_is_missing() -> None:
    """A shorter version counts the characters and the rows that it leaves out."""
    params = {f"key{number}": "v" * 200 for number in range(5)}
    message = shortened(render(asking("p" * 100, params)), body=40, value=50, rows=2)
    assert message.body == "p" * 18 + "… (82 more characters)"
    assert (len(message.rows), message.dropped_rows) == (2, 3)
    assert message.rows[0].value == "v" * 27 + "… (173 more characters)"
    assert "  … 3 more parameters" in summary(message).splitlines()


@pytest.mark.parametrize("event", EVERY)
def test_never_a_word_on_how_to_answer(event: Event) -> None:
    """An empty reply approves and any text rejects, so nothing may suggest to reply anything."""
    silent = replace(event, request=replace(REQUEST, prompt=None)) if event.request else event
    assert re.findall(r"(?i)\b(reply|replies|respond|yes|type|press|click)\b", summary(render(silent))) == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (312, "5 min 12 s"),
        (3600, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    """Durations show their two largest units and are never negative."""
    assert expected == duration(seconds)


def test_moment() -> None:
    """A moment is UTC in whole seconds."""
    assert moment(1781082939.9) == "2026-06-10T09:15:39Z"


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.floats() | st.text() | st.lists(st.text())), st.text())
def test_any_content_renders(params: dict[str, object], prompt: str) -> None:
    """Whatever is asked can be told, line by line without a character that acts."""
    lines = summary(render(asking(prompt, params))).split("\n")
    assert [line for line in lines if {category(character) for character in line} & ACTING] == []
    assert lines[0] == "Approval needed · support"
