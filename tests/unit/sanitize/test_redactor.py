"""Known secrets are taken out of texts: every part of every kind of secret, in every form of an echo."""

import base64
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.support.settings import APP
from watcher.config.sources import load
from watcher.sanitize.redactor import MASK, Redactor

KEY = "dynamiq_acc_0123456789"
PASSWORD = 'h+nt/r&2 "p\\ss" <ü>?'
HOOK = "https://bob:hunter-2-pass@hooks.example.com/services/T0123456/s3cretS3cret?sig=0a1b2c3d"
ESCAPED_HOOK = "https://hooks.example.com/a%2Fb%2fc0123456789/%C3%BC;x=1+2"


def redactor(*known: str) -> Redactor:
    """Returns a redactor that knows these values."""
    made = Redactor()
    for value in known:
        made.add_secret(value)
    return made


def header(name: str, value: str) -> Redactor:
    """Returns a redactor that knows the value of a header."""
    made = Redactor()
    made.add_header(name, value)
    return made


def encoded(text: str, encoding: str = "utf-8") -> str:
    """Returns a text in base64."""
    return base64.b64encode(text.encode(encoding)).decode()


def proxied(variable: str, value: str) -> Redactor:
    """Returns what a configuration knows in an environment with this proxy."""
    return load(None, environ={**APP, variable: value}, directory=Path("/nowhere")).redactor


def between(text: str, inserted: str) -> str:
    """Returns a text with something after each of its characters but the last."""
    return inserted.join(text)


KINDS: dict[str, tuple[Redactor, list[str]]] = {
    "key": (redactor(KEY), [KEY]),
    "any text": (redactor(PASSWORD), [PASSWORD]),
    "signing secret": (
        redactor("whsec_bWFkZS11cC1zZWNyZXQ="),
        ["whsec_bWFkZS11cC1zZWNyZXQ=", "bWFkZS11cC1zZWNyZXQ=", "made-up-secret"],
    ),
    "bearer": (header("Authorization", f"Bearer {KEY}"), [f"Bearer {KEY}", KEY]),
    "other scheme": (header("X-Auth", f"Api-Key  {KEY}"), [KEY]),
    "parameters": (header("Authorization", 'Token token="a1b2c3d4e5", id=7'), ["a1b2c3d4e5"]),
    "cookie": (header("Cookie", "theme=dark; session=f00dbabe1234"), ["f00dbabe1234"]),
    "basic": (
        header("Authorization", f"Basic {encoded(f'bob:{PASSWORD}')}"),
        [f"bob:{PASSWORD}", PASSWORD],
    ),
    "basic, unpadded": (
        header("Authorization", f"basic {encoded('bob:hunter-2-pass').rstrip('=')}"),
        ["bob:hunter-2-pass", "hunter-2-pass"],
    ),
    "URL": (
        redactor(HOOK),
        [
            HOOK,
            "hooks.example.com/services/T0123456/s3cretS3cret",
            "/services/T0123456/s3cretS3cret?sig=0a1b2c3d",
            "s3cretS3cret",
            "bob:hunter-2-pass",
            "hunter-2-pass",
            "0a1b2c3d",
        ],
    ),
    "URL with escapes": (
        redactor(ESCAPED_HOOK),
        [ESCAPED_HOOK, "https://hooks.example.com/a/b/c0123456789/ü;x=1+2", "a%2Fb%2fc0123456789"],
    ),
    "URL with a named secret": (
        redactor("https://hooks.example.com/services?team=operations&auth_token=open+sesame"),
        ["open sesame"],
    ),
    "URL with a password": (
        redactor(f"https://bob:{quote(PASSWORD, safe='')}@example.com/"),
        [PASSWORD, f"bob:{PASSWORD}"],
    ),
    "Apprise": (redactor("ntfys://tk_a1b2c3d4e5@ntfy.example/topic"), ["tk_a1b2c3d4e5"]),
    "proxy": (
        proxied("HTTPS_PROXY", f"http://bob:{quote(PASSWORD, safe='')}@proxy.example:3128"),
        [f"bob:{PASSWORD}", PASSWORD],
    ),
    "proxy that is not used": (
        proxied("all_proxy", "bob:hunter-2-pass@proxy.example:3128"),
        ["bob:hunter-2-pass", "hunter-2-pass", "http://bob:hunter-2-pass@proxy.example:3128"],
    ),
}
"""By kind of secret what knows it, and the parts of it that must not show."""

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda part: quote(part, safe=""),
    "percent but slashes": quote,
    "percent in lower case": lambda part: re.sub("%..", lambda escape: escape[0].lower(), quote(part)),
    "percent of every character": lambda part: "".join(f"%{byte:02x}" for byte in part.encode()),
    "percent twice": lambda part: quote(quote(part)),
    "form": quote_plus,
    "JSON": lambda part: json.dumps(part)[1:-1],
    "JSON in UTF-8": lambda part: json.dumps(part, ensure_ascii=False)[1:-1],
    "JSON with slashes escaped": lambda part: json.dumps(part)[1:-1].replace("/", "\\/"),
    "JSON as Go writes it": lambda part: re.sub(
        "[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(part, ensure_ascii=False)[1:-1]
    ),
    "JSON in JSON": lambda part: json.dumps(json.dumps(part)[1:-1])[1:-1],
    "HTML": html.escape,
    "HTML in decimal": lambda part: "".join(f"&#{ord(each)};" for each in part),
    "HTML in hexadecimal": lambda part: re.sub(r"\W", lambda each: f"&#x{ord(each[0]):X};", part),
    "HTML in JSON": lambda part: json.dumps(html.escape(part))[1:-1],
    "base64": encoded,
    "base64, unpadded": lambda part: encoded(part).rstrip("="),
    "base64 for URLs": lambda part: base64.urlsafe_b64encode(part.encode()).decode(),
    "base64 for URLs, unpadded": lambda part: base64.urlsafe_b64encode(part.encode()).decode().rstrip("="),
    "base64 of Latin-1": lambda part: encoded(part, "latin-1"),
    "base64, percent": lambda part: quote(encoded(part), safe=""),
    "with a space of no width": lambda part: between(part, "\N{ZERO WIDTH SPACE}"),
    "with joiners": lambda part: between(part, "\u200d\u2060"),
    "with soft hyphens": lambda part: between(part, "\xad"),
    "with overrides": lambda part: between(part, "\u202e\u2066"),
    "with marks of byte order": lambda part: f"{part[:3]}\ufeff{part[3:]}",
    "with controls": lambda part: between(part, "\x00"),
    "with escaped joiners": lambda part: f"{part[:3]}\\u200d{part[3:]}",
    "with the mark of what was cleaned": lambda part: between(part, "\N{REPLACEMENT CHARACTER}"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_part_of_a_secret_is_masked_in_every_form(form: str) -> None:
    """Of an echo nothing is left, and what stands around it stays, whatever the kind of secret."""
    masked = {
        (kind, part): known.redact(f"before {FORMS[form](part)} after %41 &lt;")
        for kind, (known, parts) in KINDS.items()
        for part in parts
    }
    assert dict.fromkeys(masked, f"before {MASK} after %41 &lt;") == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing of note",
        "dynamiq_acc_",
        "the services are down",
        "100%25 of &lt;b&gt; \\u0041\\/ \N{ZERO WIDTH JOINER}",
        "hooks.example.com/services",
        "bob",
    ],
)
def test_other_texts_stay(text: str) -> None:
    """Texts without a secret stay as they are, with their escapes, also where they share words with one."""
    assert text == redactor(KEY, HOOK, PASSWORD).redact(text)


