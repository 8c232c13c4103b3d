"""How a wall clock that was set is told from a machine that slept."""

import pytest

from watcher.polling.clock import ClockChange, ClockWatch, boottime


class Machine:
    """The three clocks of a machine."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.monotonic = 500.0
        self.boottime = 9_000.0
        self.watch = ClockWatch(lambda: self.wall, lambda: self.monotonic, lambda: self.boottime)

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self.wall += seconds
        self.monotonic += seconds
        self.boottime += seconds

    def sleep(self, seconds: float) -> None:
        """Stops the monotonic clock for a while."""
        self.wall += seconds
        self.boottime += seconds


def test_clocks_that_run_together_or_drift_a_little() -> None:
    """Hours of normal running, and a second of drift, are no change."""
    machine = Machine()
    machine.run(7200.0)
    machine.wall -= 1.5
    assert machine.watch.check() is None


@pytest.mark.parametrize("seconds", [86_400.0, -86_400.0, 2.5])
def test_a_wall_clock_that_is_set(seconds: float) -> None:
    """A step is reported once, with its sign."""
    machine = Machine()
    machine.run(5.0)
    machine.wall += seconds
    assert ClockChange(step=seconds, slept=0.0) == machine.watch.check()
    machine.run(5.0)
    assert machine.watch.check() is None


def test_a_machine_that_sleeps() -> None:
    """Sleep is reported once, and is no step of the clock."""
    machine = Machine()
    machine.sleep(28_800.0)
    assert ClockChange(step=0.0, slept=28_800.0) == machine.watch.check()
    assert machine.watch.check() is None


def test_a_clock_that_is_set_while_the_machine_sleeps() -> None:
    """Both are reported, each with its own seconds."""
    machine = Machine()
    machine.sleep(3600.0)
    machine.wall -= 60.0
    assert ClockChange(step=-60.0, slept=3600.0) == machine.watch.check()


def test_the_clock_that_counts_sleep_runs() -> None:
    """The boot time clock of this machine never goes back."""
    assert boottime() <= boottime()
