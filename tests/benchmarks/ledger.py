"""Who asked what, and who was told: kept by the servers, judged when all is quiet.

A question is named by its run and its prompt, for a run may ask one after the other.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Final

SLACK: Final = "slack"
"""How the path of Slack's Web API begins."""


def question(run_id: str, prompt: str | None) -> str:
    """Returns the name of a question."""
    return f"{run_id} {prompt or ''}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """An event that a destination accepted; `about` names the question, if it is about one."""

    to: str
    event: str
    type: str
    about: str


@dataclass(slots=True)
class Ledger:
    """What the Runs API has shown, and how often; what waits there in the end; what was accepted where."""

    shown: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, str] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    beats: int = 0

    def accept(self, to: str, method: str, body: bytes) -> None:
        """Takes note of what a destination accepted; an edit in Slack is none of it."""
        document = json.loads(body)
        if to == SLACK:
            if method == "api/chat.postMessage":
                event = document.get("metadata", {}).get("event_payload", {}).get("event_id", "")
                self.receipts.append(Receipt(to, event, "", ""))
            return
        run, request = document["data"].get("run"), document["data"].get("request")
        about = question(run["id"], request["prompt"]) if run else ""
        self.receipts.append(Receipt(to, document["id"], document["type"], about))

    def as_json(self) -> dict[str, Any]:
        """Returns all of it as JSON."""
        receipts = [astuple(receipt) for receipt in self.receipts]
        return {"shown": self.shown, "waiting": self.waiting, "receipts": receipts, "beats": self.beats}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Ledger":
        """Reads what `as_json` gave."""
        receipts = [Receipt(*receipt) for receipt in told["receipts"]]
        return cls(Counter(told["shown"]), told["waiting"], receipts, told["beats"])


def lost(ledger: Ledger, to: str) -> set[str]:
    """Returns the questions that were shown twice, or wait in the end, and were never told there."""
    told = _about(ledger, to, "run.input_requested")
    return ({name for name, times in ledger.shown.items() if times > 1} | set(ledger.waiting)) - told


def unended(ledger: Ledger, to: str) -> set[str]:
    """Returns the questions that were told there, wait no more, and of whose end nothing was said."""
    over = _about(ledger, to, "run.input_requested") - set(ledger.waiting)
    return over - _about(ledger, to, "run.input_resolved")


def ended_too_early(ledger: Ledger, to: str) -> set[str]:
    """Returns the questions that still wait, and were told there to have ended."""
    return _about(ledger, to, "run.input_resolved") & set(ledger.waiting)


def repeats(receipts: Iterable[Receipt]) -> int:
    """Returns how often an event was accepted again where it had been accepted."""
    times = Counter((receipt.to, receipt.event) for receipt in receipts if receipt.event)
    return sum(times.values()) - len(times)


def untold(
    ledger: Ledger, pending: Collection[Mapping[str, Any]], notify: Mapping[str, Collection[str]]
) -> set[str]:
    """Returns the questions that wait and are not listed as such, or without all whom their app is to tell.

    `pending` is what `watcher pending --json` prints, `notify` names the notifiers of each app.
    """
    told = {question(item["run_id"], item["prompt"]): set(item["told"]) for item in pending}
    return {name for name, app in ledger.waiting.items() if not told.get(name, set()) >= set(notify[app])}


def _about(ledger: Ledger, to: str, kind: str) -> set[str]:
    return {receipt.about for receipt in ledger.receipts if receipt.to == to and receipt.type == kind}
