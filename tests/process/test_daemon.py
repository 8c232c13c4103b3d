"""The real daemon against the simulator, a real webhook receiver and a fake Slack, over sockets."""

import json
import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fakes import Reply
from tests.support.process import run_command
from tests.support.world import KEY, SECRET, World, open_world, wait_for_polls, wait_for_sent
from watcher.simulator.faults import Fault

pytestmark = pytest.mark.anyio


async def test_each_request_reaches_every_notifier_once(tmp_path: Path) -> None:
    """Every page is asked for with the key and our name, and each request reaches each notifier once."""
    async with open_world(tmp_path) as world:
        run_id = world.ask(params={"amount": 620}, editable_params=["amount"])
        for number in range(4):
            world.ask(f"number {number}?")
        async with world.running(WATCHER_PAGE_SIZE="2", WATCHER_USER_ID="") as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=5)
            await wait_for_sent(daemon, "slack", "run.input_requested", count=5)
            await wait_for_polls(world)
            assert await daemon.stop() == 0
    lists = [served.query for served in world.api.requests if served.path.endswith("/v1/runs")]
    asked = {"status": "awaiting_input", "page_size": "2", "sort": "started_at"}
    assert [{**asked, "page": page} for page in "123"] == [dict(query) for query in lists[:3]]
    headers = world.api.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["user-agent"].startswith("dynamiq-watcher/")
    events = world.events()
    assert [("run.input_requested", 1)] * 5 == [(event["type"], event["version"]) for event in events]
    (data,) = [event["data"] for event in events if event["data"]["run"]["id"] == run_id]
    assert data["app"] == {"name": "support", "base_url": world.api.url}
    assert data["request"]["params"] == {"amount": 620}
    assert len(world.slack.messages) == 5


async def test_a_restart_tells_nobody_twice(tmp_path: Path) -> None:
    """What was told before a restart is not told after it, and what came between is."""
    async with open_world(tmp_path) as world:
        world.ask("first?")
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            assert await daemon.stop() == 0
        world.ask("second?")
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            await wait_for_polls(world)
            assert await daemon.stop() == 0
    assert [event["data"]["request"]["prompt"] for event in world.events()] == ["first?", "second?"]


async def test_odd_answers_of_the_api(tmp_path: Path) -> None:
    """Malformed runs, a hidden question, failures, an empty list: each question is announced once."""
    nothing = {"data": [], "pagination": {"page": 1, "page_size": 100, "page_count": 0, "total_count": 0}}
    async with open_world(tmp_path) as world:
        world.app.inject({"status": "awaiting_input"})
        world.app.inject("nonsense")
        world.ask("shown?")
        hidden = world.ask("hidden?")
        world.app.hide(hidden)
        world.app.faults.add(Fault(kind="reset", match="list", times=2))
        async with world.running() as daemon:
            await daemon.wait_for_log("poll.failed", code="connection_failed", count=2)
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=2)
            assert (await daemon.wait_for_log("run.skipped"))[0]["count"] == 2
            world.app.faults.add(Fault(kind="shape", match="list", body=nothing, times=2))
            await wait_for_polls(world, 4)
            world.app.delete_app()
            await daemon.wait_for_log("poll.failed", count=2, status=404)
            world.app.restore_app()
            await wait_for_polls(world)
            world.app.reveal(hidden)
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=3)
    events = [(event["type"], event["data"]["request"]) for event in world.events()]
    asked = [
        (request["type"], request["prompt"]) for kind, request in events if kind == "run.input_requested"
    ]
    assert [("approval_request", "shown?"), ("unknown", None), ("approval_request", "hidden?")] == asked
    ended = [request["prompt"] for kind, request in events if kind == "run.input_resolved"]
    assert [None] == ended  # the question that was not visible, replaced by the one that is


def end_run(world: World, how: str, run_id: str) -> None:
    """Lets a run end, or ask something else."""
    request_id = world.app.get_run(run_id)["data"]["input_requests"][0]["id"]
    match how:
        case "answered":
            world.app.answer(run_id, request_id)
            world.app.complete(run_id)
        case "replaced":
            world.app.answer(run_id, request_id)
            world.app.ask(run_id, prompt="Really?")
        case "gone":
            world.app.delete(run_id)
        case "canceled":
            world.app.cancel(run_id)
        case "failed":
            world.app.fail(run_id)


