"""Events in words for people."""

import re
from dataclasses import replace
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import (
    ALL_EVENTS,
    DIGEST,
    DIGEST_ENDED,
    DIGEST_PARTLY_ENDED,
    DIGEST_REMINDED,
    FAILING,
    FAILURE,
    INVISIBLE_REQUEST,
    NOTIFIER_FAILING,
    NOTIFIER_FAILURE,
    NOTIFIER_RECOVERED,
    RECOVERED,
    REMINDED,
    REQUEST,
    REQUESTED,
    RESOLVED,
    RUN,
    SEEN_AT,
    TEST,
    digest_entry,
    request_event,
)
from watcher.messages import (
    INVISIBLE_QUESTION,
    PAUSED_WITHOUT_QUESTION,
    Fact,
    Item,
    Message,
    Row,
    format_elapsed,
    format_timestamp,
    map_text,
    notification_line,
    plain_text,
    render,
    truncated,
    without_details,
)
from watcher.models import Digest, Event, Outcome, RequestEvent, Resolution
from watcher.sanitize.redactor import MASK

ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_whole_request() -> None:
    """A request's title, words, parameters, facts and link are all there, and typed."""
    event = replace(REQUESTED, link="https://console.example/r/8c2c", position=(2, 3))
    expected = Message(
        tone="urgent",
        title="Approval needed (2 of 3) · support",
        body="Approve the refund?",
        quoted=True,
        rows=(Row("amount", "620", editable=True), Row("customer", "Ada")),
        facts=(
            Fact("Waiting since", 1781082939.7),
            Fact("User", "customer-7421"),
            Fact("Run", "8c2c"),
            Fact("Session", "3d3e"),
        ),
        link="https://console.example/r/8c2c",
    )
    assert expected == render(event)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (request_event(), "Approval needed · support"),
        (request_event(type="human_feedback"), "Feedback needed · support"),
        (request_event(type="something_new"), "Input needed · support"),
        (request_event(type="unknown"), "Input needed · support"),
        (REMINDED, "Reminder: approval needed · support"),
        (RESOLVED, "Approval answered · support"),
        (FAILING, "App failing · support"),
        (RECOVERED, "App recovered · support"),
        (NOTIFIER_FAILING, "Notifier failing · audit"),
        (NOTIFIER_RECOVERED, "Notifier recovered · audit"),
        (DIGEST, "25 requests need input · support"),
        (DIGEST_REMINDED, "Reminder: 25 of 25 requests still waiting · support"),
        (DIGEST_PARTLY_ENDED, "1 of 25 requests still waiting · support"),
        (DIGEST_ENDED, "All 25 requests are closed · support"),
        (TEST, "Test message, no action needed"),
    ],
)
def test_titles(event: Event, expected: str) -> None:
    """Each kind of event and request has its own title."""
    assert expected == render(event).title


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (REQUESTED, "urgent"),
        (REMINDED, "reminder"),
        (RESOLVED, "done"),
        (FAILING, "trouble"),
        (RECOVERED, "good"),
        (NOTIFIER_FAILING, "trouble"),
        (NOTIFIER_RECOVERED, "good"),
        (DIGEST, "urgent"),
        (DIGEST_REMINDED, "reminder"),
        (DIGEST_PARTLY_ENDED, "info"),
        (DIGEST_ENDED, "done"),
        (TEST, "info"),
    ],
)
def test_tones(event: Event, expected: str) -> None:
    """What waits is urgent, what is broken is trouble, and what is over calls nobody any more."""
    assert expected == render(event).tone


@pytest.mark.parametrize(
    ("outcome", "tone", "title", "lead"),
    [
        (
            "answered",
            "done",
            "Approval answered",
            "Answered after 5 min 12 s; the run is waiting for more input.",
        ),
        ("canceled", "closed", "Approval closed", "Closed after 5 min 12 s: the run was canceled."),
        ("failed", "closed", "Approval closed", "Closed after 5 min 12 s: the run failed."),
        ("gone", "closed", "Approval closed", "Closed after 5 min 12 s: the run no longer exists."),
        (
            "replaced",
            "closed",
            "Approval replaced",
            "Replaced after 5 min 12 s: the run now asks something else.",
        ),
    ],
)
def test_outcomes(outcome: Outcome, tone: str, title: str, lead: str) -> None:
    """Every outcome is told in words, with the time that the request had waited."""
    resolution = Resolution(outcome, "awaiting_input", SEEN_AT + 312)
    message = render(replace(RESOLVED, resolution=resolution))
    assert (tone, f"{title} · support", lead) == (message.tone, message.title, message.lead)


