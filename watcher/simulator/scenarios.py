"""The scenarios: scripts that act on a simulated app. Times are seconds at speed 1."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Final

from watcher.simulator.fixtures import (
    Context,
    ask_access,
    ask_clause,
    ask_goodwill,
    ask_refund,
    ask_release,
    refund_run,
    waiting_runs,
)
from watcher.simulator.options import Json, Refusal
from watcher.simulator.state import Simulation

_PAUSE: Final = 10.0
"""Between the steps of a scenario: long enough for a poll in between."""
_PAGE: Final = 100
"""The page size that the `pages_…` scenarios are made for: the watcher's default."""
_BUSY: Final = 5
_ENDED_KEPT: Final = 500
_DEPTH: Final = 100


async def play(
    name: str,
    app: Simulation,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    speed: float = 1.0,
    caption: Callable[[str], object] = str,
) -> None:
    """Plays a scenario on a simulated app; `busy` and `demo` go on until they are cancelled.

    `caption` is called with a line about what happens next, where the scenario has any.

    Raises:
        KeyError: there is no scenario of that name.
    """
    await SCENARIOS[name](Context(app=app, sleep=sleep, speed=speed, caption=caption))


async def _demo(context: Context) -> None:
    app = context.app
    context.caption("Two runs ask for input: one needs an approval, one an answer in words.")
    refund = refund_run(app)
    ask_refund(app, refund)
    await context.wait(0.5)
    clause, clause_request = ask_clause(app)
    await context.wait(4.5)
    context.caption("The first run asks something else instead, and a third run asks too.")
    ask_goodwill(app, refund)
    access, _ = ask_access(app)
    await context.wait(3)
    context.caption("The question about the clause is answered, and its run completes.")
    _answer(app, clause, clause_request, "Accept 12 months, they are a reference customer.")
    app.complete(clause, {"decision": "accepted 12 months"})
    await context.wait(3)
    context.caption("One run asks two things at once.")
    release, (deploy, migrate) = ask_release(app)
    await context.wait(3)
    context.caption("The run that asks for access is canceled while it waits.")
    app.cancel(access)
    await context.wait(2)
    context.caption("The access key is revoked, so people get an alert about the app.")
    async with context.outage():
        await context.wait(4)
    context.caption("The key is valid again, and another run asks for approval.")
    await context.wait(1)
    late = refund_run(app, "A-20533")
    ask_refund(app, late, 780, "A-20533")
    await context.wait(2)
    context.caption("Both questions of the release are answered.")
    _answer(app, release, migrate, is_approved=True)
    _answer(app, release, deploy, is_approved=True)
    app.complete(release, {"deployed": "2.14.0"})
    await context.wait(2)
    context.caption("From now on a new question comes every few seconds, and the oldest is answered.")
    await _churn(context, gap=8.0, waiting=2)


async def _quiet(context: Context) -> None:
    finished = refund_run(context.app)
    context.app.complete(finished, {"category": "billing", "priority": "high"})
    refund_run(context.app, "A-20418")


async def _approval(context: Context) -> None:
    ask_refund(context.app, refund_run(context.app))


async def _feedback(context: Context) -> None:
    ask_clause(context.app)


async def _two_at_once(context: Context) -> None:
    ask_release(context.app)


async def _asked_again(context: Context) -> None:
    run_id = refund_run(context.app)
    ask_refund(context.app, run_id)
    await context.wait(_PAUSE)
    ask_goodwill(context.app, run_id)


async def _rejected_asked_again(context: Context) -> None:
    run_id = refund_run(context.app)
    request_id = ask_refund(context.app, run_id)
    await context.wait(_PAUSE)
    _answer(context.app, run_id, request_id, "Too much, half is enough.", is_approved=False)
    ask_refund(context.app, run_id, 310)


async def _completed(context: Context) -> None:
    run_id, request_id = ask_access(context.app)
    await context.wait(_PAUSE)
    _answer(context.app, run_id, request_id, is_approved=True)
    await context.wait(_PAUSE)
    context.app.complete(run_id, {"granted": True})


async def _canceled(context: Context) -> None:
    run_id, _ = ask_access(context.app)
    await context.wait(_PAUSE)
    context.app.cancel(run_id)


async def _failed(context: Context) -> None:
    run_id, _ = ask_access(context.app)
    await context.wait(_PAUSE)
    context.app.fail(run_id)


async def _expired(context: Context) -> None:
    parked, _ = ask_clause(context.app)
    lost, _ = ask_access(context.app)
    await context.wait(_PAUSE)
    context.app.pause(parked)
    context.app.fail(lost)


async def _hidden(context: Context) -> None:
    run_id, _ = ask_clause(context.app)
    context.app.hide(run_id)


