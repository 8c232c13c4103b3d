"""The console notifier on a terminal, in a pipe, and without an output."""

import asyncio
import fcntl
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.support.events import ALL_EVENTS, FAILING, REQUESTED, make_delivery, request_event
from tests.support.sending import notifier_context
from tests.support.strategies import any_text
from watcher.config.models import ConsoleConfig
from watcher.models import Event
from watcher.notifiers.base import DeliveryError
from watcher.notifiers.console import ConsoleNotifier
from watcher.sanitize.redactor import MASK

_STYLES = re.compile(r"\x1b\[[0-9;]*m")


class Output(io.TextIOWrapper):
    """A standard output, on a terminal if wanted, that keeps what is written to it in a file."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        self.terminal = terminal
        file = io.FileIO(os.memfd_create("output"), "w")
        super().__init__(io.BufferedWriter(file), encoding=encoding, newline="\n")

    def isatty(self) -> bool:
        """Says whether a person looks at it."""
        return self.terminal

    def text(self) -> str:
        """Returns what arrived."""
        return os.pread(self.fileno(), 2**20, 0).decode(self.encoding)


@contextmanager
def piped(*, blocking: bool = True) -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe of the smallest size that is already full: its reading end, and an output to the other one."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w", encoding="utf-8") as writer:  # noqa: PTH123
        size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writing, b"x" * size)
        os.set_blocking(writing, blocking)
        yield reader.fileno(), writer


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def show(output: Output, event: Event = REQUESTED) -> str:
    """Returns what the notifier writes for an event."""
    with output:
        notifier = ConsoleNotifier(ConsoleConfig(name="console"), notifier_context(stream=output))
        assert asyncio.run(notifier.send(make_delivery(event))) is None
        return output.text()


def test_plain_text_in_a_pipe() -> None:
    """Where nobody looks, the message is plain lines, flushed, with a blank line behind."""
    expected = """\
Approval needed · support
> Approve the refund?
  amount (editable): 620
  customer: Ada
Answer in the Dynamiq console: app support → History → the run with the id below.
The run stays blocked until it is answered.
Waiting since: 2026-06-10T09:15:39Z
User: customer-7421
Run: 8c2c
Session: 3d3e

"""
    assert expected == show(Output())


def test_a_panel_on_a_terminal() -> None:
    """A person gets a panel with title, question, parameters and facts."""
    event = request_event("Approve?", {"amount": 620, "token": MASK}, editable=("amount",))
    shown = show(Output(terminal=True), event)
    lines = _STYLES.sub("", shown).splitlines()
    assert "\x1b[" in shown
    assert lines[0].startswith("╭─  Approval needed · support  ─")
    assert lines[-1].startswith("╰─")
    assert {80} == {len(line) for line in lines}
    for words in ("Approve?", "amount", "620", "✎ editable", MASK, "Run: 8c2c"):
        assert any(words in line for line in lines), words


@pytest.mark.parametrize("event", ALL_EVENTS)
@pytest.mark.parametrize("terminal", [True, False])
def test_every_event_can_be_shown(event: Event, *, terminal: bool) -> None:
    """No kind of event fails, on either output."""
    assert show(Output(terminal=terminal), event).strip()


def test_what_to_do_is_shown() -> None:
    """An app that fails lastingly comes with what to mend."""
    shown = _STYLES.sub("", show(Output(terminal=True), FAILING))
    assert shown.index("can't see new requests") < shown.index("What to do:") < shown.index("invalid key")


def test_long_content_on_a_terminal() -> None:
    """A panel says how many parameters it leaves out, and ends with the link."""
    params = {f"key{number}": "v" * 60 for number in range(5000)}
    event = replace(request_event(params=params), link="https://console.example/r")
    shown = _STYLES.sub("", show(Output(terminal=True), event))
    assert re.search(r"… \d+ more parameters", shown)
    assert "https://console.example/r" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_no_markup_of_others_takes_effect(*, terminal: bool) -> None:
    """Escape sequences, rich's markup, emoji names and overrides of direction are shown, not obeyed."""
    hostile = (
        "\x1b[2J\x1b]0;title\x07 [bold red]loud[/] :smile: [link=https://evil.example]x[/link] \u202eback\r"
    )
    shown = _STYLES.sub("", show(Output(terminal=terminal), request_event(hostile, {hostile: hostile})))
    assert "[bold red]loud[/] :smile:" in shown
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown)


