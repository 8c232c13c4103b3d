"""A request that waits, as JSON for programs: on the command line and at `/api/pending` the same."""

from watcher.messages import format_timestamp
from watcher.models import Json, PendingRequest


def pending_json(request: PendingRequest, now: float) -> dict[str, Json]:
    """Returns a waiting request as JSON; an unseen request has no id."""
    return {
        "app": request.app,
        "run_id": request.run_id,
        "request_id": request.request_id or None,
        "type": request.type,
        "prompt": request.prompt,
        "first_seen_at": format_timestamp(request.first_seen_at),
        "waiting_seconds": max(int(now - request.first_seen_at), 0),
        "told": list(request.told),
        "link": request.link,
    }
