"""Pure: a message shortened to fit its destination. Nothing is cut while the whole fits; cuts are counted.

Parts give way in this order: the middle of encoded files, the middle of the longest texts in parameters, the
middle of the prompt down to half the room, the middle of whole parameters, and at last the final parameters.
Heads and tails stay, and every parameter keeps its name and some of its value while there is room.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from watcher.messages.message import Message, Question, Row
from watcher.messages.values import map_leaves, show_value
from watcher.models import Json
from watcher.sanitize.text import truncate_middle

_ENCODED: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[\w+/=-]{1000}", re.ASCII)
"""How a file as base64 begins: more of it than head and tail would tell a person nothing."""
_ENCODED_SHOWN: Final = 200
_LEAST: Final = 40
"""Characters that are left of a text before parameters are left out."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """How many characters each kind of text may have, and how many rows and items there may be."""

    encoded: int
    text: int
    value: int
    prompt: int
    rows: int
    items: int

    def with_most(self, part: str, most: int) -> "_Limits":
        """Returns the limits with one part shortened to `most`."""
        return replace(self, **{part: min(getattr(self, part), most)})


@dataclass(frozen=True, slots=True)
class _Stage:
    """One part that is shortened to its floor, and which parts grow again if that suffices."""

    part: str
    floor: int
    grow: tuple[str, ...]


def fit(message: Message, room: int, measure: Callable[[Message], int], *, row_cost: int = 6) -> Message:
    """Returns the message shortened until `measure` of it is at most `room`, or nothing is left to shorten.

    `measure` is at least the number of characters shown, and at least `row_cost` for each parameter.
    """
    if _characters(message, room) <= room and measure(message) <= room:
        return message
    message = _flattened(message, room)
    most = _Limits(room, room, room, room, min(len(message.rows), room // row_cost), len(message.items))
    rows = _ShorterRows(message.rows[: most.rows])

    def fits(limits: _Limits) -> bool:
        shorter = _limited(message, limits, rows)
        return _characters(shorter, room) <= room and measure(shorter) <= room

    limits = replace(most, value=sys.maxsize)
    for stage in _stages(room, int(room / _prompt_cost(message, room, measure))):
        limits = limits.with_most(stage.part, stage.floor)
        if fits(limits):
            for part in stage.grow:
                limits = _grown(limits, part, getattr(most, part), fits)
            break
    return _limited(message, limits, rows)


class _ShorterRows:
    """The parameters within limits. They are made anew only when the limits of their texts change."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self._rows = rows
        self._whole: dict[int, str] = {}
        self._texts: tuple[int, int, int] | None = None
        self._shorter: tuple[Row, ...] = ()

    def within(self, limits: _Limits) -> tuple[Row, ...]:
        """Returns as many rows as there may be, with their texts cut."""
        texts = (limits.encoded, limits.text, limits.value)
        if texts != self._texts:
            self._texts = texts
            self._shorter = tuple(self._cut(number, limits) for number in range(len(self._rows)))
        return self._shorter[: limits.rows]

    def _cut(self, number: int, limits: _Limits) -> Row:
        def cut(text: str) -> str:
            is_encoded = len(text) > limits.encoded and _ENCODED.match(text[:1000])
            return truncate_middle(text, limits.encoded if is_encoded else limits.text)

        row = self._rows[number]
        value = map_leaves(row.value, cut)
        if limits.value < sys.maxsize and len(show_value(value).text) > limits.value:
            if number not in self._whole:
                self._whole[number] = show_value(row.value).text
            value = truncate_middle(self._whole[number], limits.value)
        return replace(row, name=truncate_middle(row.name, limits.text), value=value)


def _prompt_cost(message: Message, room: int, measure: Callable[[Message], int]) -> float:
    """Returns how much room a character of the prompt takes: in some prompts every other one is escaped."""
    alone = replace(message, body=truncate_middle(message.body, room), questions=(), rows=(), items=())
    taken = measure(alone) - measure(replace(alone, body=""))
    return max(taken / max(len(alone.body), 1), 1.0)


def _stages(room: int, prompt_room: int) -> Iterator[_Stage]:
    """Yields what is shortened, in this order, and what gets the room that is left then.

    A prompt of `prompt_room` characters takes all the room.
    """
    share = max(room // 40, _LEAST)
    yield _Stage("encoded", _ENCODED_SHOWN, ())
    yield _Stage("text", share, ("text",))
    yield _Stage("prompt", prompt_room // 2, ("text", "prompt"))
    yield _Stage("value", share, ("value",))
    yield _Stage("text", _LEAST, ("text",))
    yield _Stage("value", _LEAST, ("value",))
    yield _Stage("prompt", prompt_room // 3, ("prompt",))
    yield _Stage("rows", 0, ("rows",))
    yield _Stage("items", 0, ("items",))
    yield _Stage("prompt", _LEAST, ("prompt",))


def _grown(limits: _Limits, part: str, most: int, fits: Callable[[_Limits], bool]) -> _Limits:
    """Returns the limits, which fit, with the largest of one part that still fits."""
    least = getattr(limits, part)
    while least < most:
        middle = (least + most + 1) // 2
        if fits(replace(limits, **{part: middle})):
            least = middle
        else:
            most = middle - 1
    return replace(limits, **{part: least})


def _limited(message: Message, limits: _Limits, shorter: _ShorterRows) -> Message:
    rows = shorter.within(limits)
    items = message.items[: limits.items]
    return replace(
        message,
        body=truncate_middle(message.body, limits.prompt),
        questions=tuple(_limited_question(question, limits.text) for question in message.questions),
        rows=rows,
        dropped_rows=message.dropped_rows + len(message.rows) - len(rows),
        items=items,
        dropped_items=message.dropped_items + len(message.items) - len(items),
    )


def _limited_question(question: Question, size: int) -> Question:
    options = tuple(truncate_middle(option, size) for option in question.options)
    return replace(question, text=truncate_middle(question.text, size), options=options)


def _flattened(message: Message, room: int) -> Message:
    """Returns the message with parameters of very many values as texts, which are quick to cut."""
    rows = (
        replace(row, value=show_value(row.value).text) if _holds_more(row.value, room // 8) else row
        for row in message.rows
    )
    return replace(message, rows=tuple(rows))


def _holds_more(value: Json, values: int) -> bool:
    """Returns whether a value holds more than `values` values, itself included."""
    left, found = [value], 0
    while left and found <= values:
        found += 1
        match left.pop():
            case dict() as items:
                left += items.values()
            case list() as items:
                left += items
    return found > values


def _characters(message: Message, enough: int) -> int:
    """Returns at least how many characters a message shows; counting ends where there are enough."""
    characters = len(message.body)
    for row in message.rows:
        characters += len(row.name)
        left = [row.value]
        while left and characters <= enough:
            match left.pop():
                case str() as text:
                    characters += len(text)
                case dict() as items:
                    characters += sum(map(len, items))
                    left += items.values()
                case list() as items:
                    characters += len(items)
                    left += items
    return characters
