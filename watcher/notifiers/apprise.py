"""The Apprise notifier: the many services that https://github.com/caronc/apprise supports, by their URLs.

Apprise comes with the extra `apprise`. It is slow to import, so only a configured notifier imports it, and it
blocks, so it sends in a thread. A send that runs into the time limit may still arrive, but is
repeated; a send to a URL with several targets is repeated to all of them if one did not accept it.
"""

import asyncio
import logging
import os
import re
import ssl
import string
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from watcher.concurrency import run_blocking
from watcher.config.models import AppriseConfig
from watcher.messages import Message, Tone, fit, plain_text, render
from watcher.models import Delivery, MessageRef
from watcher.notifiers.base import DeliveryError, NotifierContext, NotifierUnusable
from watcher.notifiers.http_post import TRANSIENT_STATUSES
from watcher.sanitize.text import truncate

if TYPE_CHECKING:
    from apprise import Apprise, AppriseResult

_EXTRA: Final = "needs Apprise: pip install 'dynamiq-watcher[apprise]'"
_NO_URL: Final = "must be one URL that Apprise supports, with everything its service needs"
_CHECK_URL: Final = "check the credentials and the target in the Apprise URL"

_TEXT_MAX: Final = 16_000
"""The most characters that are sent, whatever room the service has: a phone shows more of them badly."""
_TIGHT: Final = 500
"""A service with less room than this, in characters, gets only question and parameters, as in an SMS."""

_PACE_MAX: Final = 1.0
"""Seconds between two messages, and at most between the targets of one URL."""

_TYPES: Final[Mapping[Tone, str]] = {
    "urgent": "warning",
    "reminder": "warning",
    "answered": "info",
    "closed": "info",
    "trouble": "failure",
    "good": "success",
    "info": "info",
}
_TALKATIVE: Final = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")
"""Loggers that write URLs, which for many services hold the secret."""

_FORMATTING: Final = str.maketrans({
    "*": "\N{ASTERISK OPERATOR}",
    "~": "\N{TILDE OPERATOR}",
    "`": "\N{MODIFIER LETTER GRAVE ACCENT}",
})  # fmt: skip
_FORMS: Final[Mapping[str, dict[int, str]]] = {
    "html": str.maketrans({
        "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;",
        " ": "&nbsp;", "\t": "&emsp;", "\n": "<br/>",
    }),
    "markdown": str.maketrans({character: f"\\{character}" for character in string.punctuation}),
}  # fmt: skip
"""What Apprise makes of characters of a plain text for services that take no such text."""
_MENTION: Final = re.compile(r"(?<!\w)@(?=\w)|@(?=everyone|here|channel|all|room)", re.IGNORECASE)
_TAG: Final = re.compile(r"<(?=[@#!:/\w])")
_LINK: Final = re.compile(r"(?<=\])\(")
_EMPHASIS: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_STATUS: Final = re.compile(r"\berror=(\d{3})\b")


