"""Takes secrets out of texts: those that are known, and credentials whose shape is well known.

Logs, errors and other people's words go through a `Redactor` before they are written, stored or shown.
"""

import base64
import html
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from watcher.sanitize.text import INVISIBLE

MASK: Final = "[redacted]"
_SECRET_MIN: Final = 6
"""Characters of the shortest value that is taken out: a shorter one stands in too many words by chance."""
_SLUG_MIN: Final = 12
"""Characters of the shortest text of words that counts as random for one short random piece in it."""
_MIXED: Final = re.compile(
    r"(?=.*\d.*[A-Za-z].*\d)[0-9A-Za-z]{4,}|(?=.*[A-Za-z].*\d.*[A-Za-z])[0-9A-Za-z]{4,}"
)
"""A piece in which letters and digits alternate, as in hexadecimal, and not `v2` or `q3`."""
_LAYERS: Final = 3
"""How many times over a secret may be escaped."""
_ESCAPE: Final = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<json>(?:\\u[0-9A-Fa-f]{4})+|\\[/\"'\\bfnrt])"
    r"|(?P<html>&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]\w{1,7});)"
    rf"|[{INVISIBLE}]"
)
_HINT: Final = re.compile(rf"[%\\&{INVISIBLE}]")
"""What every text with an escape has: looking for one character is ten times as fast."""
_BACKSLASHED: Final = {character: character for character in "/\"'\\"} | {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip
_SECRET_NAME: Final = re.compile(r"auth|cookie|credential|key|pass|secret|(?<![a-z])sig|token", re.IGNORECASE)
"""In the name of a header, or of a value in a URL."""
_BASIC: Final = re.compile(r"(?i:\b(basic\s{1,4}))([A-Za-z0-9+/_-]{6,}={0,2})")
_SHAPES: Final = {
    hint: re.compile(pattern, re.ASCII)
    for hint, pattern in {
        "bearer": (
            r"(?i:\b(bearer\s{1,4}))"
            r"(?:(?=\S{0,99}\d)(?=\S{0,99}[A-Za-z])[\w.~+/=-]{8,}|[\w.~+/=-]{24,}"
            r"|[\w-]{3,}\.[\w-]{3,}\.[\w-]{3,}|(?<=(?i:authorization: bearer ))[\w.~+/=-]{8,})"
        ),
        "://": r"""(?<![\w.+-])([A-Za-z][\w.+-]{1,30}://[^\s/?#@:"'<>]{0,200}:)[^\s/?#@"'<>]{1,500}(?=@)""",
        "private key": (
            r"()-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----"
            r"(?s:.*?)(?:-----END [A-Z0-9 ]{1,60}-----|\Z)"
        ),
        "eyj": r"()(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*){0,3}",
        "sk-": r"()(?<![\w-])sk-(?:(?=[\w-]{0,99}\d)[\w-]{10,}|(?:[a-z]{2,9}-){0,2}[A-Za-z]{16,}[\w-]*)",
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
        """Adds a secret value in every form; of a URL, also the parts that are secret."""
        if value not in self._learned:  # it is added at each use
            self._add(value, _parts_of_url(value) if "://" in value else _parts_of_text(value))

    def add_header(self, name: str, value: str) -> None:
        """Adds the value of a header, unless it is a plain one, such as `X-Team: ops`."""
        if _SECRET_NAME.search(name) or looks_random(value):
            self._add(value, _parts_of_header(value))

    def redact(self, text: str) -> str:
        """Returns the text with a mask in place of each secret, however it is escaped."""
        with self._changing:
            if self._pattern is None and self._known:
                self._pattern = _pattern(self._known)
            pattern = self._pattern
        return mask_credentials(_mask(text, pattern) if pattern else text)

    def _add(self, value: str, parts: Iterable[str]) -> None:
        forms = {form for part in parts for form in _forms(part)}
        long_enough = {form for form in forms if len(form) >= _SECRET_MIN}
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
    """Returns the text that base64 encodes, in either alphabet, padded or not; empty for other text."""
    padded = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    with suppress(ValueError):
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode()
    return ""


def _parts_of_text(value: str) -> Iterator[str]:
    yield value
    if value.startswith("whsec_"):
        yield value.removeprefix("whsec_")
        yield _decoded(value.removeprefix("whsec_"))


def _parts_of_header(value: str) -> Iterator[str]:
    """Yields the value, what follows a scheme (`Bearer …`), what `Basic …` encodes, and values of cookies."""
    yield value
    scheme, _, credentials = value.partition(" ")
    if re.fullmatch(r"[A-Za-z-]+", scheme) and credentials:
        yield credentials.strip()
        if scheme.lower() == "basic":
            decoded = _decoded(credentials.strip())
            yield from (decoded, decoded.partition(":")[2])
    for _, _, part in (pair.partition("=") for pair in re.split(r"[\s,;]+", value)):
        if looks_random(part):
            yield part.strip('"')


def _parts_of_url(url: str) -> Iterator[str]:
    """Yields the URL, its password, the values whose names say that they are secret, and what looks random.

    Its other parts are words that other texts hold too.
    """
    yield url
    try:
        parts = urlsplit(url)
        username, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    yield password
    if password:
        yield unquote(f"{username}:{password}")  # as basic authentication encodes it
    if looks_random(parts.path):
        host = parts.netloc.rpartition("@")[2]
        yield from (f"{host}{parts.path}", parts.path, f"{parts.path}?{parts.query}")
    query = parse_qsl(parts.query)
    yield from (value for name, value in query if _SECRET_NAME.search(name))
    single = [username, *parts.path.split("/"), *(value for _, value in query), parts.fragment]
    if parts.scheme not in {"http", "https"}:  # Apprise has tokens where others have a host
        single += re.split("[:@]", parts.netloc)
    yield from filter(looks_random, single)


def _forms(part: str) -> Iterator[str]:
    """Yields the forms in which a part of a secret may be echoed, as they are once nothing is escaped."""
    plains = [part, *(view.text for view in _unescaped(part))]
    for plain in (*plains, *(plain.replace(" ", "+") for plain in plains)):
        yield plain
        for encoding in ("utf-8", "latin-1"):  # HTTP libraries disagree on that of passwords
            raw = plain.encode(encoding, "replace")
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                encoded = encode(raw).decode()
                yield from (encoded, encoded.rstrip("="))


class _View(NamedTuple):
    """A text without its escapes: where in the original text each character begins and ends."""

    text: str
    begins: Sequence[int]
    ends: Sequence[int]


def _mask(text: str, pattern: re.Pattern[str]) -> str:
    """Masks what matches, as it is written and as it is meant."""
    views = list(_unescaped(text)) if _HINT.search(text) else ()
    if not views:
        return pattern.sub(MASK, text)
    found = {position for match in pattern.finditer(text) for position in range(*match.span())}
    found |= {
        position
        for view in views
        for match in pattern.finditer(view.text)
        for position in range(view.begins[match.start()], view.ends[match.end() - 1])
    }
    runs = groupby(range(len(text)), found.__contains__)
    return "".join(MASK if masked else "".join(text[position] for position in run) for masked, run in runs)


def _unescaped(text: str) -> Iterator[_View]:
    """Yields the text without one layer of escapes and invisible characters, then without two, and so on."""
    view = _View(text, range(len(text)), range(1, len(text) + 1))
    for _ in range(_LAYERS):
        if not _HINT.search(view.text):
            return
        characters, begins, ends, at = list[str](), list[int](), list[int](), 0
        for escape in _ESCAPE.finditer(view.text):
            start, end = escape.span()
            meant = _meaning(escape)
            characters += [view.text[at:start], meant]
            begins += [*view.begins[at:start], *[view.begins[start]] * len(meant)]
            ends += [*view.ends[at:start], *[view.ends[end - 1]] * len(meant)]
            at = end
        if not at:
            return
        characters.append(view.text[at:])
        view = _View("".join(characters), [*begins, *view.begins[at:]], [*ends, *view.ends[at:]])
        yield view


def _meaning(escape: re.Match[str]) -> str:
    """Returns the text that an escape encodes; an invisible character encodes none."""
    written = escape[0]
    match escape.lastgroup:
        case "percent":
            return unquote(written)
        case "json":
            return str(json.loads(f'"{written}"')) if written[1] == "u" else _BACKSLASHED[written[1]]
        case "html":
            return html.unescape(written)
    return ""


def _pattern(known: Iterable[str]) -> re.Pattern[str]:
    """Builds one expression for all. Shared beginnings keep it fast with thousands of access keys."""
    endings = defaultdict[str, list[str]](list)
    for form in sorted(known, key=len, reverse=True):  # the longest first, or the rest of it would stay
        endings[form[:_SECRET_MIN]].append(re.escape(form[_SECRET_MIN:]))
    return re.compile(
        "|".join(f"{re.escape(beginning)}(?:{'|'.join(rest)})" for beginning, rest in endings.items())
    )
