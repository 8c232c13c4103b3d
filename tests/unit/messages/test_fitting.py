"""A message made to fit is never too long and never shorter than it must be, and says what is missing."""

import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.support.events import DIGEST, request_event
from watcher.messages import Message, Question, Row, fit, plain_text, render, show_name
from watcher.models import Json

MISSING: Final = re.compile(r"… \((\d+) more characters\) …")

_texts = st.text(string.ascii_letters + " \n", max_size=30) | st.builds(
    lambda word, times: f"{word} " * times, st.text("abc\n", min_size=1, max_size=9), st.integers(1, 400)
)
_values = st.recursive(
    _texts | st.integers() | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
_params = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=9), _values, max_size=12)


def length(message: Message) -> int:
    """Returns the size of a message as a destination of plain text measures it."""
    return len(plain_text(message))


def escaped_length(message: Message) -> int:
    """Returns the size of a message where quotes and line breaks take more room."""
    return len(json.dumps(plain_text(message)))


def asked(prompt: str, params: Json) -> Message:
    """Returns the message of a request."""
    return render(request_event(prompt, params))


@settings(deadline=None)
@given(_texts, _params, st.integers(700, 6000), st.sampled_from([length, escaped_length]))
def test_never_over_the_limit(
    prompt: str, params: Json, room: int, measure: Callable[[Message], int]
) -> None:
    """Whatever is asked, the message fits, by the measure of its destination."""
    assert measure(fit(asked(prompt, params), room, measure)) <= room


@settings(deadline=None)
@given(_texts, _params, st.integers(0, 2000))
def test_nothing_is_cut_while_the_whole_fits(prompt: str, params: Json, spare: int) -> None:
    """A message that fits stays as it is, to the last character of the room."""
    message = asked(prompt, params)
    assert message is fit(message, length(message) + spare, length)


@settings(deadline=None)
@example("\n\n\na " * 171, dict.fromkeys("abcdefghijk", "x" * 30), escaped_length)
@given(_texts, _params, st.sampled_from([length, escaped_length]))
def test_every_name_is_there(prompt: str, params: dict[str, Json], measure: Callable[[Message], int]) -> None:
    """Every parameter keeps its name and some of its value while there is room, whatever a prompt costs."""
    shown = fit(asked(prompt, params), 2500, measure)
    assert shown.dropped_rows == 0
    assert [row.name for row in shown.rows] == list(params)
    assert [] == [row.name for row in shown.rows if not row.shown.text]


@settings(deadline=None)
@given(st.text("abc \n", max_size=3000), st.integers(800, 2500))
def test_what_is_missing_is_counted(text: str, room: int) -> None:
    """What is shown and what is said to be missing add up to the whole, whose head and tail are there."""
    assume(text.strip() == text)
    (row,) = fit(asked("Proceed?", {"text": text or "x"}), room, length).rows
    head, *found = MISSING.split(str(row.value))
    if found:
        missing, tail = found
        assert len(head) + int(missing) + len(tail) == len(text)
        assert text.startswith(head)
        assert text.endswith(tail)
    else:
        assert row.value == (text or "x")


