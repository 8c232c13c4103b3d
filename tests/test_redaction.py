"""What is masked: parameters by the names of their keys, and every secret that is known."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.models import InputRequest, Json
from watcher.redaction import Masker
from watcher.secrets import MASK, Redactor, Secret

GLOBS = ("*password*", "*token*", "pin")
KEY = "dynamiq_acc_" + "Zx9" * 20


def masker(*globs: str, secret: str | None = None) -> Masker:
    """A masker of those globs that knows one secret of ours."""
    redactor = Redactor()
    if secret is not None:
        redactor.learn(secret)
    return Masker(globs, redactor)


def request(prompt: str | None, params: Json) -> InputRequest:
    """A request as it was read."""
    return InputRequest("q1", "approval_request", prompt, params, ("amount",), "fingerprint")


@pytest.mark.parametrize("key", ["password", "db_password_2", "PassWord", "API_TOKEN", "pin"])
def test_masks_by_key(key: str) -> None:
    """A key that fits a glob has its value masked, in any case."""
    assert {key: MASK, "amount": 5} == masker(*GLOBS).json({key: "hunter22", "amount": 5})


@pytest.mark.parametrize("key", ["spin", "pin_code", "passwor", "amount"])
def test_keeps_other_keys(key: str) -> None:
    """A glob covers the whole key, not a part of it."""
    assert {key: "hunter22"} == masker(*GLOBS).json({key: "hunter22"})


def test_masks_at_any_depth() -> None:
    """Keys are looked at within objects within lists, and what is masked is masked whole."""
    value = {"rows": [{"login": {"token": {"kind": "jwt", "parts": ["a", "b"]}}}, 7, None]}
    assert masker(*GLOBS).json(value) == {"rows": [{"login": {"token": MASK}}, 7, None]}


def test_keeps_null() -> None:
    """A secret that is not there is shown as such."""
    assert masker(*GLOBS).json({"token": None}) == {"token": None}


def test_masks_nothing_without_globs() -> None:
    """An empty list of globs turns masking by key off."""
    assert masker().json({"password": "hunter22", "": 1}) == {"password": "hunter22", "": 1}


def test_leaves_the_original_alone() -> None:
    """What was read is not changed by masking it."""
    original = {"rows": [{"token": "abcdef"}]}
    masker(*GLOBS).json(original)
    assert original == {"rows": [{"token": "abcdef"}]}


def test_masks_the_prompt_too() -> None:
    """A text masked in the parameters is masked where the prompt repeats it, the longest first."""
    params = {"password": ["hunter22", {"old": "hunter22-old"}], "amount": "5"}
    masked = masker(*GLOBS).request(request("Set hunter22-old to hunter22 for 5?", params))
    assert f"Set {MASK} to {MASK} for 5?" == masked.prompt


def test_short_values_do_not_garble_the_prompt() -> None:
    """A masked value of three characters is not searched for in the prompt."""
    assert masker(*GLOBS).request(request("May I use it?", {"pin": "use"})).prompt == "May I use it?"


def test_identity_is_that_of_the_original() -> None:
    """Masking changes neither id, type, editable keys nor fingerprint."""
    masked = masker(*GLOBS).request(request("Go?", {"token": "abcdef"}))
    assert (
        InputRequest("q1", "approval_request", "Go?", {"token": MASK}, ("amount",), "fingerprint") == masked
    )


def test_a_request_without_content_passes() -> None:
    """Neither a missing prompt nor missing parameters are invented."""
    assert request(None, None) == masker(*GLOBS).request(request(None, None))


def test_masks_our_own_secrets() -> None:
    """A secret of ours is masked in the prompt, in texts and in keys, whatever the key is called."""
    masked = masker(secret=KEY).request(request(f"Use {KEY}?", {f"k {KEY}": [f"Bearer {KEY}"]}))
    assert (f"Use {MASK}?", {f"k {MASK}": [f"Bearer {MASK}"]}) == (masked.prompt, masked.params)


def test_scrubs_an_echoed_header() -> None:
    """An error message that quotes the Authorization header no longer holds the key."""
    redactor = Redactor()
    redactor.learn(KEY)
    assert redactor.scrub(f'header "Authorization: Bearer {KEY}" invalid') == (
        f'header "Authorization: Bearer {MASK}" invalid'
    )


@pytest.mark.parametrize(
    ("secret", "echoed"),
    [
        ("p/ss+w rd=", quote("p/ss+w rd=", safe="")),
        ("hunter22", "aHVudGVyMjI="),
        ("whsec_MfKQ9r8GKYqrTwjU", "MfKQ9r8GKYqrTwjU"),
        ("https://hooks.example/services/T0001/B0002/x7Yq2LmN", "/services/T0001/B0002/x7Yq2LmN"),
        ("https://hooks.example/services/T0001/B0002/x7Yq2LmN", "x7Yq2LmN"),
        ("https://hooks.example/notify?key=abc123def", "abc123def"),
        ("ntfys://user:s3cret-word@ntfy.example/topic", "s3cret-word"),
    ],
)
def test_scrubs_other_forms(secret: str, echoed: str) -> None:
    """The forms in which a secret may come back are scrubbed: encoded, bare, or the part of a URL."""
    redactor = Redactor()
    redactor.learn(secret)
    assert f"<{MASK}>" == redactor.scrub(f"<{echoed}>")


def test_scrubs_the_longest_first() -> None:
    """Where one secret begins another, nothing of the longer one is left."""
    redactor = Redactor()
    redactor.learn("secret-a")
    redactor.learn("secret-a-and-more")
    assert f"{MASK} {MASK}" == redactor.scrub("secret-a-and-more secret-a")


def test_very_short_values_are_no_secrets() -> None:
    """A value of five characters is not masked, for it would garble every line."""
    redactor = Redactor()
    redactor.learn("error")
    assert redactor.scrub("an error") == "an error"


def test_knows_old_and_new_value_of_a_rotated_file(tmp_path: Path) -> None:
    """After a rotation both values are scrubbed, although a text was scrubbed in between."""
    redactor, file = Redactor(), tmp_path / "key"
    secret = Secret("access_key", redactor, file=file)
    file.write_text("old-value\n")
    secret.read()
    assert f"{MASK} new-value" == redactor.scrub("old-value new-value")
    file.write_text("new-value\n")
    secret.read()
    assert f"{MASK} {MASK}" == redactor.scrub("old-value new-value")


@given(st.lists(st.text("ab+.*\\", min_size=6), min_size=1), st.text("ab+.*\\"), st.text("ab+.*\\"))
def test_no_known_secret_survives(secrets: list[str], before: str, after: str) -> None:
    """Whatever secrets are known, and however they overlap, none is left whole in a text."""
    redactor = Redactor()
    for secret in secrets:
        redactor.learn(secret)
    shown = redactor.scrub("".join(f"{before}{secret}{after}" for secret in secrets))
    assert not [secret for secret in secrets if secret in shown]
