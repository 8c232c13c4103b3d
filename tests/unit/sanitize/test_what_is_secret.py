"""What is masked and what stays: a table of names, values and texts, both sides of each rule."""

import base64
from typing import Any, Final

import pytest

from watcher.models import InputRequest
from watcher.sanitize.masking import DEFAULT_REDACT, Masker
from watcher.sanitize.redactor import MASK, Redactor, looks_random

MASKED_NAMES: Final = [
    "password", "Password", "db_password", "passwordHash", "PASSWD", "passphrase", "ssh-passphrase",
    "secret", "client_secret", "clientSecret", "secret_key", "SECRET_ACCESS_KEY", "token", "accessToken",
    "refresh_token", "id-token", "api_key", "apiKey", "x-api-key", "openai_api_key", "aws_access_key_id",
    "access_key", "private_key", "private-key-pem", "authorization", "Proxy-Authorization", "credential",
    "gcp_credentials", "cookie", "Set-Cookie",
]  # fmt: skip
SHOWN_NAMES: Final = [
    "max_tokens", "tokens", "token_count", "tokenizer", "secretary", "secretariat", "secrets", "author",
    "key", "keyboard", "primary_key", "pass", "passenger", "passport", "compass", "cookies_accepted",
    "cookie_banner", "amount", "account", "user", "email", "session_id", "signature", "public_key", "hash",
    "pin_code", "",
]  # fmt: skip
REPEATED: Final = [
    "hunter22", "s3cr3t", "correct horse battery 9", "p@ssword", "Tr0ub4dor&3", "geheim-42", "abc/def",
    "Zürich#1", "3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d", "ada@example.com",
]  # fmt: skip
NOT_REPEATED: Final = [
    1000, 620, 12.5, True, None, "1000", "11000.50", "2026-06-10", "10.0.0.1", "+1 555 0100", "€ 1,000.00",
    "none", "true", "default", "production", "Ada Lovelace", "O'Brien",
    "O\N{RIGHT SINGLE QUOTATION MARK}Brien", "Jean-Luc", "snake_case_name", "example.com", "a1", "pw1",
    "ab#12", "Dr. No", "Zürich",
]  # fmt: skip
JWT: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM: Final = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nx7Yq2LmN\n-----END RSA PRIVATE KEY-----"
CREDENTIALS: Final = {
    "curl -H 'Authorization: Bearer abc123def456' x": "curl -H 'Authorization: Bearer {}' x",
    "bearer ZXCVBNMasdfghjklqwertyuiop": "bearer {}",
    "Bearer abc.def.ghi, then": "Bearer {}, then",
    'the header "Authorization: Bearer lettersonly"': 'the header "Authorization: Bearer {}"',
    "Basic dXNlcjpodW50ZXIyMg== sent": "Basic {} sent",
    "postgres://app:hunter2@db.example/x": "postgres://app:{}@db.example/x",
    "redis://:p4ss@cache:6379/0": "redis://:{}@cache:6379/0",
    "https://ada:se%40cret@x.example, please": "https://ada:{}@x.example, please",
    f"key: {PEM} end": "key: {} end",
    PEM.partition("-----END")[0]: "{}",
    "-----BEGIN PRIVATE KEY-----\\nMIIEvQ\\n-----END PRIVATE KEY-----": "{}",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n-----END OPENSSH PRIVATE KEY-----.": "{}.",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOYBF\n-----END PGP PRIVATE KEY BLOCK-----": "{}",
    f"jwt={JWT}&x": "jwt={}&x",
    "use sk-0a1b2c3d4e5f6g7h8i": "use {}",
    "sk-proj-0a1b2c3d_4e5f-6g7h, or": "{}, or",
    "sk-abcdefghijklmnopqrst, sk-proj-ABCDefghIJKLmnopQRST": "{0}, {0}",
    "sk_live_0a1b2c3d4e5f6g7h8i9j": "{}",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345": "{}",
    "github_pat_11ABCDEFG0abcdefghijkl_mnop": "{}",
    "glpat-0a1b2c3d4e5f6g7h8i9j": "{}",
    "xoxb-0123456789-abcdefghij (Slack)": "{} (Slack)",
    "xoxp-1-2-3-abcdef": "{}",
    "xapp-1-A0123-456-abcdef": "{}",
    "AKIAIOSFODNN7EXAMPLE,": "{},",
    "ASIAIOSFODNN7EXAMPLE": "{}",
    "AIzaSyA0123456789abcdefghijABCDEFGHIJ01": "{}",
    "dynamiq_acc_0123456789": "{}",
    "a dyn_pat_0123456789": "a {}",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "{}",
}
PLAIN_TEXTS: Final = [
    "Pay 11000.50 USD to account 710002?", "the bearer of this letter", "bearer responsibilities",
    "Bearer e.g. me", "standard bearer 2024-2025", "basic authentication", "Basic English lessons",
    "https://x.example:8080/a@b", "https://x.example/?q=a:b@c", "mailto:ada@example.com",
    "at 10:30 mail ada@example.com", "git@github.com:a/b",
    "-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----", "a private key",
    "eyJ is how JWTs begin", "eye.jaw.nose", "sk-learn and scikit-learn", "sk-sk",
    "risk-based-assessments-2024", "task-1234567890123", "ghp_ is a prefix", "xoxo, grandma",
    "AKIA is four letters", "AKIAS and ASIANS", "dynamiq_acc_", "ratio 3://4",
    "8c2c4c1e-1111-4222-8333-444455556666", "SELECT * FROM users WHERE id = 17", "2026-06-10T09:15:40Z", "",
]  # fmt: skip
RANDOM: Final = [
    "x7Yq2LmN", "s3cretS3cret", "3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d", "T0123456", "aBcDeFgHiJkL",
    "0123456789", "abc123def", "abcdefghijklmnopqrstuvwxyz", "prefix_9f8e7d6c5b",
    "alerts-of-ops-7f3a", "deploy-hook-b2c9-eu",
]  # fmt: skip
NOT_RANDOM: Final = [
    "", "services", "notifications-production", "hooks", "v1", "2026-06-10", "20260610",
    "handleSlackWebhookEvent", "GitHub", "internationalization", "ops", "eu-west-1", "application/json",
    "text/html; charset=utf-8", "team-42", "notifications-2024", "webhooks-of-q3-team", "a1-b2",
]  # fmt: skip


