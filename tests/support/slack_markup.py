"""How a Slack client reads a message: what is shown, what of it acts, and whom it calls.

`mrkdwn` is read as https://docs.slack.dev/messaging/formatting-message-text describes it: first what stands
in angle brackets, then formatting in the rest. In doubt this reader takes something for acting.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final, Literal

from tests.support.characters import acting_in

Kind = Literal[
    "text",
    "bold",
    "italic",
    "strike",
    "underline",
    "code",
    "pre",
    "quote",
    "link",
    "mention",
    "date",
    "emoji",
]

EMOJI: Final = {
    "alarm_clock": "⏰", "arrows_counterclockwise": "🔄", "bell": "🔔", "clipboard": "📋", "eyes": "👀",
    "ghost": "👻", "grey_question": "❔", "heavy_check_mark": "✔️", "hourglass_flowing_sand": "⏳",
    "inbox_tray": "📥", "information_source": "\N{INFORMATION SOURCE}\ufe0f", "large_green_circle": "🟢",
    "large_yellow_circle": "🟡", "link": "🔗", "lock": "🔒", "no_entry": "⛔", "pencil2": "✏️",
    "question": "❓", "raised_hand": "✋", "recycle": "♻️", "red_circle": "🔴", "repeat": "🔁",
    "robot_face": "🤖", "rotating_light": "🚨", "speech_balloon": "💬", "tada": "🎉", "warning": "⚠️",
    "wave": "👋", "white_check_mark": "✅", "x": "❌",
}  # fmt: skip
"""Slack's names for some of its emoji; one that is not here is shown by its name."""

_EXTRACT: Final = re.compile(r"<([^<>\n]+)>")
_FORMATTING: Final = re.compile(r"(?<!\w)([*_~`])(?=\S)(.+?)(?<=\S)\1(?!\w)")
_AUTOMATIC: Final = (
    re.compile(r"\b(?:https?://|mailto:|tel:)\S+", re.IGNORECASE),
    re.compile(r"\b[\w.+-]+@[\w-]+\.\w{2,}"),
    re.compile(r"\b[\w-]+\.(?:com|org|net|io|ai|example)\b", re.IGNORECASE),
    re.compile(r"(?<!\w)@(?:here|channel|everyone)\b"),
)
_EMOJI: Final = re.compile(r":[a-z0-9_+'-]+:")