def test_what_is_over_keeps_its_question() -> None:
    """A resolved request keeps question, parameters and run, but nothing can be edited or waits any more."""
    message = render(RESOLVED)
    assert (message.body, message.quoted) == ("Approve the refund?", True)
    assert message.rows == (Row("amount", "620"), Row("customer", "Ada"))
    assert [fact.label for fact in message.facts] == ["User", "Run", "Session"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("started", "the run has resumed"),
        ("running", "the run is running again"),
        ("completed", "the run has completed"),
        ("failed", "the run has failed"),
        ("canceled", "the run was canceled"),
        ("on_hold", "the run is now on hold"),
    ],
)
def test_the_state_of_the_run_after_an_answer(status: str, words: str) -> None:
    """What became of the run is said in words, an unknown status as it is."""
    event = replace(RESOLVED, resolution=Resolution("answered", status, SEEN_AT + 312))
    assert render(event).lead == f"Answered after 5 min 12 s; {words}."


def test_an_odd_state_of_the_run_after_an_answer() -> None:
    """A status that is missing is left out, one that is long is cut."""
    gone = replace(RESOLVED, resolution=Resolution("answered", None, SEEN_AT + 312))
    assert render(gone).lead == "Answered after 5 min 12 s."
    odd = render(replace(RESOLVED, resolution=Resolution("answered", "x\n" * 500, SEEN_AT + 312))).lead or ""
    assert "; the run is now x x " in odd
    assert len(odd) < 110


def test_a_reminder() -> None:
    """A reminder says how long the request has waited and which one it is; of a long question it is short."""
    event = replace(REMINDED, request=replace(REQUEST, prompt="p" * 2000))
    message = render(event)
    assert message.lead == "Waiting for 30 min. Reminder 1 of 3."
    assert (len(message.body), message.rows) == (500, ())
    assert message.body.endswith("… (1524 more characters)")
    assert message.facts[0] == Fact("Waiting since", SEEN_AT)


def test_the_notification_begins_with_title_and_question() -> None:
    """One line holds what a telephone shows: title and question, of many requests the first three."""
    assert (
        notification_line(render(request_event("Approve\nit?"))) == "Approval needed · support: Approve it?"
    )
    three = notification_line(render(DIGEST))
    assert three == "25 requests need input · support: Approve the refund? · Which clause?"
    assert notification_line(without_details(render(DIGEST), 100)) == "25 requests need input · support"


def test_briefly() -> None:
    """Where the question was shown before, its beginning is enough, and how it ended."""
    message = without_details(render(replace(RESOLVED, request=replace(REQUEST, prompt="p" * 200))), 100)
    assert message.body == "p" * 77 + "… (123 more characters)"
    assert (message.rows, message.items, message.facts) == ((), (), ())
    assert message.lead == "Answered after 5 min 12 s; the run has completed."
    many = without_details(replace(render(DIGEST), dropped_rows=3), 100)
    assert (many.items, many.dropped_items, many.dropped_rows) == ((), 0, 0)


def test_a_digest() -> None:
    """A digest names some requests, each with its kind and its link or run, and counts the others."""
    expected = Message(
        tone="urgent",
        title="25 requests need input · support",
        lead="Waiting longest:",
        body="",
        items=(
            Item("Approve the refund?", "Approval", "8c2c", "https://console.example/r/8c2c"),
            Item("Which clause?", "Feedback", "9d3d"),
        ),
        dropped_items=23,
        facts=(Fact("Oldest waiting since", SEEN_AT),),
    )
    assert expected == render(DIGEST)


def test_a_digest_of_which_one_is_left() -> None:
    """What is to be told of many at once may be about one by the time that it is sent."""
    digest = Digest(25, 1, (("answered", 24),), SEEN_AT, (digest_entry(run_id=""),))
    message = render(replace(DIGEST, digest=digest))
    assert (message.title, message.lead) == ("1 request needs input · support", "So far: 24 answered.")
    assert message.items == (Item("Approve the refund?", "Approval", "(no id)"),)


