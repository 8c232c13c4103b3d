"""Takes secrets out of texts: those that are known, and credentials whose shape is well known.

Logs, errors and other people's words go through a `Redactor` before they are written, stored or shown.
"""

import base64
import html
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK: Final = "[redacted]"
_SECRET_MIN: Final = 6
"""Characters of the shortest value that is taken out: a shorter one stands in too many words by chance."""
_SLUG_MIN: Final = 12
"""Characters of the shortest text of words that counts as random for one short random piece in it."""
_MIXED: Final = re.compile(
    r"(?=.*\d.*[A-Za-z].*\d)[0-9A-Za-z]{4,}|(?=.*[A-Za-z].*\d.*[A-Za-z])[0-9A-Za-z]{4,}"
)
"""A piece in which letters and digits alternate, as in hexadecimal, and not `v2` or `q3`."""
_SECRET_HEADER: Final = re.compile(r"auth|cookie|credential|key|pass|secret|token", re.IGNORECASE)
_BASIC: Final = re.compile(r"(?i:\b(basic\s{1,4}))([A-Za-z0-9+/_-]{6,}={0,2})")
_SHAPES: Final = {
    hint: re.compile(pattern, re.ASCII)
    for hint, pattern in {
        "bearer": (
            r"(?i:\b(bearer\s{1,4}))"
            r"(?:(?=\S{0,99}\d)(?=\S{0,99}[A-Za-z])[\w.~+/=-]{8,}|[\w.~+/=-]{24,})"
        ),
        "://": r"""(?<![\w.+-])([A-Za-z][\w.+-]{1,30}://[^\s/?#@:"'<>]{0,200}:)[^\s/?#@"'<>]{1,500}(?=@)""",
        "private key": (
            r"()-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----"
            r"(?s:.*?)(?:-----END [A-Z0-9 ]{1,60}-----|\Z)"
        ),
        "eyj": r"()(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*){0,3}",
        "sk-": r"()(?<![\w-])sk-(?=[\w-]{0,99}\d)[\w-]{10,}",
        "k_": r"()(?<![\w-])[prs]k_(?:live|test)_\w{10,}",
        "gh": r"()(?<![\w-])(?:gh[oprsu]|github_pat)_\w{16,}",
        "glpat-": r"()(?<![\w-])glpat-[\w-]{16,}",
        "xox": r"()(?<![\w-])xox[a-z]-[\w-]{8,}",
        "xapp-": r"()(?<![\w-])xapp-[\w-]{8,}",
        "akia": r"()(?<!\w)AKIA[A-Z0-9]{16}(?!\w)",
        "asia": r"()(?<!\w)ASIA[A-Z0-9]{16}(?!\w)",
        "aiza": r"()(?<![\w-])AIza[\w-]{35}",
        "dyn": r"()(?<![\w-])(?:dynamiq_acc|dyn_pat)_\w{8,}",
        "whsec_": r"()(?<![\w-])whsec_[\w+/=-]{12,}",
    }.items()
}
"""Well-known credentials, by what every text with one contains in lower case; the first group stays."""


