"""Logs are lines that hold no secret, act on no terminal and never raise."""

import io
import json
import logging
import re
import warnings
from typing import Any, Literal

import pytest
import structlog

from watcher import logs
from watcher.sanitize.redactor import MASK, Redactor

KEY = "dynamiq_acc_0123456789"
HOSTILE = "a\x1b[31mb\u202ec\r\n2026-01-01T00:00:00Z [info     ] daemon.stopped"
pytestmark = pytest.mark.usefixtures("logging_as_before")

LIBRARIES = ("slack_sdk", "aiohttp.access", "apscheduler.scheduler")


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Says yes."""
        return True


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, _text: str) -> int:
        """Fails as a pipe without reader does."""
        raise BrokenPipeError


class Unshowable:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def configured(
    form: Literal["auto", "console", "json"] = "json",
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: io.StringIO | None = None,
    known: str = KEY,
) -> io.StringIO:
    """Configures logging onto a stream, with one secret known, and returns the stream."""
    target = stream or io.StringIO()
    redactor = Redactor()
    redactor.add_secret(known)
    logs.configure(level=level, format=form, redactor=redactor, stream=target)
    return target


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    """Returns the JSON lines that were written."""
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def log_failure(words: str) -> None:
    """Logs an exception with its traceback."""
    structlog.get_logger().error("a.failure", exc_info=ValueError(words))


def test_a_json_line_has_its_fields() -> None:
    """A line carries a UTC time, the level, the event and the fields."""
    stream = configured()
    structlog.get_logger().info("poll.failed", app="support", status=401)
    [record] = records(stream)
    assert record.pop("timestamp").endswith("Z")
    assert record == {"level": "info", "event": "poll.failed", "app": "support", "status": 401}


def test_what_matters_stands_first() -> None:
    """A line begins with when, how bad and what, then whom it is about, in JSON and for people."""
    stream = configured()
    structlog.get_logger().info("poll.failed", status=500, error="no", app="support")
    assert list(records(stream)[0]) == ["timestamp", "level", "event", "app", "error", "status"]
    stream = configured("console")
    structlog.get_logger().info("poll.failed", status=500, error="no", app="support")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\dZ \[info\] poll\.failed app=support error=no status=500\n", stream.getvalue()
    )


def test_bound_context_is_in_the_line() -> None:
    """What was bound to the context of a task is part of its lines."""
    stream = configured()
    with structlog.contextvars.bound_contextvars(app="support"):
        structlog.get_logger().info("poll.succeeded")
    assert [record["app"] for record in records(stream)] == ["support"]


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("console", io.StringIO, False),
    ],
)
def test_the_format(
    form: Literal["auto", "console", "json"], stream: type[io.StringIO], *, is_json: bool
) -> None:
    """`auto` is for people on a terminal and JSON elsewhere; the other two are what they say."""
    written = configured(form, stream=stream())
    structlog.get_logger().info("daemon.started")
    assert written.getvalue().startswith("{") == is_json


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_taken_out_everywhere(form: Literal["json", "console"]) -> None:
    """A secret shows neither in values at any depth nor in exceptions nor in records of libraries."""
    stream = configured(form)
    structlog.get_logger().info("a.b", text=f"Bearer {KEY}", deep={"list": [{KEY: (KEY,)}]}, raw=KEY.encode())
    log_failure(KEY)
    logging.getLogger("slack_sdk").warning("GET %s", f"https://example.com/{KEY}")
    assert KEY not in stream.getvalue()
    assert stream.getvalue().count(MASK) >= 5


def test_a_warning_goes_the_same_way() -> None:
    """Warnings of Python are lines like all others, without secrets."""
    logging.captureWarnings(capture=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        stream = configured()
        warnings.warn(f"deprecated {KEY}", stacklevel=1)
    assert [MASK in record["event"] for record in records(stream)] == [True]


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_are_quiet(library: str) -> None:
    """What libraries say at info is not shown, except at debug."""
    shown = []
    for level in ("info", "debug"):
        stream = configured(level=level)
        logging.getLogger(library).info("chatter")
        shown.append(len(records(stream)))
    assert shown == [0, 1]


@pytest.mark.parametrize("form", ["json", "console"])
def test_other_peoples_text_stays_in_its_line(form: Literal["json", "console"]) -> None:
    """No line break, escape sequence or override of direction in a value takes effect."""
    stream = configured(form)
    structlog.get_logger().info("a.b", text=HOSTILE, deep=[{HOSTILE: HOSTILE}])
    logging.getLogger("lib").warning(HOSTILE)
    written = stream.getvalue()
    assert written.count("\n") == 2
    assert not {"\x1b", "\r", "\u202e"} & set(written)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_that_cannot_be_shown_does_no_harm(form: Literal["json", "console"]) -> None:
    """A broken object and a lone surrogate still give a line each."""
    stream = configured(form)
    structlog.get_logger().info("a.b", thing=Unshowable())
    structlog.get_logger().info("a.b", text="\ud800")
    assert stream.getvalue().count("a.b") == 2


@pytest.mark.parametrize("stream", [Broken(), io.StringIO()], ids=["broken pipe", "closed"])
def test_a_stream_that_fails_does_no_harm(stream: io.StringIO) -> None:
    """Logging onto a stream that is gone raises nothing."""
    configured(stream=stream)
    stream.close()
    structlog.get_logger().info("daemon.started")
    logging.getLogger("lib").warning("lost")


def test_our_events_stay_whole() -> None:
    """Event, level and time of our own lines are no secrets, even if a secret is spelled like them."""
    stream = configured(known="daemon.started")
    structlog.get_logger().info("daemon.started", text="daemon.started")
    logging.getLogger("lib").warning("daemon.started")
    assert [record["event"] for record in records(stream)] == ["daemon.started", MASK]
    assert records(stream)[0]["text"] == MASK


def test_an_exception_forges_no_line() -> None:
    """Each line of an exception is indented on a terminal, so that none passes for a record."""
    stream = configured("console")
    log_failure(HOSTILE)
    first, *rest = stream.getvalue().splitlines()
    assert "a.failure" in first
    assert [line for line in rest if not line.startswith("    ")] == []
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_broken_record_of_a_library_gives_a_line(form: Literal["json", "console"]) -> None:
    """A record whose text cannot be made neither raises nor goes missing."""
    stream = configured(form)
    logging.getLogger("lib").warning("%d", "no number")
    logging.getLogger("lib").warning(Unshowable())
    assert stream.getvalue().count("cannot be shown") == 2


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_number_that_cannot_be_written_out_gives_a_line(form: Literal["json", "console"]) -> None:
    """A number that Python does not write out neither raises nor loses the line."""
    stream = configured(form)
    structlog.get_logger().error("a.b", value=10**5000)
    assert (1, 1) == (stream.getvalue().count("a.b"), stream.getvalue().count("<int>"))


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_that_holds_itself_gives_a_line(form: Literal["json", "console"]) -> None:
    """A value without end is cut off."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    stream = configured(form)
    structlog.get_logger().info("a.b", value=endless)
    assert stream.getvalue().count("a.b") == 1


