"""Blocks, fallback and plain text say the same: what is cut is told, and nothing else is missing or added."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from itertools import chain
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import (
    ALL_EVENTS,
    FAILURE,
    NOTIFIER_FAILURE,
    REQUESTED,
    RUN,
    request_event,
)
from tests.support.slack_html import Post, page
from tests.support.slack_markup import formatted_date, mentions_fired, seen
from tests.support.slack_rules import refused
from watcher.messages import (
    Message,
    facts,
    format_timestamp,
    notification_line,
    plain_text,
    render,
    show_name,
)
from watcher.models import (
    App,
    AppEvent,
    AppGroupEvent,
    DigestEntry,
    DigestEvent,
    Event,
    Json,
    NotifierEvent,
    RequestEvent,
    SampleEvent,
)
from watcher.notifiers.slack.blocks import blocks
from watcher.notifiers.slack.markup import fallback, plain

NOW: Final = 1781082940.0

CUT: Final = re.compile(r"(.*)… \((\d+) more characters\) …(.*)", re.DOTALL)

MARK: Final = " ✎ editable"

LOOKALIKES: Final = str.maketrans("\u2217\u223c\u02cb\uff20\u203a\uff3f\ua789\u2024", "*~`@>_:.")
"""What stands in for characters that would act, and for which."""

_MARKUP = st.lists(
    st.sampled_from([*"<>&!@#|*_~`:\n /.^x", "<!here>", "&lt;", "https://", "evil.example", ":tada:", "😀"]),
    max_size=20,
).map("".join)
_WORDS = st.text("abc ,;-()\n", min_size=1, max_size=30)
_TEXTS = _MARKUP | _WORDS
_VALUES = _TEXTS | st.none() | st.booleans() | st.integers() | st.lists(_TEXTS, max_size=3)
_LINKS = st.none() | _MARKUP.map("https://x.example/{}".format)
_ENTRIES = st.lists(
    st.builds(
        DigestEntry,
        run_id=_TEXTS,
        type=st.sampled_from(["approval_request", "human_feedback", "new"]),
        prompt=st.none() | _TEXTS,
        first_seen_at=st.just(NOW),
        link=_LINKS,
        outcome=st.none() | st.sampled_from(["answered", "canceled", "replaced"]),
        waited=st.none() | st.floats(0, 1e6),
    ),
    min_size=1,
    max_size=12,
).map(tuple)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Returns an event of any kind, of which every part that is other people's is made up."""
    params: Json = draw(st.dictionaries(_TEXTS, _VALUES, max_size=5) | _TEXTS)
    editable = (
        tuple(draw(st.lists(st.sampled_from(list(params)), max_size=2)))
        if isinstance(params, dict) and params
        else ()
    )
    asked = request_event(draw(_TEXTS), params, editable=editable)
    kind = draw(st.sampled_from(ALL_EVENTS))
    run = replace(RUN, id=draw(_TEXTS), user_id=draw(_TEXTS), session_id=draw(_TEXTS))
    app = App(draw(_TEXTS)[:100], "https://x.example")
    match kind:
        case RequestEvent():
            return replace(kind, app=app, run=run, request=asked.request, link=draw(_LINKS))
        case DigestEvent():
            return replace(kind, app=app, digest=replace(kind.digest, entries=draw(_ENTRIES)))
        case AppEvent():
            return replace(kind, app=app, failure=replace(FAILURE, code=draw(_TEXTS), message=draw(_TEXTS)))
        case AppGroupEvent():
            failure = replace(FAILURE, code=draw(_TEXTS), message=draw(_TEXTS))
            return replace(kind, failures=((app, failure),) * draw(st.integers(2, 4)))
        case NotifierEvent():
            return replace(
                kind, failure=replace(NOTIFIER_FAILURE, notifier=draw(_TEXTS), message=draw(_TEXTS))
            )
        case SampleEvent():
            return kind


def bare(text: str) -> str:
    """Returns a text without spaces and case, and with look-alikes as what they stand for."""
    return re.sub(r"\s", "", text).translate(LOOKALIKES).lower()


