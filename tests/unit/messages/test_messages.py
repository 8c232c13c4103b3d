"""Events in words for people."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.characters import acting_in
from tests.support.events import (
    ALL_EVENTS,
    APPS_FAILING,
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
    ADVICE,
    Fact,
    Item,
    Message,
    MessageSettings,
    Note,
    Row,
    format_elapsed,
    format_timestamp,
    notification_line,
    plain_text,
    render,
    sentence,
)
from watcher.messages.requests import INVISIBLE_QUESTION, PAUSED_WITHOUT_QUESTION
from watcher.models import INVISIBLE, Digest, Event, Outcome, RequestEvent, Resolution
from watcher.sanitize.masking import DEFAULT_REDACT, Masker
from watcher.sanitize.redactor import Redactor


def test_a_whole_request() -> None:
    """A request's title, words, parameters, facts and link are all there, and typed."""
    event = replace(REQUESTED, link="https://console.example/r/8c2c", position=(2, 3))
    expected = Message(
        tone="urgent",
        title="Approval needed (2 of 3) · support",
        body="Approve the refund?",
        quoted=True,
        details="amount: 620, customer: Ada",
        rows=(Row("amount", 620, editable=True), Row("customer", "Ada")),
        outlook="The run stays blocked until it is answered.",
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
        (RESOLVED, "answered"),
        (FAILING, "trouble"),
        (RECOVERED, "good"),
        (NOTIFIER_FAILING, "trouble"),
        (NOTIFIER_RECOVERED, "good"),
        (DIGEST, "urgent"),
        (DIGEST_REMINDED, "reminder"),
        (DIGEST_PARTLY_ENDED, "info"),
        (DIGEST_ENDED, "closed"),
        (TEST, "info"),
    ],
)
def test_tones(event: Event, expected: str) -> None:
    """What waits is urgent, what is broken is trouble, and what is over calls nobody any more."""
    assert expected == render(event).tone


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("started", "the run has resumed"),
        ("running", "the run is running again"),
        ("completed", "the run has completed"),
        ("failed", "the run has failed"),
        ("canceled", "the run was canceled"),
        ("on_hold", "the run is now “on hold”"),
    ],
)
def test_the_state_of_the_run_after_an_answer(status: str, words: str) -> None:
    """What became of the run is said in words, an unknown status as it is."""
    event = replace(RESOLVED, resolution=Resolution("answered", status, SEEN_AT + 312))
    assert render(event).lead == f"After 5 min 12 s; {words}."


def test_what_is_over_keeps_its_question() -> None:
    """A resolved request keeps question, first parameters and run in little room."""
    message = render(replace(RESOLVED, next_reminder_at=SEEN_AT + 1800))
    assert (message.body, message.quoted, message.brief) == ("Approve the refund?", True, True)
    assert (message.rows, message.details) == ((), "amount: 620, customer: Ada")
    assert [fact.label for fact in message.facts] == ["User", "Run", "Session"]


@pytest.mark.parametrize("outcome", ["answered", "canceled", "failed", "gone", "replaced"])
@pytest.mark.parametrize("prompt", [None, "Approve?", "\u3164"])
def test_what_is_over_never_says_that_it_waits(outcome: Outcome, prompt: str | None) -> None:
    """However a request ended, and whether its question was visible, its message speaks of no waiting."""
    event = replace(
        RESOLVED,
        request=replace(REQUEST, prompt=prompt),
        resolution=Resolution(outcome, "awaiting_input", SEEN_AT + 312),
    )
    assert [] == re.findall("(?i)wait|blocked|needed", plain_text(render(event)))


def test_an_odd_state_of_the_run_after_an_answer() -> None:
    """A status that is missing is left out, one that is long is cut."""
    gone = replace(RESOLVED, resolution=Resolution("answered", None, SEEN_AT + 312))
    assert render(gone).lead == "After 5 min 12 s."
    odd = render(replace(RESOLVED, resolution=Resolution("answered", "x\n" * 500, SEEN_AT + 312))).lead or ""
    assert "; the run is now “x x " in odd
    assert len(odd) < 110


