"""Secret settings: read late, never shown."""

import os
import stat
from pathlib import Path
from typing import Final

from watcher.sanitize.redactor import Redactor

_SIZE_MAX: Final = 64 * 1024
"""Bytes of a secret's file. A larger one, or a pipe, is none, and would hold up who reads it."""


class SecretError(Exception):
    """A secret's file cannot be used. The message names the setting and the file."""


class Secret:
    """A secret setting: a fixed value, or a file that is read afresh at each use."""

    __slots__ = ("_redactor", "_value", "file", "name")

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
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise SecretError(f"cannot read {file}: it is not a regular file")
            content = opened.read(_SIZE_MAX + 1)
        if len(content) > _SIZE_MAX:
            raise SecretError(f"cannot read {file}: it is larger than {_SIZE_MAX // 1024} KiB")
        value = content.decode("utf-8-sig").strip()
    except OSError as error:
        raise SecretError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        raise SecretError(f"cannot read {file}: it is not UTF-8 text") from None
    if not value:
        raise SecretError(f"{file} is empty")
    return value