async def test_how_a_request_ended(tmp_path: Path) -> None:
    """Each way in which a request can end is announced with its outcome; a new question is announced too."""
    outcomes = ["answered", "canceled", "failed", "gone", "replaced"]
    async with open_world(tmp_path) as world:
        runs = {outcome: world.ask(f"{outcome}?") for outcome in outcomes}
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=5)
            await wait_for_sent(daemon, "slack", "run.input_requested", count=5)
            for outcome, run_id in runs.items():
                end_run(world, outcome, run_id)
            await wait_for_sent(daemon, "webhook", "run.input_resolved", count=5)
            await wait_for_sent(daemon, "slack", "run.input_resolved", count=5)
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=6)
    events = [(event["type"], event["data"]) for event in world.events()]
    resolved = [data for kind, data in events if kind == "run.input_resolved"]
    assert {f"{outcome}?": outcome for outcome in outcomes} == {
        data["request"]["prompt"]: data["resolution"]["outcome"] for data in resolved
    }
    asked = [data["request"]["prompt"] for kind, data in events if kind == "run.input_requested"]
    assert [*sorted(f"{outcome}?" for outcome in outcomes), "Really?"] == [*sorted(asked[:5]), *asked[5:]]


async def test_an_outage_is_told_once(tmp_path: Path) -> None:
    """A lasting 401 is announced once, with one beginning across a restart, and lists say so."""
    async with open_world(tmp_path) as world:
        world.ask()
        async with world.running(WATCHER_APP_ALERT_AFTER="300ms") as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            world.app.rotate_keys({"dynamiq_acc_another"})
            await wait_for_sent(daemon, "webhook", "watcher.app_failing")
            await wait_for_sent(daemon, "slack", "watcher.app_failing")
            listed = await world.command("pending", "--json")
            assert await daemon.stop() == 0
        async with world.running(WATCHER_APP_ALERT_AFTER="300ms") as daemon:
            await daemon.wait_for_log("poll.failed", count=3, status=401, code="unauthorized")
            world.app.rotate_keys({KEY})
            await wait_for_sent(daemon, "webhook", "watcher.app_recovered")
            await wait_for_polls(world)
    failing, recovered = (event["data"]["failure"] for event in world.events()[1:])
    assert [event["type"] for event in world.events()[1:]] == [
        "watcher.app_failing",
        "watcher.app_recovered",
    ]
    assert (failing["status"], failing["code"], failing["pending_known"]) == (401, "unauthorized", 1)
    assert recovered["since"] == failing["since"]
    assert (0, 1) == (listed.status, len(json.loads(listed.out)))
    assert "app support has been unreachable since 20" in listed.err
    assert "HTTP 401, unauthorized" in listed.err


async def test_a_rotated_key_needs_no_restart(tmp_path: Path) -> None:
    """The access key's file is read at every attempt; while it is missing the poll fails, no more."""
    async with open_world(tmp_path) as world:
        file = tmp_path / "key"
        file.write_text("dynamiq_acc_old_and_wrong\n")
        settings = {"WATCHER_ACCESS_KEY": "", "WATCHER_ACCESS_KEY_FILE": str(file)}
        world.ask()
        async with world.running(**settings) as daemon:
            await daemon.wait_for_log("poll.failed", status=401)
            file.unlink()
            await daemon.wait_for_log("poll.failed", code="access_key_unreadable")
            file.write_text(f"{KEY}\n")
            await wait_for_sent(daemon, "webhook", "run.input_requested")


async def test_a_failed_delivery_is_repeated_with_the_same_id(tmp_path: Path) -> None:
    """A refused webhook is tried again after what it asked for, under the same id, and pauses nobody else."""
    async with open_world(tmp_path) as world:
        world.hook.replies.append(Reply(503, "busy", {"Retry-After": "1"}))
        world.ask()
        async with world.running() as daemon:
            (paused,) = await daemon.wait_for_log("notifier.paused")
            assert (paused["notifier"], paused["seconds"]) == ("webhook", 1.0)
            await wait_for_sent(daemon, "slack", "run.input_requested")
            await wait_for_sent(daemon, "webhook", "run.input_requested")
    ids = [received.headers["webhook-id"] for received in world.hook.received]
    assert ids == [world.events()[0]["id"]] * 2