async def _backlog(context: Context) -> None:
    waiting_runs(context.app, 30)


async def _outage(context: Context) -> None:
    ask_refund(context.app, refund_run(context.app))
    await context.wait(_PAUSE)
    async with context.outage():
        await context.wait(6 * _PAUSE)
    ask_access(context.app)


async def _gone(context: Context) -> None:
    run_id, _ = ask_access(context.app)
    await context.wait(_PAUSE)
    context.app.delete(run_id)


async def _app_gone(context: Context) -> None:
    ask_access(context.app)
    await context.wait(_PAUSE)
    context.app.delete_app()
    await context.wait(6 * _PAUSE)
    context.app.restore_app()


async def _busy(context: Context) -> None:
    await _churn(context, gap=1.0, waiting=_BUSY)


async def _churn(context: Context, gap: float, waiting: int) -> None:
    """Asks something every `gap` seconds, endlessly, and ends the oldest runs so that `waiting` remain."""
    app = context.app
    waits: deque[tuple[str, str]] = deque()
    ended: deque[str] = deque()
    for number in count():
        order = f"C-{40000 + number}"
        run_id = refund_run(app, order)
        waits.append((run_id, ask_refund(app, run_id, 510 + number % 400, order)))
        if len(waits) > waiting:
            _end(app, number, *waits[0])
            ended.append(waits.popleft()[0])
        if len(ended) > _ENDED_KEPT:
            app.delete(ended.popleft())
        await context.wait(gap)


def _end(app: Simulation, number: int, run_id: str, request_id: str) -> None:
    if number % 4 == 0:
        app.cancel(run_id)
        return
    _answer(app, run_id, request_id, is_approved=number % 4 != 1)
    app.complete(run_id)


def _answer(
    app: Simulation,
    run_id: str,
    request_id: str,
    feedback: str | None = None,
    *,
    is_approved: bool | None = None,
) -> None:
    """Answers a request unless a user of the simulator has done so already."""
    with suppress(Refusal):
        app.answer(run_id, request_id, feedback=feedback, is_approved=is_approved)


def _pages(total: int) -> Callable[[Context], Awaitable[None]]:
    async def script(context: Context) -> None:
        waiting_runs(context.app, total)

    return script


async def _hostile(context: Context) -> None:
    for prompt, params in _hostile_questions():
        context.app.ask(refund_run(context.app), "issue_refund", prompt=prompt, params=params)


def _hostile_questions() -> list[tuple[Json, Json]]:
    deep: Json = "the bottom"
    for _ in range(_DEPTH):
        deep = {"inner": [deep]}
    return [
        ("<!channel> <!here> <@U012345> @everyone: approve <https://evil.example|the refund>?", None),
        (
            "*bold* _italic_ ~gone~ `code` ```block``` > quote & &lt;escaped&gt; [link](javascript:alert(1))",
            None,
        ),
        ("<script>alert(1)</script><img src=x onerror=alert(1)> {{7*7}} {prompt} %s", {"<b>key</b>": "<i>"}),
        ("\u202eapproved\u202c \u2066isolated\u2069 \ufefffoo\u200bbar", {"\u202ekey": "\u202evalue"}),
        (
            "bell \x07 escape \x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 null \x00",
            None,
        ),
        ("lone surrogate \ud800 and astral \U0001f4b8", {"surrogate": "\udfff"}),
        ("long " + "word " * 20_000, {"text": "x" * 100_000}),
        ("many parameters", {f"parameter_{number}": number for number in range(500)}),
        ("deep parameters", deep),
        ("", {}),
        (None, [1, "two", None]),
        (["a", "list"], "a text"),
        ("  \n\n   surrounded by white space \n\n ", {"number": 1e308, "large": 10**30, "nothing": None}),
    ]


SCENARIOS: Final[Mapping[str, Callable[[Context], Awaitable[None]]]] = {
    "demo": _demo,
    "quiet": _quiet,
    "approval": _approval,
    "feedback": _feedback,
    "two_at_once": _two_at_once,
    "asked_again": _asked_again,
    "rejected_asked_again": _rejected_asked_again,
    "completed": _completed,
    "canceled": _canceled,
    "failed": _failed,
    "expired": _expired,
    "hidden": _hidden,
    "backlog": _backlog,
    "outage": _outage,
    "gone": _gone,
    "app_gone": _app_gone,
    "busy": _busy,
    "pages_none": _pages(0),
    "pages_one": _pages(1),
    "pages_exact": _pages(_PAGE),
    "pages_one_more": _pages(_PAGE + 1),
    "pages_three": _pages(2 * _PAGE + _PAGE // 2),
    "hostile": _hostile,
}
"""The scripts by name; `catalog` describes them."""
