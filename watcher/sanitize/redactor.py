"""Takes the secrets that are known out of texts: logs, errors, and whatever is stored or shown."""

import base64
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK: Final = "[redacted]"
_SECRET_MIN: Final = 6
"""Characters of the shortest value that is taken out: a shorter one stands in too many words by chance."""
_RANDOM_MIN: Final = 16
_MIXED_MIN: Final = 8
"""Characters from which a path segment counts as a token: always, and if it has digits or capitals."""


class Redactor:
    """Knows every secret value that was read. Threads may share it."""

    def __init__(self) -> None:
        self._learned: set[str] = set()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._changing = threading.RLock()  # a finalizer may log while the lock is held

    def add_secret(self, value: str) -> None:
        """Adds a secret value, in each form in which it may be echoed."""
        if value in self._learned:  # it is added at each use
            return
        forms = {form for form in _forms(value) if len(form) >= _SECRET_MIN}
        with self._changing:
            if not forms <= self._known:
                self._known |= forms
                self._pattern = None
            self._learned.add(value)

    def redact(self, text: str) -> str:
        """Returns the text with a mask in place of each known secret."""
        with self._changing:
            if self._pattern is None and self._known:
                self._pattern = _pattern(self._known)
            pattern = self._pattern
        return pattern.sub(MASK, text) if pattern else text


def _pattern(known: Iterable[str]) -> re.Pattern[str]:
    """Builds one expression for all. Shared beginnings keep it fast with thousands of access keys."""
    endings = defaultdict[str, list[str]](list)
    for form in sorted(known, key=len, reverse=True):  # the longest first, or the rest of it would stay
        endings[form[:_SECRET_MIN]].append(re.escape(form[_SECRET_MIN:]))
    return re.compile(
        "|".join(f"{re.escape(beginning)}(?:{'|'.join(rest)})" for beginning, rest in endings.items())
    )


def _forms(value: str) -> Iterable[str]:
    yield value
    yield quote(value, safe="", errors="replace")
    yield base64.b64encode(value.encode(errors="replace")).decode()
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    if value.startswith("whsec_"):
        yield value.removeprefix("whsec_")
        with suppress(ValueError):
            yield base64.b64decode(value.removeprefix("whsec_")).decode()
    if "://" in value:
        yield from _url_forms(value)


def _url_forms(url: str) -> Iterable[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for segment in parts.path.split("/"):
        if _looks_random(segment):
            yield segment
    if parts.path.strip("/"):
        yield f"{parts.netloc}{parts.path}"
        yield f"{parts.path}?{parts.query}" if parts.query else parts.path
    for _, query_value in parse_qsl(parts.query):
        yield query_value
    if parts.password:
        yield parts.password
        yield unquote(parts.password)


def _looks_random(segment: str) -> bool:
    """Tells a token in a path from a word such as `services`, which must stay readable elsewhere."""
    return len(segment) >= _RANDOM_MIN or (
        len(segment) >= _MIXED_MIN and bool(re.search(r"[0-9A-Z]", segment))
    )