def masked(prompt: str, params: Any) -> InputRequest:
    """Returns a request as it is masked by default."""
    asked = InputRequest("q1", "approval_request", prompt, params, (), "fingerprint")
    return Masker(DEFAULT_REDACT, Redactor()).request(asked)


@pytest.mark.parametrize("name", MASKED_NAMES)
def test_values_of_secret_names_are_masked(name: str) -> None:
    """By default the value is masked, whatever it is, at any depth, and its path is listed."""
    shown = masked("Go?", {"llm": {"options": [{name: 7}]}})
    assert ({"llm": {"options": [{name: MASK}]}}, (f"llm.options[0].{name}",)) == (shown.params, shown.masked)


@pytest.mark.parametrize("name", SHOWN_NAMES)
def test_values_of_other_names_are_shown(name: str) -> None:
    """By default a name that only resembles a secret one hides nothing."""
    shown = masked("Go?", {name: "hunter22"})
    assert ({name: "hunter22"}, ()) == (shown.params, shown.masked)


@pytest.mark.parametrize("value", REPEATED)
def test_a_masked_value_that_looks_secret_is_masked_wherever_it_is_repeated(value: str) -> None:
    """A text of six characters with letters and with digits or symbols shows neither in prompt nor values."""
    shown = masked(f"Use {value}, please?", {"password": value, "note": [f"<{value}>"]})
    assert (f"Use {MASK}, please?", [f"<{MASK}>"]) == (shown.prompt, shown.params["note"])
    assert ("password", "note[0]") == shown.masked


