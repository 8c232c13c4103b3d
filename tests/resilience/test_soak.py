"""A short soak: the watcher under load with faults and restarts."""

from tests.benchmarks import soak
from tests.benchmarks.processes import Cores
from tests.benchmarks.scene import scene


def test_a_short_soak_loses_nothing() -> None:
    """A few seconds of everything: all that is asked is told, nothing else is, and nothing is left to do."""
    with scene(Cores(None, None), minutes=0.1) as surroundings:
        soaked = soak.run(surroundings, seconds=3.0)
    assert len(soaked.ledger.shown) > 100
    assert 2 == len(soaked.outages)
    assert [] == [figure.what for figure in soak.consistency(soaked) if figure.value]
