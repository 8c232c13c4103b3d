"""Other people's text: what stays, what is marked, and what is cut."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.characters import acting_in
from tests.support.strategies import any_text
from watcher.sanitize.text import (
    MARK,
    clean_lines,
    dedent,
    escape_invisible,
    is_blank,
    one_line,
    truncate,
    truncate_middle,
)

FLAG = "\N{WAVING BLACK FLAG}\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
KEPT = (
    "plain",
    "  two  spaces, a\ttab \n\n    and lines  \n",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL} \N{HEAVY BLACK HEART}\ufe0f 1\ufe0f\u20e3",
    FLAG,
    "\u05d0\u200f(\u05d1)\u200e",
    "soft\xadhyphen zero\u200bwidth \xa0nbsp\u3164",
    "\u65e5\u672c\u8a9e \N{GRINNING FACE} \xe9",
)
MARKED = {
    "\x1b[31mred\x1b[0m": f"{MARK}[31mred{MARK}[0m",
    "bell\x07 back\x08 \x0b\x0c\x7f\x9f": f"bell{MARK} back{MARK} {MARK}{MARK}{MARK}{MARK}",
    "\u202etxt.exe\u202c \u2066x\u2069": f"{MARK}txt.exe{MARK} {MARK}x{MARK}",
    "order\ufeff": f"order{MARK}",
    "half \ud83d of a pair": f"half {MARK} of a pair",
    "tag\U000e0041\U000e0001": f"tag{MARK}{MARK}",
    "\N{WAVING BLACK FLAG}\U000e0041": f"\N{WAVING BLACK FLAG}{MARK}",
    "\ufff9a\ufffab\ufffb \u206e": f"{MARK}a{MARK}b{MARK} {MARK}",
    "win\r\nmac\runix\nline\u2028paragraph\u2029next\x85": "win\nmac\nunix\nline\nparagraph\nnext\n",
}


@pytest.mark.parametrize("text", KEPT)
def test_what_stays(text: str) -> None:
    """Spaces, tabs, lines, indentation, joiners, selectors and marks of direction are part of the text."""
    assert text == clean_lines(text)


@pytest.mark.parametrize(("text", "expected"), MARKED.items())
def test_what_is_marked(text: str, expected: str) -> None:
    """Only a character that acts on its surroundings is replaced by a mark; line ends become one kind."""
    assert expected == clean_lines(text)


@settings(deadline=None)
@given(any_text)
def test_any_text_is_harmless(text: str) -> None:
    """Whatever comes in, no character that acts comes out, and nothing but such a character is changed."""
    shown = clean_lines(text)
    assert set() == acting_in(shown) - {"\n"}
    assert shown == clean_lines(shown)
    kept = shown.replace(MARK, "").replace("\n", "")
    assert (
        kept
        == "".join(
            character for character in text.replace(MARK, "") if character in FLAG or not acting_in(character)
        ).replace("\n", "")
        or FLAG[0] in text
    )


@settings(deadline=None)
@given(any_text)
def test_one_line_is_one_line(text: str) -> None:
    """In one line there is no line break, no tab and no run of spaces."""
    shown = one_line(text)
    assert set() == {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert "  " not in shown
    assert shown == one_line(shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n    a\n      b\n\n    c\n  ", "a\n  b\n\nc"),
        ("a\n  b", "a\n  b"),
        ("\ta\n\t  b", "a\n  b"),
        ("\ta\n    b", "\ta\n    b"),
        ("  a  \n \n  b", "a  \n\nb"),
        ("    \n\t\n", ""),
        ("", ""),
    ],
)
def test_dedent(text: str, expected: str) -> None:
    """The indentation that all lines share goes, and blank lines around; trailing spaces stay."""
    assert expected == dedent(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (" \t\n", True),
        ("\u3164\u2800\u115f\u1160\uffa0\u200b\u00ad\u034f\ufe0f\u2060", True),
        ("\u202e", False),
        (".", False),
        ("\u3164x", False),
    ],
)
def test_blank(text: str, *, expected: bool) -> None:
    """A text of nothing but spaces and letters that show nothing is blank."""
    assert expected == is_blank(text)


@given(st.text("a\u200b\u202e\u2028\u3164\ufe0f \xad", max_size=8), st.text("a\u200b\u3164", max_size=8))
def test_escaped_texts_differ(one: str, other: str) -> None:
    """Within ASCII everything invisible is escaped as in JSON, so that the text can be read back."""
    shown = escape_invisible(one)
    assert one == json.loads(f'"{shown}"')
    assert (one == other) == (shown == escape_invisible(other))


def test_escapes_spare_words_and_emoji() -> None:
    """Joiners and selectors that belong to a word, an emoji or a keycap stay."""
    for text in (KEPT[2], KEPT[3], FLAG):
        assert text == escape_invisible(text)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("0123456789" * 10, 50, "012345678901234… (75 more characters) …0123456789"),
        ("line\n" * 30, 60, "line\nline\nline\nline\n… (119 more characters) …\nline\nline\n"),
        ("x" * 100, 3, "… (100 more characters) …"),
    ],
)
def test_the_middle_is_cut(text: str, limit: int, expected: str) -> None:
    """Head and tail stay, cut at lines where there are any, with the number of characters between."""
    assert expected == truncate_middle(text, limit)


@given(st.text("ab\n", max_size=400), st.integers(30, 300))
def test_head_and_tail_add_up(text: str, limit: int) -> None:
    """The result fits, and what is shown and what is counted are the whole."""
    shown = truncate_middle(text, limit)
    assert len(shown) <= limit
    head, note, rest = shown.partition("… (")
    if note:
        missing, _, tail = rest.partition(" more characters) …")
        assert (text.startswith(head), text.endswith(tail)) == (True, True)
        assert len(head) + int(missing) + len(tail) == len(text)
    else:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("x" * 100, 30, "xxxxxxxx… (92 more characters)"),
        ("some words " * 10, 33, "some words… (99 more characters)"),
        ("x" * 100, 3, "…"),
        ("x", 0, ""),
    ],
)
def test_cut(text: str, limit: int, expected: str) -> None:
    """What is missing is counted, within the limit where that has room for it."""
    assert expected == truncate(text, limit)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("abc", 100, "abc… (7 more characters)"), ("a" * 60, 30, "aaaaaaaa… (59 more characters)")],
)
def test_cut_counts_what_was_missing_before(text: str, limit: int, expected: str) -> None:
    """Of a text that is only a beginning the note counts the characters of the whole."""
    assert expected == truncate(text, limit, missing=7)


@settings(deadline=None)
@given(st.text("a&é😀 ", max_size=300), st.integers(0, 200))
def test_cut_measures_with_the_given_size(text: str, limit: int) -> None:
    """The result fits by the destination's measure, and a text that fits is left alone."""

    def size(shown: str) -> int:
        return len(shown.replace("&", "&amp;"))

    shown = truncate(text, limit, size=size)
    assert size(shown) <= limit
    assert (shown == text) == (size(text) <= limit)
