"""The Slack notifier: posts with a bot token or an incoming webhook, edits and replies with a bot token."""

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from watcher import backoff
from watcher.config.models import SlackConfig
from watcher.messages import Message, render
from watcher.models import Delivery, Json, MessageRef
from watcher.notifiers.base import PAUSING_STATUSES, DeliveryError, NotifierContext
from watcher.notifiers.http_post import from_client_error, from_response, post
from watcher.notifiers.slack import errors
from watcher.notifiers.slack.blocks import blocks
from watcher.notifiers.slack.client import bounded_client
from watcher.notifiers.slack.errors import (
    PARTLY_DONE,
    RATE_LIMITED,
    WRONG_ADDRESS,
    NotEditableError,
    Rejection,
    next_fallback,
)
from watcher.notifiers.slack.markup import fallback, mentions, plain
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.sanitize.text import one_line, truncate

_QUOTED_AT_MOST: Final = 100
_READ_AT_MOST: Final = 1000
_MENTION_INTERVAL: Final = 30.0
"""Seconds between two mentions in a channel."""
_CONFIGURED: Final = "configured"
"""Where a message reference keeps the channel as it was configured, which may be its name."""
_CHANNEL_ID: Final = re.compile(r"[CDG][A-Z0-9]{6,}")


class SlackNotifier:
    """Posts to one channel, about one message per second, which is what Slack allows.

    https://docs.slack.dev/apis/web-api/rate-limits#overview
    """

    max_concurrency = 1
    min_interval = 1.0
    for_people = True
    digests = True

    def __init__(self, config: SlackConfig, context: NotifierContext) -> None:
        self.name = config.name
        self.rate_limit_key = _channel_key(config)
        self._config = config
        self._context = context
        self._redactor = Redactor()

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Posts one message, or edits the messages about a request that ended. See `Notifier.send`."""
        message = render(delivery.event, self._context.messages)
        more: dict[str, Json] = {"mrkdwn": False}
        if self._config.webhook_url is None:
            if delivery.event.type == "run.input_resolved" and await self._edited(delivery, message):
                return delivery.first_message
            more |= _metadata(delivery) | self._thread(delivery)
        mention = self._mention()
        receipt = await self._post_with_fallback(self._post, message, more, mention)
        if mentions(message, mention):
            self._context.mentioned_at[self.rate_limit_key] = self._context.clock()
        return receipt

    async def check(self) -> str:
        """Asks Slack whose token it is; a webhook offers no check. See `Notifier.check`."""
        if self._config.webhook_url:
            await self._read(self._config.webhook_url)
            return "configured; use --send to test it"
        try:
            identity = await self._call("auth.test", {})
        except Rejection as refused:
            raise refused.error from None
        return f"bot {self._quoted(identity.get('user'))} in team {self._quoted(identity.get('team'))}"

    async def _edited(self, delivery: Delivery, message: Message) -> bool:
        """Edits the first message about a request, and its reminders to a line each.

        No message keeps looking like an open question. Editing twice changes nothing. Returns False if the
        channel that is configured now does not show the end by that.
        """
        first = delivery.first_message
        edited = await self._edit(delivery, first, message) and self._is_here(first)
        reminder = replace(message, brief=True, body="", details="")
        for receipt in delivery.reminders:
            await self._edit(delivery, receipt, reminder)
        return edited

    async def _edit(self, delivery: Delivery, receipt: MessageRef | None, message: Message) -> bool:
        if receipt is None or not _is_complete(receipt):
            return False
        try:
            where = {key: receipt.values[key] for key in ("channel", "ts")}
            await self._post_with_fallback(self._update, message, _metadata(delivery) | where)
        except NotEditableError:
            return False
        return True

    async def _post_with_fallback(
        self,
        send: Callable[[Mapping[str, Json]], Awaitable[MessageRef | None]],
        message: Message,
        more: Mapping[str, Json],
        mention: Sequence[str] = (),
    ) -> MessageRef | None:
        """Sends a message in ever simpler forms until Slack accepts one; `more` belongs to every form.

        Raises:
            DeliveryError: Slack rejects every form.
        """
        form: dict[str, Json] = {"text": fallback(message), "blocks": blocks(message, mention), **more}
        while True:
            try:
                return await send(form)
            except Rejection as refused:
                simpler = next_fallback(form, refused.code, plain(message, mention))
                if simpler is None:
                    raise refused.error from None
                form = simpler

    async def _update(self, form: Mapping[str, Json]) -> MessageRef | None:
        try:
            # Slack's pages disagree on whether an edit without blocks removes the former ones.
            await self._call("chat.update", {"blocks": [], **form, "link_names": False, "parse": "none"})
        except Rejection as refused:
            if errors.edit_is_hopeless(refused):
                raise NotEditableError from None
            raise
        return None

    async def _post(self, form: Mapping[str, Json]) -> MessageRef | None:
        quiet: dict[str, Json] = {"unfurl_links": False, "unfurl_media": False}
        if self._config.webhook_url:
            await self._post_to_webhook(await self._read(self._config.webhook_url), {**form, **quiet})
            return None
        quiet |= {"link_names": False, "parse": "none"}
        answer = await self._call("chat.postMessage", {"channel": self._config.channel, **form, **quiet})
        sent = {key: value for key in ("channel", "ts") if isinstance(value := answer.get(key), str)}
        return MessageRef({**sent, _CONFIGURED: str(self._config.channel)})

    def _thread(self, delivery: Delivery) -> dict[str, Json]:
        """Returns the thread for a reminder, which also shows in the channel; other messages get none."""
        first = delivery.first_message
        if delivery.event.type != "run.input_reminder" or first is None or not self._is_here(first):
            return {}
        return {
            "channel": first.values["channel"],
            "thread_ts": first.values["ts"],
            "reply_broadcast": True,
        }

    def _is_here(self, receipt: MessageRef | None) -> bool:
        """Returns whether a message stands in the channel that is configured now, by id or by name."""
        if receipt is None or not _is_complete(receipt):
            return False
        at = receipt.values["channel"]
        named = receipt.values.get(
            _CONFIGURED, at if _CHANNEL_ID.fullmatch(str(self._config.channel)) else None
        )
        return named is None or self._config.channel in {at, named}

    def _mention(self) -> Sequence[str]:
        """Returns whom to mention: no one while the last mention in the channel is recent."""
        last = self._context.mentioned_at.get(self.rate_limit_key, -math.inf)
        recent = abs(self._context.clock() - last) < _MENTION_INTERVAL
        return () if recent else self._config.mention

    async def _post_to_webhook(self, url: str, form: Mapping[str, Json]) -> None:
        answer = await post(
            self._context.session,
            url,
            body=json.dumps(form).encode(),
            headers={"Content-Type": "application/json"},
            timeout=self._context.request_timeout,
            clock=self._context.clock,
        )
        if not answer.accepted:
            fix = errors.webhook_fix(answer.body, answer.status)
            error = from_response(answer, fixes={}, otherwise=fix, redact=self._redactor.redact)
            raise Rejection(answer.body, error)
        if answer.body.lstrip().startswith("<"):  # a proxy's page, or that of a login
            raise Rejection("", _not_slack())

    async def _call(self, method: str, arguments: Mapping[str, Json]) -> Mapping[str, Json]:
        token = await self._read(self._config.bot_token) if self._config.bot_token else None
        client = bounded_client(
            token,
            base_url=self._config.api_url,
            session=self._context.session,
            timeout=self._context.request_timeout,
        )
        try:
            answer = await client.api_call(method, json=dict(arguments))
        except SlackApiError as error:
            raise self._refused(error.response) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise from_client_error(error, self._context.request_timeout) from None
        return answer.data if isinstance(answer.data, dict) else {}

    def _refused(self, response: AsyncSlackResponse) -> Rejection:
        """Translates an answer that is not ok; the data of one that is no JSON object are empty."""
        status = response.status_code
        said = response.data if isinstance(response.data, dict) else {}
        code = self._quoted(said.get("error", ""))
        if not code and status < 300:  # noqa: PLR2004 - HTTP's own classes
            return Rejection("", _not_slack())
        words = f"Slack: {code or f'HTTP {status}'}"
        if "needed" in said:
            words += f" (needed: {self._quoted(said['needed'])})"
        wait = backoff.retry_after(response.headers.get("Retry-After"), now=self._context.clock())
        error = DeliveryError(
            words,
            retry_after=wait,
            pauses=status in PAUSING_STATUSES or code in RATE_LIMITED,
            fix=errors.fix(code, status),
            possibly_delivered=code in PARTLY_DONE,
        )
        return Rejection(code, error)

    def _quoted(self, said: object) -> str:
        return truncate(self._redactor.redact(one_line(str(said)[:_READ_AT_MOST])), _QUOTED_AT_MOST)

    async def _read(self, secret: Secret) -> str:
        value = await secret.fetch()
        self._redactor.add_secret(value)
        return value


def _channel_key(config: SlackConfig) -> str:
    """Returns what identifies the channel; only Slack knows that of an incoming webhook."""
    if config.webhook_url is None:
        return f"{config.api_url} {config.channel}"
    return str(config.webhook_url.file or config.webhook_url.read())


def _not_slack() -> DeliveryError:
    return DeliveryError("the answer is not from Slack", fix=WRONG_ADDRESS)


def _metadata(delivery: Delivery) -> dict[str, Json]:
    """Identifies a repeated message, https://docs.slack.dev/messaging/message-metadata."""
    payload = {"delivery_id": str(delivery.id), "event_id": delivery.event.id}
    return {"metadata": {"event_type": "watcher_delivery", "event_payload": payload}}


def _is_complete(receipt: MessageRef) -> bool:
    return {"channel", "ts"} <= receipt.values.keys()
