"""Parameters as text: what stays as it is, and what is told apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.characters import acting_in
from tests.support.strategies import any_text, json_values
from watcher.messages.values import ShownValue, brief_parameters, map_leaves, show_name, show_value
from watcher.models import Json
from watcher.sanitize.redactor import MASK


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        (None, "(none)", "note"),
        ("", "(empty)", "note"),
        (MASK, MASK, "note"),
        (" \u200b", "(nothing visible, 2 characters)", "note"),
        ("\u3164", "(nothing visible, 1 character)", "note"),
        ("plain words", "plain words", "line"),
        (620, "620", "line"),
        (True, "true", "line"),
        (1.50, "1.5", "line"),
        (float("nan"), "NaN", "line"),
        ([], "[]", "line"),
        ("a  b", "a  b", "block"),
        (" a", " a", "block"),
        ("a ", "a ", "block"),
        ("a\tb", "a\tb", "block"),
        ("if x:\n    y()\n", "if x:\n    y()\n", "block"),
        ("w" * 161, "w" * 161, "block"),
        ({"a": {"b": [1, None, "x\ny"]}}, json.dumps({"a": {"b": [1, None, "x\ny"]}}, indent=2), "block"),
        (["Zoë"], '[\n  "Zoë"\n]', "block"),
        ({"k": "\u202ex\u200b"}, '{\n  "k": "\\u202ex\\u200b"\n}', "block"),
        ("left\u202eright", "left\ufffdright", "line"),
    ],
)
def test_values(value: Json, text: str, kind: str) -> None:
    """Lines, spaces and indentation stay, nested values are JSON, and what is not there is said by us."""
    assert (text, kind) == (show_value(value).text, show_value(value).kind)


def test_a_value_that_cannot_be_written() -> None:
    """What Python cannot write as JSON, for its depth or its digits, is said to be that."""
    assert show_value(10**5000) == ShownValue("(cannot be shown)", "line")
    value: Json = []
    for _ in range(100_000):
        value = [value]
    assert show_value(value) == ShownValue("(cannot be shown)", "block")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("amount", "amount"),
        ("data.order-id", "data.order-id"),
        ("betrag_€", '"betrag_€"'),
        ("amount (editable)", '"amount (editable)"'),
        ("", '""'),
        ("am\u200bount", '"am\\u200bount"'),
        ("a\nb", '"a\\nb"'),
        ('"', '"\\""'),
        ("\u202e", '"\\u202e"'),
    ],
)
def test_names(name: str, expected: str) -> None:
    """A name that is no plain word is quoted, so that none passes for another or for words of ours."""
    assert expected == show_name(name)


@given(st.lists(any_text, min_size=2, max_size=6, unique=True))
def test_no_two_names_look_alike(names: list[str]) -> None:
    """Names that differ are shown differently, each in one line without a character that acts."""
    shown = [show_name(name) for name in names]
    assert len(set(shown)) == len(names)
    assert [] == [name for name in shown if acting_in(name)]


@given(json_values)
def test_any_value_is_harmless(value: Json) -> None:
    """No character of a shown value acts but its line breaks."""
    assert set() == acting_in(show_value(value).text) - {"\n"}


@pytest.mark.parametrize(
    ("params", "room", "expected"),
    [
        ({"amount": 620, "order": "A-7"}, 100, "amount: 620, order: A-7"),
        ({"data": {"ids": ["a", "b"], "x": None}, "url": ""}, 100, "data.ids[0]: a, data.ids[1]: b"),
        ({"token": MASK, "n": 1}, 100, "n: 1"),
        ({"code": "if x:\n  y"}, 100, "code: if x: y"),
        ({"long": "w" * 100, "n": 1}, 100, f"long: {'w' * 18}… (82 more characters), n: 1"),
        ({"a": 1, "b": 2, "c": 3}, 10, "a: 1, b: 2"),
        ({"only": "w" * 100}, 60, f"only: {'w' * 32}… (68 more characters)"),
        ({"long": "w" * 5000, "n": 1}, 100, f"long: {'w' * 16}… (4984 more characters), n: 1"),
        (["x"], 100, "[0]: x"),
        ("text", 100, "params: text"),
        (None, 100, ""),
        ({"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}, 100, ""),
    ],
)
def test_the_first_parameters_in_a_line(params: Json, room: int, expected: str) -> None:
    """The first values that tell something stand in a line, each by its path."""
    assert expected == brief_parameters(params, room)


@given(json_values, st.integers(1, 200))
def test_the_first_parameters_fit(params: Json, room: int) -> None:
    """Whatever the parameters are, the line is one and is not too long."""
    line = brief_parameters(params, room)
    assert (len(line) <= room, acting_in(line)) == (True, set())


def test_names_that_become_alike_stay_apart() -> None:
    """A change that makes two names one loses no value."""
    assert map_leaves({"aa": 1, "ab": "ac"}, lambda text: text[:1]) == {"a": 1, "a'": "a"}