def test_what_follows_on_a_digest() -> None:
    """A reminder says how long the oldest waits, and every later message how many ended and how."""
    reminded = render(DIGEST_REMINDED)
    assert reminded.lead == "Oldest waiting for 30 min. Reminder 1 of 3. Waiting longest:"
    partly = render(DIGEST_PARTLY_ENDED)
    assert (partly.lead, partly.dropped_items) == ("So far: 20 answered, 4 canceled.", 0)
    ended = render(DIGEST_ENDED)
    assert (ended.lead, ended.dropped_items, ended.facts) == ("21 answered, 4 canceled.", 23, ())
    assert [item.note for item in ended.items] == [
        "Approval, answered after 5 min 12 s",
        "Approval, closed after 5 min 12 s: the run was canceled",
    ]


def test_a_digest_of_which_nothing_was_answered() -> None:
    """Without an answer the end of many requests looks like that of one: closed."""
    digest = Digest(1, 0, (("gone", 1),), SEEN_AT, (digest_entry(outcome="gone"),))
    assert render(replace(DIGEST_ENDED, digest=digest)).tone == "closed"


def test_a_digest_of_hostile_text() -> None:
    """Prompts become one harmless line, a link of another scheme and a run's id only text."""
    hostile = digest_entry("a\nb\u202e" + "c" * 500, type="?", run_id="x\ny", link="javascript:alert(1)")
    digest = Digest(2, 2, (), SEEN_AT, (hostile, digest_entry(None)))
    shown = render(replace(DIGEST, digest=digest)).items
    assert shown[0] == Item("a b" + "c" * 124 + "… (376 more characters)", "Input", "x y")
    assert shown[1].text == "(question not visible)"


@pytest.mark.parametrize("event", [request_event(None), request_event("\u200b\n")])
def test_a_question_that_is_not_visible(event: Event) -> None:
    """A request without visible words is told as such, in words of ours."""
    message = render(event)
    assert (message.body, message.quoted) == (INVISIBLE_QUESTION, False)


def test_a_question_without_a_type_is_shown() -> None:
    """A request whose type the API does not say shows what it asks all the same."""
    message = render(request_event("Pay the invoice?", type="unknown"))
    assert (message.body, message.quoted) == ("Pay the invoice?", True)


def test_a_parked_run() -> None:
    """A run that is paused without a question is not said to wait for certain."""
    message = render(INVISIBLE_REQUEST)
    assert (message.title, message.body, message.quoted) == (
        "Input needed · support",
        PAUSED_WITHOUT_QUESTION,
        False,
    )
    paused = replace(request_event(), run=replace(RUN, status="paused"))
    assert render(paused).body == "Approve the refund?"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, ()),
        ({}, ()),
        ({"a": {"b": [1, None, True]}}, (Row("a", '{"b": [1, null, true]}', code=True),)),
        (
            {"none": None, "blank": "\u200b", "list": []},
            (Row("none", "none"), Row("blank", "(nothing visible)"), Row("list", "[]")),
        ),
        ({"key": MASK}, (Row("key", MASK, masked=True),)),
        ({"": "", "\u202ex": "\x07"}, (Row("(no name)", "(empty)"), Row("x", "\ufffd"))),
        ({"n": float("nan"), "e": "é"}, (Row("n", "NaN"), Row("e", "é"))),
        ({"names": ["Zoë"]}, (Row("names", '["Zoë"]', code=True),)),
        (["a", 1], (Row("params", '["a", 1]', code=True),)),
        (MASK, (Row("params", MASK, masked=True),)),
        ({"n": 10**5000}, (Row("n", "(cannot be shown)"),)),
    ],
)
def test_rows(params: object, expected: tuple[Row, ...]) -> None:
    """Parameters of any JSON type become rows of harmless text."""
    assert expected == render(request_event(params=params)).rows


