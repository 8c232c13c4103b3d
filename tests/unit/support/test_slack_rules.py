"""The rules by which a message counts as refused are Slack's."""

from typing import Any

import pytest

from tests.support.slack_rules import refused


def plain(words: str) -> dict[str, Any]:
    """Returns a text object that parses nothing."""
    return {"type": "plain_text", "text": words, "emoji": False}


def section(words: str = "x", **more: Any) -> dict[str, Any]:
    """Returns a section of plain text."""
    return {"type": "section", "text": plain(words), **more}


def button(**more: Any) -> dict[str, Any]:
    """Returns a button that leads somewhere."""
    return {"type": "button", "text": plain("Open"), "url": "https://x.example", **more}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of buttons."""
    return {"type": "actions", "elements": list(elements)}


def rich(*elements: dict[str, Any], kind: str = "rich_text_section", **more: Any) -> dict[str, Any]:
    """Returns a rich text of one part."""
    return {"type": "rich_text", "elements": [{"type": kind, "elements": list(elements), **more}]}


def text(words: str = "x", **more: Any) -> dict[str, Any]:
    """Returns a text of a rich text."""
    return {"type": "text", "text": words, **more}


TAKEN: dict[str, list[dict[str, Any]]] = {
    "a section": [section()],
    "the most blocks": [section()] * 50,
    "the longest texts": [section("x" * 3000), {"type": "header", "text": plain("x" * 150)}],
    "fields": [{"type": "section", "fields": [plain("x" * 100)] * 10}],
    "an accessory": [section(accessory=button())],
    "a context": [{"type": "context", "elements": [plain("x")] * 10}],
    "a divider": [{"type": "divider"}],
    "buttons": [actions(button(action_id="a"), button(action_id="b", style="danger"))],
    "the longest URL": [rich({"type": "link", "url": "https://" + "x" * 2992})],
    "an empty section of rich text": [rich()],
    "every element": [
        rich(
            text(style={"bold": True, "code": False}),
            {"type": "link", "url": "https://x.example", "text": "x", "style": {"italic": True}},
            {"type": "emoji", "name": "bell"},
            {"type": "user", "user_id": "U1"},
            {"type": "usergroup", "usergroup_id": "S1"},
            {"type": "channel", "channel_id": "C1"},
            {"type": "broadcast", "range": "here"},
            {"type": "date", "timestamp": 1, "format": "{date}", "fallback": "x"},
        )
    ],
    "a quote": [rich(text(), kind="rich_text_quote", border=1)],
    "preformatted": [rich(text(), kind="rich_text_preformatted")],
    "a list": [
        rich(
            {"type": "rich_text_section", "elements": [text()]},
            kind="rich_text_list",
            style="bullet",
            indent=1,
        )
    ],
    "two ids": [section(block_id="a"), section(block_id="b")],
}

REFUSED: dict[str, list[Any]] = {
    "too many blocks": [section()] * 51,
    "a long text": [section("x" * 3001)],
    "a long text in UTF-16": [section("😀" * 1501)],
    "an empty text": [section("")],
    "no text": [{"type": "section"}],
    "a bare string": [{"type": "section", "text": "x"}],
    "an unknown block": [{"type": "table"}],
    "no type": [{"text": plain("x")}],
    "an unknown field": [section(color="red")],
    "null": [{"type": "section", "text": plain("x"), "accessory": None}],
    "a long header": [{"type": "header", "text": plain("x" * 151)}],
    "markup in a header": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
    "verbatim plain text": [{"type": "header", "text": {**plain("x"), "verbatim": True}}],
    "too many fields": [{"type": "section", "fields": [plain("x")] * 11}],
    "a long field": [{"type": "section", "fields": [plain("x" * 2001)]}],
    "no fields": [{"type": "section", "fields": []}],
    "too many in a context": [{"type": "context", "elements": [plain("x")] * 11}],
    "an empty context": [{"type": "context", "elements": []}],
    "rich text in a context": [{"type": "context", "elements": [text()]}],
    "the same block_id": [section(block_id="a"), section(block_id="a")],
    "a long block_id": [section(block_id="a" * 256)],
    "the same action_id": [actions(button(action_id="a")), actions(button(action_id="a"))],
    "too many buttons": [actions(*[button()] * 26)],
    "a long button": [actions({"type": "button", "text": plain("x" * 76)})],
    "a long URL of a button": [actions(button(url="https://" + "x" * 2993))],
    "an unknown style of a button": [actions(button(style="green"))],
    "an unknown action": [actions({"type": "datepicker"})],
    "an empty rich text": [{"type": "rich_text", "elements": []}],
    "an unknown part": [rich(text(), kind="rich_text_heading")],
    "an unknown element": [rich({"type": "bold", "text": "x"})],
    "an empty element": [rich(text(""))],
    "a long element": [rich(text("x" * 3001))],
    "an unknown text style": [rich(text(style={"red": True}))],
    "a style that is no yes or no": [rich(text(style={"bold": "yes"}))],
    "a style that is a word": [rich(text(style="bold"))],
    "markup in preformatted": [rich({"type": "user", "user_id": "U1"}, kind="rich_text_preformatted")],
    "a list of texts": [rich(text(), kind="rich_text_list", style="bullet")],
    "a list without a style": [rich(kind="rich_text_list")],
    "a list too deep": [rich(kind="rich_text_list", style="bullet", indent=9)],
    "a link without a URL": [rich({"type": "link", "text": "x"})],
    "a link to nowhere": [rich({"type": "link", "url": "here", "text": "x"})],
    "a long link": [rich({"type": "link", "url": "https://" + "x" * 2993})],
    "an unknown broadcast": [rich({"type": "broadcast", "range": "all"})],
    "half a second": [rich({"type": "date", "timestamp": 1.5, "format": "{date}"})],
}

GOOD_METADATA: dict[str, Any] = {"event_type": "delivery_sent", "event_payload": {"id": "1", "list": ["a"]}}


@pytest.mark.parametrize("blocks", TAKEN.values(), ids=TAKEN)
def test_what_slack_takes(blocks: list[dict[str, Any]]) -> None:
    """What Slack's reference allows is not refused."""
    assert refused({"text": "x", "blocks": blocks}) == ""


