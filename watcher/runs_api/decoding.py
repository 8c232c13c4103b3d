"""Pure: the API's JSON to Python values, and no more of them than are needed and memory has room for."""

import json
from collections.abc import Sequence
from typing import Final

import msgspec

from watcher.models import Json

LARGE: Final = 256 * 1024
"""Bytes from which on decoding takes so long that it is done beside the event loop."""

VALUES_MAX: Final = 200_000
"""Values that one document may become: an object takes 200 bytes of memory or more, and 3 on the wire."""

CHARACTERS_MAX: Final = 32 * 1024 * 1024
"""Bytes that the texts of a document may take: one emoji makes each character of its text take four."""

_WIDE: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4", b"\\ud", b"\\uD")
"""What stands in a document with such characters."""


class TooMuch(ValueError):
    """A document would become too many values, or nests too deeply."""


class _Document(msgspec.Struct):
    """An answer of the API whose runs are not decoded beyond the names of their members."""

    data: list[dict[str, msgspec.Raw]] | dict[str, msgspec.Raw]
    pagination: msgspec.Raw = msgspec.Raw(b"null")


_DOCUMENT: Final = msgspec.json.Decoder(_Document)


def parse_document(body: bytes | bytearray, *, keep_input: bool) -> Json:
    """Returns an answer of the API, in which `data` is a run or a list of runs.

    In a large one the `output` of runs is passed over, and the `input` unless it is to be kept, which may be
    most of it: that takes 10 ms per MB and no memory. All other values are counted before they are made.

    Raises:
        TooMuch: it would become more than `VALUES_MAX` values or `CHARACTERS_MAX`, or nests too deeply.
        ValueError: it is not JSON.
    """
    if len(body) > LARGE:
        body = _without_unused(body, ("output",) if keep_input else ("output", "input"))
        if count_values(body) > VALUES_MAX:
            raise TooMuch(f"more than {VALUES_MAX:,} values")
        if 4 * len(body) > CHARACTERS_MAX and any(part in body for part in _WIDE):
            raise TooMuch(f"texts of more than {CHARACTERS_MAX:,} bytes in memory")
    return parse_json(body)


def count_values(body: bytes | bytearray) -> int:
    """Returns how many values a JSON document has at most.

    Each but the first follows a comma or an opening bracket; those in texts count in vain.
    """
    return 1 + sum(body.count(character) for character in b",[{")


def parse_json(body: bytes | bytearray) -> Json:
    """Returns a JSON document, also one with lone surrogates, infinities or endless numbers.

    Raises:
        TooMuch: it nests too deeply.
        ValueError: it is not JSON.
    """
    try:
        try:
            return msgspec.json.decode(body)
        except ValueError:
            return json.loads(body, parse_int=_whole_number)
    except RecursionError:
        raise TooMuch("nested too deeply") from None


def _without_unused(body: bytes | bytearray, names: Sequence[str]) -> bytes | bytearray:
    try:
        document = _DOCUMENT.decode(body)
    except (
        ValueError,
        RecursionError,
    ):  # a value that only the patient parser takes, or no answer of the API
        return body
    for run in document.data if isinstance(document.data, list) else [document.data]:
        for name in names:
            run.pop(name, None)
    return msgspec.json.encode(document)


def _whole_number(digits: str) -> int | str:
    """Python converts no more digits than a limit; what is longer stays text."""
    try:
        return int(digits)
    except ValueError:
        return digits
