"""Faults that the simulated API shows on demand: which call is hit, how often, and by what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

from pydantic import Field

from watcher.simulator.options import Json

Call = Literal["list", "get", "input", "cancel", "other"]
_Status = Annotated[int, Field(ge=200, le=599)]
_Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
_Header = Annotated[str, Field(pattern=r"^[ -~]*$")]
_Seconds = Annotated[float, Field(ge=0, le=10**9)]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong; of several that match a call the oldest one acts.

    - `status`: answers `status` (500) with `headers` and `body`, a JSON value or a text sent as HTML;
      without a body the error envelope of that status.
    - `shape`: answers 200 with the JSON `body`, however wrong.
    - `html`: answers `status` (502) with an HTML page, as a proxy does.
    - `redirect`: answers `status` (302) to `location`.
    - `echo_secret`: answers `status` (401) with the caller's Authorization header in the error's message.
    - `delay`: answers rightly, `seconds` later; `drip`: one byte every `seconds`.
    - `reset`: resets the connection instead of answering; `cut`: closes it in the middle of the body.
    - `truncated`: answers 200 with the first half of the JSON, as if that were all.
    - `oversize`: answers rightly but for `size` bytes of further content; `gzip`: compressed though nobody
      asked for that, and then `size` bytes longer once inflated.

    `match` says which calls are hit, `page` or `run_id` narrow that to one page or run. `times` None means
    until cleared. `retry_after` adds that header, in seconds or as the date so many seconds ahead.

    Raises:
        ValueError: the kind, match or Retry-After form is unknown.
    """

    kind: FaultKind
    match: Literal["all"] | Call = "all"
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

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("kind", self.kind, get_args(FaultKind)),
            ("match", self.match, ("all", *get_args(Call))),
            ("retry_after_form", self.retry_after_form, ("seconds", "date")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: {value!r} is not one of {', '.join(allowed)}")

    def hits(self, call: Call, page: str, run_id: str | None) -> bool:
        """Tells whether this fault is meant for a call; `page` is the parameter as it was sent."""
        return (
            self.match in ("all", call)
            and (self.page is None or (call == "list" and str(self.page) == page))
            and (self.run_id is None or self.run_id == run_id)
        )


class Faults:
    """The faults that are due in one simulated app."""

    def __init__(self) -> None:
        self._due: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Adds a fault after those that are due already."""
        self._due.append(fault)

    def clear(self) -> None:
        """Ends all trouble."""
        self._due.clear()

    def remove(self, fault: Fault) -> None:
        """Ends one fault; one that is used up or cleared already is no error."""
        self._due = [other for other in self._due if other is not fault]

    def take(self, call: Call, page: str, run_id: str | None) -> Fault | None:
        """Returns the fault that hits a call, one time fewer of it left, or None."""
        for index, fault in enumerate(self._due):
            if not fault.hits(call, page, run_id):
                continue
            if fault.times is not None:
                self._due[index : index + 1] = (
                    [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                )
            return fault
        return None