def test_numbers_that_json_lacks_are_texts() -> None:
    """A line stays JSON whatever number is in it."""
    stream = configured()
    structlog.get_logger().info("a.b", values=[float("nan"), float("-inf"), True, None, 0.5, 10**308])
    assert [record["values"] for record in records(stream)] == [["nan", "-inf", True, None, 0.5, 10**308]]


def test_fields_of_a_library_do_not_replace_ours() -> None:
    """A record's own level and time win over fields of the same names."""
    stream = configured()
    logging.getLogger("lib").warning("x", extra={"level": "info", "timestamp": "never"})
    [record] = records(stream)
    assert (record["level"], record["timestamp"] != "never") == ("warning", True)


def test_at_error_nothing_less_is_shown() -> None:
    """The libraries' own levels let through no more than was asked for."""
    stream = configured(level="error")
    for library in LIBRARIES:
        logging.getLogger(library).warning("not shown")
    assert records(stream) == []


def test_the_scheduler_is_shown_from_error_on() -> None:
    """That a poll is still running is ours to say."""
    stream = configured()
    logging.getLogger("apscheduler.scheduler").warning("maximum number of running instances")
    logging.getLogger("apscheduler.scheduler").error("shown")
    assert [record["event"] for record in records(stream)] == ["shown"]


def test_a_secret_that_was_broken_up_does_not_come_together() -> None:
    """A secret with invisible characters in it is masked when these are taken out."""
    stream = configured("console")
    structlog.get_logger().info("a.b", text="\u200b".join(KEY))
    assert KEY not in stream.getvalue()
