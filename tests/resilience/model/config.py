"""The model's configuration: two apps and three notifiers, each of which can be taken out and put back.

`slack` and `leads` are read by people and may be one place, where messages have their pace; `slack` gets
digests. `webhook` is a machine's. The notifiers that hear of `sales` can be fewer. A configuration holds for
one life of the watcher; the next life may have another.
"""

from collections.abc import Collection, Sequence
from typing import Final

from hypothesis import strategies as st

from watcher.config.models import AppConfig, Config, ConsoleConfig, NotifierConfig

APPS: Final = ("support", "sales")
NOTIFIERS: Final = ("slack", "leads", "webhook")
PEOPLE: Final = frozenset({"slack", "leads"})
DIGESTS: Final = frozenset({"slack"})

ALERT_AFTER: Final = 120.0
GIVE_UP_AFTER: Final = 86_400.0
REMINDERS: Final = ((), (600.0,), (600.0, 3600.0, 7200.0), (3600.0, 200_000.0))


def make_config(
    *,
    apps: Collection[str] = APPS,
    notifiers: Collection[str] = NOTIFIERS,
    sales_told_to: Collection[str] = NOTIFIERS,
    after: Sequence[float] = (0.0, 0.0, 0.0),
    remind_after: Sequence[Sequence[float]] = ((), (), ()),
    resolved: Sequence[bool] = (True, True, True),
    digest_above: int = 20,
    watch_paused: bool = False,
    baseline: bool = False,
) -> Config:
    """Returns a configuration; what there is one of for each notifier is in the order of `NOTIFIERS`."""
    present = tuple(name for name in NOTIFIERS if name in notifiers)
    told = {"sales": tuple(name for name in present if name in sales_told_to) or present}
    return Config(
        backlog="baseline" if baseline else "notify",
        digest_above=digest_above,
        app_alert_after=ALERT_AFTER,
        give_up_after=GIVE_UP_AFTER,
        apps=tuple(
            AppConfig(
                name=name,
                base_url=f"https://{name}.example",
                notify=told.get(name, present),
                watch_paused=watch_paused,
            )
            for name in APPS
            if name in apps
        ),
        notifiers=tuple(
            ConsoleConfig(
                name=name,
                after=after[number],
                remind_after=tuple(remind_after[number]),
                resolved=resolved[number],
            )
            for number, name in enumerate(NOTIFIERS)
            if name in present
        ),
    )


CONFIGS: Final = st.builds(
    make_config,
    apps=st.sampled_from((APPS, APPS, APPS, ("support",), ("sales",))),
    notifiers=st.sampled_from(
        (NOTIFIERS, NOTIFIERS, NOTIFIERS, ("leads", "webhook"), ("slack", "webhook"), ("slack", "leads"))
    ),
    sales_told_to=st.sampled_from((NOTIFIERS, ("slack", "webhook"), ("leads",), ("webhook",))),
    after=st.tuples(*[st.sampled_from((0.0, 0.0, 60.0, 900.0))] * 3),
    remind_after=st.tuples(*[st.sampled_from(REMINDERS)] * 3),
    resolved=st.tuples(*[st.sampled_from((True, True, False))] * 3),
    digest_above=st.sampled_from((0, 1, 2, 4)),
    watch_paused=st.booleans(),
    baseline=st.sampled_from((False, False, True)),
)
"""What the watcher may be told to do."""


def app_config(config: Config, app: str) -> AppConfig | None:
    """Returns how an app is configured, None while it is not watched."""
    return next((each for each in config.apps if each.name == app), None)


def notifier_config(config: Config, notifier: str) -> NotifierConfig | None:
    """Returns how a notifier is configured, None while it is taken out."""
    return next((each for each in config.notifiers if each.name == notifier), None)


def told_of(config: Config, app: str) -> dict[str, NotifierConfig]:
    """Returns the notifiers that hear of an app, by name."""
    watched = app_config(config, app)
    return {
        each.name: each for each in config.notifiers if watched is not None and each.name in watched.notify
    }


def ages(config: Config, notifier: str) -> tuple[float, ...]:
    """Returns the ages at which a notifier is to remind: those that come after its first message."""
    section = notifier_config(config, notifier)
    return tuple(age for age in section.remind_after if age > section.after) if section is not None else ()
