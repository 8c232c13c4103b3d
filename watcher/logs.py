"""Structured logs on one handler: ours and every library's, with secrets taken out last.

One line per happening. `event` is constant for our own; what varies stands in fields. Our own lines take the
short way, without a record of the standard library in between, which would double what a line costs. A thread
writes them, so that a standard error that nobody reads holds up neither polling nor delivering.
"""

import logging
import math
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from watcher.log_writer import LineWriter
from watcher.models import DeliveryRecord
from watcher.sanitize.secrets import Redactor
from watcher.sanitize.text import clean_lines, one_line

CHATTY: Final = ("httpx", "httpcore", "slack_sdk", "aiohttp", "asyncio")
"""Libraries that say at info what we say ourselves."""

_UNSHOWABLE: Final = "a log record that cannot be shown"
_CONSTANT: Final = re.compile(r"[a-z_]+(\.[a-z_]+)+")
"""The names of our own events, which stay whole even if a secret is spelled like one."""

_FLUSH_SECONDS: Final = 2.0
"""How long the end of the process waits for whoever reads the log."""

_FIRST: Final = ("timestamp", "level", "event", "app", "notifier", "error")
"""What stands first in a line, in this order; all else in the order in which it was logged."""

_DEEPEST: Final = 20
"""How deep a value is followed; it may hold itself."""


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["auto", "console", "json"],  # noqa: A002 - the setting's name
    redactor: Redactor,
    stream: TextIO | None = None,
) -> None:
    """Sends all logs of this process, and its last traceback, as lines for people or as JSON.

    They go to a stream at once, or (None) to standard error by way of a thread, so that nobody waits for a
    reader. `auto` is lines for people on a terminal, else JSON.
    """
    # A process may be started without standard error; what it does matters more than what it says.
    target = stream or sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    for_people = format == "console" or (format == "auto" and target.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%SZ" if for_people else "iso", utc=True),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=target.isatty(), pad_level=False, pad_event_to=0, sort_keys=False
        )
        if for_people
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    handler = _Handler(target, in_thread=stream is None and _has_descriptor(target))
    handler.setLevel(level.upper())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *before],
            processors=[
                structlog.processors.format_exc_info,
                _Redaction(redactor, one_line=for_people, ours=False),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    quiet = logging.NOTSET if level == "debug" else logging.WARNING
    for name in CHATTY:
        logging.getLogger(name).setLevel(quiet)
    logging.getLogger("apscheduler").setLevel(logging.NOTSET if level == "debug" else logging.ERROR)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            *before,
            structlog.processors.format_exc_info,
            _Shown(_Redaction(redactor, one_line=for_people, ours=True), renderer),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(handler),
        cache_logger_on_first_use=False,
    )
    if stream is None:
        sys.excepthook = lambda _, error, __: handler.write(
            redactor.redact("".join(traceback.format_exception(error)).rstrip())
        )


def log_superseded(deliveries: Iterable[DeliveryRecord]) -> None:
    """Logs deliveries that are not made because their news became stale."""
    for delivery in deliveries:
        structlog.get_logger().info(
            "delivery.superseded",
            notifier=delivery.notifier,
            delivery=delivery.id,
            event_type=delivery.type,
            attempt=delivery.attempts,
        )


def say(line: str) -> bool:
    """Writes a line as it stands, after all that was logged; returns False where no logs are configured."""
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]
    for handler in handlers:
        handler.write(line)
    return bool(handlers)


