"""Pure: a channel of Slack's as a page of HTML that looks much as Slack shows it, and needs no network."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any, Final

from tests.support.slack_markup import Node, clock_time, message_text, rich_text, seen, text_object

WIDTH: Final = 760
"""Of the page, in CSS pixels: a Slack window on a laptop, without its side bar."""

NOTIFIED: Final = 178
"""How many characters of the text a notification on a phone shows, roughly; the rest is cut."""

_TAGS: Final = {"bold": "b", "italic": "i", "strike": "s", "underline": "u", "code": "code", "pre": "pre"}

_STYLE: Final = """
:root { --page: #fff; --text: #1d1c1d; --quiet: #616061; --line: #ddd; --link: #1264a3; --code: #c01343;
  --field: #f8f8f8; --edge: #dddddd; --call: #fbf0c8; --called: #1264a3; --user: #e8f5fa;
  --badge: #e8e8e8; }
:root.dark { --page: #1a1d21; --text: #d1d2d3; --quiet: #ababad; --line: #35373b; --link: #1d9bd1;
  --code: #e8912d; --field: #232529; --edge: #35373b; --call: #4a3f17; --called: #f2c744;
  --user: #12303e; --badge: #35373b; }
* { box-sizing: border-box; margin: 0; }
body { background: var(--page); color: var(--text); width: 760px; padding: 12px 20px 14px;
  font: 15px/22px Lato, "Liberation Sans", Arial, "Noto Color Emoji", sans-serif;
  overflow-wrap: anywhere; }
article { display: flex; gap: 8px; padding: 6px 0; }
.icon { width: 36px; height: 36px; border-radius: 6px; flex: none; background: #0b7285; color: #fff;
  font: 700 19px/36px Lato, "Liberation Sans", Arial, sans-serif; text-align: center; }
.small .icon { width: 24px; height: 24px; font-size: 13px; line-height: 24px; border-radius: 4px; }
.message { min-width: 0; flex: 1; }
.by b { font-weight: 900; } .by span { margin-left: 5px; }
.badge { background: var(--badge); color: var(--quiet); font: 700 10px/14px "Liberation Sans", Arial;
  padding: 1px 3px; border-radius: 2px; vertical-align: 1.5px; }
.time, .hint, .edited { color: var(--quiet); font-size: 12px; line-height: 18px; }
.edited { margin-left: 4px; }
.block { margin-bottom: 8px; } .block:last-child { margin-bottom: 2px; }
.text { white-space: pre-wrap; }
h3 { font-size: 18px; line-height: 24px; font-weight: 900; }
blockquote { border-left: 4px solid var(--line); padding-left: 12px; white-space: pre-wrap; margin: 4px 0; }
ul, ol { padding-left: 26px; margin: 2px 0; white-space: pre-wrap; }
code { color: var(--code); background: var(--field); border: 1px solid var(--edge); border-radius: 3px;
  font: 12px/18px "Liberation Mono", monospace; padding: 2px 3px 1px; }
pre { background: var(--field); border: 1px solid var(--edge); border-radius: 4px; padding: 8px;
  margin: 4px 0;
  font: 12px/18px "Liberation Mono", monospace; white-space: pre-wrap; }
a { color: var(--link); text-decoration: none; }
.mention { background: var(--user); color: var(--called); border-radius: 3px; padding: 0 2px 1px; }
.mention.all { background: var(--call); }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; }
.accessory { display: flex; gap: 16px; } .accessory > .text { flex: 1; }
.context { display: flex; flex-wrap: wrap; gap: 0 8px; color: var(--quiet); font-size: 13px;
  line-height: 20px; }
.context > span { white-space: pre-wrap; }
hr { border: 0; border-top: 1px solid var(--line); margin: 8px 0; }
.button { display: inline-block; border: 1px solid var(--quiet); border-radius: 4px; padding: 0 12px;
  font-weight: 700; font-size: 13px; line-height: 26px; margin-right: 8px; }
.button.primary { background: #007a5a; border-color: #007a5a; color: #fff; }
.button.danger { border-color: #e01e5a; color: #e01e5a; }
.attachment { border-left: 4px solid var(--line); border-radius: 4px 0 0 4px; padding: 4px 0 0 12px;
  margin: 4px 0; }
.thread { margin: 4px 0 0; border: 1px solid var(--edge); border-radius: 8px; padding: 2px 10px; }
.thread > .hint { padding-top: 4px; }
.notification { width: 380px; margin: 18px 0 4px; padding: 10px 12px; border-radius: 12px;
  background: var(--field); border: 1px solid var(--edge); font-size: 13px; line-height: 17px;
  white-space: pre-wrap; display: flex; gap: 8px; }
"""

_MEASURE: Final = "document.documentElement.dataset.height = document.body.offsetHeight"


@dataclass(frozen=True, slots=True)
class Post:
    """A message in a channel, `at` a Unix time, with the replies below it.

    `edited` says that Slack marks it as edited, `parent` is the message that a reply was also sent to the
    channel from.
    """

    message: Mapping[str, Any]
    at: float
    edited: bool = False
    parent: Mapping[str, Any] | None = None
    replies: tuple["Post", ...] = field(default=())


def page(posts: Iterable[Post], *, now: float, dark: bool = False, notification: str = "") -> str:
    """Returns the channel as a page, looked at by somebody in UTC; its root tells its height to a script.

    `notification` is a text to show as a phone shows it when the message arrives.
    """
    body = "".join(_post(post, now) for post in posts)
    if notification:
        whole = unescape(notification)
        short = whole if len(whole) <= NOTIFIED else f"{whole[:NOTIFIED]}…"
        body += f'<div class="notification small"><div class="icon">w</div><div>{escape(short)}</div></div>'
    return (
        f'<!doctype html><html class="{"dark" if dark else "light"}"><meta charset="utf-8">'
        f"<title>Slack</title><style>{_STYLE}</style><body>{body}</body><script>{_MEASURE}</script></html>"
    )


def html(nodes: Iterable[Node]) -> str:
    """Returns pieces of text as HTML."""
    return "".join(map(_node, nodes))


def _post(post: Post, now: float, small: str = "") -> str:
    moment = datetime.fromtimestamp(post.at, UTC)
    time = f'<span class="time">{clock_time(moment)}</span>'
    by = f'<div class="by"><b>watcher</b><span class="badge">APP</span>{time}</div>'
    hint = edited = ""
    if post.parent is not None:
        title = seen(post.parent, now).partition("\n")[0]
        hint = f'<div class="hint">replied to a thread: <a>{escape(title)}</a></div>'
    if post.edited:
        edited = '<span class="edited">(edited)</span>'
    inner = "".join(_message(post.message, now))
    return (
        f'<article class="{small}"><div class="icon">w</div><div class="message">{by}{hint}{inner}{edited}'
        f"{_thread(post.replies, now)}</div></article>"
    )


def _thread(replies: tuple[Post, ...], now: float) -> str:
    if not replies:
        return ""
    count = "1 reply" if len(replies) == 1 else f"{len(replies)} replies"
    below = "".join(_post(reply, now, "small") for reply in replies)
    return f'<div class="thread"><div class="hint"><a>{count}</a> in the thread</div>{below}</div>'


def _message(message: Mapping[str, Any], now: float) -> Iterator[str]:
    blocks, attachments = message.get("blocks", []), message.get("attachments", [])
    if not blocks and message.get("text"):
        yield f'<div class="block text">{html(message_text(message, now))}</div>'
    for block in blocks:
        yield f'<div class="block">{_block(block, now)}</div>'
    for attachment in attachments:
        inner = "".join(
            f'<div class="block">{_block(block, now)}</div>' for block in attachment.get("blocks", [])
        )
        color = escape(attachment.get("color", "#ddd"), quote=True)
        yield f'<div class="attachment" style="border-color:{color}">{inner}</div>'


def _block(block: Mapping[str, Any], now: float) -> str:
    match block["type"]:
        case "header":
            return f"<h3>{html(text_object(block['text'], now))}</h3>"
        case "section":
            return _section(block, now)
        case "rich_text":
            return "".join(_rich(element, now) for element in block["elements"])
        case "context":
            elements = (f"<span>{html(text_object(element, now))}</span>" for element in block["elements"])
            return f'<div class="context">{"".join(elements)}</div>'
        case "actions":
            return "".join(_button(element, now) for element in block["elements"])
        case _:
            return "<hr>"


def _section(block: Mapping[str, Any], now: float) -> str:
    parts = []
    if "text" in block:
        parts.append(f'<div class="text">{html(text_object(block["text"], now))}</div>')
    if "fields" in block:
        fields = "".join(
            f'<div class="text">{html(text_object(text, now))}</div>' for text in block["fields"]
        )
        parts.append(f'<div class="fields">{fields}</div>')
    if "accessory" in block:
        return f'<div class="accessory">{"".join(parts)}<div>{_button(block["accessory"], now)}</div></div>'
    return "".join(parts)


def _button(element: Mapping[str, Any], now: float) -> str:
    return f'<span class="button {element.get("style", "")}">{html(text_object(element["text"], now))}</span>'


def _rich(element: Mapping[str, Any], now: float) -> str:
    match element["type"]:
        case "rich_text_quote":
            return f"<blockquote>{html(rich_text(element['elements'], now))}</blockquote>"
        case "rich_text_preformatted":
            return f"<pre>{html(rich_text(element['elements'], now))}</pre>"
        case "rich_text_list":
            tag = "ol" if element["style"] == "ordered" else "ul"
            items = "".join(
                f"<li>{html(rich_text(item['elements'], now))}</li>" for item in element["elements"]
            )
            indent = (
                f' style="margin-left:{28 * element.get("indent", 0)}px"' if element.get("indent") else ""
            )
            return f"<{tag}{indent}>{items}</{tag}>"
        case _:
            return f'<div class="text">{html(rich_text(element["elements"], now))}</div>'


def _node(node: Node) -> str:
    inner = escape(node.text) + html(node.children)
    match node.kind:
        case "text" | "emoji":
            return inner
        case "quote":
            return f"<blockquote>{inner}</blockquote>"
        case "mention":
            everybody = node.target in {"!here", "!channel", "!everyone"}
            return f'<span class="mention{" all" if everybody else ""}">{inner}</span>'
        case "link":
            return f'<a href="{escape(node.target, quote=True)}">{inner}</a>'
        case "date":
            return f'<a href="{escape(node.target, quote=True)}">{inner}</a>' if node.target else inner
        case kind:
            return f"<{_TAGS[kind]}>{inner}</{_TAGS[kind]}>"
