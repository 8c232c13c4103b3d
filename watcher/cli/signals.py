"""Signals while no daemon handles them: one that ends a command does so at once, at any moment.

A handler in Python runs only between two steps of the main thread, so it could wait for seconds, for example
for a locked database. Therefore a thread of its own ends the process. This module is the first that is
imported, and imports little, because until then signals wait.
"""

import _thread
import os
import select
import signal
import sys

ENDING: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
IGNORED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals that would end the process by default. A running daemon polls at SIGUSR1."""
DAEMON_SIGNALS = (*ENDING, signal.SIGHUP, signal.SIGUSR1)
"""Signals that a running daemon handles."""
_WRITE_SECONDS = 0.5


def end_by_signal() -> None:
    """Lets SIGINT and SIGTERM end the process, with one word and the status that shells report."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for ending in ENDING:
        signal.signal(ending, _leave_to_thread)
    # The thread takes no signal, so the main thread alone decides which signals are blocked.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    _thread.start_new_thread(_end_process, (reading,))
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked - ENDING.keys())


def hold_back_reload() -> None:
    """Keeps SIGHUP, which would end the process by default, pending until the daemon handles it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def hold_back_all() -> None:
    """Keeps signals pending until they are handled again, perhaps by the program that this one executes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING, signal.SIGHUP})


def _leave_to_thread(*_: object) -> None:
    """Does nothing: the number of the signal is in the pipe before a handler runs."""


def _end_process(reading: int) -> None:
    number = os.read(reading, 1)[0]
    if flush := getattr(sys.modules.get("watcher.logs"), "flush", None):  # the module may not be loaded yet
        flush(_WRITE_SECONDS)
    _write(f"watcher: {ENDING[number]}\n")
    os._exit(128 + number)


def _write(line: str) -> None:
    try:
        if select.select([], [2], [], _WRITE_SECONDS)[1]:  # a full pipe must not keep the process from ending
            os.write(2, line.encode())
    except OSError:  # standard error is closed
        return