class AppriseNotifier:
    """Sends each event as a short plain text."""

    max_concurrency = 1
    min_interval = _PACE_MAX
    for_people = True
    digests = True

    def __init__(self, config: AppriseConfig, context: NotifierContext) -> None:
        """Checks that Apprise is installed and accepts the URL.

        Raises:
            NotifierUnusable: it is not installed, or rejects the URL.
            SecretError: the URL's file cannot be read.
        """
        self.name = self.rate_limit_key = config.name
        self._config = config
        self._timeout = context.request_timeout
        self._messages = context.messages
        self._url: str | None = None
        self._service: Apprise | None = None
        try:
            self._service_of(config.url.read())
        except ImportError:
            raise NotifierUnusable(f"notifiers.{self.name}.type: apprise {_EXTRA}") from None
        except DeliveryError as error:
            raise NotifierUnusable(f"{config.url.name}: {error}") from None

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Hands the message to Apprise; see `Notifier.send`."""
        message = render(delivery.event, self._messages)
        url = await self._config.url.fetch()
        try:
            async with asyncio.timeout(self._timeout):
                await run_blocking(lambda: self._notify(url, message))
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout:g} s", possibly_delivered=True) from None
        return None

    async def check(self) -> str:
        """Reads the URL; only sending shows more. See `Notifier.check`."""
        url = await self._config.url.fetch()
        await run_blocking(lambda: self._service_of(url))
        return "configured; use --send to test it"

    def _notify(self, url: str, message: Message) -> None:
        service = self._service_of(url)
        plugin: Any = service[0]
        body = text(message, room=plugin.body_maxlen, form=plugin.notify_format)
        result = service.notify(
            body, title=message.title, notify_type=_TYPES[message.tone], body_format="text"
        )
        if not result:
            raise _refusal(result)

    def _service_of(self, url: str) -> "Apprise":
        """Returns Apprise for a URL, as it was built before unless the URL is another one now.

        Raises:
            DeliveryError: Apprise rejects the URL.
        """
        if self._service is None or url != self._url:
            self._service, self._url = _service(url, self._timeout), url
        return self._service


def text(message: Message, *, room: int, form: str = "text") -> str:
    """Returns the text below the title, cut so that both fit into `room` characters.

    `form` is what Apprise turns the text into for a service, and characters are counted as they are then.
    """
    room = max(min(room, _TEXT_MAX) - len(message.title) - 2, 1)
    if room < _TIGHT:
        message = replace(message, facts=(), notes=(), hint=None, outlook=None, reply_is_lost=False)

    def below_title(shorter: Message) -> str:
        return plain_text(shorter, _harmless).partition("\n")[2]

    def size(shown: str) -> int:
        return len(shown.translate(_FORMS.get(form, {})).encode("utf-16-le")) // 2

    return truncate(
        below_title(fit(message, room, lambda shorter: size(below_title(shorter)))), room, size=size
    )


def _harmless(words: str) -> str:
    """Replaces what would act in some service by look-alikes.

    Discord, Mattermost and others read Markdown and mentions in every text and offer no way to turn that
    off, so `@everyone` would call everyone.
    """
    words = _MENTION.sub("\N{FULLWIDTH COMMERCIAL AT}", words.translate(_FORMATTING))
    words = _TAG.sub("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", words)
    words = _EMPHASIS.sub("\N{FULLWIDTH LOW LINE}", words).replace("||", "\N{DOUBLE VERTICAL LINE}")
    return _LINK.sub("\N{FULLWIDTH LEFT PARENTHESIS}", words)


def _service(url: str, timeout: float) -> "Apprise":
    """Builds Apprise for one URL, whose own options cannot repeat, redirect, split or hide a send."""
    _prepare()
    from apprise import Apprise, AppriseAsset, NotifyFormat, OverflowMode  # noqa: PLC0415 - slow to import

    # With a time limit of its own Apprise would send in threads for which Python waits at exit.
    asset = AppriseAsset(
        app_id="watcher", async_mode=False, service_timeout=0, interpret_emojis=False, interpret_escapes=False
    )
    service = Apprise(asset=asset)
    if not service.add(url) or len(service) != 1:
        raise DeliveryError(_NO_URL, fix=_CHECK_URL)
    plugin: Any = service[0]
    plugin.retry = 0
    plugin.redirects = False
    plugin.optional = False
    plugin.overflow_mode = OverflowMode.TRUNCATE
    plugin.request_rate_per_sec = min(
        plugin.request_rate_per_sec, _PACE_MAX, timeout / 2 / max(len(plugin), 1)
    )
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, timeout)
    plugin.socket_read_timeout = min(plugin.socket_read_timeout, timeout)
    # The service's own format, whatever the URL says: plain text, else what Apprise escapes.
    taken = type(plugin).notify_format
    formats = {taken} if isinstance(taken, str) else set(taken)
    plugin.notify_format = next(
        form for form in (NotifyFormat.TEXT, NotifyFormat.HTML, NotifyFormat.MARKDOWN) if form in formats
    )
    return service


def _prepare() -> None:
    """Sets up what Apprise and `requests` take from the process.

    Their logs reach no handler. `requests` would read credentials from `~/.netrc`, and trust only the
    authorities of its own list instead of those of the system, `SSL_CERT_FILE` or `SSL_CERT_DIR`.
    """
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    os.environ["NETRC"] = os.devnull
    paths = ssl.get_default_verify_paths()
    trusted = paths.cafile or paths.capath
    if trusted and not any(os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")):
        os.environ["REQUESTS_CA_BUNDLE"] = trusted


def _refusal(result: "AppriseResult") -> DeliveryError:
    """Returns the error for a send that failed.

    Apprise gives the reason only in its logs. They may hold the URL, so only the status is taken.
    """
    found = [match[1] for entry in result.logs() if (match := _STATUS.search(entry.message))]
    if not found:
        return DeliveryError("the service could not be reached, or rejected the message")
    status = int(found[-1])
    lasting = 300 <= status < 500 and status not in TRANSIENT_STATUSES  # noqa: PLR2004 - HTTP's own classes
    return DeliveryError(f"HTTP {status}", fix=_CHECK_URL if lasting else None)
