"""The Slack notifier: posts with a bot token or an incoming webhook, edits and replies with a bot token."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from watcher import backoff
from watcher.config.models import SlackConfig
from watcher.messages import Message, render, without_details
from watcher.models import Delivery, Json, MessageRef
from watcher.notifiers.base import PAUSING_STATUSES, DeliveryError
from watcher.notifiers.http_post import from_client_error, from_response, post
from watcher.notifiers.slack import errors
from watcher.notifiers.slack.blocks import blocks, fallback, plain
from watcher.notifiers.slack.client import bounded_client
from watcher.notifiers.slack.errors import (
    NOT_EDITABLE,
    PARTLY_DONE,
    WRONG_ADDRESS,
    NotEditableError,
    Rejection,
    next_fallback,
)
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.sanitize.text import one_line, truncate

_QUOTED_AT_MOST: Final = 100
_REMINDER: Final = 150
"""Characters of the question that stay in a reminder of a request that has ended."""


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
        self.rate_limit_key = _channel_key(config)
        self._config = config
        self._session = session
        self._timeout = request_timeout
        self._clock = clock
        self._redactor = Redactor()

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Posts one message, or edits the messages about a request that ended. See `Notifier.send`."""
        message = render(delivery.event)
        more: dict[str, Json] = {"mrkdwn": False}
        if self._config.webhook_url is None:
            if delivery.event.type == "run.input_resolved" and await self._edited(delivery, message):
                return delivery.first_message
            more |= _metadata(delivery) | _thread(delivery)
        return await self._post_with_fallback(self._post, message, more)

    async def check(self) -> str:
        """Asks Slack whose token it is; a webhook offers no check. See `Notifier.check`."""
        if self._config.webhook_url:
            self._read(self._config.webhook_url)
            return "configured; use --send to test it"
        try:
            identity = await self._call("auth.test", {})
        except Rejection as refused:
            raise refused.error from None
        return f"bot {self._quoted(identity.get('user'))} in team {self._quoted(identity.get('team'))}"

    async def _edited(self, delivery: Delivery, message: Message) -> bool:
        """Edits the first message about a request, and its reminders; returns False if the first cannot be.

        No message keeps looking like an open question. Editing twice changes nothing.
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
        except NotEditableError:
            return False
        return True

    async def _post_with_fallback(
        self,
        send: Callable[[Mapping[str, Json]], Awaitable[MessageRef | None]],
        message: Message,
        more: Mapping[str, Json],
    ) -> MessageRef | None:
        """Sends a message in ever simpler forms until Slack accepts one; `more` belongs to every form.

        Raises:
            DeliveryError: Slack rejects every form.
        """
        mention = self._config.mention
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
            if refused.code in NOT_EDITABLE:
                raise NotEditableError from None
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
            fix = errors.webhook_fix(answer.body, answer.status)
            error = from_response(answer, fixes={}, otherwise=fix, scrub=self._redactor.redact)
            raise Rejection(answer.body, error)

    async def _call(self, method: str, arguments: Mapping[str, Json]) -> Mapping[str, Json]:
        token = self._read(self._config.bot_token) if self._config.bot_token else None
        client = bounded_client(
            token, base_url=self._config.api_url, session=self._session, timeout=self._timeout
        )
        try:
            answer = await client.api_call(method, json=dict(arguments))
        except SlackApiError as error:
            raise self._refused(error.response) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise from_client_error(error, self._timeout) from None
        return answer.data if isinstance(answer.data, dict) else {}

    def _refused(self, response: AsyncSlackResponse) -> Rejection:
        """Translates an answer that is not ok; the data of one that is no JSON object are empty."""
        status = response.status_code
        said = response.data if isinstance(response.data, dict) else {}
        code = self._quoted(said.get("error", ""))
        if not code and status < 300:  # noqa: PLR2004 - HTTP's own classes
            return Rejection("", DeliveryError("the answer is not from Slack", fix=WRONG_ADDRESS))
        words = f"Slack: {code or f'HTTP {status}'}"
        if "needed" in said:
            words += f" (needed: {self._quoted(said['needed'])})"
        wait = backoff.retry_after(response.headers.get("Retry-After"), now=self._clock())
        error = DeliveryError(
            words,
            retry_after=wait,
            pauses=status in PAUSING_STATUSES,
            fix=errors.fix(code, status),
            doubtful=code in PARTLY_DONE,
        )
        return Rejection(code, error)

    def _quoted(self, said: object) -> str:
        return truncate(self._redactor.redact(one_line(str(said))), _QUOTED_AT_MOST)

    def _read(self, secret: Secret) -> str:
        value = secret.read()
        self._redactor.add_secret(value)
        return value


def _channel_key(config: SlackConfig) -> str:
    """Returns what identifies the channel; only Slack knows that of an incoming webhook."""
    if config.webhook_url is None:
        return f"{config.api_url} {config.channel}"
    return str(config.webhook_url.file or config.webhook_url.read())


def _metadata(delivery: Delivery) -> dict[str, Json]:
    """Identifies a repeated message, https://docs.slack.dev/messaging/message-metadata."""
    payload = {"delivery_id": str(delivery.id), "event_id": delivery.event.id}
    return {"metadata": {"event_type": "watcher_delivery", "event_payload": payload}}


def _thread(delivery: Delivery) -> dict[str, Json]:
    """Returns the thread for a reminder, which also shows in the channel; other messages get none."""
    first = delivery.first_message.values if delivery.first_message else {}
    if delivery.event.type != "run.input_reminder" or not {"channel", "ts"} <= first.keys():
        return {}
    return {"channel": first["channel"], "thread_ts": first["ts"], "reply_broadcast": True}