def leaves(value: Json) -> Iterator[str]:
    """Yields the texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)


def test_the_longest_text_gives_way_first() -> None:
    """Inside a nested value the longest text loses its middle, and everything short around it stays."""
    params = {"data": {"body": "b" * 5000, "to": ["a@x.example", "b@x.example"], "cc": "c" * 100}, "n": 1}
    shown = fit(asked("Send it?", params), 2000, length)
    assert [len(text) for text in leaves(shown.rows[0].value)][1:] == [11, 11, 100]
    assert length(shown) == 2000


def test_long_texts_lose_evenly() -> None:
    """Of several long texts none is spared at the cost of another."""
    params = {name: name * size for name, size in (("a", 2000), ("b", 3000), ("c", 4000), ("d", 200))}
    shown = fit(asked("Proceed?", params), 3000, length)
    sizes = [len(str(row.value)) for row in shown.rows]
    assert max(sizes[:3]) - min(sizes[:3]) <= 1
    assert sizes[3] == 200


def test_values_give_way_before_the_prompt() -> None:
    """While values are long the prompt stays whole."""
    prompt = "word " * 300 + "Proceed?"
    shown = fit(asked(prompt, {"log": "l" * 9000}), 3000, length)
    assert (shown.body, len(str(shown.rows[0].value)) > 1000) == (prompt, True)


def test_the_end_of_the_prompt_stays() -> None:
    """However long a prompt is, its end, where the question often stands, is shown."""
    shown = fit(asked("word " * 100_000 + "Proceed?", {"log": "l" * 9000}), 2000, length)
    assert shown.body.endswith("word Proceed?")
    assert "more characters) …" in shown.body
    assert 900 <= len(shown.body) <= 1000
    assert len(str(shown.rows[0].value)) > 600


def test_a_file_gives_way_to_text() -> None:
    """Of a file as base64 little is shown, and the text beside it stays whole."""
    query = "SELECT 1;\n" * 100
    shown = fit(asked("Run it?", {"file": "Ab3/" * 2000, "query": query}), 3000, length)
    assert [len(str(row.value)) for row in shown.rows] == [200, len(query)]


def test_more_parameters_than_there_is_room_for() -> None:
    """The first parameters are shown, the others counted, and the prompt is not given up for them."""
    params = {f"name{number}": "v" * 500 for number in range(5000)}
    shown = fit(asked("p" * 600, params), 3000, length)
    assert (len(shown.rows) + shown.dropped_rows, shown.body) == (5000, "p" * 600)
    assert len(shown.rows) > 30


def test_a_value_of_very_many_values() -> None:
    """Of a long list its beginning and its end are shown."""
    shown = fit(asked("Delete them?", {"ids": [f"id-{number}" for number in range(50_000)]}), 2000, length)
    text = shown.rows[0].shown.text
    assert text.startswith('[\n  "id-0",\n  "id-1"')
    assert text.endswith('"id-49999"\n]')
    assert len(MISSING.findall(text)) == 1


def test_a_value_of_many_short_texts() -> None:
    """A value whose texts are all too short to be cut is cut as a whole, and the prompt stays."""
    ids = [f"number {number:04} of the list" for number in range(200)]
    shown = fit(asked("Delete them?", {"ids": ids}), 2000, length)
    text = shown.rows[0].shown.text
    assert text.startswith('[\n  "number 0000 of the list",\n')
    assert text.endswith('"number 0199 of the list"\n]')
    assert (1, "Delete them?") == (len(MISSING.findall(text)), shown.body)


def test_questions_are_shortened_too() -> None:
    """Long questions and options lose their middle like other texts, and each option is shown."""
    asks = Question("q" * 5000, options=("a" * 5000, "b" * 5000), rule="Choose one.")
    shown = fit(replace(asked("Which?", {}), questions=(asks,)), 1500, length)
    (question,) = shown.questions
    assert [True, True, True] == [bool(MISSING.search(text)) for text in (question.text, *question.options)]
    assert length(shown) <= 1500


@pytest.mark.parametrize("room", [1, 50, 160, 400])
def test_no_room_at_all(room: int) -> None:
    """In the least room everything that can be shortened is, and nothing fails."""
    message = asked("p" * 5000, {str(number): "v" * 500 for number in range(50)})
    shown = fit(message, room, length)
    assert (len(shown.rows) + shown.dropped_rows, len(shown.body) <= 40) == (50, True)


def test_requests_of_a_digest_are_counted() -> None:
    """What a shorter version of a digest does not name it counts, together with what was not named before."""
    message = replace(render(DIGEST), items=render(DIGEST).items * 20)
    shown = fit(message, 1000, length)
    assert length(shown) <= 1000
    assert len(shown.items) + shown.dropped_items == 40 + render(DIGEST).dropped_items


def test_names_are_shortened_too() -> None:
    """A name of any length leaves room for its value."""
    shown = fit(asked("Proceed?", {"n" * 9000: "value"}), 1000, length)
    assert shown.rows[0].value == "value"
    assert len(show_name(shown.rows[0].name)) < 800
    assert Row("x").shown.text == "(none)"
