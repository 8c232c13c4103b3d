"""Pure: other people's text made safe to show, and cut to length.

Text keeps its spaces, tabs, lines, indentation, joiners and variation selectors, because a person decides on
them. Only characters that act on their surroundings are replaced, by a visible mark.
"""

import json
import re
from collections.abc import Callable
from typing import Final

MARK: Final = "\N{REPLACEMENT CHARACTER}"

_LINE_ENDS: Final = re.compile("\r\n|[\r\x85\u2028\u2029]")
_FLAG: Final = "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]+\U000e007f)"
"""The flag of a region is spelled in tag characters: a black flag, its letters, and an end."""
_ACTS: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f"
)
"""Controls, lone surrogates, bidirectional embeddings, overrides and isolates, deprecated format characters,
the byte order mark, interlinear annotations and tags (Unicode Standard, chapter 23)."""
_HIDDEN: Final = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2064\u2800\u3164"
    "\ufe00-\ufe0f\uffa0\U0001d173-\U0001d17a\U000e0100-\U000e01ef"
)
"""Characters that act on nothing and show nothing: joiners, fillers, blank letters, variation selectors."""
INVISIBLE: Final = f"{_ACTS}{_HIDDEN}{MARK}"
"""All of them, and the mark that replaces some, for a class of a regular expression."""

_ACTING: Final = re.compile(f"{_FLAG}|[{_ACTS}]")
_UNSEEN: Final = re.compile(f"[{_ACTS}{_HIDDEN}\u2028\u2029]")
_INVISIBLE: Final = re.compile(f"{_FLAG}|[{_ACTS}\u2028\u2029]|(?<![^\x00-\x7f])[{_HIDDEN}](?!\u20e3)")
"""Joiners and selectors after a character that is not ASCII belong to a word or an emoji, and a selector
before U+20E3 to a keycap."""
_BLANK: Final = re.compile(f"[\\s{_HIDDEN}]*")


def clean_lines(text: str) -> str:
    """Returns the text as it is, with its lines, but without characters that act on their surroundings."""
    if text.isprintable():
        return text
    return _ACTING.sub(lambda match: match[1] or MARK, _LINE_ENDS.sub("\n", text))


def one_line(text: str) -> str:
    """Returns the text like `clean_lines`, as one line in which every run of whitespace is one space."""
    return " ".join(clean_lines(text).split())


def dedent(text: str) -> str:
    """Returns the text without outer blank lines and without the indentation that all its lines share."""
    lines = text.split("\n")
    full = [number for number, line in enumerate(lines) if line.strip()]
    if not full:
        return ""
    indents = [lines[number][: -len(lines[number].lstrip())] for number in full]
    least, most = min(indents), max(indents)
    margin = next((at for at, space in enumerate(least) if most[at] != space), len(least))
    return "\n".join(line[margin:] for line in lines[full[0] : full[-1] + 1])


def escape_invisible(text: str) -> str:
    """Returns the text with JSON's escapes for what acts or is not seen, so that no two texts look alike."""
    if not _UNSEEN.search(text):  # as in most texts; this search is much quicker
        return text
    return _INVISIBLE.sub(lambda match: match[1] or json.dumps(match[0])[1:-1], text)


def is_blank(text: str) -> bool:
    """Returns whether a text shows nothing: it is empty, or of spaces and invisible characters only."""
    return _BLANK.fullmatch(text) is not None


def truncate(text: str, limit: int, *, size: Callable[[str], int] = len, missing: int = 0) -> str:
    """Returns the text, or its beginning and how many characters are missing, at most `limit` in size.

    `missing` characters are not even in the text. `size` measures a text as its destination will, for
    example after escaping; it must not be less than the number of characters, nor shrink when a character
    is added.
    """
    if not missing and len(text) <= limit and size(text) <= limit:
        return text
    shortest, longest = 0, min(limit, len(text))
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if size(_cut_at(text, middle, missing)) <= limit:
            shortest = middle
        else:
            longest = middle - 1
    shown = _cut_at(text, shortest, missing)
    return shown if size(shown) <= limit else "…"[:limit]


def truncate_middle(text: str, limit: int) -> str:
    """Returns the text, or its head and tail with how many characters are missing between, within `limit`.

    Where a line ends nearby, the cut is made there. A limit with no room for that note leaves the note alone.
    """
    if len(text) <= limit:
        return text
    room = max(0, limit - len(cut_note(len(text))))
    tail_size = room * 2 // 5
    head, tail = text[: room - tail_size], text[len(text) - tail_size :]
    head = head[: head.rfind("\n", len(head) // 2) + 1] or head
    tail = tail[max(0, tail.find("\n", 0, len(tail) // 2)) :]
    return f"{head}{cut_note(len(text) - len(head) - len(tail))}{tail}"


def cut_note(missing: int) -> str:
    """Returns the note that stands for `missing` characters within a text."""
    return f"… ({missing} more characters) …"


def _cut_at(text: str, length: int, missing: int) -> str:
    return f"{text[:length].rstrip()}… ({len(text) - length + missing} more characters)"