def parts(message: Message) -> Iterator[str]:
    """Yields what a message has to tell, in order, down to what stands below the question."""
    yield message.title
    yield message.lead or ""
    yield message.advice or ""
    yield from message.body.split("\n")
    for question in message.questions:
        yield from (question.rule, question.text, *question.options)
    yield message.details if not message.rows else ""
    for row in message.rows:
        yield show_name(row.name)
        yield row.shown.text
    for note in message.notes:
        yield from (note.words, *note.names)
    for item in message.items:
        yield from (item.text, item.details)


def below(message: Message, when: Callable[[float], str], *, ids_first: bool) -> Iterator[str]:
    """Yields what stands below the question: where to answer, what is next, and the facts."""
    yield from (message.hint or "", "" if ids_first else message.outlook or "")
    shown = [(fact.label, fact.value) for fact in message.facts]
    if ids_first:
        for label, value in shown:
            yield from (label, value) if isinstance(value, str) else ()
        yield message.outlook or ""
        shown = [(label, value) for label, value in shown if not isinstance(value, str)]
    for label, value in shown:
        yield from (label, value if isinstance(value, str) else when(value))


def says(text: str, expected: Iterator[str]) -> bool:
    """Whether a text has the expected parts in order, whatever of ours stands between them."""
    found = 0
    shown = bare(text)
    for part in map(bare, expected):
        found = shown.find(part, found)
        if found < 0:
            return False
        found += len(part)
    return True


def as_people_see(time: float) -> str:
    """Returns a moment as a client of Slack's shows it."""
    return formatted_date(datetime.fromtimestamp(int(time), UTC), "{date_short_pretty} {time}", NOW)


def adds_up(shown: str, whole: str) -> bool:
    """Whether a text is there whole, or its head and tail with the right number of what is missing."""
    if shown == whole:
        return True
    match = CUT.fullmatch(shown)
    return (
        match is not None
        and whole.startswith(match[1])
        and whole.endswith(match[3])
        and len(match[1]) + int(match[2]) + len(match[3]) == len(whole)
    )


def rows_of(built: list[Json]) -> Iterator[tuple[str, str]]:
    """Yields name and value of each parameter in blocks, and the count of those that are missing."""
    last = ""
    for block in built:
        for part in block.get("elements", []):
            if part["type"] == "rich_text_list":
                rows = [[element["text"] for element in item["elements"]] for item in part["elements"]]
                yield from ((row[0], "".join(row[2:]).removesuffix(MARK)) for row in rows if row[-1] != ":")
                last = rows[-1][0]
            elif part["type"] == "rich_text_preformatted":
                text = "".join(element["text"] for element in part["elements"])
                yield from [(last, text)] if last else dense_rows(text)


def dense_rows(text: str) -> Iterator[tuple[str, str]]:
    """Yields name and value of each parameter in lines of text, and the count of those that are missing."""
    for found in re.finditer(r"^  (?! )(.+?)(?::(?: (.*)|((?:\n(?:    .*)?)+))|)$", text, re.MULTILINE):
        name, value, lines = found.groups()
        yield name, value if lines is None else re.sub(r"\n    ", "\n", lines)[1:]


@settings(deadline=None)
@given(events())
def test_the_forms_say_the_same(event: Event) -> None:
    """What people read in the blocks, in the text and in a notification are the parts of the message."""
    message = render(event)
    sign, _, whole = seen({"blocks": blocks(message)}, NOW).partition(" ")
    assert len(sign) == 1
    rest = () if message.brief else below(message, as_people_see, ids_first=True)
    assert says(whole, chain(parts(message), rest))
    assert says(plain_text(message), chain(parts(message), below(message, format_timestamp, ids_first=False)))
    assert unescape(fallback(message)).startswith(notification_line(message))
    text = seen({"text": plain(message)}, NOW)
    link = "\nOpen" if message.link else ""
    assert text.endswith(link)
    without = plain_text(replace(message, link=None))
    assert text.removesuffix(link).translate(LOOKALIKES) == without.translate(LOOKALIKES)


