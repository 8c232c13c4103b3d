"""What is masked: parameters by the names of their keys, and every secret that is known."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.models import InputRequest, Json
from watcher.sanitize import masking
from watcher.sanitize.limits import JSON_MAX, PROMPT_MAX, STRING_MAX, VALUES_MAX, size_notice
from watcher.sanitize.masking import Masker
from watcher.sanitize.redactor import MASK, Redactor
from watcher.sanitize.secrets import Secret

GLOBS = ("*password*", "*token*", "pin")
KEY = "dynamiq_acc_" + "Zx9" * 20


def masker(*globs: str, secret: str | None = None) -> Masker:
    """A masker of those globs that knows one secret of ours."""
    redactor = Redactor()
    if secret is not None:
        redactor.add_secret(secret)
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


def test_masks_questions() -> None:
    """Questions are masked as parameters are, and a text that is masked in either is masked in both."""
    asked = [{"question": "Use hunter22?", "options": [{"label": "abc-123!", "token": "abc-123!"}]}]
    given = replace(request(None, {"password": "hunter22", "note": "abc-123!"}), questions=asked)
    masked = masker(*GLOBS).request(given)
    assert [{"question": f"Use {MASK}?", "options": [{"label": MASK, "token": MASK}]}] == masked.questions
    paths = ("questions[0].question", "questions[0].options[0].label", "questions[0].options[0].token")
    assert ("password", "note", *paths) == masked.masked


def test_bounds_questions() -> None:
    """Questions too large to be kept are replaced by words that say so."""
    asked = [{"question": "q" * 900}] * 400
    given = replace(request(None, {}), questions=asked)
    assert size_notice(asked) == masker().request(given).questions


def test_masks_everywhere_what_is_masked_anywhere() -> None:
    """A text under a secret key is masked in other values too, and in what is beside; a number is not."""
    params = {
        "password": "hunter22",
        "note": ["use hunter22 twice: hunter22"],
        "card": {"token": 123456},
        "n": 123456,
    }
    masked = masker(*GLOBS).request(request("Use beside99?", params), {"beside99"})
    assert {
        "password": MASK,
        "note": [f"use {MASK} twice: {MASK}"],
        "card": {"token": MASK},
        "n": 123456,
    } == masked.params
    assert ("password", "note[0]", "card.token") == masked.masked
    assert f"Use {MASK}?" == masked.prompt
    assert {"text": f"a {MASK}"} == masker(*GLOBS).json({"text": "a beside99"}, {"beside99"})
    assert {"beside99"} == masker(*GLOBS).values_to_mask([{"token": "beside99"}])


def test_short_values_do_not_garble_the_prompt() -> None:
    """A masked value of three characters is not searched for in the prompt."""
    assert masker(*GLOBS).request(request("May I use it?", {"pin": "use"})).prompt == "May I use it?"


def test_finds_the_shortest_secret_at_either_end_of_a_text() -> None:
    """Among many masked values too, one of six characters is masked where a text begins and ends with it."""
    params = {f"token{number}": f"ab{number:04}" for number in range(100)}
    shown = masker(*GLOBS).request(request("ab0042, or ab0099", params))
    assert f"{MASK}, or {MASK}" == shown.prompt


def test_finds_what_is_masked_among_much() -> None:
    """Of thousands of masked values those that the prompt repeats are masked there."""
    rows = [{"token": f"value-{number}", "pin": 1_000_000 + number} for number in range(20_000)]
    masked = masker(*GLOBS).request(request("Use value-19999 and 1000007, not VALUE-1?", {"rows": rows}))
    assert f"Use {MASK} and 1000007, not VALUE-1?" == masked.prompt
    assert ("rows[0].token", "rows[0].pin", "rows[1].token") == masked.masked[:3]
    assert (masking.MASKED_MAX + 1, "… (39000 more)") == (len(masked.masked), masked.masked[-1])


def test_a_prompt_of_nothing_but_masked_values_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many masked values would have to be looked for, the prompt is masked whole."""
    monkeypatch.setattr(masking, "_LOOKS", 3)
    prompt = "Use abcde1, bcdef2, cdefg3 and defgh4?"
    few = ["abcde1", "bcdef2", "cdefg3"]
    many = [*few, "defgh4"]
    assert (
        f"Use {MASK}, {MASK}, {MASK} and defgh4?"
        == masker(*GLOBS).request(request(prompt, {"token": few})).prompt
    )
    assert MASK == masker(*GLOBS).request(request(prompt, {"token": many})).prompt


