"""Secrets: read late, shown never.

A `Secret` is a value or the path of a file that is read afresh at each use. Every value that is read is
made known to a `Redactor`, which the logs and everything that stores or shows other people's words use.
"""

import base64
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK: Final = "[redacted]"
_SHORTEST: Final = 6
"""Shorter values are no secrets worth the name, and masking them would garble every line."""


_LONG: Final = 16
_LONGISH: Final = 8
"""Lengths from which a path segment is a token: the longer one always, the other if it is mixed."""


class SecretError(Exception):
    """A secret's file cannot be read or is empty. The message names the setting and the file."""


class Redactor:
    """Knows every secret value that was read and takes them out of texts; may be shared by threads."""

    def __init__(self) -> None:
        self._learned: set[str] = set()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._changing = threading.RLock()  # a finalizer may log while it is held

    def add_secret(self, value: str) -> None:
        """Makes a value, and the forms in which it may be echoed, known as secret."""
        if value in self._learned:  # secrets are learned at every use
            return
        forms = {form for form in _forms(value) if len(form) >= _SHORTEST}
        with self._changing:
            if not forms <= self._known:
                self._known |= forms
                self._pattern = None
            self._learned.add(value)

    def redact(self, text: str) -> str:
        """Returns the text with every known secret replaced by a mask."""
        with self._changing:
            if self._pattern is None and self._known:
                self._pattern = _pattern(self._known)
            pattern = self._pattern
        return pattern.sub(MASK, text) if pattern else text


class Secret:
    """A secret setting: a fixed value, or a file that is read afresh at each use."""

    __slots__ = ("_redactor", "_value", "file", "name")

    def __init__(
        self, name: str, redactor: Redactor, *, value: str | None = None, file: Path | None = None
    ) -> None:
        self.name = name
        self.file = file
        self._redactor = redactor
        self._value = value
        if value is not None:
            redactor.add_secret(value)

    def read(self) -> str:
        """Returns the value now, stripped where it comes from a file.

        Raises:
            SecretError: the file is missing, unreadable, not text, or empty.
        """
        if self.file is None:
            return self._value or ""
        try:
            value = read_secret_file(self.file)
        except SecretError as error:
            raise SecretError(f"{self.name}: {error}") from None
        self._redactor.add_secret(value)
        return value

    def scrub(self, text: str) -> str:
        """Returns a text with this and every other known secret replaced by a mask."""
        return self._redactor.redact(text)

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


def read_secret_file(file: Path) -> str:
    """Returns what a secret's file holds, stripped, without the mark that some editors put first.

    Raises:
        SecretError: the file is missing, unreadable, not text, or empty; only the file is named.
    """
    try:
        value = file.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise SecretError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        raise SecretError(f"cannot read {file}: it is not UTF-8 text") from None
    if not value:
        raise SecretError(f"{file} is empty")
    return value


def _pattern(known: Iterable[str]) -> re.Pattern[str]:
    """Builds one expression for all; shared beginnings keep it quick with thousands of access keys."""
    endings = defaultdict[str, list[str]](list)
    for form in sorted(known, key=len, reverse=True):  # the longest first, or its rest would stay
        endings[form[:_SHORTEST]].append(re.escape(form[_SHORTEST:]))
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
    return len(segment) >= _LONG or (len(segment) >= _LONGISH and bool(re.search(r"[0-9A-Z]", segment)))
