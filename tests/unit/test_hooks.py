"""How reports reach those that subscribed to them."""

from inspect import signature

from watcher.hooks import Hooks, Observer


class Subscriber(Observer):
    """Keeps the name and the arguments of every report."""

    def __init__(self, heard: list[tuple[object, ...]], name: str) -> None:
        for report in REPORTS:
            setattr(self, report, lambda *values, report=report: heard.append((name, report, *values)))


REPORTS = [name for name in vars(Observer) if not name.startswith("_") and name != "superseded"]


def test_every_report_reaches_every_subscriber_in_order() -> None:
    """A hook that is not passed on would leave the metrics at zero and the probes blind, in silence."""
    heard: list[tuple[object, ...]] = []
    hooks = Hooks()
    hooks.subscribe(Subscriber(heard, "first"))
    hooks.subscribe(Subscriber(heard, "second"))
    expected: list[tuple[object, ...]] = []
    for report in REPORTS:
        values = list(range(len(signature(getattr(hooks, report)).parameters)))
        getattr(hooks, report)(*values)
        expected += [("first", report, *values), ("second", report, *values)]
    assert expected == heard
    assert len(REPORTS) == 5
