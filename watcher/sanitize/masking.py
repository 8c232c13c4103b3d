"""Pure: what of other people's data is masked before it is stored or shown, and cut where it is too much.

Values are masked by the names of their keys, and what was masked anywhere is masked everywhere else too.
Cutting comes last: what is left of a secret that was cut would not be known as one.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from fnmatch import translate
from typing import Final

from watcher.models import InputRequest, Json
from watcher.sanitize.limits import PROMPT_MAX, STRING_MAX, VALUES_MAX, limit_size, size_notice
from watcher.sanitize.redactor import MASK, Redactor
from watcher.sanitize.text import truncate

_SHORTEST_IN_TEXT: Final = 4
"""A shorter masked value is not searched for in the prompt: it would hit words that merely contain it."""
_LOOKS: Final = 2_000_000
"""How often it is looked whether a text holds a masked value; after that a text that may is masked whole."""
_FEW: Final = 32
"""Up to so many values it is quickest to search for each."""
_LONGEST_SECRET: Final = 16 * 1024
"""Characters that no secret of ours has."""
_MARK: Final = "\0"
"""Stands for the mask while there are values to search for: none of them is found within it."""


class Masker:
    """Masks by key globs, at any depth and in any case, and by the secrets that are known."""

    def __init__(self, globs: Iterable[str], redactor: Redactor) -> None:
        patterns = [translate(glob.lower()) for glob in globs]
        self._key = re.compile("|".join(patterns)) if patterns else None
        self._redactor = redactor

    def values_to_mask(self, value: Json) -> set[str]:
        """Returns the texts in a JSON value that are masked because of their keys."""
        return _JsonMasker(self._key, self._redactor).hidden(value)

    def request(self, request: InputRequest, also: Collection[str] = ()) -> InputRequest:
        """Returns the request with params and prompt masked; its fingerprint stays that of the original.

        `also` are texts that are masked elsewhere, and therefore here.
        """
        hidden = _escaped_too(self.values_to_mask(request.params).union(also))
        walk = _JsonMasker(self._key, self._redactor, hidden)
        editable = walk.shown(list(request.editable_params))
        return replace(
            request,
            type=self.text(request.type),
            prompt=None if request.prompt is None else self._prompt(request.prompt, hidden),
            params=walk.shown(request.params),
            editable_params=tuple(editable) if isinstance(editable, list) else (editable,),
        )

    def text(self, text: str) -> str:
        """Returns a short text without the secrets that are known."""
        return truncate(self._redactor.redact(text), STRING_MAX)

    def json(self, value: Json, also: Collection[str] = ()) -> Json:
        """Returns a copy of a JSON value in which what is secret is masked: by its key, or known as such."""
        hidden = _escaped_too(self.values_to_mask(value).union(also))
        return _JsonMasker(self._key, self._redactor, hidden).shown(value)

    def _prompt(self, prompt: str, hidden: Collection[str]) -> str:
        prompt = self._without_secret_keys(prompt)
        start = prompt[: 2 * PROMPT_MAX]
        shown = self._redactor.redact(_ValueMasker(hidden).mask(start))
        if len(start) == len(prompt):
            return truncate(shown, PROMPT_MAX)
        # The end may be the beginning of a secret that was not looked at whole.
        longest = max(map(len, hidden), default=0)
        kept = shown[: -min(max(longest, _LONGEST_SECRET), PROMPT_MAX)]
        return truncate(kept, PROMPT_MAX, missing=len(prompt) - len(kept))

    def _without_secret_keys(self, prompt: str) -> str:
        """Masks by keys in a prompt that is JSON, as it is where an agent asks with an object."""
        if not prompt.startswith(("{", "[")):
            return prompt
        try:
            document = json.loads(prompt)
        except (ValueError, RecursionError):
            return prompt
        return (
            json.dumps(self.json(document), ensure_ascii=False) if self.values_to_mask(document) else prompt
        )


class _JsonMasker:
    """Goes through JSON values; many objects in them have the same keys, which are looked at once."""

    def __init__(
        self, pattern: re.Pattern[str] | None, redactor: Redactor, hidden: Collection[str] = ()
    ) -> None:
        """`hidden` are the texts to be masked wherever they stand."""
        self._pattern = pattern
        self._redactor = redactor
        self._hidden = _ValueMasker(hidden)
        self._keys: dict[str, tuple[str, bool]] = {}
        self._count = 0

    def shown(self, value: Json) -> Json:
        """Returns the value masked, and cut where it is too much."""
        self._count = 0
        try:
            return limit_size(self._masked(value))
        except _TooMuchError:
            return size_notice(value)

    def hidden(self, value: Json) -> set[str]:
        """Returns the texts that are masked because of their keys."""
        found: set[str] = set()
        left = [value]
        while left:
            match left.pop():
                case dict() as items:
                    for key, item in items.items():
                        if self._key(key)[1]:
                            found.update(_texts(item))
                        elif type(item) in _NESTED:
                            left.append(item)
                case list() as items:
                    left += [item for item in items if type(item) in _NESTED]
        return found

    def _masked(self, value: Json) -> Json:
        match value:
            case dict():
                self._add(len(value))
                masked: dict[str, Json] = {}
                for key, item in value.items():
                    shown, covered = self._key(key)
                    name, number = shown, 1
                    while name in masked:  # names that were masked may be alike, and none may hide another
                        number += 1
                        name = f"{shown} ({number})"
                    masked[name] = MASK if covered and item is not None else self._masked(item)
                return masked
            case list():
                self._add(len(value))
                return [self._masked(item) for item in value]
            case str():
                return self._redactor.redact(self._hidden.mask(value))
            case int() | float() if not isinstance(value, bool) and str(value) in self._hidden:
                return MASK
            case _:
                return value

    def _add(self, values: int) -> None:
        self._count += values
        if self._count > VALUES_MAX:
            raise _TooMuchError

    def _key(self, key: str) -> tuple[str, bool]:
        """Returns a key as it is shown, and whether what it names is masked."""
        if key not in self._keys:
            covers = self._pattern is not None and self._pattern.match(key.lower()) is not None
            self._keys[key] = (self._redactor.redact(self._hidden.mask(key)), covers)
        return self._keys[key]


class _TooMuchError(Exception):
    """There is no need to look at the rest."""


_NESTED: Final = frozenset({dict, list})


def _texts(value: Json) -> Iterator[str]:
    left = [value]
    while left:
        match left.pop():
            case dict() as items:
                left += items.values()
            case list() as items:
                left += items
            case bool():
                pass
            case str() | int() | float() as item if len(str(item)) >= _SHORTEST_IN_TEXT:
                yield str(item)


class _ValueMasker:
    """Masks texts wherever they stand, the longest first; there may be very many of them."""

    def __init__(self, hidden: Collection[str]) -> None:
        self._hidden = [value[:PROMPT_MAX] for value in hidden]
        self._by_beginning: dict[str, list[str]] = {}
        self._looks = _LOOKS
        for value in self._hidden if len(self._hidden) > _FEW else ():
            self._by_beginning.setdefault(value[:_SHORTEST_IN_TEXT], []).append(value)

    def mask(self, text: str) -> str:
        """Returns the text without them."""
        likely = self._likely(text)
        self._looks -= len(likely)
        if self._looks < 0 and likely:
            return MASK
        found = [value for value in likely if value in text]
        if not found:
            return text
        text = text.replace(_MARK, "\N{REPLACEMENT CHARACTER}")
        for value in sorted(found, key=len, reverse=True):
            text = text.replace(value, _MARK)
        return text.replace(_MARK, MASK)

    def __contains__(self, text: str) -> bool:
        return (
            text in self._hidden
            if not self._by_beginning
            else text in self._by_beginning.get(text[:_SHORTEST_IN_TEXT], ())
        )

    def _likely(self, text: str) -> list[str]:
        """Returns those that may be in the text: looking for each would take too long."""
        if not self._by_beginning:
            return self._hidden
        size = _SHORTEST_IN_TEXT
        beginnings = {text[index : index + size] for index in range(len(text) - size + 1)}
        return [value for one in beginnings & self._by_beginning.keys() for value in self._by_beginning[one]]


def _escaped_too(texts: Collection[str]) -> set[str]:
    """Returns the texts, and as they stand within JSON that is itself a text."""
    return {
        form
        for text in texts
        for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    }
