"""Known secrets are taken out of texts."""

import base64
import json
from urllib.parse import quote

import pytest

from watcher.sanitize.redactor import MASK, Redactor

KEY = "dynamiq_acc_0123456789"
URL = "https://bob:hunter-2-pass@hooks.example.com/services/T0123456/s3cretS3cret?sig=0a1b2c3d"


def redactor(*known: str) -> Redactor:
    """Returns a redactor that knows these values."""
    made = Redactor()
    for value in known:
        made.add_secret(value)
    return made


@pytest.mark.parametrize(
    ("known", "echo"),
    [
        (KEY, KEY),
        ("p@ss word/1", quote("p@ss word/1", safe="")),
        (KEY, base64.b64encode(KEY.encode()).decode()),
        ("whsec_c2VjcmV0", "c2VjcmV0"),
        (URL, URL),
        (URL, "hooks.example.com/services/T0123456/s3cretS3cret"),
        (URL, "s3cretS3cret"),
        (URL, "hunter-2-pass"),
        (URL, "0a1b2c3d"),
    ],
)
def test_a_secret_is_masked_in_every_form(known: str, echo: str) -> None:
    """A known secret is taken out as it is, quoted, encoded, and by the parts of a URL that are secret."""
    shown = redactor(known).redact(f"before {echo} after")
    assert echo not in shown
    assert MASK in shown


@pytest.mark.parametrize("text", ["", "nothing of note", "dynamiq_acc_", "the services are down"])
def test_other_texts_stay(text: str) -> None:
    """Texts without a secret stay as they are, also where they share words with one."""
    assert text == redactor(KEY, URL).redact(text)


def test_the_longer_of_two_secrets_leaves_no_rest() -> None:
    """Where one secret begins with another, nothing of the longer one is left."""
    shown = redactor("secret-1", "secret-1-and-more").redact("secret-1-and-more, secret-1")
    assert f"{MASK}, {MASK}" == shown


def test_short_values_are_not_searched_for() -> None:
    """A value too short to be a secret does not garble every line."""
    assert redactor("abc").redact("abc is as easy as") == "abc is as easy as"


def test_a_secret_that_was_learnt_later_is_masked_too() -> None:
    """What is learnt after the first use counts from then on."""
    known = redactor(KEY)
    assert known.redact("rotated-key") == "rotated-key"
    known.add_secret("rotated-key")
    assert known.redact("rotated-key") == MASK


@pytest.mark.parametrize(
    "secret", ['dynamiq_acc_a"b\\c-0123', "geheim-\N{LATIN SMALL LETTER U WITH DIAERESIS}ber"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_scrubs_what_is_escaped_in_json(secret: str, *, ascii_only: bool) -> None:
    """A secret that somebody echoes within JSON is known in its escaped form, too."""
    assert (
        redactor(secret).redact(json.dumps({"key": secret}, ensure_ascii=ascii_only))
        == f'{{"key": "{MASK}"}}'
    )


def test_scrubs_what_a_signing_secret_encodes() -> None:
    """The text that the base64 of a signing secret stands for is as secret."""
    known = redactor("whsec_bWFkZS11cC1zZWNyZXQ=")
    assert known.redact("it is made-up-secret") == f"it is {MASK}"