@settings(deadline=None)
@given(events())
def test_only_our_link_and_mentions_act(event: Event) -> None:
    """Drawn as a page, no form shows a mention or link but ours, and the page is the same text."""
    message = render(event)
    for form in ({"text": "x", "blocks": blocks(message, ("here",))}, {"text": plain(message, ("here",))}):
        called = ["!here"] if message.tone in {"urgent", "reminder", "trouble"} else []
        assert called == mentions_fired(form)
        drawn = page([Post(form, NOW)], now=NOW).partition("<body>")[2]
        assert drawn.count('class="mention') == len(called)
        links = [message.link, *(item.link for item in message.items if "blocks" in form)]
        assert drawn.count("<a ") == len([link for link in links if link])
        for tag in ("<b>", "<i>", "<s>", "<code>", "<pre>"):
            assert "blocks" in form or tag not in drawn.replace("<b>watcher</b>", "")


@settings(deadline=None, max_examples=40)
@given(
    prompt=st.integers(0, 15_000),
    values=st.lists(st.integers(0, 2500), max_size=60),
    of=st.sampled_from(["a", "&", "😀", '"', "a ", "*", "x.y\n"]),
)
def test_what_is_cut_is_told(prompt: int, values: list[int], of: str) -> None:
    """Of every text, what is shown and what is said to be missing add up, and so do the rows."""
    event = request_event(
        f"{of * prompt}?", {f"name {number}": of * length for number, length in enumerate(values)}
    )
    message = render(event)
    built = blocks(message, ("here",))
    assert refused({"text": fallback(message), "blocks": built}) == ""
    (quote,) = (
        "".join(text["text"] for text in part["elements"])
        for block in built[1:3]
        for part in block.get("elements", [])
        if part["type"] in {"rich_text_quote", "rich_text_preformatted"}
    )
    assert adds_up(quote, message.body)
    listed = list(rows_of(built))
    missing = [
        int(number)
        for number in re.findall(r"^(?:  )?… (\d+) more parameters?$", seen({"blocks": built}), re.MULTILINE)
    ]
    listed = listed[: len(listed) - len(missing)]
    assert len(listed) + sum(missing) == len(values)
    for (name, value), row in zip(listed, message.rows, strict=False):
        assert (name, True) == (show_name(row.name), adds_up(value, row.shown.text))


@pytest.mark.parametrize("columns", ["a  b", "a\tb", "x\n  one   two"])
def test_columns_stay(columns: str) -> None:
    """A prompt with columns is preformatted, one of plain lines is quoted; both keep every space."""
    for text, style in ((columns, "rich_text_preformatted"), ("- a\n  - b", "rich_text_quote")):
        (quote,) = [
            part
            for block in blocks(render(request_event(text, None)))
            for part in block.get("elements", [])
            if part["type"] == style
        ]
        assert quote["elements"] == [{"type": "text", "text": text}]


def test_our_marks_cannot_be_imitated() -> None:
    """Values stand in code or preformatted, names that are no words in quotes, and our marks in neither."""
    params = {"amount ✎ editable": "1 ✎ editable", "note": "x\n✅ Approval answered", "amount": 620}
    built = blocks(render(request_event("Approve?", params, editable=("amount",))))
    (rows,) = (block["elements"] for block in built if "rich_text_list" in str(block))
    texts = [
        (text["text"], tuple(text.get("style", {})))
        for part in rows
        for item in part["elements"]
        for text in item.get("elements", [item])
    ]
    assert texts == [
        ('"amount ✎ editable"', ("bold",)),
        (": ", ()),
        ("1 ✎ editable", ("code",)),
        ("note", ("bold",)),
        (":", ()),
        ("x\n✅ Approval answered", ()),
        ("amount", ("bold",)),
        (": ", ()),
        ("620", ("code",)),
        (" ✎ editable", ("italic",)),
    ]


@pytest.mark.parametrize("event", ALL_EVENTS, ids=[event.type for event in ALL_EVENTS])
def test_labels_are_in_every_form(event: Event) -> None:
    """Each label that is beside the question stands in the blocks and in the plain text."""
    message: Any = render(event)
    labels = [label for label, _ in facts(message)]
    for text in (plain(message), *([] if message.brief else [seen({"blocks": blocks(message)})])):
        assert [label for label in labels if f"{label}: " not in text] == []


def test_a_request_has_facts() -> None:
    """The labels that are looked for are there."""
    assert len(list(facts(render(REQUESTED)))) >= 3
