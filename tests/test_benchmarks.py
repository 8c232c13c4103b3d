"""The benchmarks can be started, and what they show is right; the figures themselves are no test."""

import json

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, arguments
from tests.benchmarks.figures import Figure, as_json, percentile, table

MEASURED = [
    Figure("quick", 5.0, "ms", 8.0, 5.0),
    Figure("fair", 7.9, "ms", 8.0, 5.0),
    Figure("slow", 812.4, "ms", 8.0, 5.0, "a note"),
    Figure("for comparison", 1.0, "s"),
]


def test_all_run_unless_some_are_named() -> None:
    """Names choose benchmarks, in that order; none means all."""
    assert list(BENCHMARKS) == arguments([]).names
    chosen = arguments(["kill", "one", "--json"])
    assert (["kill", "one"], True) == (chosen.names, chosen.json)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none ends in a usage error that lists those that are."""
    with pytest.raises(SystemExit):
        arguments(["kil"])
    assert "there is no kil; there are one," in capsys.readouterr().err


def test_goals_are_met_at_or_below() -> None:
    """A figure at its goal meets it, one above does not, and one without a goal is there to compare with."""
    assert ["stretch", "goal", "missed", ""] == [figure.verdict for figure in MEASURED]


def test_the_table_has_a_line_for_each_figure() -> None:
    """The table has columns of one width and shows every figure with its unit, goal and verdict."""
    lines = table(MEASURED).splitlines()
    assert 2 + len(MEASURED) == len(lines)
    assert 1 == len({len(line) for line in lines})
    assert ["slow", "812 ms", "8 ms", "5 ms", "missed", "a note"] == [
        cell.strip() for cell in lines[4].strip("|").split("|")
    ]


def test_the_json_can_be_read_back() -> None:
    """The JSON has every figure with its verdict."""
    found = json.loads(as_json(MEASURED))
    assert [(figure.what, figure.value, figure.verdict) for figure in MEASURED] == [
        (figure["what"], figure["value"], figure["verdict"]) for figure in found
    ]


def test_percentiles_are_values_that_occurred() -> None:
    """The nearest rank is taken, of one value that value."""
    values = range(1, 101)
    assert [50, 95, 99, 100] == [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)]
    assert 7 == percentile([7], 0.95)
