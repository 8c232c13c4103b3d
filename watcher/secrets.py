"""Secrets: read late, shown never.

A `Secret` is a value or the path of a file that is read afresh at each use. Every value that is read is
made known to a `Redactor`, which the logs and everything that stores or shows other people's words use.
"""

import base64
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK: Final = "[redacted]"
_SHORTEST: Final = 6
"""Shorter values are no secrets worth the name, and masking them would garble every line."""


class SecretError(Exception):
    """A secret's file cannot be read or is empty. The message names the setting and the file."""


class Redactor:
    """Knows every secret value that was read and takes them out of texts."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, value: str) -> None:
        """Makes a value, and the forms in which it may be echoed, known as secret."""
        forms = {form for form in _forms(value) if len(form) >= _SHORTEST}
        if forms <= self._known:
            return
        self._known |= forms
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in longest_first))

    def scrub(self, text: str) -> str:
        """Returns the text with every known secret replaced by a mask."""
        return self._pattern.sub(MASK, text) if self._pattern else text


class Secret:
    """A secret setting: a fixed value, or a file that is read afresh at each use."""

    __slots__ = ("_file", "_redactor", "_value", "name")

    def __init__(
        self, name: str, redactor: Redactor, *, value: str | None = None, file: Path | None = None
    ) -> None:
        self.name = name
        self._redactor = redactor
        self._value = value
        self._file = file
        if value is not None:
            redactor.learn(value)

    def read(self) -> str:
        """Returns the value now, stripped where it comes from a file.

        Raises:
            SecretError: the file is missing, unreadable, not text, or empty.
        """
        if self._file is None:
            return self._value or ""
        try:
            value = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SecretError(f"{self.name}: cannot read {self._file}: {reason}") from None
        if not value:
            raise SecretError(f"{self.name}: {self._file} is empty")
        self._redactor.learn(value)
        return value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


def _forms(value: str) -> Iterable[str]:
    yield value
    yield quote(value, safe="")
    yield base64.b64encode(value.encode()).decode()
    if value.startswith("whsec_"):
        yield value.removeprefix("whsec_")
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
    return len(segment) >= 16 or (len(segment) >= 8 and bool(re.search(r"[0-9A-Z]", segment)))
