"""The pictures of messages show what acts as acting, and are made of what the notifier really sends."""

import asyncio
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support import slack_page
from tests.support.fakes import FakeSlack
from tests.support.slack_html import WIDTH, Post, html, page
from tests.support.slack_markup import mrkdwn
from tests.support.slack_samples import GOLDEN, SAMPLES, Sample, calls, channel, golden, said

ROOT = Path(__file__).parents[2]

NOW = 1781082940.0

BY_NAME = {sample.name: sample for sample in SAMPLES}


def text_only(*blocks: dict[str, Any]) -> str:
    """Returns the page of a message of these blocks, without head and style."""
    return page([Post({"text": "x", "blocks": list(blocks)}, NOW)], now=NOW).partition("<body>")[2]


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<!here>", '<span class="mention all">@here</span>'),
        ("<@U1>", '<span class="mention">@U1</span>'),
        ("&lt;!here&gt;", "&lt;!here&gt;"),
        ("<https://x.example|*y*>", '<a href="https://x.example">*y*</a>'),
        ('<https://x.example/"onclick="x|y>', '<a href="https://x.example/&quot;onclick=&quot;x">y</a>'),
        ("*b* _i_ ~s~ `c`", "<b>b</b> <i>i</i> <s>s</s> <code>c</code>"),
        ("> q", "<blockquote>q</blockquote>"),
        ("```p```", "<pre>p</pre>"),
        ("<script>", '<a href="script">script</a>'),
    ],
)
def test_what_acts_looks_like_it(markup: str, expected: str) -> None:
    """A mention is a chip, a link a link, formatting formatted, and escaped markup just text."""
    assert expected == html(mrkdwn(markup))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "header", "text": {"type": "plain_text", "text": "<b>"}}, "<h3>&lt;b&gt;</h3>"),
        ({"type": "divider"}, "<hr>"),
        (
            {"type": "context", "elements": [{"type": "plain_text", "text": "x"}]},
            '<div class="context"><span>x</span></div>',
        ),
        (
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*x*"}]},
            '<div class="fields"><div class="text"><b>x</b></div></div>',
        ),
        (
            {
                "type": "actions",
                "elements": [
                    {"type": "button", "text": {"type": "plain_text", "text": "Go"}, "style": "primary"}
                ],
            },
            '<span class="button primary">Go</span>',
        ),
        (
            {
                "type": "rich_text",
                "elements": [
                    {
                        "type": "rich_text_list",
                        "style": "ordered",
                        "elements": [
                            {"type": "rich_text_section", "elements": [{"type": "text", "text": "<i>"}]}
                        ],
                    },
                    {"type": "rich_text_quote", "elements": [{"type": "text", "text": "q"}]},
                    {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "p"}]},
                ],
            },
            "<ol><li>&lt;i&gt;</li></ol><blockquote>q</blockquote><pre>p</pre>",
        ),
    ],
)
def test_blocks(block: dict[str, Any], expected: str) -> None:
    """Each block that messages are made of has its look, and text in it is only text."""
    assert expected in text_only(block)


def test_attachments_have_their_colour() -> None:
    """An attachment has a bar of its colour before its blocks."""
    message = {"attachments": [{"color": "#e01e5a", "blocks": [{"type": "divider"}]}]}
    assert 'style="border-color:#e01e5a"><div class="block"><hr>' in page([Post(message, NOW)], now=NOW)


@pytest.mark.parametrize(
    ("latest", "expected"),
    [({"text": "x"}, True), ({"text": "x", "blocks": [{"type": "divider"}]}, False)],
)
def test_an_edit_is_marked_where_slack_marks_it(latest: dict[str, Any], *, expected: bool) -> None:
    """Slack marks an edited text as edited, an edited message of blocks not."""
    slack = FakeSlack()
    slack.messages["C1", "1.5"] = latest
    slack.history["C1", "1.5"] = [{"text": "w"}, latest]
    posts = channel(slack)
    assert [expected] == [post.edited for post in posts]
    assert expected == ("(edited)" in page(posts, now=NOW))


def test_replies_are_below_and_sometimes_beside() -> None:
    """A reply stands in the thread; one that was also sent to the channel stands there too, and says so."""
    slack = FakeSlack()
    slack.messages = {
        ("C1", "1.5"): {"text": "question"},
        ("C1", "2.5"): {"text": "reminder", "thread_ts": "1.5", "reply_broadcast": True},
        ("C1", "3.5"): {"text": "answer", "thread_ts": "1.5", "reply_broadcast": False},
    }
    slack.history = {key: [message] for key, message in slack.messages.items()}
    posts = channel(slack)
    assert [post.message["text"] for post in posts] == ["question", "reminder"]
    assert [reply.message["text"] for reply in posts[0].replies] == ["reminder", "answer"]
    shown = page(posts, now=NOW)
    assert "2 replies" in shown
    assert shown.count("replied to a thread: <a>question</a>") == 1


@pytest.mark.parametrize("sample", SAMPLES, ids=BY_NAME)
def test_pages_need_nothing_from_elsewhere(sample: Sample) -> None:
    """A page loads nothing: it holds its style, and no address but in links that a person follows."""
    shown = slack_page.html_of(sample, dark=True, notification=True)
    assert re.findall(r"(?:src|url|@import|<link|<img)\W", shown) == []
    assert 'class="dark"' in shown


@pytest.mark.parametrize("sample", SAMPLES, ids=BY_NAME)
def test_golden(sample: Sample) -> None:
    """The watcher says what it said before; if it shall say something else, look at it and write it anew.

    `python -m tests.support.slack_page --golden` writes the files.
    """
    expected = (GOLDEN / f"{sample.name}.json").read_text(encoding="utf-8")
    assert expected == golden(calls(asyncio.run(said(sample))))


def test_no_golden_file_is_left_over() -> None:
    """Each golden file belongs to a sample."""
    assert sorted(BY_NAME) == sorted(file.stem for file in GOLDEN.glob("*.json"))


def test_golden_files_are_written_anew(tmp_path: Path) -> None:
    """The command that writes them writes what is compared, and takes away what no sample is for any more."""
    (tmp_path / "of-old.json").write_text("[]")
    slack_page.write_golden(tmp_path)
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_bytes() for file in GOLDEN.iterdir()}


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who has no browser is told which one to install, before anything is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="chromium is not on PATH"):
        slack_page.main(["--out", str(tmp_path / "picture.png")])
    assert list(tmp_path.iterdir()) == []


def size_of(picture: Path) -> tuple[int, int]:
    """Returns width and height of a PNG, from its header."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


@pytest.mark.skipif(shutil.which("chromium") is None, reason="pictures need chromium")
def test_a_picture_is_as_high_as_its_page(tmp_path: Path) -> None:
    """A picture shows the whole page at twice its size and nothing below it."""
    for name, body in (("low", "one line"), ("high", "one\n" * 60)):
        slack_page.photograph(page([Post({"text": body}, NOW)], now=NOW), tmp_path / f"{name}.png")
    (width, low), (_, high) = (size_of(tmp_path / f"{name}.png") for name in ("low", "high"))
    assert width == 2 * WIDTH
    # A line is 22 CSS pixels high, and there are 59 more of them.
    assert high - low == 2 * 22 * 59


def test_the_picture_in_the_readme_is_modest() -> None:
    """The picture is as wide as the page and small enough to be looked at by everybody."""
    picture = ROOT / ".github" / "slack-message.png"
    assert size_of(picture)[0] == 2 * WIDTH
    assert picture.stat().st_size < 150_000