async def test_a_wrong_channel_is_said_and_delays_nobody(tmp_path: Path) -> None:
    """A configuration error of Slack is logged as what to fix, and the webhook gets its event anyway."""
    async with open_world(tmp_path) as world:
        world.ask()
        async with world.running(WATCHER_SLACK_CHANNEL="C0000000000") as daemon:
            (retry, *_) = await daemon.wait_for_log("delivery.retry", notifier="slack")
            assert "channel_not_found" in retry["error"]
            assert retry["fix"]
            await wait_for_sent(daemon, "webhook", "run.input_requested")


async def test_stale_news_is_for_machines_only(tmp_path: Path) -> None:
    """A request that ends before people were told is dropped for them; a webhook gets both events."""
    async with open_world(tmp_path) as world:
        world.slack.replies.extend([Reply(500, "broken")] * 100)
        world.hook.replies.extend([Reply(500, "broken")] * 2)
        run_id = world.ask()
        async with world.running() as daemon:
            await daemon.wait_for_log("delivery.retry", notifier="slack")
            await daemon.wait_for_log("delivery.retry", notifier="webhook")
            world.app.cancel(run_id)
            await daemon.wait_for_log("delivery.superseded", notifier="slack")
            await wait_for_sent(daemon, "webhook", "run.input_resolved")
            assert (await world.wait_for_delivery(notifier="slack", state="superseded"))["attempts"] > 0
    accepted = [event["type"] for event in world.events()]
    assert accepted[-2:] == ["run.input_requested", "run.input_resolved"]


async def test_a_send_under_way_is_finished_at_the_end(tmp_path: Path) -> None:
    """SIGTERM during a send that never ends: the exit is clean, and the event is sent after the restart."""
    async with open_world(tmp_path) as world:
        world.hook.replies.append(Reply(silent=True))
        world.ask()
        async with world.running(WATCHER_REQUEST_TIMEOUT="1s") as daemon:
            await wait_for_sent(daemon, "slack", "run.input_requested")
            assert await daemon.stop() == 0
            assert daemon.logged("daemon.stopped")
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
    assert len({event["id"] for event in world.events()}) == 1


async def test_stopping_during_a_poll_is_no_error(tmp_path: Path) -> None:
    """A signal while a poll is under way ends the daemon cleanly, without a word above info."""
    async with open_world(tmp_path) as world:
        world.app.faults.add(Fault(kind="delay", match="list", seconds=30, times=None))
        async with world.running() as daemon:
            await world.api.wait_for(lambda: bool(world.api.requests), within=20)
            assert await daemon.stop() == 0
            assert [line for line in daemon.lines if '"level": "info"' not in line] == []


async def test_dead_deliveries_are_put_back_beside_the_daemon(tmp_path: Path) -> None:
    """What was given up is listed as dead, and `retry` makes the running daemon send it."""
    async with open_world(tmp_path) as world:
        world.hook.replies.extend([Reply(404, "no such hook")] * 20)
        world.ask()
        async with world.running(WATCHER_GIVE_UP_AFTER="300ms") as daemon:
            await daemon.wait_for_log("delivery.dead", notifier="webhook")
            dead = await world.wait_for_delivery(state="dead")
            assert (dead["notifier"], dead["type"]) == ("webhook", "run.input_requested")
            world.hook.replies.clear()
            assert (await world.command("retry", str(dead["id"]))).status == 0
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            unknown = await world.command("retry", "4711")
            assert (unknown.status, "4711" in unknown.err) == (2, True)


async def test_once_for_cron(tmp_path: Path) -> None:
    """`once` exits with 0 after telling everybody, with 1 if an app or a destination failed."""
    async with open_world(tmp_path) as world:
        world.ask()
        assert (await world.command("once")).status == 0
        assert len(world.hook.received) == len(world.slack.messages) == 1
        world.ask("another?")
        world.hook.replies.append(Reply(500, "broken"))
        ended = await world.command("once")
        assert (ended.status, "once.undelivered" in ended.err) == (1, True)
        world.app.rotate_keys({"dynamiq_acc_another"})
        assert (await world.command("once")).status == 1


