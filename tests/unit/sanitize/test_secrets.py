"""Secrets are read late and never shown."""

from pathlib import Path

import pytest

from watcher.sanitize.redactor import MASK, Redactor
from watcher.sanitize.secrets import Secret, SecretError

KEY = "dynamiq_acc_0123456789"


def test_a_file_is_read_afresh(tmp_path: Path) -> None:
    """A rotated file is seen at the next use, stripped, and both its values are masked."""
    file, known = tmp_path / "key", Redactor()
    secret = Secret("apps.a.access_key", known, file=file)
    file.write_text("  first-value \n")
    assert secret.read() == "first-value"
    file.write_text("second-value\n")
    assert secret.read() == "second-value"
    assert known.redact("first-value second-value") == f"{MASK} {MASK}"


def test_the_mark_of_an_editor_is_no_part_of_a_secret(tmp_path: Path) -> None:
    """A byte order mark at the start of a file is left out."""
    file = tmp_path / "key"
    file.write_bytes(b"\xef\xbb\xbfvalue-1\r\n")
    assert Secret("s", Redactor(), file=file).read() == "value-1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff\xfe", "not UTF-8 text")],
    ids=["missing", "empty", "no text"],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """An error says which setting, which file and why."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretError, match=reason) as raised:
        Secret("apps.a.access_key", Redactor(), file=file).read()
    assert str(raised.value).startswith("apps.a.access_key: ")
    assert str(file) in str(raised.value)


def test_a_secret_does_not_show_itself() -> None:
    """Neither repr nor str nor an f-string shows the value."""
    secret = Secret("apps.a.access_key", Redactor(), value=KEY)
    assert (KEY in repr(secret), KEY in str(secret), KEY in f"{secret}") == (False, False, False)
