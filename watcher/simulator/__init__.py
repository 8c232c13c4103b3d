"""A simulator of Dynamiq's Runs API, to develop and to test against, and for `watcher demo`.

It is written from the API's documentation and shares no code with the watcher that it tests. What the
documentation leaves open is a field of `Knobs`; every guess is marked as assumed.
"""

from watcher.simulator.faults import Fault
from watcher.simulator.options import Knobs, Refusal
from watcher.simulator.request_log import Served
from watcher.simulator.runs import Answer
from watcher.simulator.scenarios import SCENARIOS, Scenario, play
from watcher.simulator.server import SimulatorServer, serve
from watcher.simulator.standalone import run
from watcher.simulator.state import Simulation, numbered_ids

__all__ = [
    "SCENARIOS",
    "Answer",
    "Fault",
    "Knobs",
    "Refusal",
    "Scenario",
    "Served",
    "Simulation",
    "SimulatorServer",
    "numbered_ids",
    "play",
    "run",
    "serve",
]
