"""What it costs to be there: quiet polls, memory, many apps, many that wait, and time that goes by."""

import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.samples import Sample, growth, sample
from tests.benchmarks.scene import Costs, Scene

KNOWN: Final = 5
QUIET_POLLS: Final = 100
APPS: Final = 1000
EVERY: Final = 30.0
ROUNDS: Final = 3
WAITING: Final = 10_000
CHURN_SECONDS: Final = 120
PER_SECOND: Final = 20
PENDING: Final = 100
SLACK: Final = {
    "WATCHER_SLACK_BOT_TOKEN": "xoxb-of-the-benchmark",
    "WATCHER_SLACK_CHANNEL": "C0123456789",
}


def quiet(scene: Scene) -> Iterator[Figure]:
    """CPU of a poll that finds nothing new while five known requests wait."""
    yield _quiet(scene, "quiet poll with 5 known, CPU", carried=True, goal=6.0, stretch=3.0)
    scene.servers.finish(KNOWN)
    yield _quiet(scene, "… each of which has to be fetched", carried=False)


def memory(scene: Scene) -> Iterator[Figure]:
    """Resident memory after a while of polling and a few deliveries, without and with Slack."""
    for what, settings, goal, stretch in (
        ("resident memory, a webhook", {}, 62.0, 55.0),
        ("resident memory, a webhook and Slack", SLACK, 70.0, 60.0),
    ):
        slack = {"WATCHER_SLACK_API_URL": f"{scene.servers.url}/slack/api/"}
        with scene.watcher(f"memory-{len(settings)}", **settings, **slack) as watcher:
            scene.servers.publish(KNOWN)
            scene.servers.wait_for_polls(QUIET_POLLS)
            yield Figure(what, watcher.memory(), "MiB", goal, stretch)
        scene.servers.finish(KNOWN)


def thousand(scene: Scene) -> Iterator[Figure]:
    """A thousand apps, each polled every 30 seconds."""
    config = scene.directory / "thousand.toml"
    apps = "".join(
        f'[apps.app-{number:04}]\nbase_url = "{scene.servers.url}/{number}"\n' for number in range(APPS)
    )
    notifier = f'[notifiers.hook]\ntype = "webhook"\nurl = "{scene.servers.url}/hook"\n'
    config.write_text(f"poll_interval = {EVERY:g}\n{apps}{notifier}")
    with scene.plain_watcher({"WATCHER_CONFIG": str(config)}) as watcher:
        scene.servers.wait("polls", APPS)
        costs = Costs(watcher)
        time.sleep(ROUNDS * EVERY)
        core, note, resident = costs.core, costs.note(), watcher.memory()
    times = defaultdict(list)
    for at, app in scene.servers.report().polls:
        times[app].append(at)
    errors = [abs(later - at - EVERY) for polls in times.values() for at, later in pairwise(polls)]
    yield Figure("1,000 apps every 30 s, core", core, "%", 20.0, 10.0, note)
    yield Figure("… memory", resident, "MiB", 120.0, 80.0)
    yield Figure(
        "… error of the spacing, p99", percentile(errors, 0.99), "s", 0.5, note=f"{len(errors)} polls"
    )


def waiting(scene: Scene) -> Iterator[Figure]:
    """Quiet polls of one app in which ten thousand requests wait."""
    scene.servers.publish(WAITING)
    with scene.watcher(WATCHER_BACKLOG="baseline", WATCHER_POLL_INTERVAL="3s") as watcher:
        scene.servers.wait("polls", 3)
        scene.servers.forget()
        costs = Costs(watcher)
        scene.servers.wait("polls", 5)
        cpu, note, resident = costs.cpu / 4, costs.note(), watcher.memory()
        scene.servers.wait_for_polls(1)
    report = scene.servers.report()
    begun = [at for at, _ in report.polls]
    took = [max(answer for answer in report.answers if answer < later) - at for at, later in pairwise(begun)]
    yield Figure(
        "10,000 waiting, quiet poll", percentile(took, 0.5), "s", 1.0, 0.5, f"each {cpu:.2f} s; {note}"
    )
    yield Figure("… memory", resident, "MiB", 160.0, 110.0)


def churn(scene: Scene) -> Iterator[Figure]:
    """Two minutes in which every 50 ms a request comes and another is answered; what is old is pruned."""
    with scene.watcher(WATCHER_POLL_INTERVAL="1s", WATCHER_RETENTION="20s") as watcher:
        scene.servers.publish(PENDING)
        samples: list[Sample] = []
        began = time.monotonic()
        costs = Costs(watcher)
        for turn in range(CHURN_SECONDS * PER_SECOND):
            scene.servers.publish(1)
            scene.servers.finish(1)
            if turn % PER_SECOND == 0:
                samples.append(sample(time.monotonic(), watcher, scene.directory))
            time.sleep(max(began + (turn + 1) / PER_SECOND - time.monotonic(), 0.0))
        note, core = costs.note(), costs.core
    grew = growth([each.resident for each in samples])
    what = "two minutes of churn at 20 a second: memory that grew after 40 s"
    yield Figure(what, grew, "MiB", 3.0, 1.0, f"to {samples[-1].resident:.0f} MiB; {core:.0f}% of the core")
    descriptors = [each.descriptors for each in samples]
    yield Figure("… descriptors that grew", growth(descriptors), "", 0.0, note=f"to {descriptors[-1]}")
    largest = max(each.files for each in samples)
    yield Figure("… database and write-ahead log, at most", largest, "MiB", 32.0, 16.0, note)


def _quiet(
    scene: Scene, what: str, *, carried: bool, goal: float | None = None, stretch: float | None = None
) -> Figure:
    scene.servers.publish(KNOWN, carried=carried)
    scene.servers.forget()
    with scene.watcher(f"quiet-{carried}") as watcher:
        scene.servers.wait("posts", KNOWN)
        scene.servers.wait_for_polls(20)
        costs = Costs(watcher)
        scene.servers.wait_for_polls(QUIET_POLLS)
        return Figure(what, 1000 * costs.cpu / QUIET_POLLS, "ms", goal, stretch, costs.note())
