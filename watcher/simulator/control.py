"""The simulator's own endpoints, by which a test in another process drives it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Final, TypeVar

from pydantic import TypeAdapter, validate_call

from watcher.simulator.faults import Fault
from watcher.simulator.options import Json, Options, Refusal
from watcher.simulator.state import Simulation

T = TypeVar("T")


def control(simulation: Simulation, verb: str, arguments: Mapping[str, Json]) -> Json:
    """Does a verb of `Simulation`, or one of the few below, and returns what it returned.

    Raises:
        Refusal: 404 for an unknown verb or run, 400 for wrong arguments, and what the verb refuses.
    """
    if verb not in VERBS:
        raise Refusal(404, {"verb": f"must be one of {', '.join(sorted(VERBS))}"})
    try:
        return VERBS[verb](simulation, **arguments)
    except (TypeError, ValueError) as error:
        raise Refusal(400, {"arguments": str(error)}) from None


def describe(simulation: Simulation) -> Json:
    """Returns everything there is to know of an app as JSON."""
    return {
        "options": asdict(simulation.options),
        "deleted": simulation.deleted,
        "runs": [{**asdict(run), "answered": sorted(run.answered)} for run in simulation.runs],
        "answers": [asdict(answer) for answer in simulation.answers],
    }


def _add_fault(simulation: Simulation, **fields: Json) -> None:
    simulation.faults.add(_checked(Fault, fields))


def _clear_faults(simulation: Simulation) -> None:
    simulation.faults.clear()


def _set_options(simulation: Simulation, **values: Json) -> None:
    simulation.options = _checked(Options, asdict(replace(simulation.options, **values)))


def _checked(kind: type[T], fields: Mapping[str, Json]) -> T:
    """Builds what the types of its fields allow, and nothing of which a later call would fail."""
    kind(**fields)  # a name that is none is an error only here
    return TypeAdapter(kind).validate_python(fields)


VERBS: Final[Mapping[str, Callable[..., Json]]] = {
    "start_run": validate_call(Simulation.start_run),
    "ask": validate_call(Simulation.ask),
    "answer": validate_call(Simulation.answer),
    "pause": Simulation.pause,
    "cancel": Simulation.cancel,
    "fail": Simulation.fail,
    "complete": Simulation.complete,
    "delete": Simulation.delete,
    "hide": Simulation.hide,
    "reveal": Simulation.reveal,
    "make_stuck": Simulation.make_stuck,
    "override": validate_call(Simulation.override),
    "inject": Simulation.inject,
    "shift_next_page": validate_call(Simulation.shift_next_page),
    "keys": validate_call(Simulation.rotate_keys),
    "delete_app": Simulation.delete_app,
    "restore_app": Simulation.restore_app,
    "reset": Simulation.reset,
    "fault": _add_fault,
    "clear_faults": _clear_faults,
    "options": _set_options,
}
"""What can be posted to `/_control/{verb}`; the body holds the arguments, and `app` if not the default."""
