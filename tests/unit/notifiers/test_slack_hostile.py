"""Whatever other people's text holds, in Slack it is shown and does nothing, within Slack's limits."""

import json
import re
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import (
    DIGEST,
    DIGEST_ENDED,
    FAILING,
    FAILURE,
    NOTIFIER_FAILING,
    NOTIFIER_FAILURE,
    REQUESTED,
    RESOLVED,
    RUN,
    SEEN_AT,
    digest_entry,
    request_event,
)
from tests.support.harmless import assert_harmless, message
from tests.support.slack_markup import mentions_fired, seen
from tests.support.slack_rules import refused
from tests.support.strategies import any_text, json_values, markup, nested
from watcher.messages import render
from watcher.models import App, Digest, DigestEntry, DigestEvent, Event, Json, Resolution
from watcher.notifiers.slack.blocks import TEXT_MAX, blocks
from watcher.notifiers.slack.markup import fallback, neutralize_markup, plain

DEEP: Json = nested(128)
LONG = 14_000
"""Characters that fit nowhere: a message of Slack's holds 13,000 in all."""

HOSTILE = {
    "mentions": "<!channel> <!here> <!everyone> <@U123> <!subteam^S1|x> @here @channel #general",
    "links": "<https://evil.example|your bank> https://evil.example www.evil.com mailto:a@evil.com",
    "formatting": "*bold* _italic_ ~gone~ `code` ```fence``` :tada: > not a quote",
    "quotes": "> one\n>>> two\n&gt; three",
    "entities": "&lt;!channel&gt; &amp;lt; &#60;!here&#62; &",
    "dates": "<!date^1^{date}^https://evil.example|now>",
    "fences": "```\n<!channel>\n``` and ``` <!here>",
    "direction": "\u202e<!channel>\u202c \u2066x\u2069 \u200b\ufeff",
    "control": "\x00\x1b[31m\x07\x7f\x85\u2028\u2029",
    "surrogates": "\ud83d and \ude00",
    "long": "a" * LONG,
    "long markup": "<!channel>&" * (LONG // 11),
    "long emoji": "😀" * LONG,
    "emoji to the limit": "😀" * TEXT_MAX,
    "long quotes": '"\\\n' * (LONG // 3),
    "blank": " \n\t\u200b ",
    "one word": "*" * 5000,
}
PARAMS: dict[str, Json] = {
    "deep": DEEP,
    "huge": {f"key{number}": f"value {number}" for number in range(5000)},
    "long keys": {"<!here>" * 5000: "x", "&" * 9000: "y"},
    "long values": {str(number): "<&>" * 10_000 for number in range(60)},
    "emoji": {"😀" * 200 + str(number): "😀" * 2000 for number in range(60)},
    "hostile": {text: text for text in HOSTILE.values()},
    "a list": [HOSTILE["mentions"]] * 3000,
    "a text": HOSTILE["mentions"],
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_everywhere(text: str) -> None:
    """Prompt, names, values, ids, app and errors of any content are shown and do nothing."""
    event = request_event(text, {text: text, "list": [text], "map": {text: text}}, editable=(text,))
    run = replace(RUN, id=text, user_id=text, session_id=text)
    assert_harmless(replace(event, run=run, app=App(text, text), link=text))
    assert_harmless(replace(FAILING, failure=replace(FAILURE, code=text, message=text)))
    assert_harmless(replace(NOTIFIER_FAILING, failure=replace(NOTIFIER_FAILURE, notifier=text, message=text)))
    assert_harmless(replace(RESOLVED, resolution=Resolution("answered", text, SEEN_AT)))
    assert_harmless(request_event(text, None, editable=(text,) * 50))


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("prompt", ["short", HOSTILE["long markup"]])
def test_hostile_params(params: Json, prompt: str) -> None:
    """Deep, many and long parameters fit beside any prompt."""
    assert_harmless(request_event(prompt, params, editable=tuple(params) if isinstance(params, dict) else ()))


@pytest.mark.parametrize("character", ["p", "😀", "<", '"'])
def test_what_was_cut_is_said(character: str) -> None:
    """The number of characters and of parameters that are missing is told, and it is right."""
    params = {f"key{number}": number for number in range(5000)}
    text = seen(message(request_event(character * 100_000, params)))
    cut = re.findall(rf"^({character}+)… \((\d+) more characters\) …({character}+)$", text, re.MULTILINE)
    ((head, missing, tail),) = cut
    (dropped,) = re.findall(r"^  … (\d+) more parameters$", text, re.MULTILINE)
    assert len(head) + int(missing) + len(tail) == 100_000
    assert len(re.findall(r"^  key\d+: \d+$", text, re.MULTILINE)) + int(dropped) == 5000


def test_many_parameters_fit_as_lines() -> None:
    """Parameters that do not fit as a list are lines of one text, and each keeps name, head and tail."""
    params = {f"key{number}": f"first {'<' * 5000} last" for number in range(60)}
    text = seen(message(request_event("May I?", params, editable=("key7", "absent"))))
    value = r"first <+… \(\d+ more characters\) …<+ last"
    assert len(re.findall(rf"^  key\d+(?: \(editable\))?:\n    {value}$", text, re.MULTILINE)) == 60
    assert "\n  key7 (editable):\n" in text
    assert "\n  absent (editable): (not given)\n" in text


def test_a_long_prompt_alone_is_shown_to_the_limit() -> None:
    """A prompt is not cut earlier than Slack demands, although it takes several of its texts."""
    prompt = "word " * 2100 + "word"
    assert f"\n{prompt}\n" in seen(message(request_event(prompt)))


def test_no_entity_is_split() -> None:
    """What is cut is cut between the characters of the text, never inside an escape."""
    for length in range(300, 306):  # of an escape of five characters each one is at the cut once
        for text in (
            fallback(render(request_event("x" * length + "&" * 5000))),
            plain(render(request_event("<" * 9000))),
        ):
            assert re.findall(r"&(?!amp;|lt;|gt;)", text) == []


def test_a_link_that_is_not_ours_to_follow() -> None:
    """Only links to the web become links, and none that Slack would refuse for its length."""
    for link in ("javascript:alert(1)", "slack://open", "https://x.example/" + "y" * 4000):
        assert '"link"' not in json.dumps(message(replace(REQUESTED, link=link)))


def test_the_link_in_plain_text_cannot_be_broken_out_of() -> None:
    """A link with Slack's own characters stays one link."""
    event = replace(request_event("x"), link="https://x.example/?a=1&b=<|>!channel")
    assert plain(render(event)).endswith("\n<https://x.example/?a=1&amp;b=%3C%7C%3E!channel|Open>")


@settings(deadline=None)
@given(st.text(string.ascii_letters + "0123456789 ,;!?()/-", max_size=60))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Text without Slack's characters is not changed to look-alikes."""
    assert text == neutralize_markup(text)


def test_ordinary_characters_stay_where_they_do_not_act() -> None:
    """Decimal points, underscores in names, colons and times are left alone."""
    text = "620.50 order_id a:b 10:30, 5.5.2026"
    assert text == neutralize_markup(text)


@settings(deadline=None)
@given(prompt=markup | any_text, params=json_values, identifier=markup)
def test_any_content_is_harmless(prompt: str, params: Json, identifier: str) -> None:
    """No prompt, parameter or id makes active markup or a message that Slack refuses."""
    event = request_event(prompt, params, editable=tuple(params) if isinstance(params, dict) else ())
    assert_harmless(replace(event, run=replace(RUN, id=identifier, user_id=identifier)))


@settings(deadline=None)
@given(
    prompt=st.integers(0, LONG),
    rows=st.integers(0, 40),
    value=st.integers(0, 2000),
    of=st.sampled_from('a&😀"'),
)
def test_any_size_fits(prompt: int, rows: int, value: int, of: str) -> None:
    """However long the parts are, the whole fits and tells what it leaves out."""
    event = request_event(of * prompt, {str(number): of * value for number in range(rows)})
    assert_harmless(event)
    text = seen(message(event))
    listed = len(re.findall(r"^ *\d+:", text, re.MULTILINE))
    dropped = re.findall(r"^(?:  )?… (\d+) more parameters?$", text, re.MULTILINE)
    assert rows == listed + sum(map(int, dropped))


def digest_of(entries: list[DigestEntry], *, waiting: bool = True, total: int = 0) -> DigestEvent:
    """Returns the event of a digest of these requests and more that are not named."""
    total = total or len(entries)
    event = DIGEST if waiting else DIGEST_ENDED
    outcomes = () if waiting else (("answered", total),)
    digest = Digest(total, total if waiting else 0, outcomes, SEEN_AT, tuple(entries))  # type: ignore[arg-type]
    return replace(event, digest=digest)


def named(event: Event) -> int:
    """Fails if a digest would be refused or act, and returns how many requests it names or counts."""
    assert_harmless(event)
    sent = message(event)
    items = [item for block in sent["blocks"] if "rich_text_list" in str(block) for item in _listed(block)]
    dropped = re.findall(r"^… (\d+) more requests?$", seen(sent), re.MULTILINE)
    return len(items) - len(dropped) + sum(map(int, dropped))


def _listed(block: dict[str, Any]) -> list[Any]:
    return list(block["elements"][0]["elements"])


@pytest.mark.parametrize("waiting", [True, False])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_digests(text: str, *, waiting: bool) -> None:
    """Prompts, runs, types and links of any content are only text in a digest, and none is lost."""
    entries = [
        digest_entry(text, type=text, run_id=text, link=link, outcome=None if waiting else "gone")
        for link in (None, text, f"https://x.example/{text}", f"https://x.example/{text[:400]}")
    ] * 3
    event = replace(digest_of(entries, waiting=waiting, total=10_000), app=App(text, text))
    assert named(event) == 10_000


@pytest.mark.parametrize("character", ['"', "😀", "y", "%"])
def test_long_links_in_a_digest(character: str) -> None:
    """However long the links are, a digest fits, and counts what it does not name."""
    for length in (100, 480, 600, 5000):
        entries = [digest_entry(character * 500, link=f"https://x.example/{character * length}")] * 12
        assert named(digest_of(entries)) == 12


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            digest_entry,
            markup | any_text,
            run_id=markup | any_text,
            link=st.none() | markup.map("https://x.example/{}".format),
            outcome=st.none() | st.just("answered"),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_any_digest_is_harmless(entries: list[DigestEntry], more: int, waiting: bool) -> None:  # noqa: FBT001
    """No content of any number of requests makes active markup or a digest that Slack refuses."""
    total = len(entries) + more
    assert named(digest_of(entries, waiting=waiting, total=total)) == total


def test_a_long_name_of_an_app() -> None:
    """The header keeps the kind and says what of the name is missing; the notification has all of it."""
    event = replace(REQUESTED, app=App("a" * 300, "https://x.example"))
    assert_harmless(event)
    header = message(event)["blocks"][0]["text"]["text"]
    found = re.fullmatch(r"🔔 Approval needed · (a+)… \((\d+) more characters\)", header)
    assert found is not None
    assert len(found[1]) + int(found[2]) == 300
    assert "a" * 300 in message(event)["text"]


@pytest.mark.parametrize("who", ["S0123456789", "U0123456789", "here"])
def test_forty_mentions(who: str) -> None:
    """Forty people and groups are all called beside the longest question, within the limits."""
    rendered = render(request_event("<&>" * 20_000, {str(number): '"' * 5000 for number in range(60)}))
    for form in (
        {"text": fallback(rendered), "blocks": blocks(rendered, (who,) * 40)},
        {"text": plain(rendered, (who,) * 40)},
    ):
        assert refused(form) == ""
        assert len(mentions_fired(form)) == 40
        assert len(form["text"]) <= TEXT_MAX


def test_mentions_without_end() -> None:
    """More mentions than a message can hold are left out whole, and the question is still told."""
    rendered = render(request_event("Approve?"))
    called = ("here", *(f"U{number:0200d}" for number in range(100)))
    for form in ({"text": "x", "blocks": blocks(rendered, called)}, {"text": plain(rendered, called)}):
        assert refused(form) == ""
        assert mentions_fired(form) == ["!here", *(f"@{who}" for who in called[1:5])]
        assert "Approve?" in json.dumps(form)