@pytest.mark.parametrize("field", ["type", "prompt", "editable_params"])
def test_no_field_repeats_a_secret(field: str) -> None:
    """A secret of ours, and a value that is masked among the parameters, show in no field of a request."""
    told = f"{KEY} hunter22" if field != "type" else KEY
    fields: dict[str, Any] = {field: (told,) if field == "editable_params" else told}
    asked = replace(request("Go?", {"token": "hunter22"}), **fields)
    shown = str(getattr(masker(*GLOBS, secret=KEY).request(asked), field))
    assert (KEY in shown, "hunter22" in shown, MASK in shown) == (False, False, True)


def test_a_prompt_that_is_json_is_masked_by_its_keys() -> None:
    """Where an agent asks with an object instead of a text, secret keys in it are masked as in parameters."""
    shown = masker(*GLOBS).request(request('{"ask": "Go?", "api_token": "hunter22"}', None)).prompt
    assert shown == f'{{"ask": "Go?", "api_token": "{MASK}"}}'
    for harmless in ('{"ask": "Go?"}', "[not JSON"):
        assert harmless == masker(*GLOBS).request(request(harmless, None)).prompt


def test_a_value_that_is_escaped_elsewhere_is_masked_there_too() -> None:
    """A masked value is found within JSON that is itself a text."""
    shown = masker(*GLOBS).request(request('Send {"key": "ab\\"cdef"}?', {"token": 'ab"cdef'})).prompt
    assert shown == f'Send {{"key": "{MASK}"}}?'


def test_masking_much_takes_no_time_to_speak_of() -> None:
    """Thousands of masked values beside thousands of texts are looked up, not each compared with each."""
    params = {
        "token_ids": [f"{number}-hidden" for number in range(8000)],
        "texts": [f"text {number}" for number in range(8000)],
    }
    finder = masking._ValueMasker({f"{number:04}-hidden" for number in range(8000)})
    for text in params["texts"]:
        finder.mask(text)
    assert masking._LOOKS - 8000 * 10 < finder._looks
    assert masker(*GLOBS).request(request("Use 17-hidden?", params)).prompt == f"Use {MASK}?"


def test_a_mask_is_not_masked_again() -> None:
    """Masked values that are words of the mask itself do not make the prompt grow."""
    hidden = ["abcde1", "[redacted]", "redacted]"]
    masked = masker(*GLOBS).request(request("redacted] abcde1", {"token": hidden}))
    assert f"{MASK} {MASK}" == masked.prompt


@pytest.mark.parametrize("size", [PROMPT_MAX, PROMPT_MAX + 1, 2 * PROMPT_MAX, 3 * PROMPT_MAX])
def test_a_long_prompt_is_cut(size: int) -> None:
    """A prompt is kept up to the limit; of a longer one it is said how much is missing before its end."""
    end = "Shall I?"
    prompt = masker(*GLOBS).request(request("x" * (size - len(end)) + end, None)).prompt
    assert prompt is not None
    assert PROMPT_MAX - 100 < len(prompt) <= PROMPT_MAX
    found = re.fullmatch(r"(x+)(?:… \((\d+) more characters\) …(x+))?Shall I\?", prompt)
    assert found is not None
    assert size == sum(map(len, (found[1], found[3] or "", end))) + int(found[2] or 0)


@pytest.mark.parametrize("hidden", ["hunter22-" * 10, KEY])
@pytest.mark.parametrize("over", [0, 40])
@pytest.mark.parametrize("place", [PROMPT_MAX - 60, 2 * PROMPT_MAX - 45, 2 * PROMPT_MAX - 5])
def test_nothing_of_a_secret_is_left_where_a_prompt_is_cut(hidden: str, over: int, place: int) -> None:
    """A masked value, or a secret of ours, that the cut goes through is masked before it."""
    prompt = "x" * (place + over) + hidden + "y" * PROMPT_MAX
    shown = masker(*GLOBS, secret=KEY).request(request(prompt, {"token": "hunter22-" * 10})).prompt
    assert shown is not None
    assert set("xy") == set(re.sub(r"… \(\d+ more characters\) …", "", shown).replace(MASK, ""))