def test_a_plain_header_is_no_secret() -> None:
    """What a header such as `X-Team: operations` says stays, also where it stands by chance."""
    assert "operations" == header("X-Team", "operations").redact("operations")


def test_a_plain_value_in_a_url_is_no_secret() -> None:
    """A word in a URL stays where its name does not say that it is secret."""
    assert "operations" == redactor("https://a.example/?team=operations").redact("operations")


def test_a_proxy_without_credentials_is_no_secret() -> None:
    """The address of a proxy stays, for it tells what to mend."""
    text = "cannot connect to http://proxy.example:3128"
    assert text == proxied("HTTP_PROXY", "http://proxy.example:3128").redact(text)


def test_the_longer_of_two_secrets_leaves_no_rest() -> None:
    """Where one secret begins with another, nothing of the longer one is left."""
    shown = redactor("secret-1", "secret-1-and-more").redact("secret-1-and-more, secret-1")
    assert f"{MASK}, {MASK}" == shown


def test_two_secrets_side_by_side() -> None:
    """Escaped secrets that follow each other leave nothing between them."""
    assert f"({MASK})" == redactor("s/cret1", "s/cret2").redact("(s%2Fcret1s%2Fcret2)")


def test_short_values_are_not_searched_for() -> None:
    """A value too short to be a secret does not garble every line."""
    assert redactor("abc").redact("abc is as easy as") == "abc is as easy as"


def test_a_secret_that_was_learnt_later_is_masked_too() -> None:
    """What is learnt after the first use counts from then on."""
    known = redactor(KEY)
    assert known.redact("rotated-key") == "rotated-key"
    known.add_secret("rotated-key")
    assert known.redact("rotated-key") == MASK
