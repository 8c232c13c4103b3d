"""The image holds what it should and no more, and its packages are pinned."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
BUILD_LOCK = (ROOT / "requirements-build.lock").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def test_the_image_says_what_it_is() -> None:
    """Title, source, licence, version and revision are labels; the last two are given to the build."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', LAST_STAGE))
    assert labels.keys() == {"title", "description", "source", "licenses", "version", "revision"}
    assert labels["licenses"] == PROJECT["license"]
    assert labels["description"] == PROJECT["description"]
    assert (labels["version"], labels["revision"]) == ("${VERSION}", "${REVISION}")


def test_the_image_is_nobody_in_particular() -> None:
    """It runs as a user without a name and of group 0, to which what is written belongs."""
    user, group = re.findall(r"^USER (\d+):(\d+)$", LAST_STAGE, re.MULTILINE)[-1]
    assert int(user) > 0
    assert group == "0"
    assert f"RUN install -d -o {user} -g {group} -m 0770 /data" in LAST_STAGE
    assert LAST_STAGE.index("USER ") < LAST_STAGE.index("ENTRYPOINT ")


def test_the_image_is_asked_whether_it_is_ready() -> None:
    """Its health check is the command made for that, and leaves time for the command's own 5 seconds."""
    options, command = re.findall(r"^HEALTHCHECK (.*) CMD (.*)$", LAST_STAGE, re.MULTILINE)[0]
    assert command == '["watcher", "healthcheck"]'
    assert int(re.findall(r"--timeout=(\d+)s", options)[0]) > 5


def test_nothing_is_built_in_the_last_stage() -> None:
    """The image gets the finished environment, and installs nothing itself."""
    assert re.findall(r"\b(?:pip|apt-get|apt|curl|git)\b", LAST_STAGE) == []
    assert re.findall(r"^(?:COPY|ADD) (.*)$", LAST_STAGE, re.MULTILINE) == [
        "--from=build /opt/watcher /opt/watcher"
    ]


def test_only_what_is_named_gets_into_a_build() -> None:
    """The context is closed to all that is not listed, and what is copied is listed."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == {name for names in copied for name in names.split()}


EXTRA = PROJECT["optional-dependencies"]["postgresql"]


@pytest.mark.parametrize(
    ("lock", "required"),
    [(LOCK, [*PROJECT["dependencies"], *EXTRA]), (BUILD_LOCK, PYPROJECT["build-system"]["requires"])],
)
def test_every_dependency_is_pinned(lock: str, required: list[str]) -> None:
    """The locks have what runs, PostgreSQL's too, and what builds, in allowed versions, without addresses."""
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    for requirement in map(Requirement, required):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])
    entries = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in lock


def test_everything_is_installed_by_hash() -> None:
    """Each installation in the build checks hashes, or asks no index at all."""
    installs = re.findall(r"pip (?:--python \S+ )?install (.*?)(?: \\\n|\n)", DOCKERFILE)
    assert 3 == len(installs)
    assert [] == [each for each in installs if "--require-hashes" not in each and "--no-index" not in each]
    assert [] == [
        each for each in re.findall("pip wheel .*", DOCKERFILE) if "--no-build-isolation" not in each
    ]


def test_what_is_imported_late_is_installed() -> None:
    """The build imports some modules by name; each is of the standard library or pinned."""
    (named,) = re.findall(r"late = \[(.*?)\];", DOCKERFILE, re.DOTALL)
    pinned = {name.replace("-", "_") for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
    top = {module.partition(".")[0] for module in re.findall('"([^"]+)"', named)}
    assert set() == top - pinned - sys.stdlib_module_names
