"""A day of everything at once, in minutes: does anything grow, and is anything lost?

What is configured in minutes and hours is `SPEED` times as quick as by default (polls of apps whose runs are
fetched less so, so that a core does); calls may take 3 s, and giving up and retention are much shorter yet,
so that both happen again and again. What cannot be configured keeps its own time: one message a second to
Slack, and pruning once a minute.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.benchmarks import ledger as book
from tests.benchmarks.beside import COMMAND_EVERY, SCRAPE_EVERY, Commands, Scrapes, again_and_again
from tests.benchmarks.figures import Figure
from tests.benchmarks.ledger import Ledger
from tests.benchmarks.processes import LOG, PATIENCE, Watched, free_port
from tests.benchmarks.samples import DATABASE, Sample, growth, rows, sample
from tests.benchmarks.scene import Scene
from tests.benchmarks.traffic import TURN, Traffic, Weather, api_outages, destination_outages
from watcher.store import queries
from watcher.store.sqlite import SqliteDatabase

SPEED: Final = 150
MINUTES: Final = 10.0
SAMPLE_EVERY: Final = 8
"""Turns between two samples: a second."""
NOTIFY: Final = {
    "busy": ("hook", "later"),
    "fetched": ("hook", "later"),
    "people": ("hook", "later", "slack"),
    "parked": ("hook", "later"),
    "still": ("hook", "later", "slack"),
}
PRUNED_EVERY: Final = 60
"""Samples."""
EXPECTED: Final = frozenset({"delivery.dead", "notifier.failing", "app.failing"})
"""The errors that outages are to bring into the log."""

_CONFIG: Final = """
poll_interval = "100ms"
request_timeout = "3s"
backoff_max = "2s"
app_alert_after = "800ms"
give_up_after = "10s"
retention = "45s"
heartbeat_url = "{url}/heartbeat"
link_template = "{url}/approvals/{{app}}/{{run_id}}"
slack_api_url = "{url}/slack/api/"

[notifiers.hook]
type = "webhook"
url = "{url}/hook"
secret = "of the benchmark"
remind_after = ["12s", "48s"]

[notifiers.later]
type = "webhook"
url = "{url}/later"
after = "6s"
remind_after = ["20s"]