_FENCE: Final = re.compile(r"```\n?(.+?)\n?```", re.DOTALL)
_QUOTE: Final = re.compile(r"^[ \t]*(?:&gt;|>)[ ]?")
_TOKEN: Final = re.compile(
    r"<(?P<extract>[^<>\n]+)>|`(?P<code>[^`<>\n]+)`|(?<![\w*])\*(?=\S)(?P<bold>[^*\n]+?)(?<=\S)\*(?![\w*])"
    r"|(?<!\w)_(?=\S)(?P<italic>[^\n]+?)(?<=\S)_(?!\w)|(?<![\w~])~(?=\S)(?P<strike>[^~\n]+?)(?<=\S)~(?![\w~])"
    r"|:(?P<emoji>(?=[0-9_+'-]*[a-z])[a-z0-9_+'-]+):|(?P<url>\bhttps?://[^\s<>]+)"
)
_CALLING: Final = {
    "user": ("user_id", "@", "@"),
    "usergroup": ("usergroup_id", "@", "!subteam^"),
    "channel": ("channel_id", "#", "#"),
    "broadcast": ("range", "@", "!"),
}
"""Elements of rich text that call somebody: the field that says whom, how it is shown, what markup has."""
_STYLES: Final[tuple[Kind, ...]] = ("code", "strike", "underline", "italic", "bold")


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of text as it is shown. `target` is where a link leads, or whom a mention calls."""

    kind: Kind
    text: str = ""
    target: str = ""
    children: tuple["Node", ...] = ()


def mrkdwn(text: str, now: float = 0.0) -> tuple[Node, ...]:
    """Returns what `mrkdwn` shows; `now` is when it is looked at."""
    found: list[Node] = []
    for number, part in enumerate(_FENCE.split(text)):
        if number % 2 and not _EXTRACT.search(part):
            found.append(Node("pre", children=(Node("text", unescape(part)),)))
        elif part:
            found += _paragraphs(f"```{part}```" if number % 2 else part, now)
    return tuple(found)


def plain_text(text: str, *, emoji: bool) -> tuple[Node, ...]:
    """Returns what a `plain_text` object shows."""
    if not emoji:
        return (Node("text", text),)
    found: list[Node] = []
    position = 0
    for match in _EMOJI.finditer(text):
        found += [Node("text", text[position : match.start()]), _emoji(match[0].strip(":"))]
        position = match.end()
    return (*found, Node("text", text[position:]))


def text_object(value: Mapping[str, Any], now: float = 0.0) -> tuple[Node, ...]:
    """Returns what a text object of either type shows."""
    if value["type"] == "mrkdwn":
        return mrkdwn(value["text"], now)
    return plain_text(value["text"], emoji=value.get("emoji", True))


def rich_text(elements: Iterable[Mapping[str, Any]], now: float = 0.0) -> tuple[Node, ...]:
    """Returns what the elements of a rich text section show."""
    return tuple(_styled(_rich(element, now), element.get("style", {})) for element in elements)


def message_text(message: Mapping[str, Any], now: float = 0.0) -> tuple[Node, ...]:
    """Returns what the text of a message shows where there are no blocks."""
    text = message["text"]
    return (Node("text", unescape(text)),) if message.get("mrkdwn") is False else mrkdwn(text, now)


def visible(nodes: Iterable[Node]) -> str:
    """Returns the characters that a person sees."""
    return "".join(node.text + visible(node.children) for node in nodes)


def nodes_of(message: Mapping[str, Any], now: float = 0.0) -> Iterator[tuple[Node, ...]]:
    """Yields what is shown of a message, text by text, from the top downwards."""
    blocks = [*message.get("blocks", [])]
    for attachment in message.get("attachments", []):
        blocks += attachment.get("blocks", [])
    if not blocks and message.get("text"):
        yield message_text(message, now)
    yield from _nodes(blocks, now)


def seen(message: Mapping[str, Any], now: float = 0.0) -> str:
    """Returns all that a person reads of a message in the channel, one text per line."""
    return "\n".join(visible(nodes) for nodes in nodes_of(message, now))


def mentions_fired(message: Mapping[str, Any]) -> list[str]:
    """Returns whom a message calls when it is posted. An edit calls nobody, whatever it says.

    A mention counts where it is shown: in the blocks, and in the text if there are none.
    """
    return [node.target for nodes in nodes_of(message) for node in _flat(nodes) if node.kind == "mention"]


def acting(payload: Mapping[str, Any]) -> list[str]:
    """Returns what a Slack client would not just show: mentions, links, formatting, emoji, odd characters."""
    found = (
        [] if payload.get("mrkdwn") is False and payload.get("blocks") else _active(payload.get("text", ""))
    )
    unclear = _EXTRACT.findall(payload.get("text", ""))
    for text in _texts(payload.get("blocks", [])):
        if text["type"] == "mrkdwn":
            found += _active(text["text"])
        elif text["type"] == "plain_text" and text.get("emoji", True):
            found += _EMOJI.findall(text["text"])
        elif text["type"] == "link":
            found.append(text["url"])
    everything = json.dumps(payload, ensure_ascii=False)
    found += sorted(acting_in(everything))
    return found + [markup for markup in unclear if markup not in found]


def shown(payload: Mapping[str, Any]) -> str:
    """Returns all texts of the blocks as they were sent, one per line."""
    return "\n".join(text["text"] for text in _texts(payload.get("blocks", [])))


def _paragraphs(text: str, now: float) -> Iterator[Node]:
    """Yields the lines, those that begin with a closing bracket as quotes."""
    quoted: list[str] = []
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if match := _QUOTE.match(line):
            quoted.append(line[match.end() :])
            continue
        if quoted:
            yield Node("quote", children=tuple(_inline("\n".join(quoted), now)))
            quoted = []
        yield from _inline(line if number == len(lines) - 1 else f"{line}\n", now)
    if quoted:
        yield Node("quote", children=tuple(_inline("\n".join(quoted), now)))


def _inline(text: str, now: float) -> Iterator[Node]:
    position = 0
    for match in _TOKEN.finditer(text):
        if match.start() > position:
            yield Node("text", unescape(text[position : match.start()]))
        position = match.end()
        yield _token(str(match.lastgroup), match[str(match.lastgroup)], now)
    if position < len(text):
        yield Node("text", unescape(text[position:]))


def _token(kind: str, text: str, now: float) -> Node:
    match kind:
        case "extract":
            return _extract(text, now)
        case "code":
            return Node("code", children=(Node("text", unescape(text)),))
        case "bold" | "italic" | "strike":
            return Node(kind, children=tuple(_inline(text, now)))
        case "emoji":
            return _emoji(text)
        case _:
            return Node("link", unescape(text), unescape(text))


def _extract(body: str, now: float) -> Node:
    """Returns what stands for angle brackets and what is in them."""
    head, _, label = body.partition("|")
    if head.startswith("!date^"):
        return _date(head, unescape(label), now)
    if head.startswith(("!", "@", "#")):
        name = label.lstrip("@#") or head.lstrip("!@#").removeprefix("subteam^")
        return Node("mention", f"{'#' if head[0] == '#' else '@'}{name}", head)
    return Node("link", unescape(label or head), unescape(head))


def _date(head: str, fallback: str, now: float) -> Node:
    """Returns a moment in UTC, as somebody there who looks at it now would see it."""
    parts = head.split("^")
    try:
        moment = datetime.fromtimestamp(int(parts[1]), UTC)
        form = parts[2]
    except (IndexError, OverflowError, ValueError):
        return Node("text", fallback)
    return Node("date", formatted_date(moment, form, now), parts[3] if len(parts) > 3 else "")


def formatted_date(moment: datetime, form: str, now: float) -> str:
    """Returns a moment in one of Slack's forms, such as `{date_short_pretty} {time}`."""
    days = (moment.date() - datetime.fromtimestamp(now, UTC).date()) // timedelta(days=1)
    near = {-1: "yesterday", 0: "today", 1: "tomorrow"}.get(days, "")
    short, long = f"{moment:%b} {moment.day}, {moment.year}", f"{moment:%A, %B} {moment.day}, {moment.year}"
    date = f"{moment:%B} {moment.day}, {moment.year}"
    for token, words in (
        ("{date_num}", f"{moment:%Y-%m-%d}"), ("{date_short_pretty}", near or short), ("{date_short}", short),
        ("{date_long_pretty}", near or long), ("{date_long}", long), ("{date_pretty}", near or date),
        ("{date}", date), ("{time}", clock_time(moment)), ("{time_secs}", f"{moment:%H:%M:%S}"),
    ):  # fmt: skip
        form = form.replace(token, words)
    return form


