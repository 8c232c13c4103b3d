"""The names and descriptions of scenarios and control verbs, for `simulate --help` and for `GET /`.

They stand apart from the code that they describe, because the help must not load it.
"""

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """A control verb: its arguments, the optional ones in brackets, and what it does."""

    arguments: str
    description: str

    @property
    def names(self) -> list[str]:
        """The names of the arguments."""
        return self.arguments.replace("[", "").replace("]", "").split()

    @property
    def required(self) -> list[str]:
        """The names of the arguments that must be given."""
        return [name for name in self.arguments.split() if not name.startswith("[")]

    def __str__(self) -> str:
        return f"{self.arguments}: {self.description}" if self.arguments else self.description


DESCRIPTIONS: Final = {
    "demo": "half a minute with a bit of everything, then a new question now and then",
    "quiet": "runs, none of which asks anything",
    "approval": "one approval with parameters",
    "feedback": "one question to answer in words",
    "two_at_once": "one run that asks two things at once",
    "asked_again": "answered, and the same step asks something else at once",
    "rejected_asked_again": "rejected, and the agent tries again",
    "completed": "answered, then the run completes",
    "canceled": "canceled while it is waiting",
    "failed": "fails while it is waiting",
    "expired": "two are not answered in time: one is paused and still pending, one fails",
    "hidden": "awaits input without showing its question",
    "backlog": "thirty are waiting from the start",
    "outage": "every key is refused for a minute",
    "gone": "a waiting run is deleted",
    "app_gone": "the app is deleted for a minute, then restored",
    "busy": "one new question a second, five pending at a time, endlessly",
    "pages_none": "no run is waiting",
    "pages_one": "one run is waiting",
    "pages_exact": "exactly one page of 100 runs is waiting",
    "pages_one_more": "one run more than a page of 100 is waiting",
    "pages_three": "three pages of 100 runs are waiting, the last one half full",
    "hostile": "mentions, markup, control characters, huge and deep parameters",
}

_FAULT_FIELDS: Final = (
    "kind [match] [times] [page] [run_id] [status] [headers] [body] [location] [retry_after]"
    " [retry_after_form] [seconds] [size]"
)
_OPTIONS: Final = (
    "[default_page_size] [page_size_limit] [over_limit] [wrong_params] [past_the_end] [empty_page_count]"
    " [awaiting_matches_base] [list_requests] [hidden_requests] [no_params] [unfinished] [time_format]"
    " [error_details] [request_ids] [swallow_second_ask] [input_window] [after_window] [seen_once_more]"
    " [wrong_input_status] [approval_body]"
)

VERBS: Final = {
    "start_run": Verb(
        "[input] [run_id] [user_id] [session_id] [base] [started_at]",
        "start a run; base is its status (started), started_at a Unix time (now); the result is its id",
    ),
    "ask": Verb(
        "run_id [node] [type] [prompt] [params] [editable_params] [extra]",
        "let a step (node) of a run ask a person; type is approval_request or human_feedback, extra holds"
        " further fields of the request; the result is the request's id",
    ),
    "answer": Verb(
        "run_id request_id [type] [feedback] [is_approved] [params]", "answer a pending request of a run"
    ),
    "pause": Verb("run_id", "pause a run; its requests stay pending"),
    "cancel": Verb("run_id", "cancel a run"),
    "fail": Verb("run_id", "end a run as failed"),
    "complete": Verb("run_id [output]", "end a run as completed"),
    "delete": Verb("run_id", "remove a run, so that reading it is a 404"),
    "hide": Verb("run_id", "let a run await input without showing its question"),
    "reveal": Verb("run_id", "show the question of a hidden run again"),
    "make_stuck": Verb("run_id", "let a run accept answers and keep waiting"),
    "override": Verb("run_id fields", "replace or add fields (an object) of a run's JSON, however wrong"),
    "inject": Verb("item", "put any JSON value before the runs of every list"),
    "shift_next_page": Verb(
        "[insert] [remove]",
        "once, after a page that is not the last: insert new waiting runs, and answer so many of its runs",
    ),
    "keys": Verb(
        "keys [foreign]",
        "replace the accepted access keys (null: no key is needed) and the keys of other projects (403)",
    ),
    "delete_app": Verb("", "make every call to the app a 404"),
    "restore_app": Verb("", "bring a deleted app back as it was"),
    "reset": Verb("", "forget every run and fault, and return to the first options and keys"),
    "fault": Verb(
        _FAULT_FIELDS,
        "break the next call, or so many (times; null: all). kind is status, shape, html, redirect,"
        " echo_secret, delay, drip, reset, truncated, cut, oversize or gzip; match is all, list, get, input,"
        " cancel or other",
    ),
    "clear_faults": Verb("", "end all faults"),
    "options": Verb(_OPTIONS, "change options; GET /_control/state shows the current ones"),
}
"""What can be posted to `/_control/{verb}`."""