@pytest.mark.parametrize("blocks", REFUSED.values(), ids=REFUSED)
def test_what_slack_refuses(blocks: list[dict[str, Any]]) -> None:
    """Each limit and each rule of form of Slack's reference is kept."""
    assert refused({"text": "x", "blocks": blocks}) == "invalid_blocks"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, "no_text"),
        ({"text": "", "blocks": []}, "no_text"),
        ({"text": "x" * 4000}, ""),
        ({"text": "x" * 4001}, "msg_too_long"),
        ({"text": "x", "blocks": {"type": "divider"}}, "invalid_blocks_format"),
        ({"text": "x", "blocks": ["x"]}, "invalid_blocks_format"),
        ({"text": "x", "blocks": [section("x" * 2900)] * 5}, "msg_blocks_too_long"),
        ({"text": "x" * 11_000, "blocks": [section("x" * 2900)]}, "msg_blocks_too_long"),
        ({"attachments": [{"color": "#f00", "blocks": [section()]}]}, ""),
        ({"attachments": [{"blocks": [section("")]}]}, "invalid_attachments"),
        ({"attachments": [{"blocks": [section()]}] * 101}, "too_many_attachments"),
    ],
)
def test_messages_as_a_whole(payload: dict[str, Any], expected: str) -> None:
    """Text, blocks and attachments together have limits of their own."""
    assert expected == refused(payload)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (GOOD_METADATA, ""),
        (None, "invalid_metadata_format"),
        ({"event_type": "x"}, "invalid_metadata_format"),
        ({**GOOD_METADATA, "more": 1}, "invalid_metadata_format"),
        ({**GOOD_METADATA, "event_type": "two words"}, "invalid_metadata_format"),
        ({**GOOD_METADATA, "event_payload": []}, "invalid_metadata_schema"),
        ({**GOOD_METADATA, "event_payload": {"id": None}}, "invalid_metadata_schema"),
        ({**GOOD_METADATA, "event_payload": {"id": "x" * 8000}}, "metadata_too_large"),
    ],
)
def test_metadata(metadata: object, expected: str) -> None:
    """Metadata has a form and a size."""
    assert expected == refused({"text": "x", "metadata": metadata})
