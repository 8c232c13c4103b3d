"""Puts the HTTP endpoints together; imported only where they are served, for what it brings along is slow."""

import socket
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from prometheus_client import CollectorRegistry

from watcher import __version__
from watcher.monitoring import server
from watcher.monitoring.metrics import Metrics
from watcher.monitoring.snapshot import Monitor


def build_metrics(apps: Sequence[str], notifiers: Sequence[str], outcomes: Sequence[str]) -> Metrics:
    """Returns what counts for these apps, notifiers, and outcomes of polls."""
    return Metrics(
        CollectorRegistry(), apps=apps, notifiers=notifiers, outcomes=outcomes, version=__version__
    )


def serve(
    monitor: Monitor, metrics: Metrics, host: str, port: int, listening: socket.socket | None
) -> AbstractAsyncContextManager[None]:
    """Serves the endpoints as long as the context lasts; see `server.serving`."""
    metrics.show(monitor.snapshot)

    def page() -> server.Page:
        from watcher.monitoring import status_page  # noqa: PLC0415 - templates cost 3 MiB, and many pages nobody ever sees

        return status_page.render(monitor.view())

    answers = server.Answers(
        alive=monitor.alive,
        ready=monitor.ready,
        metrics=metrics.text,
        pending=monitor.pending,
        page=page,
    )
    return server.serving(answers, host, port, listening=listening)
