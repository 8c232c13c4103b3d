"""Secret settings: read late, never shown."""

from pathlib import Path
from typing import Final

from watcher.sanitize.files import FileReads, HangingFileError, UnreadableFileError, read_regular_file
from watcher.sanitize.redactor import Redactor

_SIZE_MAX: Final = 64 * 1024
"""Bytes of the largest file of a secret."""


class SecretError(Exception):
    """A secret's file cannot be used. The message names the setting and the file."""


class Secret:
    """A secret setting: a fixed value, or a file that is read afresh at each use."""

    __slots__ = ("_reads", "_redactor", "_value", "file", "name")

    def __init__(
        self,
        name: str,
        redactor: Redactor,
        *,
        value: str | None = None,
        file: Path | None = None,
        header: str | None = None,
    ) -> None:
        """Makes a value known to the redactor, as that of a `header` if it is one's."""
        self.name = name
        self.file = file
        self._redactor = redactor
        self._value = value
        self._reads = None if file is None else FileReads(file)
        if value is not None and header is not None:
            redactor.add_header(header, value)
        elif value is not None:
            redactor.add_secret(value)

    def read(self) -> str:
        """Returns the value now, stripped where it comes from a file.

        Raises:
            SecretError: the file cannot be used, see `read_secret_file`.
        """
        if self.file is None:
            return self._value or ""
        try:
            value = read_secret_file(self.file)
        except SecretError as error:
            raise SecretError(f"{self.name}: {error}") from None
        self._redactor.add_secret(value)
        return value

    async def fetch(self) -> str:
        """Returns the value like `read`, and reads a file beside the event loop.

        Raises:
            SecretError: the file cannot be used, or its file system hangs.
        """
        if self._reads is None:
            return self._value or ""
        try:
            return await self._reads.run(self.read)
        except HangingFileError as error:
            raise SecretError(f"{self.name}: {error}") from None

    def redact(self, text: str) -> str:
        """Returns a text with this and every other known secret replaced by a mask."""
        return self._redactor.redact(text)

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


def read_secret_file(file: Path) -> str:
    """Returns what a secret's file holds, stripped, without the mark that some editors put first.

    Raises:
        SecretError: the file is missing, unreadable, not a regular file, too large, not text, or empty. The
            message names the file only.
    """
    try:
        value = read_regular_file(file, _SIZE_MAX).decode("utf-8-sig").strip()
    except UnreadableFileError as error:
        raise SecretError(str(error)) from None
    except ValueError:
        raise SecretError(f"cannot read {file}: it is not UTF-8 text") from None
    if not value:
        raise SecretError(f"{file} is empty")
    return value
