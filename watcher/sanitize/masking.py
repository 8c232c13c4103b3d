"""Pure: masks what is secret in other people's data before it is stored or shown, and limits its size.

Values are masked by the names of their keys. A masked value that looks like a secret is masked wherever other
values and the prompt repeat it. Limiting comes last: the rest of a secret that was cut would not be found.
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
from watcher.sanitize.text import cut_note, truncate, truncate_middle

DEFAULT_REDACT: Final = (
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*secret",
    "*secret_*",
    "*token",
    "*api_key*",
    "*apikey*",
    "*access_key*",
    "*private_key*",
    "*authorization*",
    "*credential*",
    "cookie",
    "set-cookie",
)
"""Globs of the names of values that are secret; `max_tokens` and `secretary` are not."""
MASKED_MAX: Final = 1000
"""Paths of masked values that are listed; the others are counted."""

_REPEATED_MIN: Final = 6
"""Characters of the shortest masked value that is masked elsewhere too."""
_NO_SYMBOLS: Final = frozenset("-_.'\N{RIGHT SINGLE QUOTATION MARK}")
"""Signs that names and plain words have too; so do spaces."""
_LOOKS: Final = 2_000_000
"""How often texts are searched for masked values; after that a text that may hold one is masked whole."""
_FEW: Final = 32
"""Up to this number of values it is fastest to search for each."""
_SECRET_MAX: Final = 16 * 1024
"""Characters that no configured secret exceeds."""
_HEAD_MAX, _TAIL_MAX = PROMPT_MAX * 3 // 5, PROMPT_MAX * 2 // 5 - 64
"""Characters that are kept of a prompt that is too long; the question often stands at its end."""
_MARK: Final = "\0"
"""Stands for the mask while values are searched for: none of them is found within it."""
_NESTED: Final = frozenset({dict, list})


class Masker:
    """Masks by globs of keys, at any depth and in any case, and by the secrets that are known.

    `names` are words of the configuration, which are never masked because a masked value repeats them.
    """

    def __init__(self, globs: Iterable[str], redactor: Redactor, names: Iterable[str] = ()) -> None:
        patterns = [translate(glob.lower()) for glob in globs]
        self._key = re.compile("|".join(patterns)) if patterns else None
        self._redactor = redactor
        self._names = frozenset(names)

    def values_to_mask(self, value: Json) -> set[str]:
        """Returns the texts in a JSON value that are masked by key and look like secrets."""
        return _JsonMasker(self._key, self._redactor).find(value)

    def request(self, request: InputRequest, also: Collection[str] = ()) -> InputRequest:
        """Returns the request with everything in it masked; its fingerprint stays that of the original.

        `also` are texts that are masked elsewhere, and therefore here.
        """
        known = {request.type, *request.editable_params}
        values = self._everywhere([request.params, request.questions], also, known)
        masker = _JsonMasker(self._key, self._redactor, values)
        editable = masker.mask(list(request.editable_params), "editable_params")
        params = masker.mask(request.params)
        questions = masker.mask(request.questions, "questions")
        return replace(
            request,
            type=self.text(request.type),
            prompt=None if request.prompt is None else self._prompt(request.prompt, values),
            params=params,
            questions=questions,
            editable_params=tuple(editable) if isinstance(editable, list) else (editable,),
            masked=masker.paths(),
        )

    def withhold(self, request: InputRequest) -> InputRequest:
        """Returns a masked request without its parameters, whose names are listed as masked."""
        names = list(request.params) if isinstance(request.params, dict) else []
        paths = [truncate(name, STRING_MAX) for name in names[:MASKED_MAX]]
        return replace(request, params=None, masked=_with_rest(paths, len(names)))

    def text(self, text: str) -> str:
        """Returns a short text without secrets."""
        return truncate(self._redactor.redact(text), STRING_MAX)

    def json(self, value: Json, also: Collection[str] = ()) -> Json:
        """Returns a copy of a JSON value without what is secret in it."""
        return _JsonMasker(self._key, self._redactor, self._everywhere(value, also)).mask(value)

    def _everywhere(self, value: Json, also: Collection[str], known: Iterable[str] = ()) -> set[str]:
        """Returns the texts to mask wherever they stand, also as they are written within JSON in a text."""
        texts = self.values_to_mask(value).union(also)
        if texts:
            texts -= self._names.union(_keys(value), known)
        return {
            form
            for text in texts
            for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        }

    def _prompt(self, prompt: str, values: Collection[str]) -> str:
        prompt = self._mask_json(prompt)
        masker = _ValueMasker(values)
        if len(prompt) <= 2 * PROMPT_MAX:
            return truncate_middle(self._redactor.redact(masker.mask(prompt)), PROMPT_MAX)
        # A secret may be cut in two where the middle is left out: as much as one can have goes with it.
        lost = min(max([_SECRET_MAX, *map(len, values)]), PROMPT_MAX)
        first, last = (
            self._redactor.redact(masker.mask(part)) for part in (prompt[:PROMPT_MAX], prompt[-PROMPT_MAX:])
        )
        head, tail = first[:-lost][:_HEAD_MAX], last[lost:][-_TAIL_MAX:]
        return f"{head}{cut_note(len(prompt) - len(head) - len(tail))}{tail}"

    def _mask_json(self, prompt: str) -> str:
        """Masks by keys in a prompt that is JSON, as it is where an agent asks with an object."""
        if not prompt.lstrip().startswith(("{", "[")):
            return prompt
        try:
            document = json.loads(prompt)
        except (ValueError, RecursionError):
            return prompt
        masker = _JsonMasker(self._key, self._redactor, self._everywhere(document, ()))
        masked = masker.mask(document)
        return json.dumps(masked, ensure_ascii=False) if masker.paths() else prompt


class _JsonMasker:
    """Masks JSON values. Many objects in them have the same keys, each of which is matched once."""

    def __init__(
        self, pattern: re.Pattern[str] | None, redactor: Redactor, values: Collection[str] = ()
    ) -> None:
        """`values` are the texts to mask wherever they stand."""
        self._pattern = pattern
        self._redactor = redactor
        self._values = _ValueMasker(values)
        self._shown_keys: dict[str, str] = {}
        self._secret_keys: dict[str, bool] = {}
        self._count = 0
        self._path: list[str] = []
        self._paths: list[str] = []
        self._masked_count = 0

    def mask(self, value: Json, name: str = "") -> Json:
        """Returns the value masked, and limited in size; `name` begins the paths of what is masked in it."""
        self._count = 0
        self._path.append(name)
        try:
            return limit_size(self._mask(value))
        except _TooManyValuesError:
            return size_notice(value)
        finally:
            self._path.clear()

    def paths(self) -> tuple[str, ...]:
        """Returns where values were masked so far, such as `llm.options[0].api_key`."""
        return _with_rest(self._paths, self._masked_count)

    def find(self, value: Json) -> set[str]:
        """Returns the texts that are masked because of their keys and look like secrets."""
        found: set[str] = set()
        left = [value]
        while left:
            match left.pop():
                case dict() as items:
                    for key, item in items.items():
                        if self._is_secret(key):
                            found.update(filter(_looks_secret, _texts(item)))
                        elif type(item) in _NESTED:
                            left.append(item)
                case list() as items:
                    left += [item for item in items if type(item) in _NESTED]
        return found

    def _mask(self, value: Json) -> Json:
        match value:
            case dict():
                return self._mask_object(value)
            case list():
                self._add(len(value))
                masked = []
                for index, item in enumerate(value):
                    self._path.append(f"[{index}]")
                    masked.append(self._mask(item))
                    self._path.pop()
                return masked
            case str():
                shown = self._redactor.redact(self._values.mask(value))
                if shown != value:
                    self._note()
                return shown
            case _:
                return value

    def _mask_object(self, value: dict[str, Json]) -> dict[str, Json]:
        self._add(len(value))
        masked: dict[str, Json] = {}
        for key, item in value.items():
            shown = self._shown(key)
            name, number = shown, 1
            while name in masked:  # names that were masked may be alike, and none may hide another
                number += 1
                name = f"{shown} ({number})"
            self._path.append(f".{name}")
            if item is not None and self._is_secret(key):
                masked[name] = MASK
                self._note()
            else:
                masked[name] = self._mask(item)
            self._path.pop()
        return masked

    def _note(self) -> None:
        self._masked_count += 1
        if len(self._paths) < MASKED_MAX:
            self._paths.append(truncate("".join(self._path).removeprefix("."), STRING_MAX))

    def _add(self, values: int) -> None:
        self._count += values
        if self._count > VALUES_MAX:
            raise _TooManyValuesError

    def _shown(self, key: str) -> str:
        """Returns a key without secrets."""
        if key not in self._shown_keys:
            self._shown_keys[key] = self._redactor.redact(key)
        return self._shown_keys[key]

    def _is_secret(self, key: str) -> bool:
        """Returns whether a key says that its value is secret."""
        if key not in self._secret_keys:
            lowered = key.lower()
            spellings = {lowered, lowered.replace("-", "_")}
            self._secret_keys[key] = self._pattern is not None and any(map(self._pattern.match, spellings))
        return self._secret_keys[key]


class _TooManyValuesError(Exception):
    """The value is too large, so the rest of it need not be masked."""


class _ValueMasker:
    """Masks texts wherever they stand, the longest first; there may be very many of them."""

    def __init__(self, values: Collection[str]) -> None:
        self._values = [value[:PROMPT_MAX] for value in values]
        self._by_beginning: dict[str, list[str]] = {}
        self._looks = _LOOKS
        for value in self._values if len(self._values) > _FEW else ():
            self._by_beginning.setdefault(value[:_REPEATED_MIN], []).append(value)

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

    def _likely(self, text: str) -> list[str]:
        """Returns those that may be in the text: searching for each would take too long."""
        if not self._by_beginning:
            return self._values
        beginnings = {text[index : index + _REPEATED_MIN] for index in range(len(text) - _REPEATED_MIN + 1)}
        return [value for one in beginnings & self._by_beginning.keys() for value in self._by_beginning[one]]


def _with_rest(paths: Collection[str], count: int) -> tuple[str, ...]:
    """Returns the paths, and in their place how many of all are missing."""
    return (*paths, f"… ({count - len(paths)} more)") if count > len(paths) else tuple(paths)


def _looks_secret(text: str) -> bool:
    """Tells a secret from numbers, plain words and names, which stand elsewhere with another meaning."""
    return (
        len(text) >= _REPEATED_MIN
        and any(map(str.isalpha, text))
        and not all(char.isalpha() or char.isspace() or char in _NO_SYMBOLS for char in text)
    )


def _texts(value: Json) -> Iterator[str]:
    left = [value]
    while left:
        match left.pop():
            case dict() as items:
                left += items.values()
            case list() as items:
                left += items
            case str() as text:
                yield text


def _keys(value: Json) -> set[str]:
    """Returns the names of all values, at any depth."""
    found: set[str] = set()
    left = [value]
    while left:
        match left.pop():
            case dict() as items:
                found.update(items)
                left += [item for item in items.values() if type(item) in _NESTED]
            case list() as items:
                left += [item for item in items if type(item) in _NESTED]
    return found
