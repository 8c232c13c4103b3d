"""Other people's text on a line, in lines, and cut."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.strategies import any_text
from watcher.sanitize.text import clean_lines, one_line, truncate


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain", "plain"),
        ("  two\n\tlines \r\n", "two lines"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("bell\x07 back\x08", "bell\ufffd back\ufffd"),
        ("\u202etxt.exe\u202c \u2066x\u2069", "txt.exe x"),
        ("zero\u200bwidth\ufeff \u00adsoft", "zerowidth soft"),
        ("line\u2028paragraph\u2029end\x85", "line paragraph end"),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
        ("tag\U000e0041", "tag"),
        ("日本語 😀 \u00a0é", "日本語 😀 é"),
    ],
)
def test_printable(given: str, expected: str) -> None:
    """Every kind of character that would act is taken out or made visible."""
    assert expected == one_line(given)


@settings(deadline=None)
@given(any_text)
def test_printable_is_one_harmless_line(text: str) -> None:
    """Whatever comes in, nothing that controls, formats or breaks a line comes out."""
    shown = one_line(text)
    assert set() == {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown == one_line(shown)


def test_multiline_keeps_lines_and_indentation() -> None:
    """Lines, indentation and single blank lines survive; floods of either do not."""
    assert clean_lines("\n\r\na\r\n\tb   c\n\n \n\n\nd\x0b\n") == "a\n    b c\n\nd"
    assert clean_lines(" " * 500 + "far") == " " * 16 + "far"
    assert clean_lines(" \n\t\n\u200b") == ""


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
