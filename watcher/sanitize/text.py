"""Pure: other people's text, made safe to show where control characters would act, and cut to length."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

_DEEPEST_INDENT: Final = 16
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """Returns the text as one line in which no character acts on its surroundings.

    Control characters and lone surrogates become U+FFFD, format characters (Unicode category Cf: overrides
    of direction, zero-width characters, invisible tags) go, every run of whitespace becomes one space.
    """
    return " ".join(_harmless(text).split())


def clean_lines(text: str) -> str:
    """Returns the text like `printable`, but keeps its lines, their indentation and single blank lines."""
    shown = "\n".join(_indented(line) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", shown).strip("\n")


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


class _Harmless(dict[int, str]):
    """What to show for each code point, found out once: `str.translate` is much faster than a loop."""

    def __missing__(self, code_point: int) -> str:
        self[code_point] = _shown(chr(code_point))
        return self[code_point]


def _harmless(text: str) -> str:
    return text if text.isprintable() else text.translate(_HARMLESS)


def _shown(character: str) -> str:
    if character.isprintable() or character.isspace():
        return character
    category = unicodedata.category(character)
    if category in {"Cc", "Cs"}:
        return _REPLACEMENT
    return "" if category == "Cf" else character


def _indented(line: str) -> str:
    shown = one_line(line)
    indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
    return " " * min(indent, _DEEPEST_INDENT) + shown if shown else ""


def _cut_at(text: str, length: int, missing: int) -> str:
    return f"{text[:length].rstrip()}… ({len(text) - length + missing} more characters)"


_HARMLESS: Final = _Harmless()
