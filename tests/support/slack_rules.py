"""What Slack refuses: its documented limits and forms, read as strictly as they can be.

Block Kit: https://docs.slack.dev/reference/block-kit/blocks and the pages below it. What is not documented is
marked so. Block types that the watcher has no use for count as unknown.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

TEXT_MAX: Final = 3000
HEADER_MAX: Final = 150
BLOCKS_MAX: Final = 50
FIELDS_MAX: Final = 10
FIELD_MAX: Final = 2000
CONTEXT_MAX: Final = 10
ACTIONS_MAX: Final = 25
BUTTON_MAX: Final = 75
ID_MAX: Final = 255
URL_MAX: Final = 3000
ATTACHMENTS_MAX: Final = 100
MESSAGE_MAX: Final = 4000
"""Of a text without blocks: Slack may split a longer post, and takes no longer edit."""
TOTAL_MAX: Final = 13_000
"""Not documented; a message fails near 13,200 characters in all."""
METADATA_MAX: Final = 8000
"""Not documented: Slack names the error, but no figure."""

_STYLES: Final = frozenset({"bold", "italic", "strike", "code", "underline", "highlight", "client_highlight"})
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:\S+", re.IGNORECASE)
_EVENT_TYPE: Final = re.compile(r"\w{1,255}", re.ASCII)

Complaints = Iterator[str]


def refused(payload: Mapping[str, Any]) -> str:
    """Returns the error code with which Slack refuses a message, or nothing."""
    return next(_refusals(payload), "")


def complaints(blocks: list[dict[str, Any]]) -> Complaints:
    """Yields what is wrong with blocks, each with its place as a JSON pointer."""
    if len(blocks) > BLOCKS_MAX:
        yield f"no more than {BLOCKS_MAX} items allowed [/blocks]"
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)):
        yield "block_id is not unique [/blocks]"
    for number, block in enumerate(blocks):
        check = _BLOCKS.get(block.get("type", ""))
        if check is None:
            yield f"unsupported type {block.get('type')!r} [/blocks/{number}]"
            continue
        if not 0 < size(block.get("block_id", "x")) <= ID_MAX:
            yield f"block_id is empty or too long [/blocks/{number}]"
        for words in check(block):
            yield f"{words} [/blocks/{number}]"
    actions = [value for value in _values(blocks, "action_id") if value]
    if len(actions) != len(set(actions)):
        yield "action_id is not unique [/blocks]"


def size(text: str) -> int:
    """Counts in UTF-16 units, the strictest way of reading a limit on characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _refusals(payload: Mapping[str, Any]) -> Iterator[str]:
    text, blocks = payload.get("text") or "", payload.get("blocks") or []
    attachments = payload.get("attachments") or []
    if not text and not blocks and not attachments:
        yield "no_text"
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        yield "invalid_blocks_format"
    if next(complaints(blocks), ""):
        yield "invalid_blocks"
    if size(json.dumps(blocks, ensure_ascii=False)) + size(text) > TOTAL_MAX:
        yield "msg_blocks_too_long"
    if not blocks and size(text) > MESSAGE_MAX:
        yield "msg_too_long"
    if len(attachments) > ATTACHMENTS_MAX:
        yield "too_many_attachments"
    if any(next(complaints(attachment.get("blocks", [])), "") for attachment in attachments):
        yield "invalid_attachments"
    if "metadata" in payload:
        yield from _metadata(payload["metadata"])


def _header(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, {"text"})
    yield from _text(block.get("text"), HEADER_MAX, kinds=("plain_text",))


def _section(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, set(), {"text", "fields", "accessory", "expand"})
    if "text" not in block and not block.get("fields"):
        yield "neither text nor fields"
    if "text" in block:
        yield from _text(block["text"], TEXT_MAX)
    yield from _number_of(block.get("fields", ["one"]), FIELDS_MAX)
    for text in block.get("fields", []):
        yield from _text(text, FIELD_MAX)
    if "accessory" in block:
        yield from _action(block["accessory"])


def _context(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, {"elements"})
    yield from _number_of(block.get("elements"), CONTEXT_MAX)
    for element in block.get("elements", []):
        if element.get("type") == "image":
            yield from _image(element)
        else:
            yield from _text(element, TEXT_MAX)


def _image(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, {"image_url", "alt_text"}, {"title"})
    yield from _url(block.get("image_url"))


def _divider(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, set())


def _actions(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, {"elements"})
    yield from _number_of(block.get("elements"), ACTIONS_MAX)
    for element in block.get("elements", []):
        yield from _action(element)


def _action(element: dict[str, Any]) -> Complaints:
    """Of the interactive elements only the button is known here."""
    if element.get("type") != "button":
        yield f"unsupported element {element.get('type')!r}"
        return
    yield from _fields(element, {"text"}, {"action_id", "url", "value", "style", "accessibility_label"})
    yield from _text(element.get("text"), BUTTON_MAX, kinds=("plain_text",))
    if "url" in element:
        yield from _url(element["url"])
    if element.get("style", "primary") not in {"primary", "danger"}:
        yield "unknown style of a button"
    limits = {"action_id": ID_MAX, "value": 2000, "accessibility_label": BUTTON_MAX}
    yield from (
        f"{name} is too long" for name, limit in limits.items() if size(element.get(name, "")) > limit
    )


