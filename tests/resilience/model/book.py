"""The model's book of promises: who is to be told of a request, and from when, as was configured at its time.

To whom is promised when a request is first seen stays, whatever is configured later; `after` is that of now.
"""

from dataclasses import dataclass, field

from tests.resilience.model.config import told_of
from watcher.config.models import Config
from watcher.store.sql import Reader


@dataclass(slots=True)
class Promise:
    """When each notifier is to be told, and, of the request itself, when it was seen, at the earliest."""

    due: dict[str, float]
    seen: float


@dataclass(slots=True)
class Book:
    """What is promised for each request, by its key, and which apps were polled whole ever."""

    promises: dict[int, Promise] = field(default_factory=dict)
    worked: set[str] = field(default_factory=set)

    def first_seen(self, key: int, app: str, config: Config, now: float) -> None:
        """A request was recorded: everybody is to be told, unless it is of the backlog to be passed over."""
        silent = config.backlog == "baseline" and app not in self.worked
        told = {} if silent else told_of(config, app)
        self.promises[key] = Promise({name: now + section.after for name, section in told.items()}, now)

    def started(self, database: Reader, config: Config, now: float) -> None:
        """A life of the process has begun: whoever is new is to be told of what waits and was announced.

        Who was to be told later may be told as soon as is configured now.
        """
        for row in database.execute("SELECT key, app, first_seen_at FROM requests WHERE resolved_at IS NULL"):
            promise = self.promises.get(row["key"])
            if promise is None or not promise.due:
                continue
            for name, section in told_of(config, row["app"]).items():
                due = max(now, row["first_seen_at"] + section.after)
                promise.due[name] = min(due, promise.due.get(name, due))

    def clock_set(self, seconds: float) -> None:
        """What waits is moved by as much as the clock was set."""
        for promise in self.promises.values():
            promise.due = {name: due + seconds for name, due in promise.due.items()}
            promise.seen += min(seconds, 0.0)

    def forget(self, database: Reader) -> None:
        """Forgets requests that were pruned, for their keys may be given out again."""
        known = {row["key"] for row in database.execute("SELECT key FROM requests")}
        self.promises = {key: promise for key, promise in self.promises.items() if key in known}