def clock_time(moment: datetime) -> str:
    """Returns the time of day as Slack shows it: `9:15 AM`."""
    return f"{moment.hour % 12 or 12}:{moment:%M %p}"


def _emoji(name: str) -> Node:
    return Node("emoji", EMOJI.get(name, f":{name}:"), name)


def _rich(element: Mapping[str, Any], now: float) -> Node:
    """Returns what an element of a rich text section shows."""
    kind = element["type"]
    if kind in _CALLING:
        field, mark, prefix = _CALLING[kind]
        return Node("mention", f"{mark}{element[field]}", f"{prefix}{element[field]}")
    match kind:
        case "link":
            return Node("link", element.get("text") or element["url"], element["url"])
        case "emoji":
            return _emoji(element["name"])
        case "date":
            moment = datetime.fromtimestamp(element["timestamp"], UTC)
            return Node("date", formatted_date(moment, element["format"], now), element.get("url", ""))
        case _:
            return Node("text", str(element.get("text", "")))


def _styled(node: Node, style: Mapping[str, bool]) -> Node:
    for name in _STYLES:
        if style.get(name):
            node = Node(name, children=(node,))
    return node


def _nodes(value: Any, now: float) -> Iterator[tuple[Node, ...]]:
    """Yields the texts of blocks, whatever holds them."""
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item, now)
    elif isinstance(value, dict):
        if value.get("type") in {"mrkdwn", "plain_text"}:
            yield text_object(value, now)
        elif value.get("type") in {"rich_text_section", "rich_text_quote", "rich_text_preformatted"}:
            yield rich_text(value["elements"], now)
        else:
            for item in value.values():
                yield from _nodes(item, now)


def _flat(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _flat(node.children)


def _active(text: str) -> list[str]:
    """What `mrkdwn` does, looked for piece by piece instead of read."""
    found: list[str] = _EXTRACT.findall(text)
    rest = _EXTRACT.sub(" ", text)
    found += [match[0] for match in _FORMATTING.finditer(rest)]
    found += re.findall(r"^\s*(?:>|&gt;)", rest, re.MULTILINE)
    found += _EMOJI.findall(rest)
    for pattern in _AUTOMATIC:
        found += pattern.findall(rest)
    return found


def _texts(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every text object and every rich text element that holds a text."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value
        for item in value.values():
            yield from _texts(item)
