"""The control endpoint: how another process, such as a test, drives the simulator."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError, validate_call

from watcher.simulator import catalog
from watcher.simulator.faults import Fault
from watcher.simulator.options import Json, Options, Refusal
from watcher.simulator.state import Simulation

_MESSAGES: Final = {
    "string_type": "must be a text",
    "string_pattern_mismatch": "has a character that HTTP headers do not allow",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be an object",
    "list_type": "must be a list",
}
"""Plainer messages than pydantic's for its types of errors."""


def control(simulation: Simulation, verb: str, arguments: Mapping[str, Json]) -> Json:
    """Calls a verb and returns its result.

    Raises:
        Refusal: 404 for an unknown verb or run, 400 for wrong arguments, and what the verb itself refuses.
    """
    if verb not in VERBS:
        raise Refusal(404, {"verb": f"is unknown; the verbs are {', '.join(VERBS)}"})
    described = catalog.VERBS[verb]
    takes = ", ".join(described.names) or "no arguments"
    wrong = dict.fromkeys(arguments.keys() - described.names, f"is not an argument; {verb} takes {takes}")
    wrong |= {name: "is required" for name in described.required if name not in arguments}
    if wrong:
        raise Refusal(400, wrong)
    try:
        return VERBS[verb](simulation, **arguments)
    except ValidationError as error:
        raise Refusal(400, _problems(error)) from None
    except Refusal as refusal:
        raise Refusal(refusal.status, refusal.details or {"run_id": "is unknown"}) from None


def describe(simulation: Simulation) -> Json:
    """Returns the whole state of an app as JSON."""
    return {
        "options": asdict(simulation.options),
        "deleted": simulation.deleted,
        "runs": [{**asdict(run), "answered": sorted(run.answered)} for run in simulation.runs],
        "answers": [asdict(answer) for answer in simulation.answers],
    }


def _problems(error: ValidationError) -> dict[str, str]:
    """Returns what is wrong with each argument; pydantic begins most of its messages with "Input should"."""
    return {
        str(problem["loc"][0]): _MESSAGES.get(problem["type"])
        or problem["msg"].replace("Input should", "must", 1)
        for problem in error.errors(include_url=False)
    }


def _rotate_keys(simulation: Any, keys: list[str] | None, foreign: list[str] | None = None) -> None:
    simulation.rotate_keys(keys, foreign or ())


def _add_fault(simulation: Simulation, **fields: Json) -> None:
    simulation.faults.add(TypeAdapter(Fault).validate_python(fields))


def _clear_faults(simulation: Simulation) -> None:
    simulation.faults.clear()


def _set_options(simulation: Simulation, **values: Json) -> None:
    changed = {**asdict(simulation.options), **values}
    simulation.options = TypeAdapter(Options).validate_python(changed)


_OTHERS: Final[Mapping[str, Callable[..., Json]]] = {
    "keys": validate_call(_rotate_keys),
    "fault": _add_fault,
    "clear_faults": _clear_faults,
    "options": _set_options,
}
VERBS: Final[Mapping[str, Callable[..., Json]]] = {
    name: _OTHERS.get(name) or validate_call(getattr(Simulation, name)) for name in catalog.VERBS
}
"""The verbs as functions of an app: most are its methods."""
