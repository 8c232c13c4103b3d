"""Pure: figures with their goals, and how they are shown."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured. Smaller is better; a goal is met at or below it."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    stretch: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`stretch`, `goal` or `missed`; empty for a figure that is there to compare with."""
        if self.stretch is not None and self.value <= self.stretch:
            return "stretch"
        if self.goal is None:
            return ""
        return "goal" if self.value <= self.goal else "missed"


def percentile(values: Iterable[float], share: float) -> float:
    """Returns the smallest of the values that at least this share of them does not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked)) - 1, 0)]


def table(figures: Sequence[Figure]) -> str:
    """Returns the figures as a Markdown table that reads as plain text too."""
    head = ("figure", "measured", "goal", "stretch", "", "note")
    rows = [
        (
            figure.what,
            _amount(figure.value, figure.unit),
            _amount(figure.goal, figure.unit),
            _amount(figure.stretch, figure.unit),
            figure.verdict,
            figure.note,
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def as_json(figures: Sequence[Figure]) -> str:
    """Returns the figures as a JSON list."""
    return json.dumps([{**asdict(figure), "verdict": figure.verdict} for figure in figures], indent=2)


def _amount(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.3g} {unit}" if abs(value) < 100 else f"{value:.0f} {unit}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
