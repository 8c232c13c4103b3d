"""What a scenario acts on, and the runs and questions that scenarios share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from watcher.simulator.faults import Fault
from watcher.simulator.state import Simulation

_SESSION: Final = "3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The simulated app, and the pace: with `speed` 2 the script runs twice as fast.

    `caption` is called with a line about what happens next.
    """

    app: Simulation
    sleep: Callable[[float], Awaitable[None]]
    speed: float = 1.0
    caption: Callable[[str], object] = str

    async def wait(self, seconds: float) -> None:
        """Waits for `seconds` of the script."""
        await self.sleep(seconds / self.speed)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Refuses every access key inside the block."""
        fault = Fault(kind="status", status=401, times=None)
        self.app.faults.add(fault)
        try:
            yield
        finally:
            self.app.faults.remove(fault)


def refund_run(app: Simulation, order: str = "A-20417") -> str:
    """Starts a support run about a refund."""
    return app.start_run(
        {"ticket_subject": f"Refund for order {order}", "channel": "email"},
        user_id="customer-7421",
        session_id=_SESSION,
    )


def ask_refund(app: Simulation, run_id: str, amount: int = 620, order: str = "A-20417") -> str:
    """Asks for approval of a refund whose amount can be edited; one parameter looks like a secret."""
    return app.ask(
        run_id,
        "issue_refund",
        prompt=f"Approve a refund of {amount} USD for order {order}? It is above the 500 USD limit.",
        params={
            "amount": amount,
            "currency": "USD",
            "customer": "Marta Lindqvist",
            "order": order,
            "reason": "Charged twice for the June invoice",
            "payment_api_token": "pay_live_4f9a7c21d08e",
        },
        editable_params=["amount", "reason"],
    )


def ask_goodwill(app: Simulation, run_id: str) -> str:
    """Asks something else in the same node as `ask_refund`, so with the same id where ids are stable."""
    return app.ask(
        run_id,
        "issue_refund",
        prompt="The customer also asks for a goodwill credit. Approve 50 USD on top of the refund?",
        params={"amount": 50, "currency": "USD", "customer": "Marta Lindqvist", "kind": "store credit"},
        editable_params=["amount"],
    )


def ask_clause(app: Simulation) -> tuple[str, str]:
    """Starts a contract review that asks for feedback; returns the ids of run and request."""
    run_id = app.start_run({"document": "Hosting agreement, draft 4"}, user_id="legal-intake")
    request_id = app.ask(
        run_id,
        "ask_counsel",
        type="human_feedback",
        prompt="Clause 9.2 caps liability at 12 months of fees; the playbook says 24.\n"
        "Should the draft insist on 24 months, or accept 12 for this customer?",
    )
    return run_id, request_id


def ask_release(app: Simulation) -> tuple[str, tuple[str, str]]:
    """Starts a release that asks two things at once; returns the ids of the run and of both requests."""
    run_id = app.start_run({"service": "billing-api", "version": "2.14.0"}, user_id="release-bot")
    deploy = app.ask(
        run_id,
        "deploy",
        prompt="Deploy billing-api 2.14.0 to production? All 412 checks passed in staging.",
        params={"service": "billing-api", "version": "2.14.0", "region": "eu-west-1", "canary_percent": 10},
        editable_params=["canary_percent"],
    )
    migrate = app.ask(
        run_id,
        "migrate",
        prompt="Run migration 0087_invoice_currency first? It locks the invoices table for about 40 seconds.",
        params={"migration": "0087_invoice_currency", "estimated_lock_seconds": 40},
    )
    return run_id, (deploy, migrate)


def ask_access(app: Simulation) -> tuple[str, str]:
    """Starts an access request that needs an approval; returns the ids of run and request."""
    run_id = app.start_run({"ticket_subject": "Read access to the data warehouse"}, user_id="it-desk")
    request_id = app.ask(
        run_id,
        "grant_access",
        prompt="Grant Jonas Weber read access to the sales schema until 30 September?",
        params={"person": "Jonas Weber", "schema": "sales", "role": "read", "until": "2026-09-30"},
        editable_params=["role", "until"],
    )
    return run_id, request_id


def waiting_runs(app: Simulation, total: int) -> list[tuple[str, str]]:
    """Starts `total` waiting runs, each with its own question; returns the ids of runs and requests."""
    return [_numbered_ask(app, number) for number in range(1, total + 1)]


def _numbered_ask(app: Simulation, number: int) -> tuple[str, str]:
    order = f"B-{30000 + number}"
    run_id = refund_run(app, order)
    return run_id, ask_refund(app, run_id, 500 + number, order)
