"""The composition root: builds the services of a process from its configuration."""

import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog

from watcher.concurrency import run_blocking
from watcher.config.models import AppConfig, Config
from watcher.delivery.dispatcher import Dispatcher
from watcher.delivery.rate_limit import RateLimiter
from watcher.delivery.retry import RetrySettings
from watcher.delivery.worker import DeliveryWorker, WorkerContext
from watcher.hooks import Hooks, Observer
from watcher.ids import new_event_id
from watcher.leadership import LeaseKeeper
from watcher.logs import log_superseded, writes_json
from watcher.messages import MessageSettings
from watcher.models import App, Route
from watcher.monitoring.heartbeat import Heartbeat
from watcher.monitoring.liveness import LivenessTracker
from watcher.monitoring.snapshot import Monitor
from watcher.net import open_session
from watcher.notifiers import build
from watcher.notifiers.base import Notifier, NotifierContext, NotifierUnusable
from watcher.polling.clock import boot_id, boottime
from watcher.polling.context import PollContext, PollSettings
from watcher.polling.poller import Poller
from watcher.runs_api.client import RunsClient
from watcher.runs_api.transport import LargeAnswers
from watcher.sanitize.masking import Masker
from watcher.store import Boot, NotifierPolicy, Store
from watcher.store.databases import locate, locate_server
from watcher.store.sql import Connection
from watcher.store.sqlite import SqliteDatabase

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one process."""

    config: Config
    wall: Callable[[], float]
    """The Unix time that is recorded: on PostgreSQL the database's, which all replicas share."""
    store: Store
    notifiers: Sequence[Notifier]
    pollers: Sequence[Poller]
    dispatcher: Dispatcher
    hooks: Hooks
    monitor: Monitor
    heartbeat: Heartbeat | None


@asynccontextmanager
async def open_services(config: Config, keeper: LeaseKeeper | None = None) -> AsyncIterator[Services]:
    """Builds everything and closes it in the end; on PostgreSQL for the holder of the lease.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
    """
    wall = keeper.clock if keeper is not None else time.time
    async with AsyncExitStack() as stack:
        store = Store(_open_database(config, keeper), new_event_id)
        stack.push_async_callback(store.close)
        session = await stack.enter_async_context(open_session(config.request_timeout))
        notifiers = build_notifiers(config, session)
        hooks = Hooks()
        dispatcher = Dispatcher(_build_workers(config, store, notifiers, hooks, wall))
        context = _poll_context(config, store, dispatcher, hooks, wall)
        pollers = _build_pollers(config, notifiers, session, context)
        for poller in pollers:
            stack.push_async_callback(poller.close)
        liveness = LivenessTracker(monotonic=time.monotonic, wall=wall)
        hooks.subscribe(liveness)
        monitor = build_monitor(config, liveness, keeper, store.displaced)
        heartbeat = _build_heartbeat(config, monitor, session)
        if heartbeat is not None:
            stack.push_async_callback(heartbeat.close)
        yield Services(config, wall, store, notifiers, pollers, dispatcher, hooks, monitor, heartbeat)


def _open_database(config: Config, keeper: LeaseKeeper | None) -> Connection:
    if isinstance(config.database, Path):
        return SqliteDatabase(config.database).open()
    assert keeper is not None
    return locate_server(config.database).open(keeper.token)


def build_monitor(
    config: Config,
    liveness: LivenessTracker,
    keeper: LeaseKeeper | None,
    displaced: Callable[[], str | None] = lambda: None,
) -> Monitor:
    """Returns what shows the state of this process, as one of several replicas if there is a keeper."""
    return Monitor(
        locate(config.database),
        config.apps,
        config.notifiers,
        liveness=liveness,
        wall=keeper.clock if keeper is not None else time.time,
        displaced=displaced,
        standing=(lambda: keeper.standing) if keeper is not None else None,
    )


def build_notifiers(config: Config, session: aiohttp.ClientSession) -> list[Notifier]:
    """Returns the configured notifiers, in the order of the configuration.

    Raises:
        NotifierUnusable: some cannot be used as they are configured; a line for each.
    """
    json_lines = writes_json(config.log_format)
    context = NotifierContext(
        session,
        config.request_timeout,
        time.time,
        sys.stdout,
        json_lines=json_lines,
        messages=MessageSettings(config.answer_hints, config.public_url),
    )
    built, unusable = [], []
    for section in config.notifiers:
        try:
            notifier = build(section, context)
        except NotifierUnusable as error:
            unusable.append(str(error))
        else:
            built.append(notifier)
    if unusable:
        raise NotifierUnusable("\n".join(unusable))
    return built


async def config_problems(load: Callable[[], Config]) -> list[str]:
    """Returns why a configuration cannot be used, a line for each problem.

    `load` returns the configuration or raises a ValueError that says what is wrong with it.
    """
    try:
        config = await run_blocking(load)
        async with open_session(config.request_timeout) as session:
            build_notifiers(config, session)
    except (ValueError, NotifierUnusable) as error:
        return str(error).splitlines()
    return []


