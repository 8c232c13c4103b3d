"""The logs: their form, and that no secret and no other people's control character gets through."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from watcher import logs
from watcher.secrets import MASK, Redactor

SECRET = "dynamiq_acc_s3cr3t_value"


@pytest.fixture
def redactor() -> Iterator[Redactor]:
    """A redactor that knows one secret; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    redactor = Redactor()
    redactor.learn(SECRET)
    yield redactor
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def configured(
    redactor: Redactor,
    form: Literal["auto", "console", "json"] = "json",
    level: Literal["debug", "info", "warning", "error"] = "info",
) -> io.StringIO:
    """Configures the logs and returns what they are written to."""
    stream = io.StringIO()
    logs.configure(level=level, format=form, redactor=redactor, stream=stream)
    return stream


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    """Returns the JSON lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line(redactor: Redactor) -> None:
    """A line carries time in UTC, level, event and fields."""
    stream = configured(redactor)
    structlog.get_logger().bind(app="support").info("poll.succeeded", new=2)
    (record,) = records(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", record.pop("timestamp"))
    assert record == {"level": "info", "event": "poll.succeeded", "app": "support", "new": 2}


def test_secrets_are_taken_out_of_every_field(redactor: Redactor) -> None:
    """A secret in a value, in a nested one, in an object's words or in a traceback is masked."""
    stream = configured(redactor)
    log = structlog.get_logger()
    log.info("one", error=f"said {SECRET}", nested={"list": [SECRET]}, thing=ValueError(SECRET))
    try:
        int(SECRET)
    except ValueError:
        log.exception("two")
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count(MASK) >= 4
    assert [record["event"] for record in records(stream)] == ["one", "two"]


def test_libraries_go_the_same_way(redactor: Redactor) -> None:
    """A library's record is one of our lines, redacted; a warning of Python's is too."""
    stream = configured(redactor)
    logging.getLogger("some.library").warning("calling %s", f"https://x/{SECRET}")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"old {SECRET}", DeprecationWarning, stacklevel=1)
    events = [record["event"] for record in records(stream)]
    assert events[0] == f"calling https://x/{MASK}"
    assert len(events) == 2
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("name", ["httpx", "apscheduler.scheduler", "slack_sdk.web"])
def test_chatty_libraries_are_quiet(redactor: Redactor, name: str) -> None:
    """What libraries say at info is shown only when debugging."""
    quiet = configured(redactor)
    logging.getLogger(name).info("request")
    loud = configured(redactor, level="debug")
    logging.getLogger(name).info("request")
    assert (len(records(quiet)), len(records(loud))) == (0, 1)


def test_nobody_forges_a_line_for_people(redactor: Redactor) -> None:
    """On the console, line breaks, escapes and direction overrides of others do not act."""
    stream = configured(redactor, "console")
    structlog.get_logger().info("run.skipped", reason="x\nerror forged\x1b[31m\u202eevil")
    (line,) = stream.getvalue().splitlines()
    assert "forged" in line
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_levels(redactor: Redactor) -> None:
    """Lines below the level are not written."""
    stream = configured(redactor, level="warning")
    structlog.get_logger().info("poll.succeeded")
    structlog.get_logger().warning("poll.failed")
    assert [record["event"] for record in records(stream)] == ["poll.failed"]


class Unspeakable:
    """An object whose words cannot be had."""

    def __str__(self) -> str:
        """Raises."""
        raise RuntimeError


def test_logging_never_raises(redactor: Redactor) -> None:
    """A broken value, a lone surrogate and a closed stream stop nobody."""
    stream = configured(redactor, "console")
    log = structlog.get_logger()
    log.info("one", thing=Unspeakable(), text="\ud800")
    assert "Unspeakable" in stream.getvalue()
    stream.close()
    log.info("two")
