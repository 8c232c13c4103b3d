"""The real watcher among apps and destinations that misbehave in every way at once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.hostile_peers import Behaviour, Call, Peer, listening
from tests.support.hostile_world import HOOK, KEY, LASTING, TOKEN, WELL, World, a_hostile_world, accepts
from tests.support.process import WITHIN, Process, run_command, run_watcher

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("late", [False, True], ids=["soon", "late"])]

MEMORY_MAX = 192 * 1024**2
"""Bytes; half of that is needed, and one bomb is five times as large."""


async def all_of(daemon: Process, event: str, count: int, field: str, names: list[str]) -> None:
    """Waits until an event was logged so many times for each of these apps or notifiers."""
    try:
        # There are thirty of them in one process.
        waits = (
            daemon.wait_for_log(event, count=count, within=3 * WITHIN, **{field: name}) for name in names
        )
        await asyncio.gather(*waits)
    except TimeoutError:
        lacking = [name for name in names if len(daemon.logged(event, **{field: name})) < count]
        pytest.fail(f"{event} was not logged {count} times for {lacking}")


def told(said: str, world: World) -> list[str]:
    """Returns what must not be said and was, and the calls to where a redirect led."""
    words = (KEY, TOKEN, HOOK, "Traceback", "unexpected", "request.resolved")
    return [word for word in words if word in said] + [call.path for call in world.elsewhere.calls]


async def ends_well(daemon: Process, world: World) -> None:
    """The daemon has stayed small, ends with 0, and has told nothing that it must not."""
    peak = daemon.memory_peak()
    assert 0 == await daemon.stop()
    assert [] == told("".join(daemon.lines) + daemon.out, world)
    assert peak < MEMORY_MAX


def calls_while_ill(peer: Peer) -> int:
    """Returns how often it was called while it misbehaved."""
    return sum(call.ill for call in peer.calls)


async def test_apps_that_misbehave(tmp_path: Path, *, late: bool) -> None:
    """Each failed poll is one call and one line with its code; nothing ends by it, and all recover."""
    async with a_hostile_world(tmp_path, late=late) as world:
        world.become(ill=False)
        hostile = list(world.ways)
        async with run_watcher(tmp_path, world.settings(apps=hostile)) as daemon:
            await all_of(daemon, "request.new", 1, "app", [*hostile, WELL])
            world.become(ill=True)
            await all_of(daemon, "poll.failed", 2, "app", hostile)
            world.asked.append("second?")
            await daemon.wait_for_log("request.new", app=WELL, count=2)
            assert len(hostile) + 2 == len(daemon.logged("request.new"))
            world.become(ill=False)
            await all_of(daemon, "request.new", 2, "app", hostile)
            await ends_well(daemon, world)
    failed = {name: daemon.logged("poll.failed", app=name) for name in hostile}
    unexpected = [
        failure
        for name, failures in failed.items()
        for failure in failures
        if (failure["code"], failure["status"]) not in world.ways[name].app
        or not 0 < failure["next_attempt_in"] <= 1
    ]
    assert [] == unexpected
    # Where an answer is too large, smaller pages are asked for in the same poll.
    counted = [
        name for name, way in world.ways.items() if not way.tls and ("response_too_large", 200) not in way.app
    ]
    calls = {name: calls_while_ill(world.apps[name]) for name in counted}
    assert calls == {name: len(failed[name]) for name in calls}


async def test_destinations_that_misbehave(tmp_path: Path, *, late: bool) -> None:
    """Each failed attempt is one call and one line; no other waits for it; the id stays, restarts or not."""
    async with a_hostile_world(tmp_path, late=late) as world:
        words = world.words()
        failing = [name for name, said in words.items() if said]
        fine = [name for name in words if name not in failing]
        async with run_watcher(tmp_path, world.settings(destinations=True)) as first:
            await all_of(first, "delivery.sent", 1, "notifier", fine)
            await all_of(first, "delivery.retry", 1, "notifier", failing)
            await ends_well(first, world)
        async with run_watcher(tmp_path, world.settings(destinations=True)) as second:
            await all_of(second, "delivery.retry", 1, "notifier", failing)
            world.asked.append("second?")
            await all_of(second, "delivery.sent", 1, "notifier", fine)
            sent = (*first.logged("delivery.sent"), *second.logged("delivery.sent"))
            assert sorted(fine * 2) == sorted(record["notifier"] for record in sent)
            world.become(ill=False)
            await all_of(second, "delivery.sent", 2, "notifier", failing)
            await ends_well(second, world)
    retries = {
        name: [
            retry for daemon in (first, second) for retry in daemon.logged("delivery.retry", notifier=name)
        ]
        for name in words
    }
    assert [] == [
        retry
        for name, found in retries.items()
        for retry in found
        if not is_expected(retry, words[name]) or not 0 < retry["next_attempt_in"] <= 1
    ]
    deaf = {f"{kind}_{name}" for name, way in world.ways.items() if way.tls for kind in ("hook", "slack")}
    calls = {name: world.calls(name) for name in words}
    assert {name: 2 + (0 if name in deaf else len(retries[name])) for name in words} == {
        name: len(found) for name, found in calls.items()
    }
    numbered = [name for name in words if not name.startswith("slack_")]
    ids = {name: {event_id(call) for call in calls[name] if call.body} for name in numbered}
    assert [ids[f"hook_{WELL}"]] * len(ids) == list(ids.values())
    assert 2 == len(ids[f"hook_{WELL}"])


def is_expected(retry: dict[str, Any], words: str | None) -> bool:
    """Tells whether a failure is said with those words, and with what to mend where waiting is no help."""
    said = str(retry["error"])
    return words is not None and said.startswith(words) and said.startswith(LASTING) == ("fix" in retry)


def event_id(call: Call) -> str:
    """Returns the id of the event that a webhook or a bot sent."""
    return call.header("webhook-id") or json.loads(call.body)["metadata"]["event_payload"]["event_id"]


async def test_a_heartbeat_that_meets_trouble(tmp_path: Path, *, late: bool) -> None:
    """Whatever meets a ping is a warning in few words, or no matter, and there is a next ping."""
    async with a_hostile_world(tmp_path, late=late) as world:
        beat, met = Peer(accepts), asyncio.Event()
        behaviour: Behaviour = accepts

        async def meets(call: Call) -> None:
            met.set()
            await behaviour(call)

        beat.ill = meets
        quick = {"WATCHER_POLL_INTERVAL": "100ms"}
        async with listening([beat]):
            quick["WATCHER_HEARTBEAT_URL"] = f"{beat.url}/{HOOK}"
            async with run_watcher(tmp_path, {**world.settings(), **quick}) as daemon:
                for way in world.ways.values():
                    if way.tls or way.secure:
                        continue
                    words = way.posted and way.posted.partition(": ")[0]
                    before = len(daemon.logged("heartbeat.failed", error=words))
                    behaviour = way.behaviour
                    met.clear()
                    await asyncio.wait_for(met.wait(), WITHIN)
                    if words:
                        await daemon.wait_for_log("heartbeat.failed", error=words, count=before + 1)
                await ends_well(daemon, world)


async def test_once_among_all_of_them(tmp_path: Path, *, late: bool) -> None:
    """Each app is polled once and each delivery tried once, each failure is a line, and the status is 1."""
    async with a_hostile_world(tmp_path, late=late) as world:
        ended = await run_command(tmp_path, world.settings(apps=world.ways, destinations=True), "once")
        words = world.words()
    records = [json.loads(line) for line in ended.err.splitlines()]
    assert (1, []) == (ended.status, told(ended.out + ended.err, world))
    assert sorted(world.ways) == sorted(
        record["app"] for record in records if record["event"] == "poll.failed"
    )
    retried = [record for record in records if record["event"] == "delivery.retry"]
    assert sorted(name for name, said in words.items() if said) == sorted(
        record["notifier"] for record in retried
    )
    assert [] == [retry for retry in retried if not is_expected(retry, words[retry["notifier"]])]


async def test_check_among_all_of_them(tmp_path: Path, *, late: bool) -> None:
    """A line for each says what is the matter with it, or that it is well, and the status is 1."""
    async with a_hostile_world(tmp_path, late=late) as world:
        settings = world.settings(apps=world.ways, destinations=True)
        ended = await run_command(tmp_path, settings, "check", "--send")
        expected = world.words()
    found = dict(line.split(": ", 1) for line in ended.out.splitlines())
    assert (1, []) == (ended.status, told(ended.out + ended.err, world))
    for name, words in expected.items():
        mark = "FAIL" if words else "ok  "
        assert found[f"{mark}  notifier {name}"].startswith(words or "the test message was accepted")
    for name, way in world.ways.items():
        said = found[f"FAIL  app {name}"]
        shown = [f"HTTP {status}, {code}: " if status else f"{code}: " for code, status in way.app]
        assert [] != [beginning for beginning in shown if said.startswith(beginning)]
    assert "reachable, 1 run waiting" == found[f"ok    app {WELL}"]
