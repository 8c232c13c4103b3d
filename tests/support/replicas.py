"""Several real replicas on a PostgreSQL of their own, each behind a proxy that can be cut."""

import asyncio
import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support import postgresql_keeper
from tests.support.bursts import Bursts
from tests.support.postgresql import Server, find_binaries
from tests.support.process import WITHIN, Process, run_watcher

SCHEMA: Final = "replicas"
PIECE: Final = 1 << 16
PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_WITNESS: Final = f"""
CREATE TABLE {SCHEMA}.writes (epoch bigint, replica text, PRIMARY KEY (epoch, replica));
CREATE FUNCTION {SCHEMA}.witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO {SCHEMA}.writes SELECT epoch, current_setting('application_name') FROM {SCHEMA}.lease
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE OR DELETE ON {SCHEMA}.deliveries
    EXECUTE FUNCTION {SCHEMA}.witness();
GRANT ALL ON {SCHEMA}.writes TO watcher;
"""
"""Records under which epoch of the lease each replica wrote."""


_POOLER: Final = """
[databases]
watcher = host=127.0.0.1 port={server} user=watcher
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 8
server_login_retry = 1
"""


class RestartableServer:
    """A PostgreSQL for one test, which may restart it."""

    def __init__(self, binaries: Path, place: Path) -> None:
        self.port = postgresql_keeper.free_port()
        self.server = Server(str(place), self.port)
        self._binaries = binaries
        self._place = place
        self._owner = postgresql_keeper.server_user()
        if self._owner is not None:
            os.chown(place, pwd.getpwnam(self._owner).pw_uid, -1)
        postgresql_keeper.make_cluster(binaries, place, self._owner)
        self._process = self._start()
        psql: list[str | Path] = [
            binaries / "psql",
            "-qX",
            "-h",
            place,
            "-p",
            f"{self.port}",
            "-U",
            "postgres",
        ]
        postgresql_keeper.run([*psql, "postgres"], self._owner, postgresql_keeper.ROLES)

    def stop(self, number: signal.Signals) -> None:
        """Ends it: SIGINT disconnects everybody and shuts down, SIGQUIT is a crash."""
        self._process.send_signal(number)
        self._process.wait()

    def start(self) -> None:
        """Starts it again."""
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = postgresql_keeper.start_server(self._binaries, self._place, self.port, self._owner)
        postgresql_keeper.wait_until_ready(self._binaries, self._place, self.port, process)
        return process


@contextmanager
def restartable_server() -> Iterator[RestartableServer]:
    """Gives a server whose files are gone in the end."""
    with tempfile.TemporaryDirectory(prefix="watcher-postgresql-") as directory:
        server = RestartableServer(_binaries(), Path(directory))
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def _binaries() -> Path:
    found = find_binaries()
    assert found is not None, "a fixture skips the tests where there are none"
    return found


class Proxy:
    """Passes connections on to the port `target`; while it is cut, nothing passes and nothing is closed."""

    def __init__(self) -> None:
        self.whole = asyncio.Event()
        self.whole.set()
        self.port = self.target = 0

    @asynccontextmanager
    async def listening(self, target: int) -> AsyncIterator[None]:
        """Listens in the block."""
        self.target = target
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.whole.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            except OSError:
                writer.close()
                return
            for source, sink in ((reader, far_writer), (far_reader, writer)):
                task = asyncio.create_task(self._pass_on(source, sink))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                await self.whole.wait()
                sink.write(piece)
                await sink.drain()
        sink.close()


@dataclass(slots=True)
class Replica:
    """A running `watcher` and its way to the database."""

    name: str
    process: Process
    proxy: Proxy
    stack: AsyncExitStack = field(repr=False)

    @property
    def number(self) -> int:
        """Counts the replicas by their starts."""
        return int(self.name.rpartition("-")[2])

    @property
    def epochs(self) -> list[int]:
        """Under which epochs it led."""
        return [record["epoch"] for record in self.process.logged("daemon.leading")]