def flush(within: float) -> None:
    """Waits until what was logged is written, so many seconds at most."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.wait(within)


def _has_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False


class _Handler(logging.Handler):
    """Writes lines; one that cannot be written is lost, because logging must never stop the daemon."""

    def __init__(self, stream: TextIO, *, in_thread: bool) -> None:
        super().__init__()
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._writer: LineWriter | None = None
        self._stream = stream
        self._writing = threading.Lock()
        if in_thread:
            # Past the stream: a write that hangs holds the stream's lock, which the end of Python waits for.
            self._writer = LineWriter(stream.fileno(), _log_dropped)

    def handle(self, record: logging.LogRecord) -> bool:
        """Writes a record without the lock of the base: writing has one, and two could be taken crosswise."""
        if self.filter(record):
            self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record))

    def write(self, text: str) -> None:
        """Writes one line, whichever thread it comes from."""
        line = f"{text}\n".encode(self._encoding, "backslashreplace")
        if self._writer is not None:
            self._writer.write(line)
            return
        # Not even a broken stream may stop what is reported on.
        with self._writing, suppress(Exception):
            self._stream.write(line.decode(self._encoding))
            self._stream.flush()

    def wait(self, within: float) -> None:
        """Waits until all is written, so many seconds at most."""
        if self._writer is not None:
            self._writer.flush(within)

    def flush(self) -> None:
        """Waits a while; the standard library calls it at the end of the process."""
        self.wait(_FLUSH_SECONDS)

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception:  # noqa: BLE001 - a library's broken record must neither raise nor vanish
            return super().format(
                logging.LogRecord(
                    record.name, record.levelno, record.pathname, record.lineno, _UNSHOWABLE, None, None
                )
            )


def _log_dropped(lines: int) -> None:
    # An error, because at every level it has to be known that something is missing.
    structlog.get_logger().error("log.dropped", lines=lines)


class _Lines:
    """What our own loggers write to, with a method for each level as structlog wants it."""

    def __init__(self, handler: _Handler) -> None:
        self.info = self.debug = self.warning = self.error = handler.write


class _Shown:
    """A line of our own; what cannot be shown must neither raise nor vanish."""

    def __init__(self, redaction: "_Redaction", renderer: Processor) -> None:
        self._redaction = redaction
        self._renderer = renderer

    def __call__(self, logger: Any, method: str, event_dict: EventDict) -> Any:
        """Returns the line."""
        level, timestamp = event_dict["level"], event_dict["timestamp"]
        try:
            return self._renderer(logger, method, self._redaction(logger, method, event_dict))
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            instead = {"event": _UNSHOWABLE, "level": level, "timestamp": timestamp}
            return self._renderer(logger, method, instead)


class _Redaction:
    """Takes secrets out of every text of a record, and what would act on a terminal out of other people's."""

    def __init__(self, redactor: Redactor, *, one_line: bool, ours: bool) -> None:
        self._redactor = redactor
        self._one_line = one_line
        self._ours = ours

    def __call__(self, _logger: Any, _method: str, event_dict: EventDict) -> MutableMapping[str, Any]:
        """Returns the record with only what JSON knows in it."""
        kept = {"level", "timestamp", "_record", "_from_structlog"}
        if self._ours and _CONSTANT.fullmatch(str(event_dict["event"])):
            kept.add("event")
        first = {key: event_dict[key] for key in _FIRST if key in event_dict}
        return {
            key: value if key in kept else self._clean(value, keep_lines=key == "exception")
            for key, value in {**first, **event_dict}.items()
        }

    def _clean(self, value: Any, *, keep_lines: bool = False, depth: int = 0) -> Any:
        match value:
            case _ if depth > _DEEPEST:
                return "…"
            case None | bool() | int() | float():
                # JSON has no numbers that are not finite.
                return value if value is None or math.isfinite(value) else str(value)
            case dict():
                return {
                    self._text(_described(key)): self._clean(item, depth=depth + 1)
                    for key, item in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self._clean(item, depth=depth + 1) for item in value]
            case str():
                return self._text(value, keep_lines=keep_lines)
            case _:
                return self._text(_described(value), keep_lines=keep_lines)

    def _text(self, text: str, *, keep_lines: bool = False) -> str:
        clean = self._redactor.redact(text)
        if not self._one_line:
            return clean
        # Lines are indented, so that none of them passes for a record.
        clean = indent(clean_lines(clean), "    ") if keep_lines else one_line(clean)
        return self._redactor.redact(clean)  # what was taken out may have hidden a secret


def _described(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not lose the line
        return f"<{type(value).__name__}>"
