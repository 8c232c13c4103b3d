"""The Slack notifier: messages through a bot token or an incoming webhook."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from watcher import backoff
from watcher.config.models import SlackConfig
from watcher.messages import Message, render, without_details
from watcher.models import Delivery, Json, MessageRef
from watcher.notifiers.base import DeliveryError
from watcher.notifiers.http_post import TRANSIENT_STATUSES, from_client_error, from_response, post
from watcher.notifiers.slack.blocks import blocks, fallback, plain
from watcher.notifiers.slack.client import BoundedSlackClient
from watcher.sanitize.secrets import Redactor, Secret
from watcher.sanitize.text import one_line, truncate

_UNREADABLE: Final = re.compile(
    r"invalid_(blocks|attachments|metadata|payload|arguments|array_arg|json|form_data)\w*"
    r"|msg_too_long|msg_blocks_too_long|metadata_\w+|no_text|too_many_attachments|markdown_\w+"
)
"""Error codes that blame the form of the message, https://docs.slack.dev/reference/methods/chat.postMessage."""

_QUOTED_AT_MOST: Final = 100
_REMINDER: Final = 150
"""Characters of the question that stay in a reminder of what has ended."""

_NO_THREAD: Final = frozenset({
    "thread_not_found",
    "cannot_reply_to_message",
    "message_not_found",
    "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
})  # fmt: skip
_NO_EDIT: Final = frozenset({
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "is_inactive",
    "cant_broadcast_message",
    "update_failed",
    "channel_not_found",
    "not_in_channel",
    "is_archived",
    "channel_is_archived",
})  # fmt: skip
"""What keeps a message from being edited for good, https://docs.slack.dev/reference/methods/chat.update."""

_REINSTALL: Final = "give a valid bot token (xoxb-…) of an app that is installed in the workspace"
_NEW_WEBHOOK: Final = "make a new incoming webhook in Slack and give its URL"
_OTHER_CHANNEL: Final = "unarchive the channel, or configure another one"
_FIND_CHANNEL: Final = "check the channel's name or id; a private channel needs the app invited (/invite)"
_ADMIN: Final = "ask an administrator of the workspace to let the app post there"
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
    "missing_scope": "grant the app the scope chat:write and install it anew",
    "no_permission": "grant the app the scope chat:write and install it anew",
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
    400: "Slack takes this message in no form: see its words",
    403: _NEW_WEBHOOK,
    404: _NEW_WEBHOOK,
    410: _NEW_WEBHOOK,
}
"""For an incoming webhook, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""

_PASSING: Final = frozenset({
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
})  # fmt: skip
"""Error codes that may pass by themselves; of any other a person has to think."""

_MAYBE_DONE: Final = frozenset({"internal_error", "fatal_error"})
"""Of these Slack says that some of what was asked for may have been done."""

_LOOK_UP: Final = "look up Slack's error code, and mend the app, its token or the channel"
_ADDRESS: Final = "check Slack's address: the configured one is not Slack's"


class _Refusal(Exception):
    """Slack's no to one form of a message: its error code, and what to raise if no other form helps."""

    def __init__(self, code: str, error: DeliveryError) -> None:
        super().__init__(code)
        self.code = code
        self.error = error


class _NotEditable(Exception):
    """A message is gone, or will never be editable again."""


