"""Faults that the simulated API shows on demand: which call is hit, how often, and how it fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from watcher.simulator.options import Json

Call = Literal["list", "get", "input", "cancel", "other"]
CallFilter = Literal["all", "list", "get", "input", "cancel", "other"]
FaultKind = Literal[
    "status",
    "shape",
    "html",
    "redirect",
    "echo_secret",
    "delay",
    "drip",
    "reset",
    "truncated",
    "cut",
    "oversize",
    "gzip",
]
_Status = Annotated[int, Field(ge=200, le=599)]
_Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
_Header = Annotated[str, Field(pattern=r"^[ -~]*$")]
_Seconds = Annotated[float, Field(ge=0, le=10**9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; of several that match a call the oldest one acts.

    - `status`: responds with `status` (500), `headers` and `body`, a JSON value or a text sent as HTML;
      without a body the error envelope of that status.
    - `shape`: responds 200 with the JSON `body`, however wrong.
    - `html`: responds with `status` (502) and an HTML page, as a proxy does.
    - `redirect`: responds with `status` (302) and `location`.
    - `echo_secret`: responds with `status` (401) and an error that quotes the caller's Authorization header.
    - `delay`: responds normally after `seconds`; `drip`: sends a byte of the normal response every `seconds`.
    - `reset`: resets the connection instead of responding; `cut`: closes it in the middle of the body.
    - `truncated`: responds 200 with the first half of the JSON, as if that were the whole.
    - `oversize`: adds `size` bytes of content to the normal response; `gzip`: compresses it although the
      caller did not ask for that, with `size` more bytes once it is decompressed.

    `match` says which calls are hit; `page` or `run_id` narrow that to one page or run. `times` None means
    until cleared. `retry_after` adds that header, in seconds or as the date so many seconds ahead.
    """

    kind: FaultKind
    match: CallFilter = "all"
    times: int | None = 1
    page: int | None = None
    run_id: str | None = None
    status: _Status | None = None
    headers: Mapping[_Token, _Header] = field(default_factory=dict)
    body: Json = None
    location: _Header = "/elsewhere"
    retry_after: _Seconds | None = None
    retry_after_form: Literal["seconds", "date"] = "seconds"
    seconds: _Seconds = 0.0
    size: Annotated[int, Field(ge=0, le=2**30)] = 0

    def hits(self, call: Call, page: str, run_id: str | None) -> bool:
        """Returns whether this fault applies to a call; `page` is the parameter as it was sent."""
        return (
            self.match in ("all", call)
            and (self.page is None or (call == "list" and str(self.page) == page))
            and (self.run_id is None or self.run_id == run_id)
        )


class Faults:
    """The faults of one simulated app that are still to come, oldest first."""

    def __init__(self) -> None:
        self._due: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Adds a fault after those that are due already."""
        self._due.append(fault)

    def clear(self) -> None:
        """Removes all faults."""
        self._due.clear()

    def remove(self, fault: Fault) -> None:
        """Removes one fault; if it is used up or cleared already, nothing happens."""
        self._due = [other for other in self._due if other is not fault]

    def take(self, call: Call, page: str, run_id: str | None) -> Fault | None:
        """Returns the fault that hits a call, and uses up one of its `times`; None if none does."""
        for index, fault in enumerate(self._due):
            if not fault.hits(call, page, run_id):
                continue
            if fault.times is not None:
                self._due[index : index + 1] = (
                    [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                )
            return fault
        return None