def test_editable_without_params() -> None:
    """Where parameters are not to be shown, the names of the editable ones still are."""
    assert Fact("Editable", "amount, note") in render(request_event(editable=("amount", "note"))).facts


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://x.example/1", "https://x.example/1"),
        ("http://x.example/a b", "http://x.example/a%20b"),
        ("javascript:alert(1)", None),
        ("", None),
        (None, None),
    ],
)
def test_only_links_to_the_web(link: str | None, expected: str | None) -> None:
    """A link of any other scheme is left out, and a space does not cut one short."""
    assert expected == render(replace(REQUESTED, link=link)).link


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "rotated"), (403, "Personal Access Token"), (404, "base_url"), (500, None), (None, None)],
)
def test_what_to_do(status: int | None, words: str | None) -> None:
    """For an app that fails lastingly the message says what to mend, and what failed in any case."""
    message = render(replace(FAILING, failure=replace(FAILURE, status=status)))
    assert (words is None) == (message.advice is None)
    assert words is None or words in (message.advice or "")
    expected = "unauthorized: invalid key" if status is None else f"HTTP {status} unauthorized: invalid key"
    assert expected == message.body
    assert message.facts == (Fact("Down since", FAILURE.since),)


@pytest.mark.parametrize(
    ("known", "before", "now"),
    [
        (0, "None were waiting", "No known requests are waiting."),
        (1, "1 was waiting", "1 known request is waiting."),
        (2, "2 were waiting", "2 known requests are waiting."),
    ],
)
def test_what_waits_while_an_app_fails(known: int, before: str, now: str) -> None:
    """Both messages about an app count the known requests, and the recovery says how long it was down."""
    failing, recovered = (
        render(replace(event, failure=replace(FAILURE, pending_known=known)))
        for event in (FAILING, RECOVERED)
    )
    assert failing.lead == f"Watcher can't see new requests from this app. {before} when it last could."
    assert recovered.body == f"Watcher can see new requests again (down for 10 min). {now}"
    assert recovered.facts == (Fact("Down from", FAILURE.since),)


@pytest.mark.parametrize(
    ("undelivered", "words"),
    [
        (0, "No messages are queued."),
        (1, "1 message is queued."),
        (7, "7 messages are queued."),
    ],
)
def test_a_silent_notifier(undelivered: int, words: str) -> None:
    """Readers of another notifier learn what is wrong, since when, and what waits meanwhile."""
    event = replace(NOTIFIER_FAILING, failure=replace(NOTIFIER_FAILURE, undelivered=undelivered))
    message = render(event)
    assert message.lead == f"Messages to this notifier are not being delivered. {words}"
    assert (message.body, message.quoted) == ("HTTP 503", True)
    assert message.facts == (Fact("Down since", SEEN_AT),)


def test_a_notifier_that_recovered() -> None:
    """The recovery says how long the notifier was silent, and since when it had been."""
    message = render(NOTIFIER_RECOVERED)
    assert message.body == "Messages are being delivered again (down for 10 min)."
    assert message.facts == (Fact("Down from", SEEN_AT),)
    assert "\nMessages are" in plain_text(message)


def test_the_test_message_looks_like_a_request() -> None:
    """What comes of `check --send` shows every kind of row, and says first that nothing waits."""
    message = render(TEST)
    assert "no action needed" in message.title
    assert {(row.editable, row.masked) for row in message.rows} == {
        (True, False),
        (False, False),
        (False, True),
    }


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
    event = request_event(
        "Approve the refund?\nRun: forged", {"amount": 620, "note": "one\ntwo"}, editable=("amount",)
    )
    assert expected == plain_text(render(replace(event, run=replace(RUN, user_id=None, session_id=None))))


def test_a_summary_of_many() -> None:
    """The plain text of a digest lists the requests, each with its link or its run."""
    expected = """\
25 requests need input · support
Waiting longest:
  - Approve the refund? (Approval)
    https://console.example/r/8c2c
  - Which clause? (Feedback, run 9d3d)
  … 23 more requests
Oldest waiting since: 2026-06-10T09:15:39Z"""
    assert expected == plain_text(render(DIGEST))


def test_link_and_advice_come_early() -> None:
    """What to do stands before what failed, and the link before the facts."""
    lines = plain_text(render(FAILING)).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "App failing · support",
        "Watcher can't see new requests from this app. 2 were waiting when it last could.",
        "What to do",
        "  HTTP 401 unauthorized",
        "Down since",
    ]
    lines = plain_text(render(replace(REQUESTED, link="https://x.example/1"))).splitlines()
    assert lines.index("https://x.example/1") < lines.index("Waiting since: 2026-06-10T09:15:39Z")


