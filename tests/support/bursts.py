"""Bursts of requests at a watcher that is ended again and again, and what must hold afterwards."""

import asyncio
import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.fakes import Destination, FakeSlack, WebhookReceiver, served
from tests.support.process import WITHIN, Process, run_command, run_watcher
from watcher.simulator.server import SimulatorServer, serve
from watcher.simulator.state import Simulation

BURST = 12
"""How many requests that only a webhook hears of are new with each life of the watcher."""
PATIENCE = 3 * WITHIN
"""Seconds that a burst may take: a bound, as there."""
REQUESTED, RESOLVED = "run.input_requested", "run.input_resolved"

JITTER = 0.01
"""Seconds within which a webhook is claimed, sent, and recorded; any instant of that will do."""

Heard = Callable[[str, Any], Awaitable[None]]
"""What is told of the path and the body of each call."""


@dataclass(slots=True)
class Question:
    """A request as the app knows it. `again`: it was asked in place of another."""

    prompt: str
    app: Simulation
    run_id: str
    request_id: str
    again: bool = False
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a destination was told; `life` counts the processes that told."""

    life: int
    event_id: str
    kind: str
    prompt: str
    outcome: str | None = None


class Telling:
    """A destination that tells of each call before it answers."""

    def __init__(self, destination: Destination, heard: Heard) -> None:
        self.received = destination.received
        self.replies = destination.replies
        self._destination = destination
        self._heard = heard

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Tells, and answers."""
        await self._heard(request.path, json.loads(await request.read()))
        return await self._destination.handle(request)