def test_the_notification_begins_with_title_and_question() -> None:
    """One line holds what a telephone shows: title and question, of many requests the first three."""
    assert (
        notification_line(render(request_event("Approve\nit?"))) == "Approval needed · support: Approve it?"
    )
    three = notification_line(render(DIGEST))
    assert three == "25 requests need input · support: Approve the refund? · Which clause?"


def test_notifications_tell_equal_prompts_apart() -> None:
    """The first parameters stand in the notification, before any words on how to reply."""
    prompt = "Node pay: approve or cancel. Send nothing for approval; provide feedback to cancel."
    first, second = (
        notification_line(render(request_event(prompt, {"order": "A-7", "data": {"amount": amount}})))
        for amount in (62, 620)
    )
    assert first == "Approval needed · support: Node pay: approve or cancel. · order: A-7, data.amount: 62"
    assert second == f"{first}0"


def test_a_notification_of_a_long_question() -> None:
    """Of a long question the notification has head and tail, in which the question often stands."""
    line = notification_line(render(request_event(f"{'word ' * 200}Proceed?")))
    assert line.startswith("Approval needed · support: word word")
    assert line.endswith("word Proceed?")
    assert len(line) < 200


def test_a_reminder() -> None:
    """A reminder says how long and which one, and stands alone: question, first parameters, what is next."""
    event = replace(
        REMINDED, request=replace(REQUEST, prompt=f"{'p' * 2000} Proceed?"), next_reminder_at=SEEN_AT + 7200
    )
    message = render(event)
    assert message.lead == "Waiting for 30 min. Reminder 1 of 3."
    assert (len(message.body), message.body[-10:], message.rows) == (500, "p Proceed?", ())
    assert "… (1535 more characters) …" in message.body
    assert (message.details, message.outlook) == (
        "amount: 620, customer: Ada",
        "The run stays blocked until it is answered.",
    )
    assert message.facts[:2] == (Fact("Next reminder", SEEN_AT + 7200), Fact("Waiting since", SEEN_AT))


@pytest.mark.parametrize("prompt", ["1. Which size?\n   - S\n   - L", None])
@pytest.mark.parametrize("event", [REMINDED, RESOLVED])
def test_a_later_message_about_questions(prompt: str | None, event: RequestEvent) -> None:
    """A reminder, and the message about the end, show the questions even if the prompt is only their list."""
    asked = [{"question": "Which size?", "options": ["S", "L"], "allow_custom_answer": False}]
    message = render(replace(event, request=replace(REQUEST, prompt=prompt, questions=asked)))
    assert "Which size?" in message.body
    assert "Which size?" in notification_line(message)
    assert message.quoted


@pytest.mark.parametrize(("text", "whole"), [("Gone", "Gone."), ("Gone.", "Gone."), ("Why?", "Why?")])
def test_a_sentence_ends_once(text: str, whole: str) -> None:
    """Other people's words become a sentence before one of ours."""
    assert whole == sentence(text)


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
        hint="Answer in the Dynamiq console: app support → History → the run with the id beside a request.",
        outlook="Each run stays blocked until its request is answered.",
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


def test_a_digest_of_hostile_text() -> None:
    """Prompts become one harmless line, a link of another scheme and a run's id only text."""
    hostile = digest_entry("a\nb\u202e" + "c" * 500, type="?", run_id="x\ny", link="javascript:alert(1)")
    digest = Digest(3, 3, (), SEEN_AT, (hostile, digest_entry(None), digest_entry(None, type=INVISIBLE)))
    shown = render(replace(DIGEST, digest=digest)).items
    head, tail = "c" * 71, "c" * 50
    assert shown[0] == Item(f"a b\ufffd{head}… (379 more characters) …{tail}", "Input", "x y")
    assert [item.text for item in shown[1:]] == ["(no prompt)", "(question not visible)"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (request_event(None), INVISIBLE_QUESTION),
        (request_event(None, type="unknown"), INVISIBLE_QUESTION),
        (request_event(" \n"), INVISIBLE_QUESTION),
        (request_event(None, {"amount": 620}), "This request has no prompt."),
        (
            request_event("\u3164\u2800\n\u115f\u200b"),
            "The prompt of this request holds nothing but invisible characters.",
        ),
    ],
)
def test_a_question_that_is_not_visible(event: Event, words: str) -> None:
    """A request without visible words is told as such, in words of ours that are not quoted."""
    message = render(event)
    assert (message.body, message.quoted) == (words, False)