class Replicas:
    """Three replicas; one that ends is followed by a new one."""

    def __init__(
        self, directory: Path, scene: Bursts, server: RestartableServer, chance: random.Random, port: int
    ) -> None:
        """`port` is where the replicas reach the database: the server's or a pooler's."""
        self.takeovers = 0
        self._started = 0
        self.silences: dict[str, list[float]] = {}
        self.ended: list[Replica] = []
        self._running: list[Replica] = []
        self._directory = directory
        self._scene = scene
        self._server = server
        self._chance = chance
        self._port = port

    async def begin(self, settings: dict[str, str]) -> None:
        """Starts all three at once on an empty database, and waits until one leads."""
        self._settings = settings
        await asyncio.gather(*(self._add() for _ in range(3)))
        await self._wait_for_leader()
        with self._server.server.connect() as connection:
            connection.execute(_WITNESS.encode())

    async def end(self) -> list[int]:
        """Ends all of them, once the newest one stands by, and returns their statuses."""
        await self._running[-1].process.wait_for_log("daemon.standby")
        statuses = [await replica.process.stop() for replica in self._running]
        for replica in self._running:
            await replica.stack.aclose()
        self.ended += self._running
        return statuses

    @property
    def leader(self) -> Replica:
        """The replica that leads, as far as the logs say."""
        return max(self._running, key=lambda replica: max(replica.epochs, default=0))

    async def disturb(self, kind: str, *, patient: bool) -> None:
        """Does something to the leader amid a burst, and waits until the rest is told by whoever leads then.

        Unless it is `patient`, the lease expires at once instead of after its time.
        """
        leader = self.leader
        await self._scene.moment(leader.process)
        began = time.monotonic()
        await self._strike(kind, leader)
        if kind not in {"restart", "crash"}:
            self.takeovers += 1
            if not patient and kind not in {"term", "reload"}:
                self._expire()
            await self._wait_for_leader(after=max(leader.epochs))
        self._scene.ask_many()
        await self._scene.more_calls(self._scene.hooked, 1)
        self.silences.setdefault(kind, []).append(time.monotonic() - began)
        if kind in {"freeze", "cut"}:
            leader.process.send(signal.SIGCONT)
            leader.proxy.whole.set()
            assert 1 == await leader.process.wait()
            assert leader.process.logged("daemon.lost")
        if kind not in {"restart", "crash", "reload"}:
            self._running.remove(leader)
            self.ended.append(leader)
            await leader.stack.aclose()
            await self._add()

    async def _strike(self, kind: str, leader: Replica) -> None:
        match kind:
            case "kill":
                assert -signal.SIGKILL == await leader.process.stop(signal.SIGKILL)
            case "term":
                assert 0 == await leader.process.stop(signal.SIGTERM)
            case "reload":
                leader.process.send(signal.SIGHUP)  # it starts anew, as a standby
            case "freeze":
                leader.process.send(signal.SIGSTOP)
            case "cut":
                leader.proxy.whole.clear()
            case "restart" | "crash":
                number = signal.SIGINT if kind == "restart" else signal.SIGQUIT
                await asyncio.to_thread(self._server.stop, number)
                await asyncio.to_thread(self._server.start)

    def problems(self) -> list[Any]:
        """Returns what must never be: an epoch that two replicas had, and a write under another's epoch."""
        led = [(epoch, replica.name) for replica in self.ended for epoch in replica.epochs]
        epochs = [epoch for epoch, _ in led]
        with self._server.server.connect() as connection:
            writes = connection.execute(f"SELECT epoch, replica FROM {SCHEMA}.writes".encode()).fetchall()
        twice = [epoch for epoch in set(epochs) if epochs.count(epoch) > 1]
        return [*twice, *(write for write in writes if write not in led)]

    def _expire(self) -> None:
        with self._server.server.connect() as connection:
            connection.execute(f"UPDATE {SCHEMA}.lease SET expires_at = '-infinity'".encode())

    async def _wait_for_leader(self, after: int = 0) -> None:
        async with asyncio.timeout(WITHIN):
            while not any(epoch > after for replica in self._running for epoch in replica.epochs):  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # any of several processes

    async def _add(self) -> None:
        self._started += 1
        name, stack, proxy = f"replica-{self._started}", AsyncExitStack(), Proxy()
        await stack.enter_async_context(proxy.listening(self._port))
        settings = {
            **self._settings,
            "WATCHER_NOTIFIERS__HOOK__URL": f"{self._settings['WATCHER_NOTIFIERS__HOOK__URL']}/{name}",
            "WATCHER_SLACK_API_URL": self._settings["WATCHER_SLACK_API_URL"].replace(
                "/api/", f"/{name}/api/"
            ),
            "WATCHER_DATABASE": f"postgresql://watcher@127.0.0.1:{proxy.port}/watcher?application_name={name}",
            "WATCHER_DATABASE_SCHEMA": SCHEMA,
        }
        process = await stack.enter_async_context(run_watcher(self._directory, settings))
        self._running.append(Replica(name, process, proxy, stack))


@contextmanager
def pgbouncer(server: RestartableServer) -> Iterator[int]:
    """Runs PgBouncer in transaction mode in the block, and gives its port."""
    assert PGBOUNCER is not None
    port, owner = postgresql_keeper.free_port(), postgresql_keeper.server_user()
    with tempfile.TemporaryDirectory(prefix="watcher-pgbouncer-") as directory:
        settings = Path(directory, "pgbouncer.ini")
        settings.write_text(_POOLER.format(server=server.port, port=port), encoding="ascii")
        if owner is not None:
            os.chown(directory, pwd.getpwnam(owner).pw_uid, -1)
        process = subprocess.Popen([PGBOUNCER, "-q", settings], user=owner, cwd="/")
        try:
            postgresql_keeper.wait_until_ready(_binaries(), Path("127.0.0.1"), port, process)
            yield port
        finally:
            process.terminate()
            process.wait()
