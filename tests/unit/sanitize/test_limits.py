"""How much of other people's data is kept."""

import json

import pytest

from watcher.models import Json
from watcher.sanitize.limits import JSON_MAX, STRING_MAX, VALUES_MAX, limit_size, size_notice


def size(value: Json) -> int:
    """Bytes of a value as the shortest JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def padded(length: int, character: str = "x") -> dict[str, Json]:
    """Parameters of exactly so many bytes, with one long text."""
    frame = size({"note": "", "amount": 620})
    value = {"note": character * ((length - frame) // len(character.encode())), "amount": 620}
    assert length == size(value)
    return value


@pytest.mark.parametrize("value", [None, {}, [], "", 0, "x" * 5000, {"a": ["x" * 5000, 1.5, None]}])
def test_what_is_small_is_kept(value: Json) -> None:
    """A value below the limit is kept as it is, long strings included."""
    assert limit_size(value) == value


def test_the_limit_may_be_reached() -> None:
    """256 KiB are kept whole; of one byte more the long string is cut, and the rest stays."""
    whole = padded(JSON_MAX)
    assert limit_size(whole) == whole
    shorter = limit_size(padded(JSON_MAX + 1))
    assert 620 == shorter["amount"]
    assert STRING_MAX == len(shorter["note"])
    kept, note = shorter["note"].split("… ")
    assert f"({JSON_MAX + 1 - size({'note': '', 'amount': 620}) - len(kept)} more characters)" == note


def test_bytes_count_and_not_characters() -> None:
    """A text of two-byte characters is as large as its UTF-8."""
    assert limit_size(padded(JSON_MAX, "ü")) == padded(JSON_MAX, "ü")
    assert limit_size(padded(JSON_MAX + 2, "ü")) != padded(JSON_MAX + 2, "ü")


def test_a_string_of_exactly_a_thousand_characters_is_not_cut() -> None:
    """Only strings above 1,000 characters are cut, at any depth."""
    value = {"rows": [{"text": "a" * STRING_MAX}, {"text": "b" * (STRING_MAX + 1)}, "c" * JSON_MAX]}
    rows = limit_size(value)["rows"]
    assert "a" * STRING_MAX == rows[0]["text"]
    assert rows[1]["text"].endswith(" more characters)")
    assert rows[2].endswith(" more characters)")


def test_what_cannot_be_cut_is_left_out() -> None:
    """Many small values are replaced by words that say how large they were."""
    value = list(range(100_000))
    assert f"… ({size(value):,} bytes of JSON, too large to keep)" == limit_size(value)
    assert limit_size(value) == size_notice(value)


def test_a_long_key_is_left_out() -> None:
    """Keys are not cut, for they would become others."""
    assert limit_size({"k" * JSON_MAX: 1}) == "… (262,150 bytes of JSON, too large to keep)"


def test_a_long_text_alone_is_cut() -> None:
    """Where all of the value is one text its beginning is kept."""
    assert STRING_MAX == len(limit_size("x" * JSON_MAX))


def test_more_values_than_that_are_always_too_large() -> None:
    """Counting values is a safe way to know that a value is too large, without looking at them."""
    assert limit_size([0] * (VALUES_MAX - 1)) == [0] * (VALUES_MAX - 1)
    assert limit_size([0] * VALUES_MAX) == size_notice([0] * VALUES_MAX)
