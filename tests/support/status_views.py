"""Status pages to show: apps, requests and a page full of hostile text."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from watcher.models import Failure, PendingRequest
from watcher.monitoring.health import Status, readiness
from watcher.monitoring.notifications import Notification
from watcher.monitoring.snapshot import StatusPageData, StatusQuery
from watcher.store.results import AppStatus, NotifierStatus, RecentResolution

NOW: Final = 1_800_000_000.0
HOSTILE: Final = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</style></title><style>body{display:none}</style><a href='javascript:alert(1)'>here</a>"
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>{{ 7 * 7 }}{% raw %}&lt;"
    "\N{RIGHT-TO-LEFT OVERRIDE}lived\x1b[31m\x07" + "W" * 400
)


def an_app(name: str = "support", **fields: Any) -> AppStatus:
    """An app that is up, but for what is said of it."""
    up: dict[str, Any] = {
        "interval": 15.0,
        "polled_ago": 3.0,
        "took": 0.142,
        "succeeded_ago": 3.0,
        "succeeded_at": NOW - 3,
        "worked": True,
        "failure": None,
        "pending": 0,
        "oldest_pending": None,
    }
    return AppStatus(name, **{**up, **fields})


def a_request(prompt: str | None = "Approve?", **fields: Any) -> PendingRequest:
    """A request that has waited for two hours."""
    usual: dict[str, Any] = {
        "app": "support",
        "run_id": "run-1",
        "request_id": "q1",
        "type": "approval_request",
        "first_seen_at": NOW - 7425,
        "link": None,
        "told": (),
    }
    return PendingRequest(prompt=prompt, **{"id": 1, **usual, **fields})


def a_view(
    apps: Sequence[AppStatus] = (an_app(),),
    notifiers: Sequence[NotifierStatus] = (),
    waiting: Sequence[PendingRequest] = (),
    ended: Sequence[RecentResolution] = (),
    *,
    query: StatusQuery = StatusQuery(),  # noqa: B008 - frozen
    told: Mapping[int, Sequence[Notification]] = MappingProxyType({}),
) -> StatusPageData:
    """What there is to show."""
    status = Status(tuple(apps), tuple(notifiers))
    return StatusPageData(NOW, query, status, readiness(status), waiting, ended, told)


HOSTILE_VIEW: Final = a_view(
    apps=[an_app(pending=2, failure=Failure(500, HOSTILE, HOSTILE, NOW - 60, 2), succeeded_ago=60.0)],
    notifiers=[NotifierStatus("slack", 1, 400.0, HOSTILE, 0, None, 12.0)],
    waiting=[
        a_request(
            HOSTILE,
            run_id=HOSTILE,
            link=f"javascript:{HOSTILE}",
            user_id=HOSTILE,
            params={HOSTILE: HOSTILE, "deep": [{HOSTILE: HOSTILE}]},
            editable_params=(HOSTILE,),
        ),
        a_request(None, link=f"https://approvals.example/'\"><script>{HOSTILE}"),
    ],
    ended=[RecentResolution(3, "support", "run-1", "approval_request", HOSTILE, "answered", NOW - 60, NOW)],
)
