"""The benchmarks can be started, and what they show is right; the figures themselves are no test."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.benchmarks import ledger
from tests.benchmarks.__main__ import BENCHMARKS, ONLY_BY_NAME, arguments
from tests.benchmarks.figures import Figure, as_json, percentile, table
from tests.benchmarks.ledger import Ledger, Receipt
from tests.benchmarks.samples import growth

MEASURED = [
    Figure("quick", 5.0, "ms", 8.0, 5.0),
    Figure("fair", 7.9, "ms", 8.0, 5.0),
    Figure("slow", 812.4, "ms", 8.0, 5.0, "a note"),
    Figure("for comparison", 1.0, "s"),
]


def test_all_but_the_longest_run_unless_some_are_named() -> None:
    """Names choose benchmarks, in that order; none means all that do not take for ever."""
    assert [name for name in BENCHMARKS if name not in ONLY_BY_NAME] == arguments([]).names
    chosen = arguments(["kill", "soak", "--json", "--minutes", "2.5"])
    assert (["kill", "soak"], True, 2.5) == (chosen.names, chosen.json, chosen.minutes)


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


def test_growth_is_what_stays() -> None:
    """A rise that goes on counts, one while it warms up, a peak and a dip do not."""
    level = [50.0] * 90
    assert 0 == growth([*range(30), *level[30:]])
    assert 0 == growth([*level[:40], 80.0, *level[41:70], 20.0, 90.0, *level[72:]])
    assert 3 == growth([number / 10 for number in range(90)])


def test_growth_is_no_rise_that_is_followed_by_a_fall() -> None:
    """Where values rise and fall with a known period, whole periods are compared."""
    saw = [number % 20 for number in range(150)]
    assert (-3, 0) == (growth(saw), growth(saw, 20))


def test_the_ledger_tells_what_is_wrong() -> None:
    """What was shown twice or waits must be told, what ended must be told to have, nothing else, and once."""
    kept = Ledger(
        Counter({"told": 9, "missed": 2, "too quick": 1, "over": 3, "open": 3}),
        {"told": "app", "unseen": "app"},
        [
            Receipt("hook", "1", "run.input_requested", "told"),
            Receipt("hook", "1", "run.input_requested", "told"),
            Receipt("hook", "2", "run.input_resolved", "told"),
            Receipt("hook", "3", "run.input_requested", "over"),
            Receipt("hook", "4", "run.input_resolved", "over"),
            Receipt("hook", "5", "run.input_requested", "open"),
            Receipt("other", "1", "run.input_requested", "told"),
        ],
    )
    assert {"missed", "unseen"} == ledger.lost(kept, "hook")
    assert {"open"} == ledger.unended(kept, "hook")
    assert {"told"} == ledger.ended_too_early(kept, "hook")
    assert 1 == ledger.repeats(kept.receipts)


def test_the_ledger_tells_who_was_not_told() -> None:
    """A question that waits is listed with each notifier of its app among those who were told."""
    kept = Ledger(waiting={"one Really?": "app", "two ": "app", "three ": "app"})
    listed: list[dict[str, Any]] = [
        {"run_id": "one", "prompt": "Really?", "told": ["slack", "hook"]},
        {"run_id": "two", "prompt": None, "told": ["hook"]},
    ]
    assert {"two ", "three "} == ledger.untold(kept, listed, {"app": ("hook", "slack")})
