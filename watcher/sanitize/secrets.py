"""Secret settings: read late, never shown."""

from pathlib import Path

from watcher.sanitize.redactor import Redactor


class SecretError(Exception):
    """A secret's file cannot be used. The message names the setting and the file."""


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