@pytest.mark.parametrize("hidden", ["hunter22-" * 10, KEY])
@pytest.mark.parametrize("place", [-40, -5, PROMPT_MAX - 16_400, PROMPT_MAX * 3 // 5 + 20])
def test_nothing_of_a_secret_is_left_where_the_end_of_a_prompt_begins(hidden: str, place: int) -> None:
    """A secret that stands across the beginning of what is kept of the end does not show in part."""
    after = PROMPT_MAX - place - len(hidden) if place > 0 else PROMPT_MAX + place
    shown = (
        masker(*GLOBS, secret=KEY)
        .request(request("x" * 3 * PROMPT_MAX + hidden + "y" * after, {"token": "hunter22-" * 10}))
        .prompt
    )
    assert shown is not None
    assert set("xy") == set(re.sub(r"… \(\d+ more characters\) …", "", shown).replace(MASK, ""))


@pytest.mark.parametrize(
    ("secret", "start"),
    [
        ("".join(f"hunter{number}-" for number in range(10)), f"Use these: {MASK}{MASK}"),
        ("".join(f"hunter{number}-" for number in range(5000)), "…"),
        (KEY, f"Use these: {MASK}"),
    ],
)
def test_nothing_of_a_secret_is_left_where_masks_make_a_prompt_short(secret: str, start: str) -> None:
    """When a long prompt is nothing but secrets, so that little is left of it, none shows in part."""
    prompt = "Use these: " + secret * (3 * PROMPT_MAX // len(secret))
    params = {"note" if secret == KEY else "token": secret}
    shown = masker(*GLOBS, secret=KEY).request(request(prompt, params)).prompt
    assert shown is not None
    assert shown.startswith(start)
    assert ("hunt" in shown, "dyna" in shown, "Zx9" in shown) == (False, False, False)
    assert re.search(r"… \(\d+ more characters\) …", shown)


def test_large_params_are_cut_after_they_were_masked() -> None:
    """In a long text that is cut a secret was masked before, so that no part of it is left."""
    params = {"note": "x" * 960 + KEY, "token": "hunter22", "rest": "y" * JSON_MAX}
    shown = masker(*GLOBS, secret=KEY).request(request("Use hunter22?", params))
    assert f"Use {MASK}?" == shown.prompt
    assert (f"{'x' * 960}{MASK}", MASK) == (shown.params["note"], shown.params["token"])
    assert shown.params["rest"].endswith("more characters)")
    assert "fingerprint" == shown.fingerprint


def test_too_many_params_are_left_out() -> None:
    """Parameters that cannot be cut are replaced by their size; the prompt is masked by them all the same."""
    params = {"rows": [{"token": f"value-{number}"} for number in range(VALUES_MAX // 2)]}
    shown = masker(*GLOBS).request(request("Use value-77?", params))
    assert f"Use {MASK}?" == shown.prompt
    assert size_notice(params) == shown.params


def test_what_is_masked_counts_as_the_mask() -> None:
    """Any number of values behind one masked key are one value."""
    assert {"token": MASK} == masker(*GLOBS).json({"token": [0] * VALUES_MAX})


def test_a_large_input_is_cut_too() -> None:
    """The input of a run is bounded as parameters are."""
    shown = masker(*GLOBS).json({"text": "x" * JSON_MAX, "user": "ada"})
    assert ("ada", STRING_MAX) == (shown["user"], len(shown["text"]))


def test_other_fields_are_bounded() -> None:
    """Neither the type nor the names of what is editable can be endless."""
    endless = replace(request("Go?", {}), type="t" * 5000, editable_params=("a",) * JSON_MAX)
    shown = masker(*GLOBS).request(endless)
    assert STRING_MAX == len(shown.type)
    assert ("… (1,048,577 bytes of JSON, too large to keep)",) == shown.editable_params


def test_identity_is_that_of_the_original() -> None:
    """Masking changes neither id, type, editable keys nor fingerprint."""
    masked = masker(*GLOBS).request(request("Go?", {"token": "abcdef"}))
    assert (
        InputRequest("q1", "approval_request", "Go?", {"token": MASK}, ("amount",), "fingerprint", ("token",))
        == masked
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
    redactor.add_secret(KEY)
    assert redactor.redact(f'header "Authorization: Bearer {KEY}" invalid') == (
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
    """The forms in which a secret may come back are redacted: encoded, bare, or the part of a URL."""
    redactor = Redactor()
    redactor.add_secret(secret)
    assert f"<{MASK}>" == redactor.redact(f"<{echoed}>")


def test_scrubs_the_longest_first() -> None:
    """Where one secret begins another, nothing of the longer one is left."""
    redactor = Redactor()
    redactor.add_secret("secret-a")
    redactor.add_secret("secret-a-and-more")
    assert f"{MASK} {MASK}" == redactor.redact("secret-a-and-more secret-a")


def test_very_short_values_are_no_secrets() -> None:
    """A value of five characters is not masked, for it would garble every line."""
    redactor = Redactor()
    redactor.add_secret("error")
    assert redactor.redact("an error") == "an error"


def test_knows_old_and_new_value_of_a_rotated_file(tmp_path: Path) -> None:
    """After a rotation both values are scrubbed, although a text was scrubbed in between."""
    redactor, file = Redactor(), tmp_path / "key"
    secret = Secret("access_key", redactor, file=file)
    file.write_text("old-value\n")
    secret.read()
    assert f"{MASK} new-value" == redactor.redact("old-value new-value")
    file.write_text("new-value\n")
    secret.read()
    assert f"{MASK} {MASK}" == redactor.redact("old-value new-value")


@given(st.lists(st.text("ab+.*\\", min_size=6), min_size=1), st.text("ab+.*\\"), st.text("ab+.*\\"))
def test_no_known_secret_survives(secrets: list[str], before: str, after: str) -> None:
    """Whatever secrets are known, and however they overlap, none is left whole in a text."""
    redactor = Redactor()
    for secret in secrets:
        redactor.add_secret(secret)
    shown = redactor.redact("".join(f"{before}{secret}{after}" for secret in secrets))
    assert not [secret for secret in secrets if secret in shown]


def test_masked_names_stay_apart() -> None:
    """A name with a secret of ours is masked and takes no other's place; paths are of the masked names."""
    redactor = Redactor()
    for secret in ("hunter-1", "hunter-2"):
        redactor.add_secret(secret)
    params = {"hunter-1": 17, "hunter-2": 620, f"{MASK} (2)": {"token": 1}}
    shown = Masker(("token",), redactor).request(request(None, params))
    assert {MASK: 17, f"{MASK} (2)": 620, f"{MASK} (2) (2)": {"token": MASK}} == shown.params
    assert (f"{MASK} (2) (2).token",) == shown.masked


def test_words_of_the_api_and_of_the_configuration_stay() -> None:
    """A masked value that is also the name of a parameter, a type or an app hides none of these."""
    names = Masker(GLOBS, Redactor(), names=["support-2"])
    params = {"api_token": ["address1", "support-2", "input_2_request"], "address1": "x"}
    asked = replace(request("address1 of support-2 by input_2_request?", params), type="input_2_request")
    masked = names.request(asked)
    assert ("address1 of support-2 by input_2_request?", "input_2_request") == (masked.prompt, masked.type)
    assert {"api_token": MASK, "address1": "x"} == masked.params


def test_withheld_parameters_are_listed_by_name() -> None:
    """Without its parameters a request says which they were, masked or not, up to a bound."""
    params = {"amount": 1, "token": "hunter22"} | {f"p{number}": 0 for number in range(masking.MASKED_MAX)}
    withheld = masker(*GLOBS).withhold(masker(*GLOBS).request(request("Go?", params)))
    assert (None, ("amount", "token", "p0"), "… (2 more)") == (
        withheld.params,
        withheld.masked[:3],
        withheld.masked[-1],
    )
    assert () == masker(*GLOBS).withhold(request("Go?", [1])).masked
