"""JSON documents, of which no more becomes values than is needed and there is room for."""

import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import any_text
from watcher.models import Json
from watcher.runs_api.decoding import CHARACTERS_MAX, LARGE, VALUES_MAX, TooMuch, parse_document, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=20,
)


def parse_large(body: bytes) -> Json:
    """Parses the document with so much space before it that it is a large one."""
    return parse_document(b" " * (LARGE + 1) + body, keep_input=False)


@pytest.mark.parametrize("parse", [parse_json, parse_large], ids=["small", "large"])
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
            (b"1e999", math.inf),
            (b"9" * 5000, "9" * 5000),
            (b"-" + b"9" * 5000, "-" + "9" * 5000),
            (b'["\\ud800", 12]', ["\ud800", 12]),
            (b'{"data": [-Infinity], "pagination": 1}', {"data": [-math.inf], "pagination": 1}),
        ],
    )  # fmt: skip
    def test_reads_json_that_others_refuse(self, body: bytes, document: Json, parse: type[bytes]) -> None:
        """A lone surrogate, an infinity or an endless number spoils no page."""
        assert document == parse(body)

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html></html>", b'{"data": [', b'{"data": [1', b'{"data": [1,', b'{"data": [1 2]}', b"{} {}",
         b"\xff\xfe", b'{"a": "\xff"}', b'{"a"', b'{"a" 1}', b'{"a": 1', b'{"a": 1 "b": 2}', b'{"a": 1,}',
         b"{1: 2}", b'{"a": [1,]}', b'{"a": }'],
    )  # fmt: skip
    def test_refuses_what_is_no_json(self, body: bytes, parse: type[bytes]) -> None:
        """What is no JSON, or not all of it, is an error of one kind."""
        with pytest.raises(ValueError, match=r"\w"):
            parse(body)

    def test_endless_nesting_is_an_error(self, parse: type[bytes]) -> None:
        """A document nested 90,000 deep is refused, and crashes nothing."""
        with pytest.raises(TooMuch, match="nested too deeply"):
            parse(b'{"data":[' + b"[" * 90_000 + b"]" * 90_000 + b"]}")


@given(values, st.sampled_from([None, 1]))
def test_size_makes_no_difference(value: Json, indent: int | None) -> None:
    """Whatever a document holds, and however it is laid out, it is read alike whether it is large or not."""
    body = json.dumps(
        {"data": [{"id": value}, {"prompt": [value]}], "pagination": value}, indent=indent
    ).encode()
    assert json.loads(body) == parse_json(body) == parse_large(body)


@pytest.mark.parametrize("keep", [False, True])
def test_the_input_of_runs_is_passed_over(*, keep: bool) -> None:
    """In a large answer runs have no output, and their input only if it is kept; all else stays."""
    text = "x" * LARGE
    run = {"id": "r1", "input": text, "output": text, "input_requests": [{"params": {"input": 1}}]}
    unused = {"output"} if keep else {"output", "input"}
    rest = {name: value for name, value in run.items() if name not in unused}
    for data, expected in ([run, {}], [rest, {}]), (run, rest):
        body = json.dumps({"data": data, "pagination": {"page": 1}}).encode()
        assert {"data": expected, "pagination": {"page": 1}} == parse_document(body, keep_input=keep)


@pytest.mark.parametrize("item", [b"{}", b"[]", b"1", b'""'])
def test_input_without_end_takes_no_memory(item: bytes) -> None:
    """Millions of values in an input that is not kept are not made, and the run with them is read."""
    body = b'{"data": [{"input": [' + b",".join([item] * 1_000_000) + b'], "id": "r1"}]}'
    tracemalloc.start()
    try:
        assert {"data": [{"id": "r1"}], "pagination": None} == parse_document(body, keep_input=False)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_there_is_room_for_so_many_values() -> None:
    """A document that may become more values than the bound is refused before any of them is made."""
    space = b" " * LARGE

    def listed(count: int) -> bytes:
        return b'{"data": [' + b",".join([b"1"] * count) + b"]" + space + b"}"

    assert VALUES_MAX - 2 == len(parse_document(listed(VALUES_MAX - 2), keep_input=True)["data"])
    with pytest.raises(TooMuch, match="more than 200,000 values"):
        parse_document(listed(VALUES_MAX - 1), keep_input=True)


def test_a_byte_order_mark_is_passed_over() -> None:
    """The mark that some programs put before a document is no part of it, whatever its size."""
    body = b'\xef\xbb\xbf{"a": [1]}'
    assert [{"a": [1]}] * 2 == [
        parse_document(text, keep_input=False) for text in (body, body + b" " * LARGE)
    ]


@pytest.mark.parametrize("wide", ["\N{GRINNING FACE}".encode(), b"\\ud83d\\ude00", b"\\uD83D\\uDE00"])
def test_texts_that_take_too_much_memory(wide: bytes) -> None:
    """One character beyond 16 bits makes a text four times as large; that counts before the text is made."""
    text = b"x" * (CHARACTERS_MAX // 4)
    document = b'{"data":[{"id":"r1","prompt":"%b"}]}'
    assert 1 == len(parse_document(document % text, keep_input=False)["data"])
    with pytest.raises(TooMuch, match="bytes in memory"):
        parse_document(document % (text + wide), keep_input=False)
