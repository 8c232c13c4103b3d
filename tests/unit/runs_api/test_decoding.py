"""JSON documents, and how large ones are read in steps."""

import json
import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import any_text
from watcher.models import Json
from watcher.runs_api import decoding as documents
from watcher.runs_api.decoding import ITEMS_MAX, LARGE, parse_json

PADDING: Final = b" " * (LARGE + 1)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=20,
)


def large(body: bytes) -> bytes:
    """The same document, with so much space before it that it is a large one."""
    return PADDING + body


@pytest.mark.parametrize("size", [lambda body: body, large], ids=["small", "large"])
class TestOfAnySize:
    """What holds for every document."""

    @pytest.mark.parametrize(
        ("body", "document"),
        [
            (b'{"a": [1, null, "\xc3\xbc"]}', {"a": [1, None, "ü"]}),
            (b' { "a" : [ 1 , { } ] , "b" : { "c" : [ ] } } ', {"a": [1, {}], "b": {"c": []}}),
            (b"{}", {}),
            (b'{"a":[]}', {"a": []}),
            (b"[1, 2]", [1, 2]),
            (b'{"a": 1, "a": [2]}', {"a": [2]}),
            (b'"\\ud800 x"', "\ud800 x"),
            (b"Infinity", math.inf),
            (b"9" * 5000, "9" * 5000),
            (b"-" + b"9" * 5000, "-" + "9" * 5000),
            (b'["\\ud800", 12]', ["\ud800", 12]),
        ],
    )
    def test_reads_json_that_others_refuse(self, body: bytes, document: Json, size: type[bytes]) -> None:
        """A lone surrogate, an infinity or an endless number spoils no page."""
        assert document == parse_json(size(body))

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html></html>", b'{"data": [', b'{"data": [1', b'{"data": [1,', b'{"data": [1 2]}', b"{} {}",
         b"\xff\xfe", b'{"a": "\xff"}', b'{"a"', b'{"a" 1}', b'{"a": 1', b'{"a": 1 "b": 2}', b'{"a": 1,}',
         b"{1: 2}", b'{"a": [1,]}', b'{"a": }'],
    )  # fmt: skip
    def test_refuses_what_is_no_json(self, body: bytes, size: type[bytes]) -> None:
        """What is no JSON, or not all of it, is an error of one kind."""
        with pytest.raises(ValueError, match=r"\w"):
            parse_json(size(body))

    def test_endless_nesting_is_an_error(self, size: type[bytes]) -> None:
        """A document nested 100,000 deep is refused like one that is no JSON, and crashes nothing."""
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(size(b'{"data":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"))


@given(values, st.sampled_from([None, 1]))
def test_steps_make_no_difference(value: Json, indent: int | None) -> None:
    """Whatever a document holds, and however it is laid out, it is read alike in steps and at once."""
    body = json.dumps({"data": value, "rest": [value]}, indent=indent).encode()
    assert json.loads(body) == parse_json(large(body))


def test_an_endless_list_is_not_read_to_its_end() -> None:
    """A list of more items than any page has is refused at once, and one that is as long is read."""
    longest = b'{"data": [' + b",".join([b"{}"] * ITEMS_MAX)
    assert ITEMS_MAX == len(parse_json(longest + b"]}")["data"])
    with pytest.raises(ValueError, match="more than 100000 items"):
        parse_json(longest + b",{}" + b" what follows is not even looked at")


def test_a_byte_order_mark_is_passed_over() -> None:
    """The mark that some programs put before a document is no part of it, whatever its size."""
    body = b'\xef\xbb\xbf{"a": [1]}'
    assert [{"a": [1]}] * 2 == [parse_json(body), parse_json(body + PADDING)]


def test_each_item_of_a_large_list_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the runs of a large page other threads have their turn: no call reads more than one."""
    steps: list[Json] = []

    class Watched(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Json, int]:
            value, end = super().raw_decode(s, idx)
            steps.append(value)
            return value, end

    monkeypatch.setattr(documents, "_QUICK", Watched())
    parse_json(large(b'{"data": [{"id": "a"}, {"id": "b"}], "pagination": {"page": 1}}'))
    assert ["data", {"id": "a"}, {"id": "b"}, "pagination", {"page": 1}] == steps