def routes(config: Config, app: AppConfig, notifiers: Sequence[Notifier]) -> list[Route]:
    """Returns how each notifier of an app gets its messages."""
    return [
        Route(
            section.name,
            notifier.for_people,
            section.after,
            section.resolved,
            digests=notifier.digests and config.digest_above > 0,
            grouped=notifier.for_people
            and any(section.name in other.notify for other in config.apps if other is not app),
        )
        for section, notifier in zip(config.notifiers, notifiers, strict=True)
        if section.name in app.notify
    ]


def notifier_policies(config: Config, notifiers: Sequence[Notifier]) -> dict[str, NotifierPolicy]:
    """Returns the policy of each notifier by name.

    A notifier with `after` gets no reminder before its first message.
    """
    return {
        section.name: NotifierPolicy(
            for_people=notifier.for_people,
            digest_above=config.digest_above if notifier.digests else 0,
            remind_after=tuple(age for age in section.remind_after if age > section.after),
            apps=frozenset(app.name for app in config.apps if section.name in app.notify),
            alert_after=config.app_alert_after,
            others=tuple(Route(other.name, other.for_people) for other in notifiers if other is not notifier),
        )
        for section, notifier in zip(config.notifiers, notifiers, strict=True)
    }


async def check_clock(services: Services) -> None:
    """Corrects what an earlier process recorded by a wrong clock."""
    own_clock = isinstance(services.config.database, Path)
    boot = Boot(boot_id(), time.time() - boottime()) if own_clock else None
    longest_wait = _retry_settings(services.config).longest_wait
    step = await services.store.check_clock(boot, longest_wait=longest_wait, now=services.wall())
    if step:
        log.warning("clock.stepped", seconds=round(step, 1))


async def sync_outbox_with_config(services: Services) -> None:
    """Brings the outbox in line with a configuration that may have changed since the last start."""
    config, store, notifiers, now = services.config, services.store, services.notifiers, services.wall()
    policies = notifier_policies(config, notifiers)
    for notifier, announcements in (await store.revive_dead(policies, now=now)).items():
        log.info("notifier.caught_up", notifier=notifier, announcements=announcements)
    ages = {name: policy.remind_after for name, policy in policies.items()}
    apps = {app.name: app.notify for app in config.apps}
    log_superseded(await store.plan_reminders(ages, apps, now=now))
    audiences = [(App(app.name, app.base_url), routes(config, app, notifiers)) for app in config.apps]
    for notifier, requests in (await store.backfill_new_notifiers(audiences, now=now)).items():
        log.info("notifier.backfilled", notifier=notifier, requests=requests)
    await store.reschedule_announcements(audiences, now=now)
    await store.hold_until_polled(list(apps))
    names = [notifier.name for notifier in notifiers]
    for delivery in await store.dead_letter_removed(names, now=now):
        log.error(
            "delivery.dead",
            notifier=delivery.notifier,
            delivery=delivery.id,
            event_type=delivery.type,
            attempt=delivery.attempts,
            error=delivery.last_error,
        )


def _build_workers(
    config: Config,
    store: Store,
    notifiers: Sequence[Notifier],
    observer: Observer,
    wall: Callable[[], float],
) -> list[DeliveryWorker]:
    context = WorkerContext(
        store=store,
        settings=_retry_settings(config),
        observer=observer,
        redact=config.redactor.redact,
        wall=wall,
        jitter=random.random,
    )
    policies = notifier_policies(config, notifiers)
    limiters = {notifier.rate_limit_key: RateLimiter(notifier.min_interval) for notifier in notifiers}
    return [
        DeliveryWorker(notifier, policies[notifier.name], limiters[notifier.rate_limit_key], context)
        for notifier in notifiers
    ]


def _retry_settings(config: Config) -> RetrySettings:
    return RetrySettings(config.backoff_max, config.give_up_after)


def _build_pollers(
    config: Config, notifiers: Sequence[Notifier], session: aiohttp.ClientSession, context: PollContext
) -> list[Poller]:
    large = LargeAnswers()
    return [
        Poller(
            app,
            routes(config, app, notifiers),
            RunsClient(
                app.base_url,
                app.access_key,
                session=session,
                timeout=config.request_timeout,
                keep_input=app.include_input,
                large=large,
            ),
            context,
        )
        for app in config.apps
    ]


def _poll_context(
    config: Config, store: Store, dispatcher: Dispatcher, hooks: Hooks, wall: Callable[[], float]
) -> PollContext:
    settings = PollSettings(
        page_size=config.page_size,
        request_timeout=config.request_timeout,
        backoff_max=config.backoff_max,
        alert_after=config.app_alert_after,
        baseline=config.backlog == "baseline",
        digest_above=config.digest_above,
    )
    names = [*(app.name for app in config.apps), *(notifier.name for notifier in config.notifiers)]
    return PollContext(
        settings=settings,
        store=store,
        masker=Masker(config.redact, config.redactor, names),
        observer=hooks,
        wake=dispatcher.wake,
        redact=config.redactor.redact,
        wall=wall,
        jitter=random.random,
    )


def _build_heartbeat(config: Config, monitor: Monitor, session: aiohttp.ClientSession) -> Heartbeat | None:
    if config.heartbeat_url is None:
        return None
    return Heartbeat(
        config.heartbeat_url,
        apps=[app.name for app in config.apps],
        ready=lambda: run_blocking(monitor.ready),
        session=session,
        timeout=config.request_timeout,
    )
