"""Structured logs on one handler: our own lines and those of libraries, with secrets taken out last.

One line per happening. `event` is constant for our own lines; what varies stands in fields. A thread writes
them, so that a standard error that is not being read delays neither polling nor delivery.
"""

import logging
import os
import re
import select
import sys
import threading
import traceback
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from textwrap import indent
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict, Processor

from watcher.models import DeliveryRecord
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.text import clean_lines, one_line

CHATTY: Final = ("slack_sdk", "aiohttp", "asyncio")
"""Libraries that log at info what the watcher logs itself."""

UNWRITTEN_MAX: Final = 4 * 2**20
"""Bytes of lines that may wait to be written; further lines are dropped and counted."""

_NOT_FORMATTABLE: Final = "a log record that cannot be shown"
_CONSTANT: Final = re.compile(r"[a-z_]+(\.[a-z_]+)+")
"""The names of our own events, which stay whole even if a secret is spelled like one."""

FLUSH_SECONDS: Final = 1.0
"""How long the end of the process waits for the reader of the log."""

_FIRST: Final = ("timestamp", "level", "event", "app", "notifier", "error")
"""The fields that stand first in a line; the others follow in the order in which they were logged."""

_DEEPEST: Final = 20
"""How deep a value is followed; it may contain itself."""

_LARGEST_NUMBER: Final = sys.float_info.max
"""JSON has no number beyond, and Python does not write out an integer that is much larger."""


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["auto", "console", "json"],  # noqa: A002 - the setting's name
    redactor: Redactor,
    stream: TextIO | None = None,
) -> None:
    """Sends all logs of this process, and its last traceback, as lines for people or as JSON.

    They go to `stream` at once, or (None) to standard error through a thread. `auto` is the format for people
    on a terminal, else JSON.
    """
    # A process may be started without standard error; what it does matters more than what it says.
    target = stream or sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    for_people = format == "console" or (format == "auto" and target.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%SZ" if for_people else "iso", utc=True),
    ]
    to_line: list[Processor] = [
        structlog.processors.format_exc_info,
        _Redaction(redactor, one_line=for_people),
        _renderer(for_people=for_people, colors=target.isatty()),
    ]
    handler = _Handler(target, in_thread=stream is None and _has_descriptor(target))
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[ExtraAdder(), *before],
            processors=[ProcessorFormatter.remove_processors_meta, *to_line],
        )
    )
    _route_all_to(handler, level)
    structlog.configure(
        processors=[*before, *to_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _OwnLines(handler),
        cache_logger_on_first_use=False,
    )
    if stream is None:
        sys.excepthook = lambda _, error, __: handler.write(
            redactor.redact("".join(traceback.format_exception(error)).rstrip())
        )


def _renderer(*, for_people: bool, colors: bool) -> Processor:
    if for_people:
        return structlog.dev.ConsoleRenderer(colors=colors, pad_level=False, pad_event_to=0, sort_keys=False)
    return structlog.processors.JSONRenderer(ensure_ascii=True)


def writes_json(format: Literal["auto", "console", "json"]) -> bool:  # noqa: A002 - the setting's name
    """Returns whether the log of this process is JSON."""
    return format == "json" or (format == "auto" and not (sys.stderr and sys.stderr.isatty()))


def log_superseded(deliveries: Iterable[DeliveryRecord]) -> None:
    """Logs deliveries that are not made because they became out of date."""
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
    for handler in _handlers():
        handler.write(line)
    return bool(_handlers())


def flush(within: float) -> bool:
    """Waits until all lines are written, for at most `within` seconds; returns whether they are."""
    return all(handler.wait(within) for handler in _handlers())


def write_whole(descriptor: int, data: bytes) -> None:
    """Writes all of `data`, also to a pipe that takes only a part at once or that was made non-blocking.

    Raises:
        OSError: the other end is closed.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            room.poll()


def _route_all_to(handler: logging.Handler, level: str) -> None:
    """Makes the handler the only one of the process, and lets libraries log only what matters."""
    root = logging.getLogger()
    root.handlers[:] = [handler]
    handler.setLevel(level.upper())
    root.setLevel(level.upper())
    debug = level == "debug"
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if debug else logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.NOTSET if debug else logging.ERROR)
    logging.captureWarnings(capture=True)


def _handlers() -> list["_Handler"]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]


def _has_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False


class _Handler(logging.Handler):
    """Writes lines from a thread of its own; when too many are unwritten, drops and counts further ones.

    A line that cannot be written is lost, because logging must never stop the daemon.
    """

    def __init__(self, stream: TextIO, *, in_thread: bool) -> None:
        super().__init__()
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._thread = threading.Thread(target=self._run, name="log", daemon=True) if in_thread else None
        # The one kind of queue into which a finalizer may put a line while another one is being put.
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._changed = threading.Condition()
        self._unwritten = self._dropped = 0

    def handle(self, record: logging.LogRecord) -> bool:
        """Takes a record without the lock of the base, which could be taken crosswise with the redactor's."""
        if self.filter(record):
            self.write(self.format(record))
        return True

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception:  # noqa: BLE001 - a library's broken record must neither raise nor vanish
            return super().format(
                logging.LogRecord(record.name, record.levelno, "", 0, _NOT_FORMATTABLE, None, None)
            )

    def write(self, text: str) -> None:
        """Writes one line after all earlier ones, whichever thread it comes from."""
        line = f"{text}\n".encode(self._encoding, "backslashreplace")
        if self._thread is None:
            with suppress(Exception):
                self._stream.write(line.decode(self._encoding))
                self._stream.flush()
            return
        with self._changed:
            if self._dropped or (self._unwritten and self._unwritten + len(line) > UNWRITTEN_MAX):
                self._dropped += 1
                return
            self._unwritten += len(line)
            self._lines.put(line)
            if self._thread.ident is None:
                self._thread.start()

    def wait(self, within: float) -> bool:
        """Waits until all lines are written, for at most `within` seconds; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unwritten, within)

    def flush(self) -> None:
        """Waits a while; the standard library calls it at the end of the process."""
        self.wait(FLUSH_SECONDS)

    def _run(self) -> None:
        # Past the stream: a write that hangs holds the stream's lock, which the end of Python waits for.
        descriptor = self._stream.fileno()
        while True:
            line = self._lines.get()
            with suppress(OSError):  # the reader is gone
                write_whole(descriptor, line)
            with self._changed:
                self._unwritten -= len(line)
                if not self._unwritten and self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    # An error, because at every level it must be known that lines are missing.
                    structlog.get_logger().error("log.dropped", lines=dropped)
                self._changed.notify_all()


class _OwnLines:
    """What our own loggers write to, with a method per level, as structlog wants it.

    Their lines skip the records of the standard library, which would more than double what a line costs.
    """

    def __init__(self, handler: _Handler) -> None:
        self.info = self.debug = self.warning = self.error = handler.write


class _Redaction:
    """Takes secrets out of every text of a record and, for people, what would act on a terminal."""

    def __init__(self, redactor: Redactor, *, one_line: bool) -> None:
        self._redactor = redactor
        self._one_line = one_line

    def __call__(self, logger: Any, _method: str, event_dict: EventDict) -> MutableMapping[str, Any]:
        """Returns the record with only what JSON knows in it."""
        kept = {"level", "timestamp"}
        if isinstance(logger, _OwnLines) and _CONSTANT.fullmatch(str(event_dict["event"])):
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
            case None | int() | float() if value is None or -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER:
                return value
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
