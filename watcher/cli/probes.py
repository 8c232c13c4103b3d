"""The checks of `watcher check`: what the daemon will need is tried, nothing is changed."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import aiohttp

from watcher.bootstrap import build_notifiers
from watcher.cli.database_probe import CheckResult, check_database
from watcher.concurrency import run_blocking, run_together
from watcher.config.models import AppConfig, Config
from watcher.ids import new_event_id
from watcher.messages import ADVICE, count, sentence
from watcher.models import Delivery, SampleEvent
from watcher.net import open_session
from watcher.notifiers.base import DeliveryError, Notifier
from watcher.runs_api.client import RunsClient
from watcher.runs_api.errors import ApiError
from watcher.runs_api.transport import LargeAnswers
from watcher.sanitize.secrets import SecretError
from watcher.sanitize.text import one_line


async def check_results(config: Config, *, send: bool) -> AsyncIterator[CheckResult]:
    """Yields a result for the configuration, the database, each app and each notifier.

    With `send` every notifier also gets a test event. Secrets are redacted from what the other sides say.
    """
    for warning in config.warnings:
        yield CheckResult(good=True, subject="configuration", text=warning, warning=True)
    counts = f"{count(len(config.apps), 'app')}, {count(len(config.notifiers), 'notifier')}"
    yield CheckResult(good=True, subject="configuration", text=counts)
    for result in await run_blocking(lambda: check_database(config)):
        yield _shown(config, result)
    async with open_session(config.request_timeout) as session:
        notifiers = build_notifiers(config, session)
        large = LargeAnswers()
        checks = [_app(config, app, session, large) for app in config.apps]
        checks += [_notifier(notifier, send=send) for notifier in notifiers]
        for result in await run_together(checks):
            yield _shown(config, result)


def _shown(config: Config, result: CheckResult) -> CheckResult:
    return replace(result, text=one_line(config.redactor.redact(result.text)))


async def _app(
    config: Config, app: AppConfig, session: aiohttp.ClientSession, large: LargeAnswers
) -> CheckResult:
    client = RunsClient(
        app.base_url, app.access_key, session=session, timeout=config.request_timeout, large=large
    )
    pages = client.awaiting(
        page_size=config.page_size,
        user_id=app.user_id,
        session_id=app.session_id,
        paused=app.watch_paused,
    )
    subject = f"app {app.name}"
    try:
        async with aclosing(pages):
            page = await anext(pages)
    except ApiError as error:
        status = f"HTTP {error.status}, " if error.status else ""
        advice = f" {ADVICE[error.status]}" if error.status in ADVICE else ""
        text = f"{status}{error.code}: {sentence(error.message)}{advice}"
        return CheckResult(good=False, subject=subject, text=text)
    runs = count(len(page.runs), "run") if page.last else f"{len(page.runs)} or more runs"
    return CheckResult(good=True, subject=subject, text=f"reachable, {runs} waiting")


async def _notifier(notifier: Notifier, *, send: bool) -> CheckResult:
    subject = f"notifier {notifier.name}"
    now = time.time()
    test = SampleEvent(new_event_id(now), now)
    try:
        text = await notifier.check()
        if send:
            await notifier.send(Delivery(0, notifier.name, test, attempt=1, due_at=now))
            text = "the test message was accepted"
    except DeliveryError as error:
        fix = f" ({error.fix})" if error.fix else ""
        return CheckResult(good=False, subject=subject, text=f"{error}{fix}")
    except SecretError as error:
        return CheckResult(good=False, subject=subject, text=str(error))
    return CheckResult(good=True, subject=subject, text=text)