@pytest.mark.parametrize("value", NOT_REPEATED)
def test_a_masked_value_that_does_not_look_secret_changes_nothing_else(value: object) -> None:
    """Numbers, plain words, names and short texts stay where they have another meaning."""
    prompt = f"Pay 1{value}.50 USD to account 7{value}2 of {value}?"
    shown = masked(prompt, {"password": value, "note": value, "text": str(value), str(value): 1})
    assert (prompt, value, str(value), 1) == (
        shown.prompt, shown.params["note"], shown.params["text"], shown.params[str(value)],
    )  # fmt: skip
    assert (() if value is None else ("password",)) == shown.masked


@pytest.mark.parametrize("text", CREDENTIALS)
def test_credentials_of_well_known_shape_are_masked_inside_texts(text: str) -> None:
    """In prompt, values and logs only the credential is masked, and its path is listed."""
    expected = CREDENTIALS[text].format(MASK)
    shown = masked(text, {"cmd": [text]})
    assert (expected, {"cmd": [expected]}, ("cmd[0]",)) == (shown.prompt, shown.params, shown.masked)
    assert expected == Redactor().redact(text)
    assert expected == Redactor().redact(expected)


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_other_texts_stay(text: str) -> None:
    """What only resembles a credential is shown as it is."""
    shown = masked(text, {"text": text})
    assert (text, {"text": text}, ()) == (shown.prompt, shown.params, shown.masked)


@pytest.mark.parametrize("text", [*RANDOM, *NOT_RANDOM])
def test_what_looks_random(text: str) -> None:
    """Tokens look random; words, names, dates and versions do not."""
    assert (text in RANDOM) == looks_random(text)


URL: Final = (
    "https://ada:hunter22@hooks.example/services/T0123456/x7Yq2LmN?channel=alerts&sig=0a1b2c3d#ops-team"
)


@pytest.mark.parametrize("echo", [URL, "hunter22", "x7Yq2LmN", "0a1b2c3d", "/services/T0123456/x7Yq2LmN",
                                  base64.b64encode(b"ada:hunter22").decode()])  # fmt: skip
def test_of_a_url_the_random_parts_are_secret(echo: str) -> None:
    """A URL's password and tokens are masked where they are echoed, as is the URL itself."""
    redactor = Redactor()
    redactor.add_secret(URL)
    assert f"<{MASK}>" == redactor.redact(f"<{echo}>")


@pytest.mark.parametrize("word", ["services", "alerts", "channel", "hooks.example", "/services", "ops-team"])
def test_of_a_url_words_are_not_secret(word: str) -> None:
    """Words in a configured URL stay readable elsewhere."""
    redactor = Redactor()
    redactor.add_secret(URL)
    redactor.add_secret("https://hooks.example/services/alerts?team=ops-team")
    assert f"<{word}>" == redactor.redact(f"<{word}>")


HEADERS: Final = {
    ("Authorization", "Bearer abcdefghij", "abcdefghij"): True,
    ("Authorization", "Basic YWRhOmh1bnRlcjIy", "hunter22"): True,
    ("X-Api-Key", "production", "production"): True,
    ("X-Id", "9f8e7d6c5b", "9f8e7d6c5b"): True,
    ("X-Team", "operations", "operations"): False,
    ("X-Env", "eu-west-1", "eu-west-1"): False,
    ("Accept", "application/json", "application/json"): False,
}


@pytest.mark.parametrize("header", HEADERS)
def test_of_headers_those_values_are_secret_that_look_so(header: tuple[str, str, str]) -> None:
    """A header is secret by its name or if its value looks random; of a credential the bare form is, too."""
    name, value, echo = header
    redactor = Redactor()
    redactor.add_header(name, value)
    assert f"<{MASK if HEADERS[header] else echo}>" == redactor.redact(f"<{echo}>")


@pytest.mark.parametrize("piece", [
    "eyJ", "eyJabcdefgh.", "a://", "a:", "-----BEGIN PRIVATE KEY-----", "bearer ", "sk-a", "a.",
    "basic aaaaaaaa ", "xoxb-1",
])  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """A long text made of beginnings of credentials is searched in time that grows with its length only."""
    redactor = Redactor()
    redactor.redact(piece * (1_000_000 // len(piece)))
