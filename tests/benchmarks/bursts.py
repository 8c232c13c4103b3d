"""How long news takes: one by one, a thousand at once, thousands that come and go."""

import time
from collections.abc import Iterator
from typing import Final

from tests.benchmarks.alertmanager import burst_through_alertmanager, installed
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.scene import Costs, Scene

ONE_BY_ONE: Final = 200
FEW: Final = 10
ONLY_QUESTIONS: Final = {"WATCHER_NOTIFIERS__WEBHOOK__RESOLVED": "false"}
AT_ONCE: Final = 1000
COME_AND_GO: Final = 9000
RARELY: Final = {"WATCHER_POLL_INTERVAL": "5s"}
"""So that a burst does not compete with polls that look at all of it again; the default is 15 s."""
SLOTS: Final = 8
"""How many sends to one webhook are under way at most."""


def one(scene: Scene) -> Iterator[Figure]:
    """One new request: from the API's answer to the webhook."""
    with scene.watcher(**ONLY_QUESTIONS) as watcher:
        costs = Costs(watcher)
        for number in range(1, ONE_BY_ONE + 1):
            scene.servers.publish(1)
            scene.servers.wait("posts", number)
            if number % FEW == 0:
                scene.servers.finish(FEW)
                scene.servers.wait_for_polls(2)
        note = costs.note()
    report = scene.servers.report()
    waits = [1000 * (post.at - report.served[post.run]) for post in report.posts]
    yield Figure("one new request to its webhook, p50", percentile(waits, 0.5), "ms", 8, 5, note)
    yield Figure("one new request to its webhook, p95", percentile(waits, 0.95), "ms", 14, 9)


def carried(scene: Scene) -> Iterator[Figure]:
    """A thousand new at once, carried in the list; through Alertmanager too where it is installed."""
    took, note = _burst(scene, carried=True)
    yield Figure("1,000 new, carried in the list, to the last webhook", took, "s", 2.0, 1.2, note)
    if installed():
        theirs = burst_through_alertmanager(scene, AT_ONCE)
        yield Figure("the same 1,000 through Alertmanager", theirs, "s", note=f"ratio {took / theirs:.1f}")


def fetched(scene: Scene) -> Iterator[Figure]:
    """A thousand new at once, each of which is fetched for what it asks."""
    took, note = _burst(scene, carried=False)
    yield Figure("1,000 new, each fetched, to the last webhook", took, "s", 5.0, 2.0, note)


def turnover(scene: Scene) -> Iterator[Figure]:
    """Thousands that were resolved and as many that are new, found in one poll."""
    with scene.watcher(**RARELY) as watcher:
        scene.servers.publish(COME_AND_GO)
        scene.servers.wait("posts", COME_AND_GO)
        time.sleep(1.0)  # lets the last poll end
        scene.servers.forget()
        scene.servers.finish(COME_AND_GO)
        scene.servers.publish(COME_AND_GO)
        costs = Costs(watcher)
        scene.servers.wait("posts", 2 * COME_AND_GO)
        note = costs.note()
        memory = watcher.memory()
    report = scene.servers.report()
    took = report.posts[-1].at - min(report.served.values())
    what = "9,000 resolved and 9,000 new in one poll, to the last webhook"
    yield Figure(what, took, "s", 60.0, 25.0, f"{note}; {memory:.0f} MiB")


def kill(scene: Scene) -> Iterator[Figure]:
    """Killed when the 500th of a thousand webhooks arrives, and started again."""
    with scene.watcher() as watcher:
        scene.servers.kill_at(AT_ONCE // 2, watcher.pid)
        scene.servers.publish(AT_ONCE)
        watcher.process.wait()
    with scene.watcher():
        scene.servers.wait("posts", AT_ONCE)
        scene.servers.wait_for_silence()
    posts = scene.servers.report().posts
    events = [post.event["id"] for post in posts]
    lost = AT_ONCE - len({post.run for post in posts})
    repeats = len(events) - len(set(events))
    yield Figure("kill -9 at the 500th of 1,000 and a new start: lost", lost, "", 0)
    yield Figure("… and repeated, with the same id", repeats, "", SLOTS)


def _burst(scene: Scene, *, carried: bool) -> tuple[float, str]:
    with scene.watcher(**RARELY) as watcher:
        costs = Costs(watcher)
        scene.servers.publish(AT_ONCE, carried=carried)
        scene.servers.wait("posts", AT_ONCE)
        note = costs.note()
    report = scene.servers.report()
    lost = AT_ONCE - len({post.run for post in report.posts})
    return report.posts[-1].at - min(report.served.values()), f"{lost} lost; {note}"