class SlackNotifier:
    """Posts to one channel, about one message per second, which is what Slack allows.

    https://docs.slack.dev/apis/web-api/rate-limits#overview
    """

    max_concurrency = 1
    min_interval = 1.0
    for_people = True
    digests = True

    def __init__(
        self,
        config: SlackConfig,
        *,
        session: aiohttp.ClientSession,
        request_timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self.name = config.name
        self.rate_limit_key = _place(config)
        self._config = config
        self._session = session
        self._timeout = request_timeout
        self._clock = clock
        self._redactor = Redactor()

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Posts one message, or edits those about what has ended. See `Notifier.send`."""
        message = render(delivery.event)
        more: dict[str, Json] = {"mrkdwn": False}
        if self._config.webhook_url is None:
            if delivery.event.type == "run.input_resolved" and await self._edited(delivery, message):
                return delivery.first_message
            more |= _metadata(delivery) | _thread(delivery)
        return await self._post_with_fallback(self._post, message, more)

    async def check(self) -> str:
        """Asks Slack whose token it is; a webhook cannot be asked. See `Notifier.check`."""
        if self._config.webhook_url:
            self._read(self._config.webhook_url)
            return "configured; a test needs --send"
        try:
            identity = await self._call("auth.test", {})
        except _Refusal as refused:
            raise refused.error from None
        return f"bot {self._quoted(identity.get('user'))} in team {self._quoted(identity.get('team'))}"

    async def _edited(self, delivery: Delivery, message: Message) -> bool:
        """Edits the first message about a request, and its reminders; returns False if the first cannot be.

        Nobody is left with a question that looks as if it still waited. Editing twice changes nothing.
        """
        edited = await self._edit(delivery, delivery.first_message, message)
        for receipt in delivery.reminders:
            await self._edit(delivery, receipt, without_details(message, _REMINDER))
        return edited

    async def _edit(self, delivery: Delivery, receipt: MessageRef | None, message: Message) -> bool:
        if receipt is None or not {"channel", "ts"} <= receipt.values.keys():
            return False
        try:
            await self._post_with_fallback(self._update, message, _metadata(delivery) | dict(receipt.values))
        except _NotEditable:
            return False
        return True

    async def _post_with_fallback(
        self,
        send: Callable[[Mapping[str, Json]], Awaitable[MessageRef | None]],
        message: Message,
        more: Mapping[str, Json],
    ) -> MessageRef | None:
        """Sends a message in the first form that Slack takes, ever simpler; `more` belongs to every form.

        Raises:
            DeliveryError: Slack takes it in no form.
        """
        mention = self._config.mention
        form: dict[str, Json] = {"text": fallback(message), "blocks": blocks(message, mention), **more}
        while True:
            try:
                return await send(form)
            except _Refusal as refused:
                simpler = _next_fallback(form, refused.code, plain(message, mention))
                if simpler is None:
                    raise refused.error from None
                form = simpler

    async def _update(self, form: Mapping[str, Json]) -> MessageRef | None:
        try:
            # Without any blocks those of before might stay: Slack's descriptions do not agree about that.
            await self._call("chat.update", {"blocks": [], **form, "link_names": False, "parse": "none"})
        except _Refusal as refused:
            if refused.code in _NO_EDIT:
                raise _NotEditable from None
            raise
        return None

    async def _post(self, form: Mapping[str, Json]) -> MessageRef | None:
        quiet: dict[str, Json] = {"unfurl_links": False, "unfurl_media": False}
        if self._config.webhook_url:
            await self._post_to_webhook(self._read(self._config.webhook_url), {**form, **quiet})
            return None
        quiet |= {"link_names": False, "parse": "none"}
        answer = await self._call("chat.postMessage", {"channel": self._config.channel, **form, **quiet})
        return MessageRef(
            {key: value for key in ("channel", "ts") if isinstance(value := answer.get(key), str)}
        )

    async def _post_to_webhook(self, url: str, form: Mapping[str, Json]) -> None:
        answer = await post(
            self._session,
            url,
            body=json.dumps(form).encode(),
            headers={"Content-Type": "application/json"},
            timeout=self._timeout,
            clock=self._clock,
        )
        if not answer.accepted:
            fix = _FIXES.get(answer.body) or _WEBHOOK_FIXES.get(answer.status, _ADDRESS)
            error = from_response(answer, fixes={}, otherwise=fix, scrub=self._redactor.redact)
            raise _Refusal(answer.body, error)

    async def _call(self, method: str, arguments: Mapping[str, Json]) -> Mapping[str, Json]:
        token = self._read(self._config.bot_token) if self._config.bot_token else None
        client = BoundedSlackClient(
            token, base_url=self._config.api_url, session=self._session, timeout=self._timeout
        )
        try:
            answer = await client.api_call(method, json=dict(arguments))
        except SlackApiError as error:
            raise self._refused(error.response) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise from_client_error(error, self._timeout) from None
        return answer.data if isinstance(answer.data, dict) else {}

    def _refused(self, response: AsyncSlackResponse) -> _Refusal:
        """Translates an answer that is no consent; where it is no JSON object, its data are empty."""
        status = response.status_code
        said = response.data if isinstance(response.data, dict) else {}
        code = self._quoted(said.get("error", ""))
        if not code and status < 300:  # noqa: PLR2004 - HTTP's own classes
            return _Refusal("", DeliveryError("the answer is not one of Slack's", fix=_ADDRESS))
        words = f"Slack: {code or f'HTTP {status}'}"
        if "needed" in said:
            words += f" (needed: {self._quoted(said['needed'])})"
        wait = backoff.retry_after(response.headers.get("Retry-After"), now=self._clock())
        error = DeliveryError(words, retry_after=wait, fix=_fix(code, status), doubtful=code in _MAYBE_DONE)
        return _Refusal(code, error)

    def _quoted(self, said: object) -> str:
        return truncate(self._redactor.redact(one_line(str(said))), _QUOTED_AT_MOST)

    def _read(self, secret: Secret) -> str:
        value = secret.read()
        self._redactor.add_secret(value)
        return value


def _place(config: SlackConfig) -> str:
    """Returns what names the channel; that of an incoming webhook is known to Slack alone."""
    if config.webhook_url is None:
        return f"{config.api_url} {config.channel}"
    return str(config.webhook_url.file or config.webhook_url.read())


def _fix(code: str, status: int) -> str | None:
    """Returns what a person has to mend, None where waiting may help."""
    if code in _FIXES:
        return _FIXES[code]
    if code in _PASSING or status in TRANSIENT_STATUSES or status >= 500:  # noqa: PLR2004 - HTTP's own classes
        return None
    if code:
        return _LOOK_UP
    return _ADDRESS


def _metadata(delivery: Delivery) -> dict[str, Json]:
    """Makes a repeated message known as one, https://docs.slack.dev/messaging/message-metadata."""
    payload = {"delivery_id": str(delivery.id), "event_id": delivery.event.id}
    return {"metadata": {"event_type": "watcher_delivery", "event_payload": payload}}


def _thread(delivery: Delivery) -> dict[str, Json]:
    """Returns the thread of a reminder, which the channel gets to see too; all else stands by itself."""
    first = delivery.first_message.values if delivery.first_message else {}
    if delivery.event.type != "run.input_reminder" or not {"channel", "ts"} <= first.keys():
        return {}
    return {"channel": first["channel"], "thread_ts": first["ts"], "reply_broadcast": True}


def _next_fallback(form: Mapping[str, Json], code: str, text: str) -> dict[str, Json] | None:
    """Returns what to try after Slack refused a form for its thread or its looks, or None if nothing is left.

    `text` is the message without blocks.
    """
    if code in _NO_THREAD and "thread_ts" in form:
        return {key: value for key, value in form.items() if key not in {"thread_ts", "reply_broadcast"}}
    if not _UNREADABLE.fullmatch(code):
        return None
    if "metadata" in form and ("metadata" in code or "blocks" not in form):
        return {key: value for key, value in form.items() if key != "metadata"}
    if "blocks" in form:
        kept = {key: value for key, value in form.items() if key not in {"blocks", "mrkdwn"}}
        return {**kept, "text": text}
    return None
