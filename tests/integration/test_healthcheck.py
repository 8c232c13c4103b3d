"""The probe that asks the daemon on this machine."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from watcher.cli.healthcheck import Answer, UnusableError, address, ask
from watcher.config.sources import load

APP = {"WATCHER_BASE_URL": "http://127.0.0.1:1"}


@contextmanager
def answering(status: int, body: str, host: str = "127.0.0.1") -> Iterator[int]:
    """A server that answers one request like that; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(HTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), Handler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        thread.join(20)
        server.server_close()


@pytest.mark.parametrize(
    ("file", "environ"),
    [
        ("", {}),
        ('http_host = "::1"\nhttp_port = 9000\n', {}),
        ('http_host = "::1"\nhttp_port = 9000\n', {"WATCHER_HTTP_PORT": " 9001 "}),
        ("http_port = 9000\n", {"WATCHER_HTTP_HOST": "0.0.0.0", "WATCHER_HTTP_PORT": ""}),
        ("http_port = 0\n", {}),
    ],
)
def test_the_address_is_the_daemons(tmp_path: Path, file: str, environ: Mapping[str, str]) -> None:
    """Probe and daemon find the same host and port in the same settings."""
    (tmp_path / "config.toml").write_text(file)
    config = load(None, environ={**APP, **environ}, directory=tmp_path)
    assert (config.http_host, config.http_port) == address(None, environ=environ, directory=tmp_path)


def test_the_address_needs_nothing_else(tmp_path: Path) -> None:
    """Missing apps, secrets and unknown keys do not keep the probe from asking."""
    named = tmp_path / "other.toml"
    named.write_text('http_port = 9000\nheartbeat_url_file = "/nowhere"\nnonsense = 1\n')
    assert ("127.0.0.1", 9000) == address(named, environ={}, directory=tmp_path)
    assert ("127.0.0.1", 9000) == address(None, environ={"WATCHER_CONFIG": str(named)}, directory=tmp_path)


@pytest.mark.parametrize("port", ["-1", "65536", "http", "80.5"])
def test_a_port_that_is_none(tmp_path: Path, port: str) -> None:
    """The setting is named, with what was given."""
    with pytest.raises(UnusableError, match=f"http_port: got '{port}'"):
        address(None, environ={"WATCHER_HTTP_PORT": port}, directory=tmp_path)


@pytest.mark.parametrize("content", [None, "http_port =", "\0"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    """A file that is missing, or no TOML, is an error that names it."""
    file = tmp_path / "named.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UnusableError, match=r"--config: cannot read .*named\.toml"):
        address(file, environ={}, directory=tmp_path)


@pytest.mark.parametrize(
    ("asked", "host"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1")]
)
def test_ready(asked: str, host: str) -> None:
    """Who listens everywhere is asked on loopback."""
    with answering(200, '{"ready": true}', host) as port:
        assert Answer(ready=True, text="ready") == ask(asked, port)


PROBLEMS = [
    {"app": "support", "reason": "not polled yet"},
    {"notifier": "slack", "reason": "1 is\ndead"},
    {"part": "database", "reason": "away"},
]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(
            503,
            json.dumps({"problems": PROBLEMS}),
            "app support: not polled yet; notifier slack: 1 is dead; database: away",
            id="with its reasons in one line",
        ),
        pytest.param(503, json.dumps({"problems": [3]}), "HTTP 503", id="reasons that are none"),
        pytest.param(404, "<html>", "HTTP 404", id="somebody else"),
        pytest.param(200 + 1, "", "HTTP 201", id="another success"),
    ],
)
def test_not_ready(status: int, body: str, words: str) -> None:
    """Anything but 200 is not ready, with the daemon's reasons if there are any."""
    with answering(status, body) as port:
        assert Answer(ready=False, text=words) == ask("127.0.0.1", port)


def test_nobody_there() -> None:
    """A daemon that cannot be reached is not ready, and neither is one without endpoints."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    assert not ask("127.0.0.1", port).ready
    assert f"the daemon isn't answering on 127.0.0.1:{port}. Is it running?" == ask("127.0.0.1", port).text
    assert Answer(ready=False, text="http_port is 0, so the daemon has no endpoints to ask") == ask(
        "127.0.0.1", 0
    )


def test_an_answer_that_is_no_http() -> None:
    """Somebody else on the port is not ready, without a traceback."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-nobody\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        found = ask("127.0.0.1", server.getsockname()[1])
        thread.join(20)
    assert not found.ready
