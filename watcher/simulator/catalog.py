"""What the simulator can play and do, by name: apart from it, because `simulate --help` must not load it."""

from typing import Final

DESCRIPTIONS: Final = {
    "demo": "half a minute with a bit of everything, then gentle churn",
    "quiet": "runs, but nobody is asked anything",
    "approval": "one approval with parameters",
    "feedback": "one question to be answered in words",
    "two_at_once": "one run that asks two things at once",
    "asked_again": "answered, and the same node asks something else at once",
    "rejected_asked_again": "rejected, and the agent tries again",
    "completed": "answered, then the run completes",
    "canceled": "canceled while it waits",
    "failed": "fails while it waits",
    "expired": "two go unanswered: one is parked and still waits, one fails",
    "hidden": "awaits input without showing its question",
    "backlog": "thirty wait from the start",
    "outage": "every key is refused for a minute",
    "gone": "a waiting run is deleted",
    "app_gone": "the app is deleted for a minute, then back",
    "busy": "one new question a second, five waiting, forever",
    "pages_none": "nothing waits",
    "pages_one": "one run waits",
    "pages_exact": "exactly one page of 100 waits",
    "pages_one_more": "one more than a page of 100 waits",
    "pages_three": "three pages of 100 wait, the last one half full",
    "hostile": "mentions, markup, control characters, huge and deep parameters",
}

VERBS: Final = (
    "start_run",
    "ask",
    "answer",
    "pause",
    "cancel",
    "fail",
    "complete",
    "delete",
    "hide",
    "reveal",
    "make_stuck",
    "override",
    "inject",
    "shift_next_page",
    "keys",
    "delete_app",
    "restore_app",
    "reset",
    "fault",
    "clear_faults",
    "options",
)
"""What can be posted to `/_control/{verb}`."""