def test_shortened_says_what_is_missing() -> None:
    """A shorter version counts the characters and the rows that it leaves out."""
    params = {f"key{number}": "v" * 200 for number in range(5)}
    message = truncated(render(request_event("p" * 100, params)), body=40, value=50, rows=2)
    assert message.body == "p" * 18 + "… (82 more characters)"
    assert (len(message.rows), message.dropped_rows) == (2, 3)
    assert message.rows[0].value == "v" * 27 + "… (173 more characters)"
    assert "  … 3 more parameters" in plain_text(message).splitlines()


def test_every_text_of_others_can_be_changed() -> None:
    """What a service's markup wants changed is changed everywhere but in titles, links and moments."""
    event = replace(
        request_event("ask", {"name": "value"}), link="https://x.example/1", run=replace(RUN, session_id=None)
    )
    message = map_text(replace(render(event), lead="lead"), str.upper)
    assert (message.title, message.lead, message.body) == ("Approval needed · support", "LEAD", "ASK")
    assert message.rows == (Row("NAME", "VALUE"),)
    assert message.link == "https://x.example/1"
    assert message.facts == (
        Fact("Waiting since", SEEN_AT),
        Fact("User", "CUSTOMER-7421"),
        Fact("Run", "8C2C"),
    )
    (first, _) = map_text(render(DIGEST), str.upper).items
    assert first == Item("APPROVE THE REFUND?", "APPROVAL", "8C2C", "https://console.example/r/8c2c")
    assert map_text(render(TEST), str.upper).lead is not None
    assert map_text(replace(render(event), lead=None), str.upper).lead is None


def test_shortened_by_another_measure() -> None:
    """Body, values, names and facts are cut by the size that counts where they are shown; moments not."""
    event = request_event("p" * 100, {"n" * 100: "v" * 100})
    message = render(replace(event, run=replace(RUN, id="r" * 100)))
    double = truncated(message, body=60, value=60, rows=9, size=lambda text: 2 * len(text))
    texts = [double.body, double.rows[0].name, double.rows[0].value, str(double.facts[2].value)]
    assert [len(text) for text in texts] == [30] * 4
    assert [fact.label for fact in double.facts] == [fact.label for fact in message.facts]
    assert double.facts[0] == message.facts[0]


def test_a_shortened_digest() -> None:
    """What a shorter version of a digest does not name it counts, together with what was not named before."""
    message = truncated(render(DIGEST), body=40, value=5, rows=1)
    assert (len(message.items), message.dropped_items) == (1, 24)
    assert "  … 24 more requests" in plain_text(message).splitlines()


@pytest.mark.parametrize("event", ALL_EVENTS)
def test_never_a_word_on_how_to_answer(event: Event) -> None:
    """An empty reply approves and any text rejects, so nothing may suggest to reply anything."""
    silent = (
        replace(event, request=replace(REQUEST, prompt=None)) if isinstance(event, RequestEvent) else event
    )
    assert (
        re.findall(r"(?i)\b(reply|replies|respond|yes|type|press|click)\b", plain_text(render(silent))) == []
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.0002, "0 s"),
        (0.0059, "5 ms"),
        (0.9, "900 ms"),
        (1.9, "1 s"),
        (59, "59 s"),
        (312, "5 min 12 s"),
        (3600, "1 h"),
        (1800, "30 min"),
        (86_460, "1 d"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    """Durations show their two largest units, without zeros, and are never negative."""
    assert expected == format_elapsed(seconds)


def test_moment() -> None:
    """A moment is UTC in whole seconds."""
    assert format_timestamp(1781082939.9) == "2026-06-10T09:15:39Z"


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.floats() | st.text() | st.lists(st.text())), st.text())
def test_any_content_renders(params: dict[str, object], prompt: str) -> None:
    """Whatever is asked can be told, line by line without a character that acts."""
    lines = plain_text(render(request_event(prompt, params))).split("\n")
    assert [line for line in lines if {category(character) for character in line} & ACTING] == []
    assert lines[0] == "Approval needed · support"