def _rich_text(block: dict[str, Any]) -> Complaints:
    yield from _fields(block, {"elements"})
    if not block.get("elements"):
        yield "no elements"
    for element in block.get("elements", []):
        match element.get("type"):
            case "rich_text_section":
                yield from _rich_section(element, _ELEMENTS)
            case "rich_text_quote":
                yield from _rich_section(element, _ELEMENTS, {"border"})
            case "rich_text_preformatted":
                allowed = {name: _ELEMENTS[name] for name in ("text", "link")}
                yield from _rich_section(element, allowed, {"border", "language"})
            case "rich_text_list":
                yield from _rich_list(element)
            case other:
                yield f"unsupported element {other!r} of a rich text"


def _rich_list(element: dict[str, Any]) -> Complaints:
    yield from _fields(element, {"elements", "style"}, {"indent", "offset", "border"})
    if element.get("style") not in {"bullet", "ordered"}:
        yield "unknown style of a list"
    if element.get("border", 0) not in {0, 1} or not 0 <= element.get("indent", 0) <= 8:
        yield "border or indent out of range"
    for item in element.get("elements", []):
        if item.get("type") != "rich_text_section":
            yield "an item of a list that is no section"
        yield from _rich_section(item, _ELEMENTS)


def _rich_section(
    section: dict[str, Any], allowed: Mapping[str, set[str]], optional: set[str] | None = None
) -> Complaints:
    yield from _fields(section, {"elements"}, optional)
    for element in section.get("elements", []):
        kind = element.get("type", "")
        if kind not in allowed:
            yield f"unsupported element {kind!r} in {section.get('type')!r}"
            continue
        optional_of = {
            "text": set(),
            "link": {"text", "unsafe"},
            "date": {"url", "fallback"},
            "emoji": {"unicode"},
        }
        yield from _fields(element, allowed[kind], {"style", *optional_of.get(kind, set())})
        yield from _rich_element(element)


def _rich_element(element: dict[str, Any]) -> Complaints:
    style = element.get("style", {})
    if not isinstance(style, dict) or not style.keys() <= _STYLES:
        yield f"unknown style {style!r}"
    elif not all(isinstance(value, bool) for value in style.values()):
        yield "a style that is neither true nor false"
    if "text" in element and not 0 < size(element["text"]) <= TEXT_MAX:
        yield "a text that is empty or too long"
    if "url" in element:
        yield from _url(element["url"])
    if element["type"] == "broadcast" and element.get("range") not in {"here", "channel", "everyone"}:
        yield "unknown range of a broadcast"
    if element["type"] == "date" and not isinstance(element.get("timestamp"), int):
        yield "a timestamp that is no whole number"


def _text(value: Any, limit: int, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> Complaints:
    if not isinstance(value, dict) or value.get("type") not in kinds:
        yield f"no text object of {' or '.join(kinds)}"
        return
    yield from _fields(value, {"text"}, {"emoji" if value["type"] == "plain_text" else "verbatim"})
    text = value.get("text")
    if not isinstance(text, str) or not text:
        yield "must be more than 0 characters"
    elif size(text) > limit:
        yield f"must be less than {limit + 1} characters"


def _fields(value: Mapping[str, Any], required: set[str], optional: set[str] | None = None) -> Complaints:
    """Yields the fields that are missing, those that Slack does not know, and those without a value."""
    known = {"type", "block_id", *required, *(optional or set())}
    yield from (f"missing required field: {name}" for name in sorted(required - value.keys()))
    yield from (f"invalid additional property: {name}" for name in sorted(value.keys() - known))
    yield from (f"null is no value: {name}" for name, item in value.items() if item is None)


def _number_of(items: Any, limit: int) -> Complaints:
    if not isinstance(items, list) or not 0 < len(items) <= limit:
        yield f"between 1 and {limit} items are allowed"


def _url(url: Any) -> Complaints:
    if not isinstance(url, str) or not _URL.fullmatch(url) or size(url) > URL_MAX:
        yield "no URL, or one that is too long"


def _metadata(metadata: Any) -> Iterator[str]:
    """https://docs.slack.dev/messaging/message-metadata: a type, and an object of plain values and lists."""
    if not isinstance(metadata, dict) or metadata.keys() != {"event_type", "event_payload"}:
        yield "invalid_metadata_format"
        return
    event_type, event_payload = metadata["event_type"], metadata["event_payload"]
    if not isinstance(event_type, str) or not _EVENT_TYPE.fullmatch(event_type):
        yield "invalid_metadata_format"
    if not isinstance(event_payload, dict) or None in event_payload.values():
        yield "invalid_metadata_schema"
    if size(json.dumps(metadata, ensure_ascii=False)) > METADATA_MAX:
        yield "metadata_too_large"


def _values(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, name)
    elif isinstance(value, dict):
        if name in value:
            yield value[name]
        for item in value.values():
            yield from _values(item, name)


_ELEMENTS: Final[Mapping[str, set[str]]] = {
    "text": {"text"},
    "link": {"url"},
    "emoji": {"name"},
    "user": {"user_id"},
    "usergroup": {"usergroup_id"},
    "channel": {"channel_id"},
    "broadcast": {"range"},
    "date": {"timestamp", "format"},
    "color": {"value"},
    "team": {"team_id"},
}
"""What may stand in a section of rich text, each with the fields that it needs."""

_BLOCKS: Final[Mapping[str, Callable[[dict[str, Any]], Complaints]]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "image": _image,
    "divider": _divider,
    "actions": _actions,
    "rich_text": _rich_text,
}
