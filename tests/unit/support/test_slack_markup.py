"""The reader of Slack's markup sees what a Slack client shows and does."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.slack_markup import Node, acting, formatted_date, mentions_fired, mrkdwn, seen

NOW = 1781082940.0
"""2026-06-10, a Wednesday."""


def outline(nodes: Iterable[Node]) -> str:
    """Returns the pieces in a notation to compare: `bold(text)`, `link(text)[target]`."""
    found = []
    for node in nodes:
        inner = node.text + outline(node.children)
        target = f"[{node.target}]" if node.target else ""
        found.append(inner if node.kind == "text" else f"{node.kind}({inner}){target}")
    return "".join(found)


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("plain", "plain"),
        ("&lt;!here&gt; &amp;amp;", "<!here> &amp;"),
        ("<!here>", "mention(@here)[!here]"),
        ("<!channel|everybody>", "mention(@everybody)[!channel]"),
        ("<@U1> <@U1|ada>", "mention(@U1)[@U1] mention(@ada)[@U1]"),
        ("<!subteam^S1> <!subteam^S1|@ops>", "mention(@S1)[!subteam^S1] mention(@ops)[!subteam^S1]"),
        ("<#C1> <#C1|general>", "mention(#C1)[#C1] mention(#general)[#C1]"),
        ("<https://x.example|a &amp; b>", "link(a & b)[https://x.example]"),
        ("<https://x.example/?a=1&amp;b>", "link(https://x.example/?a=1&b)[https://x.example/?a=1&b]"),
        ("see https://x.example now", "see link(https://x.example)[https://x.example] now"),
        ("*bold* _italic_ ~gone~ `code`", "bold(bold) italic(italic) strike(gone) code(code)"),
        ("*bold _and italic_*", "bold(bold italic(and italic))"),
        ("order_id a*b*c 2 * 3 * 4 x~y~z", "order_id a*b*c 2 * 3 * 4 x~y~z"),
        ("`*not bold*`", "code(*not bold*)"),
        ("`<!here>`", "`mention(@here)[!here]`"),
        ("```\nx *y*\n```", "pre(x *y*)"),
        ("```<!here>```", "```mention(@here)[!here]```"),
        ("&gt; one\n&gt; two\nthree", "quote(one\ntwo)three"),
        ("> one", "quote(one)"),
        (":bell: :unknown_one: 10:30:15", "emoji(🔔)[bell] emoji(:unknown_one:)[unknown_one] 10:30:15"),
        ("<!date^1781082939^{date_short_pretty} {time}|x>", "date(today 9:15 AM)"),
        ("<!date^1781082939^{date}^https://x.example|x>", "date(June 10, 2026)[https://x.example]"),
        ("<!date^soon^{date}|some day>", "some day"),
    ],
)
def test_mrkdwn(markup: str, expected: str) -> None:
    """Each rule of `mrkdwn` is read as Slack reads it, what stands in angle brackets before all else."""
    assert expected == outline(mrkdwn(markup, NOW))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{date_num}", "2026-06-10"),
        ("{date}", "June 10, 2026"),
        ("{date_short}", "Jun 10, 2026"),
        ("{date_long}", "Wednesday, June 10, 2026"),
        ("{date_pretty} at {time}", "today at 9:15 AM"),
        ("{time_secs}", "09:15:39"),
    ],
)
def test_dates(form: str, expected: str) -> None:
    """Each form of a date is filled in."""
    assert expected == formatted_date(datetime.fromtimestamp(NOW - 1, UTC), form, NOW)


@pytest.mark.parametrize(
    ("days", "expected"), [(-2, "Jun 8, 2026"), (-1, "yesterday"), (1, "tomorrow"), (2, "Jun 12, 2026")]
)
def test_days_that_are_near(days: int, expected: str) -> None:
    """Yesterday and tomorrow are called so, other days by their date."""
    assert expected == formatted_date(
        datetime.fromtimestamp(NOW + days * 86400, UTC), "{date_short_pretty}", NOW
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"text": "<!here> x <@U1>"}, ["!here", "@U1"]),
        ({"text": "<!here>", "mrkdwn": False}, []),
        ({"text": "&lt;!here&gt; @here"}, []),
        ({"text": "<!here>", "blocks": [{"type": "divider"}]}, []),
        (
            {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "<!subteam^S1>"}}]},
            ["!subteam^S1"],
        ),
        ({"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "<!here>"}}]}, []),
        (
            {
                "blocks": [
                    {
                        "type": "rich_text",
                        "elements": [
                            {
                                "type": "rich_text_section",
                                "elements": [
                                    {"type": "text", "text": "<!here>"},
                                    {"type": "broadcast", "range": "channel", "style": {"bold": True}},
                                    {"type": "usergroup", "usergroup_id": "S1"},
                                ],
                            }
                        ],
                    }
                ]
            },
            ["!channel", "!subteam^S1"],
        ),
        (
            {
                "attachments": [
                    {"blocks": [{"type": "context", "elements": [{"type": "mrkdwn", "text": "<@U1>"}]}]}
                ]
            },
            ["@U1"],
        ),
    ],
)
def test_whom_a_message_calls(message: dict[str, Any], expected: list[str]) -> None:
    """A mention counts where it is markup and is shown, wherever in the message that is."""
    assert expected == mentions_fired(message)


def test_what_a_person_reads() -> None:
    """All that is shown comes in its order, emoji by their picture, dates as people see them."""
    message = {
        "text": "not shown",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": ":bell: One", "emoji": True}},
            {"type": "header", "text": {"type": "plain_text", "text": ":bell: Two", "emoji": False}},
            {
                "type": "rich_text",
                "elements": [
                    {
                        "type": "rich_text_section",
                        "elements": [
                            {"type": "text", "text": "*three* ", "style": {"italic": True}},
                            {"type": "date", "timestamp": 1781082939, "format": "{time}"},
                            {"type": "link", "url": "https://x.example"},
                        ],
                    }
                ],
            },
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*four*"}]},
        ],
    }
    assert seen(message, NOW) == "🔔 One\n:bell: Two\n*three* 9:15 AMhttps://x.example\nfour"


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<!channel>", ["!channel"]),
        ("<https://x|y>", ["https://x|y"]),
        ("*bold*", ["*bold*"]),
        ("a_b_c", []),
        ("https://evil.example", ["https://evil.example", "evil.example"]),
        ("&gt; quote", ["&gt;"]),
        (":tada:", [":tada:"]),
        ("&lt;!channel&gt;", []),
    ],
)
def test_what_acts(markup: str, expected: list[str]) -> None:
    """Markup that would act is told from text that would not."""
    assert expected == acting({"text": "x", "blocks": [{"text": {"type": "mrkdwn", "text": markup}}]})