class Bursts:
    """Two apps, a webhook that hears of both and a Slack channel that hears of `few`; see `a_scene`."""

    def __init__(self, directory: Path, api: SimulatorServer, chance: random.Random) -> None:
        self.questions: list[Question] = []
        self.hooked: list[Call] = []
        self.slacked: list[Call] = []
        self.life = 0
        self._directory = directory
        self._api = api
        self._chance = chance
        self._news = asyncio.Condition()
        self._hook = WebhookReceiver()
        self._slack = FakeSlack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """One life of the watcher.

        Each has its own addresses to call, so that what the last one sent is not taken for what this one did.
        """
        self.life += 1
        async with self.settings() as settings, run_watcher(self._directory, settings) as daemon:
            await daemon.wait_for_log("daemon.started")
            yield daemon

    async def live(self, number: signal.Signals) -> int:
        """One life in which requests come and go, ended by a signal at some instant; returns its status."""
        self.ask_many()
        async with self.running() as daemon:
            await self.moment(daemon)
            self.change()
            await self.moment(daemon)
            return await daemon.stop(number)

    async def finish(self) -> int:
        """Lets the watcher live until all is told, and then look once more; returns the status of that."""
        async with self.running() as daemon:
            await self.all_told()
            await self._some_polls(2)
            assert 0 == await daemon.stop()
        self.life += 1
        async with self.settings() as settings:
            return (await run_command(self._directory, settings, "once")).status

    async def all_told(self) -> None:
        """Waits until every destination was told of everything."""
        # One message a second is what Slack gets.
        await self._until(lambda: not self.lost(), within=PATIENCE + 2 * len(self.questions))

    def lost(self) -> set[str]:
        """Returns the prompts of requests that a destination was not told of, or not of their end."""
        return self._unheard() | self._unposted() | self._looks_open()

    def figures(self) -> str:
        """Returns in words what there was, what was lost, and what was told again."""
        return (
            f"{len(self.questions)} requests, {len(self.lost())} lost;"
            f" webhook: {len(self.hooked)} calls, {repeats(self.hooked).total()} repeated;"
            f" Slack: {len(self.slacked)}, {repeats(self.slacked).total()}"
        )

    def misreported(self) -> list[Call]:
        """Returns what was told of an end that was none, or another."""
        ended = {question.prompt: question.outcome for question in self.questions}
        ends = [call for call in (*self.hooked, *self.slacked) if call.kind == RESOLVED]
        # In Slack it is only seen that there is an end.
        return [
            call
            for call in ends
            if ended[call.prompt] is None or call.outcome not in {None, ended[call.prompt]}
        ]

    def disordered(self) -> set[str]:
        """Returns the prompts that the webhook was asked after it was told of their end."""
        over: set[str] = set()
        wrong: set[str] = set()
        for call in self.hooked:
            if call.kind == RESOLVED:
                over.add(call.prompt)
            elif call.prompt in over:
                wrong.add(call.prompt)
        return wrong

    def ask_many(self) -> None:
        """A new burst of requests."""
        for name in ["many"] * BURST + ["few"] * self._chance.randint(0, 1):
            self._ask(self._api.apps[name], self._api.apps[name].start_run())

    def _ask(self, app: Simulation, run_id: str, *, again: bool = False) -> None:
        prompt = f"Approve number {len(self.questions)}?"
        request_id = app.ask(run_id, prompt=prompt)
        self.questions.append(Question(prompt, app, run_id, request_id, again))

    def change(self) -> None:
        """Ends some requests that wait, in every way; some are followed by another question.

        Of two questions of one run that nobody saw the first never was; so the second waits until it is told.
        """
        told = prompts(self.hooked, REQUESTED)
        waiting = [each for each in self._waiting() if not each.again or each.prompt in told]
        for question in self._chance.sample(waiting, min(len(waiting), self._chance.randint(0, 3 * BURST))):
            self._end(question, self._chance.choice(["answered", "canceled", "failed", "gone", "replaced"]))

    def _end(self, question: Question, outcome: str) -> None:
        app, run_id = question.app, question.run_id
        match outcome:
            case "answered":
                app.answer(run_id, question.request_id)
            case "canceled":
                app.cancel(run_id)
            case "failed":
                app.fail(run_id)
            case "gone":
                app.delete(run_id)
            case _:
                self._ask(app, run_id, again=True)
        question.outcome = outcome

    async def moment(self, daemon: Process) -> None:
        """Waits for a random instant: around a call of the API or of a destination, or what was recorded."""
        choice = self._chance.random()
        if choice < 0.2:
            await self._some_polls(self._chance.randint(1, 3))
        elif choice < 0.4:
            # Some may have ended before they were seen; then it is some polls later.
            seen = asyncio.create_task(
                daemon.wait_for_log("request.new", count=self._chance.randint(1, BURST))
            )
            polls = asyncio.create_task(self._some_polls(3))
            await asyncio.wait({seen, polls}, return_when=asyncio.FIRST_COMPLETED)
            for task in (seen, polls):
                task.cancel()
            await asyncio.gather(seen, polls, return_exceptions=True)
        elif choice < 0.6 and self._unposted():
            await self.more_calls(self.slacked, 1)
        else:
            await self.more_calls(self.hooked, self._chance.randint(0, len(self._unheard())))
        await asyncio.sleep(self._chance.uniform(0, JITTER))

    def _waiting(self) -> list[Question]:
        return [question for question in self.questions if question.outcome is None]

    def _ended(self) -> set[str]:
        return {question.prompt for question in self.questions if question.outcome is not None}

    def _unheard(self) -> set[str]:
        """Returns of what the webhook has still to be told: what waits, and the end of what it knows."""
        told = prompts(self.hooked, REQUESTED)
        unresolved = (told & self._ended()) - prompts(self.hooked, RESOLVED)
        return unresolved | ({question.prompt for question in self._waiting()} - told)

    def _unposted(self) -> set[str]:
        """Returns what waits and is not in Slack."""
        few = {question.prompt for question in self._waiting() if question.app is self._api.apps["few"]}
        return few - prompts(self.slacked, REQUESTED)

    def _looks_open(self) -> set[str]:
        """Returns what looks in Slack as if it still waited."""
        return (prompts(self.slacked, REQUESTED) & self._ended()) - prompts(self.slacked, RESOLVED)

    async def more_calls(self, calls: list[Call], more: int) -> None:
        """Waits until a destination was called so many more times."""
        target = len(calls) + more
        await self._until(lambda: len(calls) >= target, within=PATIENCE)

    async def _until(self, condition: Callable[[], bool], *, within: float) -> None:
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            pytest.fail(f"still untold: {sorted(self.lost())}")

    async def _some_polls(self, more: int) -> None:
        for name in self._api.apps:
            await self._api.wait_for_calls(self._api.finished(app=name) + more, app=name, within=PATIENCE)

    @asynccontextmanager
    async def settings(self) -> AsyncIterator[dict[str, str]]:
        """Serves the destinations in the block and gives the settings of a watcher for them."""
        hook_told, slack_told = Telling(self._hook, self._hear_hook), Telling(self._slack, self._hear_slack)
        async with served(hook_told) as hook, served(slack_told) as slack:
            yield {
                "COVERAGE_PROCESS_CONFIG": "",  # a killed process measures nothing, but is slowed down by it
                "WATCHER_POLL_INTERVAL": "100ms",
                "WATCHER_HTTP_PORT": "0",
                # Planned and never due: a reminder would look like a second message about a request.
                "WATCHER_NOTIFIERS__HOOK__REMIND_AFTER": '["7d"]',
                "WATCHER_NOTIFIERS__SLACK__REMIND_AFTER": '["7d"]',
                "WATCHER_APPS__MANY__BASE_URL": self._api.app_url("many"),
                "WATCHER_APPS__MANY__NOTIFY": '["hook"]',
                "WATCHER_APPS__FEW__BASE_URL": self._api.app_url("few"),
                "WATCHER_NOTIFIERS__HOOK__TYPE": "webhook",
                "WATCHER_NOTIFIERS__HOOK__URL": hook,
                "WATCHER_SLACK_BOT_TOKEN": self._slack.token,
                "WATCHER_SLACK_CHANNEL": self._slack.channels[0],
                "WATCHER_SLACK_API_URL": f"{slack}/api/",
            }

    async def _hear_hook(self, path: str, body: Any) -> None:
        data = body["data"]
        outcome = data.get("resolution", {}).get("outcome")
        call = Call(self._life(path), body["id"], body["type"], data["request"]["prompt"], outcome)
        await self._hear(self.hooked, call)

    async def _hear_slack(self, path: str, body: Any) -> None:
        (prompt,) = set(re.findall(r"Approve number \d+\?", json.dumps(body)))
        event_id = body["metadata"]["event_payload"]["event_id"]
        kind = REQUESTED if "needed" in body["text"] else RESOLVED  # an edit, or another message
        await self._hear(self.slacked, Call(self._life(path), event_id, kind, prompt))

    def _life(self, path: str) -> int:
        """Returns which process calls, where several that run at once have paths of their own."""
        named = re.search(r"/replica-(\d+)", path)
        return int(named[1]) if named else self.life

    async def _hear(self, calls: list[Call], call: Call) -> None:
        calls.append(call)
        async with self._news:
            self._news.notify_all()


def prompts(calls: Iterable[Call], kind: str) -> set[str]:
    """Returns what calls of a kind were about."""
    return {call.prompt for call in calls if call.kind == kind}


def ids(calls: Iterable[Call]) -> Counter[tuple[str, str]]:
    """Returns under how many ids each request, and each end, was told."""
    told = {(call.prompt, call.kind, call.event_id) for call in calls}
    return Counter((prompt, kind) for prompt, kind, _ in told)


def repeats(calls: Iterable[Call]) -> Counter[tuple[int, int]]:
    """Returns how many calls of a life were made again by the same or a later one."""
    last: dict[str, int] = {}
    found: Counter[tuple[int, int]] = Counter()
    for call in calls:
        if call.event_id in last:
            found[last[call.event_id], call.life] += 1
        last[call.event_id] = call.life
    return found


@asynccontextmanager
async def a_scene(directory: Path, chance: random.Random) -> AsyncIterator[Bursts]:
    """Serves the two apps."""
    apps = {name: Simulation(time.time) for name in ("many", "few")}
    async with serve(apps) as api:
        yield Bursts(directory, api, chance)