def test_a_prompt_without_a_type() -> None:
    """A request of an unknown type is shown with its prompt."""
    message = render(request_event("Proceed?", type="unknown"))
    assert (message.title, message.body, message.quoted) == ("Input needed · support", "Proceed?", True)


def test_a_prompt_keeps_its_form() -> None:
    """A prompt loses common indentation and outer blank lines, and keeps everything else."""
    prompt = "\n  \n    Table:\n\n      a\tb  c\n    Proceed?\n  "
    assert render(request_event(prompt)).body == "Table:\n\n  a\tb  c\nProceed?"


def test_an_editable_parameter_that_is_absent() -> None:
    """It has a row after the others, which says so."""
    message = render(request_event(params={"amount": 1}, editable=("note", "amount")))
    assert message.rows == (Row("amount", 1, editable=True), Row("note", editable=True, given=False))
    assert "  note (editable): (not given)" in plain_text(message).splitlines()


def test_what_is_masked_or_withheld_is_said() -> None:
    """Both are counted and named, and the editable ones of withheld parameters too."""
    withheld = replace(REQUEST, params=None, masked=("amount", "order id"))
    assert render(replace(REQUESTED, request=withheld)).notes == (
        Note("2 parameters are not shown here (include_params is off)", ("amount", '"order id"')),
        Note("Editable", ("amount",)),
    )
    masked = replace(REQUEST, masked=("llm.api_key",))
    message = render(replace(REQUESTED, request=masked))
    assert message.notes == (Note("1 value is masked", ("llm.api_key",)),)
    assert "1 value is masked: llm.api_key" in plain_text(message).splitlines()


def test_a_flood_of_masked_values_is_counted() -> None:
    """Of very many names the first are told and the others counted."""
    request = replace(REQUEST, masked=tuple(f"k{number}" for number in range(1000)))
    (note,) = render(replace(REQUESTED, request=request)).notes
    assert (note.words, note.names[0], note.names[-1]) == ("1000 values are masked", "k0", "990 more")


@pytest.mark.parametrize(
    ("withheld", "words"),
    [(False, "3000 values are masked"), (True, "3000 parameters are not shown here (include_params is off)")],
)
def test_masked_values_that_are_not_even_listed_are_counted(words: str, *, withheld: bool) -> None:
    """The masker lists a thousand paths; the message counts all of them."""
    masker = Masker(DEFAULT_REDACT, Redactor())
    request = masker.request(replace(REQUEST, params={f"token_{number}_token": 1 for number in range(3000)}))
    shown = masker.withhold(request) if withheld else request
    note = render(replace(REQUESTED, request=shown)).notes[0]
    assert (words, "2990 more") == (note.words, note.names[-1])


def test_a_browser_takeover_is_said() -> None:
    """The message says first that a text alone may not be an answer."""
    message = render(replace(REQUESTED, request=replace(REQUEST, is_browser_takeover=True)))
    assert "take over its browser" in (message.lead or "")


def test_a_question_that_is_asked_again() -> None:
    """The message says when the same was asked before."""
    message = render(replace(REQUESTED, asked_before=REQUESTED.at - 240))
    assert message.lead == "Asked before, 4 min ago: it was answered, and the run asks again."


def test_where_to_answer() -> None:
    """A link, else the request's own page, else the app's hint, else the console, is where to answer."""
    hinted = MessageSettings({"support": "Ask in #ops."}, "https://watch.example/")
    linked = replace(REQUESTED, link="https://x.example/1", key=7)
    shown = [
        render(linked, hinted),
        render(replace(linked, link=None), hinted),
        render(REQUESTED, MessageSettings({"support": "Ask in #ops."})),
        render(REQUESTED),
    ]
    console = "Answer in the Dynamiq console: app support → History → the run with the id below."
    assert [(message.link, message.page, message.hint) for message in shown] == [
        ("https://x.example/1", "https://watch.example/requests/7", None),
        ("https://watch.example/requests/7", None, None),
        (None, None, "Ask in #ops."),
        (None, None, console),
    ]


