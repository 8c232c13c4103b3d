"""Pure: what Slack's errors mean: what a person has to fix, what passes, what a simpler form may avoid."""

import re
from collections.abc import Mapping
from typing import Final

from watcher.models import Json
from watcher.notifiers.base import DeliveryError
from watcher.notifiers.http_post import TRANSIENT_STATUSES

_UNREADABLE: Final = re.compile(
    r"invalid_(blocks|attachments|metadata|payload|arguments|array_arg|json|form_data)\w*"
    r"|msg_too_long|msg_blocks_too_long|metadata_\w+|no_text|too_many_attachments|markdown_\w+"
)
"""Error codes that blame the form of the message, https://docs.slack.dev/reference/methods/chat.postMessage."""

_NO_THREAD: Final = frozenset({
    "thread_not_found",
    "cannot_reply_to_message",
    "message_not_found",
    "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
})  # fmt: skip
_OF_THREAD: Final = frozenset({"channel", "thread_ts", "reply_broadcast"})
_NO_CHANNEL: Final = frozenset({
    "channel_not_found",
    "not_in_channel",
    "is_archived",
    "channel_is_archived",
})  # fmt: skip
_NOT_EDITABLE: Final = _NO_CHANNEL | {
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "is_inactive",
    "cant_broadcast_message",
    "update_failed",
}
"""A message with one of these never becomes editable, https://docs.slack.dev/reference/methods/chat.update."""

_REINSTALL: Final = "set a valid bot token (xoxb-…) of an app that is installed in the workspace"
_NEW_WEBHOOK: Final = "create a new incoming webhook in Slack and set its URL"
_OTHER_CHANNEL: Final = "unarchive the channel, or configure another one"
_FIND_CHANNEL: Final = "check the channel's name or id; invite the app to a private channel (/invite)"
_SCOPE: Final = "grant the app the scope chat:write and reinstall it"
_ADMIN: Final = "ask a workspace administrator to allow the app to post there"
_FIXES: Final = {
    "channel_not_found": _FIND_CHANNEL,
    "not_in_channel": "invite the app to the channel (/invite), or grant it the scope chat:write.public",
    "is_archived": _OTHER_CHANNEL,
    "channel_is_archived": _OTHER_CHANNEL,
    "invalid_auth": _REINSTALL,
    "not_authed": _REINSTALL,
    "token_revoked": _REINSTALL,
    "token_expired": _REINSTALL,
    "account_inactive": _REINSTALL,
    "not_allowed_token_type": _REINSTALL,
    "missing_scope": _SCOPE,
    "no_permission": _SCOPE,
    "restricted_action": _ADMIN,
    "access_denied": _ADMIN,
    "action_prohibited": _ADMIN,
    "ekm_access_denied": _ADMIN,
    "team_access_not_granted": _ADMIN,
    "org_login_required": _ADMIN,
    "posting_to_general_channel_denied": _ADMIN,
    "invalid_token": _NEW_WEBHOOK,
    "no_service": _NEW_WEBHOOK,
    "no_service_id": _NEW_WEBHOOK,
    "no_active_hooks": _NEW_WEBHOOK,
    "no_team": _NEW_WEBHOOK,
    "team_disabled": _NEW_WEBHOOK,
    "user_not_found": "check the ids under mention",
}
_WEBHOOK_FIXES: Final = {
    400: "Slack rejected every format of this message; see its error",
    403: _NEW_WEBHOOK,
    404: _NEW_WEBHOOK,
    410: _NEW_WEBHOOK,
}
"""For an incoming webhook, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""

RATE_LIMITED: Final = frozenset({"ratelimited", "rate_limited"})
"""Error codes that concern the channel, whatever the HTTP status is."""

_PASSING: Final = RATE_LIMITED | frozenset({
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
})  # fmt: skip
"""Error codes that may pass without a fix."""

PARTLY_DONE: Final = frozenset({"internal_error", "fatal_error"})
"""Error codes after which Slack may have done part of what was asked."""

_LOOK_UP: Final = "look up Slack's error code, then fix the app, its token or the channel"
WRONG_ADDRESS: Final = "check the configured Slack address: the server there is not Slack's"


class Rejection(Exception):
    """Slack rejected one form of a message: its error code, and what to raise if no other form helps."""

    def __init__(self, code: str, error: DeliveryError) -> None:
        super().__init__(code)
        self.code = code
        self.error = error


class NotEditableError(Exception):
    """A message is gone, or will never be editable again."""


def fix(code: str, status: int) -> str | None:
    """Returns what a person has to correct, None where waiting may help."""
    if code in _FIXES:
        return _FIXES[code]
    if code in _PASSING or status in TRANSIENT_STATUSES or status >= 500:  # noqa: PLR2004 - HTTP's own classes
        return None
    return _LOOK_UP if code else WRONG_ADDRESS


def edit_is_hopeless(refused: Rejection) -> bool:
    """Returns whether an edit can succeed neither later nor in another form, so that a new message is needed.

    That holds too for what a person has to fix, unless it is the token or the address: the app may have lost
    the right to write where the message stands.
    """
    fixable = refused.error.fix not in {None, _REINSTALL, WRONG_ADDRESS}
    return refused.code in _NOT_EDITABLE or (fixable and not _UNREADABLE.fullmatch(refused.code))


def webhook_fix(code: str, status: int) -> str:
    """Returns what a person has to correct after an incoming webhook rejected a message for good."""
    return _FIXES.get(code) or _WEBHOOK_FIXES.get(status, WRONG_ADDRESS)


def next_fallback(form: Mapping[str, Json], code: str, text: str) -> dict[str, Json] | None:
    """Returns the next form to try after Slack rejected one for its thread or format, None if none is left.

    `text` is the message without blocks.
    """
    if code in _NO_THREAD | _NO_CHANNEL and "thread_ts" in form:
        # Without the thread the message goes to the channel that is configured now.
        return {key: value for key, value in form.items() if key not in _OF_THREAD}
    if not _UNREADABLE.fullmatch(code):
        return None
    if "metadata" in form and ("metadata" in code or "blocks" not in form):
        return {key: value for key, value in form.items() if key != "metadata"}
    if "blocks" in form:
        kept = {key: value for key, value in form.items() if key not in {"blocks", "mrkdwn"}}
        return {**kept, "text": text}
    return None