async def test_check_says_what_works(tmp_path: Path) -> None:
    """`check` has a line for each thing and exits with 1 if one is not good; `--send` sends a test event."""
    async with open_world(tmp_path) as world:
        good = await world.command("check", "--send")
        assert good.status == 0
        assert [event["type"] for event in world.events()] == ["watcher.test"]
        bad = await world.command("check", WATCHER_SLACK_BOT_TOKEN="xoxb-wrong-token")
        assert bad.status == 1
        assert [line.split()[2] for line in bad.out.splitlines() if line.startswith("FAIL")] == ["slack:"]


BAD_INPUT: list[tuple[Mapping[str, str], list[str]]] = [
    (
        {
            "WATCHER_BASE_URL": "support.example",
            "WATCHER_ACCESS_KEY": "dyn_pat_abcdef",
            "WATCHER_APPS__SUPPORT__NOTIFY": '["nobody"]',
            "WATCHER_POLL_INTERVAL": "soon",
        },
        ["WATCHER_ACCESS_KEY", "WATCHER_BASE_URL", "WATCHER_POLL_INTERVAL", "notify"],
    ),
    ({"WATCHER_DATABASE": "/dev/null/watcher.db"}, ["/dev/null/watcher.db"]),
]


@pytest.mark.parametrize(("settings", "named"), BAD_INPUT)
async def test_bad_input(tmp_path: Path, settings: Mapping[str, str], named: list[str]) -> None:
    """Each wrong setting is one line that names it; exit status 2, no traceback, no secret."""
    basis = {"WATCHER_APP_NAME": "support", "WATCHER_BASE_URL": "http://127.0.0.1:1"}
    ended = await run_command(tmp_path, {**basis, **settings}, "run")
    problems = [line for line in ended.err.splitlines() if line.startswith("watcher: ")]
    assert (2, [[name] for name in named]) == (
        ended.status,
        sorted([name for name in named if name in problem] for problem in problems),
    )
    assert "Traceback" not in ended.err
    assert "dyn_pat_abcdef" not in ended.err


async def test_no_secret_is_anywhere(tmp_path: Path) -> None:
    """No secret is in a log line, an error, `config`, a table or the database, in success or failure."""
    async with open_world(tmp_path) as world:
        secrets = [KEY, world.slack.token, SECRET, SECRET.removeprefix("whsec_"), "0123456789abcdef"]
        world.ask()
        world.ask(f"please use {KEY}", params={"note": world.slack.token})
        world.app.faults.add(Fault(kind="echo_secret", match="list", times=2))
        world.hook.replies.extend([Reply(500, SECRET), Reply(404, KEY), Reply(drop=True)])
        world.slack.failures.extend(["invalid_auth", world.slack.token])
        async with world.running(WATCHER_LOG_LEVEL="debug") as daemon:
            await daemon.wait_for_log("poll.failed", count=2)
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=2)
            await wait_for_sent(daemon, "slack", "run.input_requested", count=2)
            shown = [await world.command(name) for name in ("config", "pending", "deliveries", "check")]
            await daemon.stop()
        texts = "".join([*daemon.lines, daemon.out, *(ended.out + ended.err for ended in shown)])
        stored = everything_in(tmp_path)
        told = b"".join(received.body for received in world.hook.received).decode()
    assert [secret for secret in secrets if secret in texts] == []
    assert [secret for secret in secrets if secret.encode() in stored] == []
    assert [secret for secret in secrets if secret in told] == []


def everything_in(directory: Path) -> bytes:
    """Returns the database with its companions."""
    return b"".join(path.read_bytes() for path in directory.glob("watcher.db*"))


async def test_a_crash_between_sending_and_recording_repeats_at_most_that(tmp_path: Path) -> None:
    """The database holds a request and its deliveries, or neither, at the moment a process is killed."""
    async with open_world(tmp_path) as world:
        world.hook.replies.append(Reply(silent=True))
        world.ask()
        async with world.running() as daemon:
            await wait_for_sent(daemon, "slack", "run.input_requested")
            await daemon.stop(signal.SIGKILL)
        with closing(sqlite3.connect(tmp_path / "watcher.db")) as connection:
            waiting = connection.execute("SELECT notifier FROM deliveries WHERE state = 'pending'").fetchall()
        assert ("webhook",) in waiting
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
    assert len({event["id"] for event in world.events()}) == 1
    assert len(world.slack.messages) <= 2