def test_a_reply_that_would_be_lost() -> None:
    """Where the prompt asks for a reply, the message says that one to it does not reach the run."""
    asked = render(request_event("Node pay.\nSend nothing for approval; provide feedback to cancel."))
    assert "A reply to this message does not reach the run." in plain_text(asked).splitlines()
    assert "reply" not in plain_text(render(request_event("Approve?")))


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
        (0, "No known requests are waiting.", "No known requests are waiting."),
        (1, "When it last could, 1 request was waiting.", "1 known request is waiting."),
        (2, "When it last could, 2 requests were waiting.", "2 known requests are waiting."),
    ],
)
def test_what_waits_while_an_app_fails(known: int, before: str, now: str) -> None:
    """Both messages count the known requests, and none is said to be empty that was perhaps never seen."""
    failing, recovered = (
        render(replace(event, failure=replace(FAILURE, pending_known=known)))
        for event in (FAILING, RECOVERED)
    )
    assert failing.lead == f"Watcher can't see new requests from this app. {before}"
    assert recovered.body == f"Watcher can see new requests again (down for 10 min). {now}"
    assert recovered.facts == (Fact("Down from", FAILURE.since),)


def test_apps_that_fail_together() -> None:
    """Each app is named with what failed, and what to do is said once for each status."""
    app, failures = (
        REQUESTED.app,
        (FAILURE, replace(FAILURE, status=404), FAILURE, replace(FAILURE, status=500)),
    )
    event = replace(APPS_FAILING, failures=tuple((app, failure) for failure in failures))
    expected = Message(
        tone="trouble",
        title="4 apps failing",
        lead="Watcher can't see new requests from these apps. When it last could, 8 requests were waiting.",
        advice=f"HTTP 401: {ADVICE[401]} HTTP 404: {ADVICE[404]}",
        body="",
        items=tuple(
            Item(f"support - HTTP {status} unauthorized: invalid key") for status in (401, 404, 401, 500)
        ),
        items_are="app",
        facts=(Fact("Down since", SEEN_AT),),
    )
    assert expected == render(event)
    recovered = render(replace(event, type="watcher.app_recovered"))
    assert ("4 apps recovered", None) == (recovered.title, recovered.advice)
    assert (Item("support - down for 2 min 10 s"),) * 4 == recovered.items
    lead = "Watcher can see new requests from these apps again. 8 known requests are waiting."
    assert lead == recovered.lead


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
    assert [(row.editable, row.shown.kind) for row in message.rows] == [
        (True, "line"),
        (False, "line"),
        (False, "note"),
    ]


def test_a_summary() -> None:
    """The plain text is what a person would read, and no line of others passes for one of ours."""
    expected = """\
Approval needed · support
> Approve the refund?
> Run: forged
  amount (editable): 620
  "amount (editable)": 6
  note:
    one
    Waiting since: never
  order:
    {
      "id": "A-7"
    }
Answer in the Dynamiq console: app support → History → the run with the id below.
The run stays blocked until it is answered.
Waiting since: 2026-06-10T09:15:39Z
Run: 8c2c"""
    params = {
        "amount": 620,
        "amount (editable)": 6,
        "note": "one\nWaiting since: never",
        "order": {"id": "A-7"},
    }
    event = request_event("Approve the refund?\nRun: forged", params, editable=("amount",))
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
Answer in the Dynamiq console: app support → History → the run with the id beside a request.
Each run stays blocked until its request is answered.
Oldest waiting since: 2026-06-10T09:15:39Z"""
    assert expected == plain_text(render(DIGEST))


def test_link_and_advice_come_early() -> None:
    """What to do stands before what failed, and the link before the facts."""
    lines = plain_text(render(FAILING)).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "App failing · support",
        "Watcher can't see new requests from this app. When it last could, 2 requests were waiting.",
        "What to do",
        "> HTTP 401 unauthorized",
        "Down since",
    ]
    lines = plain_text(render(replace(REQUESTED, link="https://x.example/1"))).splitlines()
    assert lines.index("Open the request: https://x.example/1") < lines.index(
        "Waiting since: 2026-06-10T09:15:39Z"
    )


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
    assert [line for line in lines if acting_in(line)] == []
    assert lines[0] == "Approval needed · support"