class Redactor:
    """Knows every secret value that was read. Threads may share it."""

    def __init__(self) -> None:
        self._learned: set[str] = set()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._changing = threading.RLock()  # a finalizer may log while the lock is held

    def add_secret(self, value: str) -> None:
        """Adds a secret value in every spelling; of a URL, also the parts that are secret."""
        if value not in self._learned:  # it is added at each use
            self._add(value, _secrets_of_url(value) if "://" in value else _secrets_of_text(value))

    def add_header(self, name: str, value: str) -> None:
        """Adds the value of a header, unless it is a plain one, such as `X-Team: ops`."""
        if _SECRET_HEADER.search(name) or looks_random(value):
            self._add(value, _secrets_of_header(value))

    def redact(self, text: str) -> str:
        """Returns the text with a mask in place of each secret."""
        with self._changing:
            if self._pattern is None and self._known:
                self._pattern = _pattern(self._known)
            pattern = self._pattern
        return mask_credentials(pattern.sub(MASK, text) if pattern else text)

    def _add(self, value: str, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        long_enough = {spelling for spelling in spellings if len(spelling) >= _SECRET_MIN}
        with self._changing:
            if not long_enough <= self._known:
                self._known |= long_enough
                self._pattern = None
            self._learned.add(value)


def mask_credentials(text: str) -> str:
    """Returns the text with a mask in place of each credential of well-known shape."""
    lowered = text.lower()
    for hint, shape in _SHAPES.items():
        if hint in lowered:
            text = shape.sub(rf"\1{MASK}", text)
    return _BASIC.sub(_mask_basic, text) if "basic" in lowered else text


def looks_random(text: str) -> bool:
    """Tells whether a part of a text looks as if a machine had made it, unlike words, names and dates."""
    parts = re.split(r"[^0-9A-Za-z]+", text)
    return any(map(_is_random, parts)) or (len(text) >= _SLUG_MIN and any(map(_MIXED.fullmatch, parts)))


def _is_random(part: str) -> bool:
    if len(part) < 8:  # noqa: PLR2004 - a shorter one tells too little
        return False
    has_digits, has_letters = re.search(r"\d", part), re.search(r"[A-Za-z]", part)
    if has_digits:
        return bool(has_letters) or len(part) >= 10  # noqa: PLR2004 - a date has eight digits
    humps = len(re.findall(r"[a-z][A-Z]", part)) + 1
    return len(part) >= 24 or (humps > 2 and len(part) < 4 * humps)  # noqa: PLR2004 - camelCase is of words


def _mask_basic(match: re.Match[str]) -> str:
    """Masks the credentials of basic authentication, which are not any word after "basic"."""
    return match[1] + MASK if ":" in _decoded(match[2]) else match[0]


def _decoded(text: str) -> str:
    """Returns what base64 stands for, in either alphabet and without padding too; nothing if it is none."""
    padded = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    with suppress(ValueError):
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode()
    return ""


def _secrets_of_text(value: str) -> Iterator[str]:
    yield value
    if value.startswith("whsec_"):
        yield value.removeprefix("whsec_")
        yield _decoded(value.removeprefix("whsec_"))


def _secrets_of_header(value: str) -> Iterator[str]:
    yield value
    scheme, _, credentials = value.partition(" ")
    if scheme.isalpha() and credentials:
        yield credentials.strip()
        if scheme.lower() == "basic":
            yield _decoded(credentials.strip()).partition(":")[2]


def _secrets_of_url(url: str) -> Iterator[str]:
    """Yields the URL, its password, and those parts that look random: others stand elsewhere as well."""
    yield from (url, quote(url, safe="/:?#[]@!$&'()*+,;=%~", errors="replace"))
    try:
        parts = urlsplit(url)
        username, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    yield from (password, unquote(password))
    if password:
        yield unquote(f"{username}:{password}")  # as basic authentication encodes it
    if looks_random(parts.path):
        host = parts.netloc.rpartition("@")[2]
        yield from (f"{host}{parts.path}", parts.path, f"{parts.path}?{parts.query}")
    single = [
        username,
        *parts.path.split("/"),
        *(value for _, value in parse_qsl(parts.query)),
        parts.fragment,
    ]
    if parts.scheme not in {"http", "https"}:  # Apprise has tokens where others have a host
        single += re.split("[:@]", parts.netloc)
    for part in filter(looks_random, single):
        yield from (part, unquote(part))


def _spellings(secret: str) -> Iterator[str]:
    """Yields the forms in which a secret may be echoed."""
    yield secret
    raw = secret.encode(errors="replace")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(raw).decode()
        yield from (encoded, encoded.rstrip("="))
    quoted = quote(secret, safe="", errors="replace")
    for form in (quoted, quote(secret, errors="replace")):
        yield from (form, re.sub(r"%..", lambda match: match[0].lower(), form))
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield from (escaped, escaped.replace("/", r"\/"))
    yield html.escape(secret)


def _pattern(known: Iterable[str]) -> re.Pattern[str]:
    """Builds one expression for all. Shared beginnings keep it fast with thousands of access keys."""
    endings = defaultdict[str, list[str]](list)
    for form in sorted(known, key=len, reverse=True):  # the longest first, or the rest of it would stay
        endings[form[:_SECRET_MIN]].append(re.escape(form[_SECRET_MIN:]))
    return re.compile(
        "|".join(f"{re.escape(beginning)}(?:{'|'.join(rest)})" for beginning, rest in endings.items())
    )
