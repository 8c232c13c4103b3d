"""Pure: what of other people's data is masked before it is stored or shown.

Parameters are masked by the names of their keys; a text that was masked there is masked in the prompt too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import translate
from typing import Final

from watcher.models import InputRequest, Json
from watcher.secrets import MASK, Redactor

_SHORTEST_IN_TEXT: Final = 4
"""A shorter masked value is not searched for in the prompt: it would hit words that merely contain it."""


class Masker:
    """Masks by key globs, at any depth and in any case, and by the secrets that are known."""

    def __init__(self, globs: Iterable[str], redactor: Redactor) -> None:
        patterns = [translate(glob.lower()) for glob in globs]
        self._key = re.compile("|".join(patterns)) if patterns else None
        self._redactor = redactor

    def request(self, request: InputRequest) -> InputRequest:
        """Returns the request with params and prompt masked; its fingerprint stays that of the original."""
        hidden = sorted(set(self._hidden(request.params)), key=len, reverse=True)
        prompt = request.prompt
        if prompt is not None:
            for value in hidden:
                prompt = prompt.replace(value, MASK)
            prompt = self._redactor.scrub(prompt)
        return replace(request, prompt=prompt, params=self.json(request.params))

    def json(self, value: Json) -> Json:
        """Returns a copy of a JSON value in which what a key glob or a known secret covers is masked."""
        match value:
            case dict():
                return {
                    self._redactor.scrub(key): MASK if self._covers(key, item) else self.json(item)
                    for key, item in value.items()
                }
            case list():
                return [self.json(item) for item in value]
            case str():
                return self._redactor.scrub(value)
            case _:
                return value

    def _covers(self, key: str, value: Json) -> bool:
        return value is not None and self._key is not None and self._key.match(key.lower()) is not None

    def _hidden(self, value: Json) -> Iterator[str]:
        match value:
            case dict():
                for key, item in value.items():
                    yield from _texts(item) if self._covers(key, item) else self._hidden(item)
            case list():
                for item in value:
                    yield from self._hidden(item)


def _texts(value: Json) -> Iterator[str]:
    match value:
        case str() | int() | float() if len(str(value)) >= _SHORTEST_IN_TEXT and not isinstance(value, bool):
            yield str(value)
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
