"""A program that runs a PostgreSQL server for the tests until no process of their run uses it any more.

`python postgresql_keeper.py BIN SHARED [durable]` returns when the server accepts connections, and leaves a
process that ends it. Processes that use the server hold `SHARED/users` locked, shared; the kernel takes that
lock from a process however it ends.
"""

import fcntl
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

START_SECONDS: Final = 60.0
QUICK: Final[Mapping[str, str]] = {
    "autovacuum": "off",  # statistics change only when a test wants it
    "fsync": "off",
    "full_page_writes": "off",
}
"""What a server for tests can do without, and one that is measured cannot."""
SETTINGS: Final[Mapping[str, str]] = {
    "lc_messages": "C",
    "max_connections": "200",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "track_io_timing": "off",
}
CLIENTS: Final = """
local all all trust
host all +passworded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
"""A role that is a member of `passworded` needs its password over TCP."""
ROLES: Final = """
CREATE ROLE passworded NOLOGIN;
CREATE ROLE watcher LOGIN;
CREATE DATABASE watcher OWNER watcher;
"""


def main(binaries: Path, shared: Path, *, durable: bool) -> int:
    """Returns 0 when another process, which is left, has the server running."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        return 0 if os.read(reading, 1) else 1
    os.setsid()  # an interrupt of the tests does not reach it: it ends when they have ended
    os.close(reading)
    run_server(binaries, shared, ready=writing, durable=durable)
    return 0


def run_server(binaries: Path, shared: Path, *, ready: int, durable: bool) -> None:
    """Runs the server, whose files are gone when it ends; writes to the file `ready` when it is."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="watcher-postgresql-") as directory:
        place, owner = Path(directory), server_user()
        if owner is not None:
            os.chown(place, pwd.getpwnam(owner).pw_uid, -1)
        make_cluster(binaries, place, owner)
        port = free_port()
        server = start_server(binaries, place, port, owner, durable=durable)
        try:
            wait_until_ready(binaries, place, port, server)
            run(
                [binaries / "psql", "-qX", "-h", place, "-p", f"{port}", "-U", "postgres", "postgres"],
                owner,
                ROLES,
            )
            keep(shared, {"host": str(place), "port": port}, ready=ready)
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait()


def keep(shared: Path, state: Mapping[str, object], *, ready: int) -> None:
    """Tells where the server is, and waits until no process uses it."""
    with (shared / "users").open("a") as users:
        (shared / "server.json").write_text(json.dumps(state), encoding="ascii")
        os.write(ready, b"y")
        os.close(ready)
        try:
            fcntl.flock(users, fcntl.LOCK_EX)
        finally:
            (shared / "server.json").unlink()


def server_user() -> str | None:
    """Returns whom the server runs as if that is not the user of this process: it refuses to run as root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def make_cluster(binaries: Path, place: Path, owner: str | None) -> None:
    """Makes the files of a server in which nothing is."""
    command: list[str | Path] = [
        binaries / "initdb",
        "--pgdata",
        place / "data",
        "--username",
        "postgres",
        "--no-sync",
    ]
    run([*command, "--auth", "trust", "--locale", "C", "--encoding", "UTF8"], owner)
    (place / "data" / "pg_hba.conf").write_text(CLIENTS, encoding="ascii")


def start_server(
    binaries: Path, place: Path, port: int, owner: str | None, *, durable: bool = False
) -> subprocess.Popen[bytes]:
    """Starts the server on a Unix socket in its directory, and on a port of the loopback interface."""
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(place)}
    settings = {**SETTINGS, **({} if durable else QUICK), **options}
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (place / "log").open("wb") as log:
        return subprocess.Popen(
            [binaries / "postgres", "-D", place / "data", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place,
            user=owner,
        )


def wait_until_ready(binaries: Path, place: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    """Waits until the server accepts connections."""
    end = time.monotonic() + START_SECONDS
    asking: list[str | Path] = [binaries / "pg_isready", "-q", "-h", place, "-p", str(port)]
    while subprocess.run(asking, check=False).returncode:
        if server.poll() is not None or time.monotonic() > end:
            raise SystemExit((place / "log").read_text(errors="replace"))
        time.sleep(0.05)


def run(command: Sequence[str | Path], user: str | None, text: str = "") -> None:
    """Runs a program to its end, and ends with what it said if it fails."""
    done = subprocess.run(
        command, check=False, input=text, text=True, capture_output=True, user=user, cwd="/"
    )
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stdout}{done.stderr}")


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), durable="durable" in sys.argv[3:]))