[notifiers.slack]
type = "slack"
bot_token = "xoxb-of-the-benchmark"
channel = "C0123456789"
mention = ["here"]
remind_after = ["12s", "48s", "192s"]
"""
_APP: Final = """
[apps.{name}]
base_url = "{url}/{name}"
access_key = "dynamiq_acc_of-the-benchmark"
notify = {notify}
{more}
"""
_MORE: Final = {
    "fetched": 'poll_interval = "1s"',
    "parked": 'poll_interval = "500ms"\nwatch_paused = true\ninclude_input = true',
}


@dataclass(slots=True)
class Soaked:
    """What a soak has shown."""

    samples: list[Sample]
    rows: list[dict[str, int]]
    outages: dict[str, int]
    ledger: Ledger
    pending: list[dict[str, Any]]
    undelivered: int
    scrapes: Scrapes
    commands: Commands
    complaints: list[str]


def soak(scene: Scene) -> Iterator[Figure]:
    """Hours of everything in minutes (--minutes): runs that ask and end, and outages of all kinds."""
    yield from figures(run(scene, 60 * scene.minutes), 60 * scene.minutes)


def run(scene: Scene, seconds: float) -> Soaked:
    """Lets it go on for so long, and then everything come to rest."""
    config = scene.directory / "soak.toml"
    config.write_text(_config(scene.servers.url))
    port = free_port()
    settings = {"WATCHER_CONFIG": str(config), "WATCHER_HTTP_PORT": str(port)}
    scene.servers.keep_ledger()
    traffic = Traffic(scene.servers, Random(20260610))
    traffic.begin()
    scrapes, commands = Scrapes(port), Commands(scene.directory, settings)
    with scene.plain_watcher(settings) as watcher:
        scene.servers.wait("polls", len(NOTIFY))
        work = ((scrapes.all, SCRAPE_EVERY), (commands.next, COMMAND_EVERY))
        with again_and_again(work):
            samples, counts, outages = _go_on(scene, watcher, traffic, seconds)
            pending, undelivered = _come_to_rest(scene, commands)
        ledger = scene.servers.ledger()
    complaints = _complaints(scene.directory / LOG)
    if watcher.process.returncode:
        complaints.append(f"exit status {watcher.process.returncode}")
    return Soaked(samples, counts, outages, ledger, pending, undelivered, scrapes, commands, complaints)


def figures(soaked: Soaked, seconds: float) -> Iterator[Figure]:
    """Returns what has grown, and what has gone wrong."""
    samples = soaked.samples
    last = samples[-1]
    resident, own = ([getattr(each, name) for each in samples] for name in ("resident", "own"))
    what = f"{seconds / 60:.3g} min of everything, {seconds * SPEED / 3600:.3g} h: resident memory that grew"
    note = f"to {last.resident:.1f} MiB; not of files: {growth(own):.2f} MiB, to {last.own:.1f} MiB"
    yield Figure(what, growth(resident), "MiB", 2.0, 0.5, note)
    for what, name in (("descriptors", "descriptors"), ("threads", "threads")):
        values = [getattr(each, name) for each in samples]
        yield Figure(f"… {what} that grew", growth(values), "", 0.0, note=f"{min(values)} to {max(values)}")
    files = [each.files for each in samples]
    yield Figure(
        "… database and write-ahead log that grew",
        growth(files),
        "MiB",
        1.0,
        note=f"at most {max(files):.1f}",
    )
    totals = [sum(each.values()) for each in soaked.rows]
    rows_grew = 100 * growth(totals, PRUNED_EVERY) / max(totals)
    yield Figure("… rows", rows_grew, "%", 10.0, note=f"at most {max(totals)}")
    lines = soaked.scrapes.lines
    yield Figure("… lines of metrics that grew", growth(lines), "", 0.0, note=f"{max(lines)}")
    cores = [100 * (b.cpu - a.cpu) / (b.at - a.at) for a, b in pairwise(samples)]
    yield Figure(
        "… share of a core, points", growth(cores), "%", 5.0, note=f"{_share(samples):.0f}% of a core"
    )
    yield from consistency(soaked)


def consistency(soaked: Soaked) -> Iterator[Figure]:
    """Returns how often something was lost, told wrongly or refused; nothing of it is to happen."""
    ledger = soaked.ledger
    outages = f"{sum(soaked.outages.values())} outages of {len(soaked.outages)} kinds"
    questions = f"of {len(ledger.shown)}; {len(ledger.receipts)} events accepted; {outages}"
    yield Figure("… questions lost", len(book.lost(ledger, "hook")), "", 0.0, note=questions)
    untold = book.untold(ledger, soaked.pending, NOTIFY)
    yield Figure(
        "… that wait and were not told to all", len(untold), "", 0.0, note=f"of {len(ledger.waiting)}"
    )
    wrong = len(book.unended(ledger, "hook")) + len(book.ended_too_early(ledger, "hook"))
    yield Figure("… of whose end was told too early or never", wrong, "", 0.0)
    yield Figure("… events accepted again", book.repeats(ledger.receipts), "", 0.0)
    yield Figure("… undelivered in the end", soaked.undelivered, "", 0.0, note=f"{ledger.beats} heartbeats")
    beside = [*soaked.scrapes.refused.elements(), *soaked.commands.failed.elements()]
    asked = f"of {soaked.scrapes.number} scrapes and {soaked.commands.number} commands"
    yield Figure("… refused endpoints and commands", len(beside), "", 0.0, note=asked)
    yield Figure("… errors in the log that no outage explains", len(soaked.complaints), "", 0.0)


def _go_on(
    scene: Scene, watcher: Watched, traffic: Traffic, seconds: float
) -> tuple[list[Sample], list[dict[str, int]], dict[str, int]]:
    samples: list[Sample] = []
    counts: list[dict[str, int]] = []
    began = time.monotonic()
    weather = [
        Weather(scene.servers, api_outages(Random(1)), began),
        Weather(scene.servers, destination_outages(Random(2)), began),
    ]
    for number in range(int(seconds / TURN)):
        traffic.turn(number)
        for each in weather:
            each.turn(time.monotonic())
        if watcher.process.poll() is not None:
            raise RuntimeError(f"the watcher is dead: {(scene.directory / LOG).read_text()[-2000:]}")
        if number % SAMPLE_EVERY == 0:
            samples.append(sample(time.monotonic(), watcher, scene.directory))
            counts.append(rows(scene.directory / DATABASE))
        time.sleep(max(began + (number + 1) * TURN - time.monotonic(), 0.0))
    for each in weather:
        each.clear()
    return samples, counts, {name: number for each in weather for name, number in each.passed.items()}


def _come_to_rest(scene: Scene, commands: Commands) -> tuple[list[dict[str, Any]], int]:
    """Waits until all is told and known; returns what then waits, and how many deliveries are left."""
    give_up = time.monotonic() + PATIENCE
    while True:
        dead, left, known = _left(scene.directory / DATABASE)
        if dead:
            commands.call("retry", "--all-dead")
        at_rest = not left and known == set(scene.servers.ledger().waiting)
        if at_rest or time.monotonic() > give_up:
            return commands.json("pending"), left
        time.sleep(0.5)


def _left(database: Path) -> tuple[int, int, set[str]]:
    """Returns how many deliveries are dead, how many are not made, and which questions are known to wait.

    Reminders that are due do not count among those that are not made: there are always some.
    """
    with SqliteDatabase(database).reading() as reader:
        dead = queries.deliveries(reader, "dead", now=time.time())
        pending = queries.deliveries(reader, "pending", now=time.time())
        waiting = queries.pending_requests(reader, list(NOTIFY))
    news = [each for each in pending if each.type != "run.input_reminder"]
    known = {book.question(each.run_id, each.prompt) for each in waiting}
    return len(dead), len(dead) + len(news), known


def _complaints(log: Path) -> list[str]:
    lines = log.read_text().splitlines()
    return [line for line in lines if not line.startswith("{") or _unexpected(json.loads(line))]


def _unexpected(record: dict[str, object]) -> bool:
    return "exception" in record or (record["level"] == "error" and record["event"] not in EXPECTED)


def _share(samples: Sequence[Sample]) -> float:
    return 100 * (samples[-1].cpu - samples[0].cpu) / (samples[-1].at - samples[0].at)


def _config(url: str) -> str:
    apps = (
        _APP.format(name=name, url=url, notify=json.dumps(notify), more=_MORE.get(name, ""))
        for name, notify in NOTIFY.items()
    )
    return _CONFIG.format(url=url) + "".join(apps)