@settings(deadline=None)
@given(any_text)
def test_any_prompt_can_be_shown(prompt: str) -> None:
    """Whatever is asked, only our own styles act on a terminal."""
    shown = _STYLES.sub("", show(Output(terminal=True), request_event(prompt)))
    assert "\x1b" not in shown
    assert "╰" in shown


def test_long_content_is_cut() -> None:
    """A screen is not flooded, and what is missing is said."""
    params = {f"key{number}": "v" * 10_000 for number in range(1000)}
    shown = show(Output(), request_event("p" * 100_000, params))
    assert "more characters)" in shown
    assert re.search(r"… \d+ more parameters", shown)
    assert len(shown) < 20_003


@pytest.mark.parametrize("terminal", [True, False])
def test_an_output_that_knows_ascii_only(*, terminal: bool) -> None:
    """Characters that the output cannot take are written in another way instead of failing."""
    assert "\\xe9" in show(Output(terminal=terminal, encoding="ascii"), request_event("é"))


def test_a_closed_output() -> None:
    """An output that was closed is a failure that says what to do."""
    output = Output()
    output.close()
    notifier = ConsoleNotifier(ConsoleConfig(name="console"), notifier_context(stream=output))
    with pytest.raises(DeliveryError, match="cannot write to standard output") as caught:
        asyncio.run(notifier.send(make_delivery()))
    assert caught.value.fix is not None
    with pytest.raises(DeliveryError, match="it is closed"):
        asyncio.run(notifier.check())


def test_a_reader_that_went_away() -> None:
    """A broken pipe is a failure too, to be retried."""
    with piped() as (reading, output):
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, reading)
        os.close(nothing)
        notifier = ConsoleNotifier(ConsoleConfig(name="console"), notifier_context(stream=output))
        with pytest.raises(DeliveryError, match="Broken pipe"):
            asyncio.run(notifier.send(make_delivery()))


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_is_slow(*, blocking: bool) -> None:
    """While an output takes nothing all else goes on, and then it gets every character, piece by piece."""
    event = request_event("p" * 2500, {f"key{number}": "v" * 400 for number in range(30)})

    async def scenario() -> str:
        with piped(blocking=blocking) as (reading, output):
            notifier = ConsoleNotifier(ConsoleConfig(name="console"), notifier_context(stream=output))
            send = asyncio.create_task(notifier.send(make_delivery(event)))
            await asyncio.sleep(0)
            assert not send.done()
            received = b""
            async with asyncio.timeout(20):
                while not received.endswith(b"\n\n"):
                    received += await asyncio.to_thread(os.read, reading, 1000)
                await send
        return received.decode().lstrip("x")

    assert show(Output(), event) == asyncio.run(scenario())


def test_check() -> None:
    """An open output is all it needs."""
    with Output() as output:
        notifier = ConsoleNotifier(ConsoleConfig(name="console"), notifier_context(stream=output))
        assert asyncio.run(notifier.check()) == "writes to standard output"


@pytest.mark.parametrize("terminal", [True, False])
def test_questions_with_their_options(*, terminal: bool) -> None:
    """Each question has its number and all its options, in their order, on a terminal and in a pipe."""
    asked = [
        {"question": "Which size?", "options": [{"label": "small"}, {"label": "large"}]},
        {"question": "Why?", "options": []},
    ]
    event = request_event("Please decide.", type="human_feedback")
    shown = show(Output(terminal=terminal), replace(event, request=replace(event.request, questions=asked)))
    parts = ("Question 1 of 2.", "Which size?", "small", "large", "Question 2 of 2.", "Why?")
    assert re.search(".*".join(map(re.escape, parts)), shown, re.DOTALL)
