"""What is new and what has ended: absence alone ends nothing."""

from collections import Counter
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.models import AWAITING, PAUSED, TERMINAL, InputRequest, Outcome, PendingKey, ResolvedRequest, Run
from watcher.polling.diff import INVISIBLE_REQUEST, Plan, RunDiff, by_run, compare_run, new_requests, plan

OVER: Final = sorted(TERMINAL)

ids = st.sampled_from(["", "q1", "q2"])
contents = st.sampled_from(["a", "b", INVISIBLE_REQUEST.fingerprint])
statuses = st.sampled_from([AWAITING, PAUSED, "started", "hibernating", *OVER])


def asked(request_id: str, content: str = "a") -> InputRequest:
    """A request with that content."""
    return InputRequest(request_id, "approval_request", f"{content}?", {}, (), content)


def run_of(*requests: InputRequest, status: str = AWAITING, run_id: str = "r1") -> Run:
    """A run that shows those requests."""
    return Run(run_id, status, requests=requests)


def known_of(key: int, request_id: str, content: str = "a", run_id: str = "r1") -> PendingKey:
    """A request that is known to wait."""
    return PendingKey(key, run_id, request_id, content, first_seen_at=0.0)


Q1 = known_of(1, "q1")
Q2 = known_of(2, "q2")
HIDDEN = known_of(3, INVISIBLE_REQUEST.id, INVISIBLE_REQUEST.fingerprint)

runs = st.builds(
    lambda requests, status: run_of(*requests, status=status),
    st.lists(st.builds(asked, ids, contents)),
    statuses,
)
identities = st.lists(st.tuples(ids, contents), unique=True)
knowns = identities.map(lambda pairs: [known_of(key, *pair) for key, pair in enumerate(pairs)])


def test_groups_by_run() -> None:
    """Known requests are found by their run, in their order."""
    other = known_of(4, "q1", run_id="r2")
    assert {"r1": [Q1, Q2], "r2": [other]} == by_run([Q1, other, Q2])


def test_everything_is_new_at_first() -> None:
    """Of a run of which nothing is known every request is new."""
    assert (asked("q1"), asked("q2")) == new_requests([], run_of(asked("q1"), asked("q2")))


def test_known_requests_are_not_new() -> None:
    """Only the request that is not known is new."""
    assert (asked("q2"),) == new_requests([Q1], run_of(asked("q1"), asked("q2")))


def test_the_same_id_with_other_content_is_new() -> None:
    """An id that the API uses again for another question does not hide that question."""
    assert (asked("q1", "b"),) == new_requests([Q1], run_of(asked("q1", "b")))


def test_the_same_content_with_another_id_is_new() -> None:
    """Two requests may ask the same thing."""
    assert (asked("q2"),) == new_requests([Q1], run_of(asked("q1"), asked("q2")))


def test_a_request_listed_twice_is_one() -> None:
    """A request that the API repeats is announced once."""
    assert (asked("q1"),) == new_requests([], run_of(asked("q1"), asked("q1")))


def test_requests_without_ids_are_told_apart_by_content() -> None:
    """Where the API gives no ids, different questions still are different requests."""
    assert (asked("", "a"), asked("", "b")) == new_requests([], run_of(asked("", "a"), asked("", "b")))


def test_looks_at_nothing_while_all_is_listed() -> None:
    """A run that is listed with what is known of it needs no call of its own."""
    assert Plan((), ()) == plan({"r1": [Q1]}, {"r1": run_of(asked("q1"), asked("q2"))})


def test_confirms_what_is_not_listed() -> None:
    """A run that left the list is looked at before anything is said of it."""
    assert Plan(("r1",), ()) == plan({"r1": [Q1]}, {"r2": run_of(run_id="r2")})


def test_confirms_a_request_that_is_not_listed() -> None:
    """A run that is listed with another question than the known one is looked at."""
    assert Plan(("r1",), ()) == plan({"r1": [Q1]}, {"r1": run_of(asked("q1", "b"))})


def test_rechecks_what_is_listed_without_requests() -> None:
    """A list that carries no requests does not say whether the run still asks the same."""
    assert Plan((), ("r1",)) == plan({"r1": [Q1, Q2]}, {"r1": run_of()})


def test_leaves_new_runs_to_others() -> None:
    """A run of which nothing is known needs no confirmation."""
    assert Plan((), ()) == plan({}, {"r1": run_of()})


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (None, "gone"),
        (run_of(status="completed"), "answered"),
        (run_of(status="failed"), "failed"),
        (run_of(status="canceled"), "canceled"),
        (run_of(status="started"), "answered"),
        (run_of(status="created"), "answered"),
        (run_of(status="paused"), "answered"),
        (run_of(status="hibernating"), "answered"),
    ],
)
def test_outcomes(run: Run | None, outcome: Outcome) -> None:
    """How every known request of a run ended follows from what became of the run."""
    status = run.status if run else None
    changes = (ResolvedRequest(Q1, outcome, status), ResolvedRequest(Q2, outcome, status))
    assert RunDiff((), changes, invisible=False) == compare_run([Q1, Q2], run)


@pytest.mark.parametrize("status", OVER)
def test_a_run_that_is_over_asks_nothing(status: str) -> None:
    """Requests that a finished run still shows are neither new nor pending."""
    verdict = compare_run([Q1], run_of(asked("q1"), asked("q2"), status=status))
    assert (verdict.new, [change.known for change in verdict.ended]) == ((), [Q1])


@pytest.mark.parametrize("status", [AWAITING, "started", PAUSED, "hibernating"])
def test_what_a_run_still_asks_is_pending(status: str) -> None:
    """A request that the run shows waits, whatever the status is called and whatever the list said."""
    assert RunDiff((), (), invisible=False) == compare_run([Q1], run_of(asked("q1"), status=status))


def test_one_of_several_is_answered() -> None:
    """Of two requests of a run the one that it no longer shows is answered, the other waits on."""
    answered = (ResolvedRequest(Q1, "answered", AWAITING),)
    assert RunDiff((), answered, invisible=False) == compare_run([Q1, Q2], run_of(asked("q2")))


def test_the_same_id_with_other_content_replaces() -> None:
    """The old question under an id that now asks something else is replaced, not answered."""
    replaced = (ResolvedRequest(Q1, "replaced", AWAITING),)
    assert RunDiff((asked("q1", "b"),), replaced, invisible=False) == compare_run(
        [Q1], run_of(asked("q1", "b"))
    )


def test_asked_again_under_another_id() -> None:
    """A run that asks its next question between two polls has the last one answered."""
    verdict = compare_run([Q1], run_of(asked("q2", "b")))
    assert (
        RunDiff((asked("q2", "b"),), (ResolvedRequest(Q1, "answered", AWAITING),), invisible=False) == verdict
    )


def test_a_run_that_waits_without_requests_keeps_what_is_known() -> None:
    """A run that still waits stays pending although it shows no question now."""
    assert RunDiff((), (), invisible=False) == compare_run([Q1], run_of())


def test_a_run_that_waits_for_something_unseen() -> None:
    """A run that waits, shows nothing and of which nothing is known is hidden until it was told of."""
    assert [compare_run(known, run_of()).invisible for known in ([], [HIDDEN])] == [True, False]


def test_a_question_that_becomes_visible_replaces_the_unseen_one() -> None:
    """What was announced as not visible is replaced by the question once that is seen."""
    verdict = compare_run([HIDDEN], run_of(asked("q1")))
    assert (
        RunDiff((asked("q1"),), (ResolvedRequest(HIDDEN, "replaced", AWAITING),), invisible=False) == verdict
    )


@pytest.mark.parametrize("status", [AWAITING, PAUSED])
def test_a_run_that_only_informs_hides_nothing(status: str) -> None:
    """A run that shows messages which ask nothing is not taken for one whose question is not visible."""
    run = replace(run_of(status=status), informs=True)
    assert RunDiff((), (), invisible=False) == compare_run([], run, paused_waits=True)


@pytest.mark.parametrize(
    ("known", "ended", "hidden"),
    [([], [], True), ([Q1], [Q1], True), ([HIDDEN], [], False), ([HIDDEN, Q1], [Q1], False)],
)
def test_a_paused_run_may_wait_unseen(
    known: list[PendingKey], ended: list[PendingKey], *, hidden: bool
) -> None:
    """A watched paused run that shows nothing waits unseen, and what was seen of it is answered."""
    verdict = compare_run(known, run_of(status=PAUSED), paused_waits=True)
    expected = RunDiff((), tuple(ResolvedRequest(one, "answered", PAUSED) for one in ended), invisible=hidden)
    assert expected == verdict


@pytest.mark.parametrize("known", [[], [HIDDEN]])
def test_paused_runs_are_none_of_our_business_otherwise(known: list[PendingKey]) -> None:
    """Where paused runs are not watched, one without requests waits for nobody."""
    verdict = compare_run(known, run_of(status=PAUSED))
    assert (
        RunDiff((), tuple(ResolvedRequest(one, "answered", PAUSED) for one in known), invisible=False)
        == verdict
    )


@given(knowns, runs)
def test_new_is_what_is_not_known(known: list[PendingKey], run: Run) -> None:
    """New requests are exactly those shown and not known, each once and in the order shown."""
    shown = dict.fromkeys((one.id, one.fingerprint) for one in run.requests)
    expected = [one for one in shown if one not in {(old.request_id, old.fingerprint) for old in known}]
    assert expected == [(one.id, one.fingerprint) for one in new_requests(known, run)]


@given(
    st.dictionaries(st.sampled_from(["r1", "r2", "r3"]), knowns.filter(bool)),
    st.dictionaries(st.sampled_from(["r1", "r2", "r3", "r4"]), runs),
)
def test_every_known_request_is_listed_or_looked_at(
    known: dict[str, list[PendingKey]], listed: dict[str, Run]
) -> None:
    """A plan looks at known runs only, each once, and at every one that has a known request not listed."""
    planned = plan(known, listed)
    looked = Counter(planned.missing + planned.unlisted_questions)
    unlisted = {
        run_id
        for run_id, requests in known.items()
        if run_id not in listed or not listed[run_id].requests or _missing(requests, listed[run_id])
    }
    assert dict.fromkeys(unlisted, 1) == dict(looked)
    assert all(run_id in listed for run_id in planned.unlisted_questions)


@given(known=knowns, run=st.none() | runs, paused=st.booleans())
def test_known_requests_end_once_or_stay(known: list[PendingKey], run: Run | None, *, paused: bool) -> None:
    """A verdict ends each known request at most once and no other, and never one that a live run shows."""
    verdict = compare_run(known, run, paused_waits=paused)
    ended = Counter(change.known.key for change in verdict.ended)
    assert ended <= Counter(one.key for one in known)
    if run is not None and run.status not in TERMINAL:
        shown = {(one.id, one.fingerprint) for one in run.requests}
        assert not [one for one in known if ended[one.key] and (one.request_id, one.fingerprint) in shown]
    else:
        assert len(known) == len(verdict.ended)


@given(known=knowns, run=runs, paused=st.booleans())
def test_a_verdict_is_stable(known: list[PendingKey], run: Run, *, paused: bool) -> None:
    """Looking again at a run that has not changed finds nothing new and nothing ended."""
    first = compare_run(known, run, paused_waits=paused)
    gone = {change.known.key for change in first.ended}
    left = [one for one in known if one.key not in gone]
    left += [known_of(100 + key, one.id, one.fingerprint) for key, one in enumerate(first.new)]
    assert RunDiff((), (), invisible=first.invisible) == compare_run(left, run, paused_waits=paused)


@given(known=knowns, paused=st.booleans())
def test_a_run_that_waits_ends_nothing_by_silence(known: list[PendingKey], *, paused: bool) -> None:
    """While a run waits and shows nothing, nothing that is known of it ends."""
    assert RunDiff((), (), invisible=not known) == compare_run(known, run_of(), paused_waits=paused)


def _missing(known: list[PendingKey], run: Run) -> bool:
    shown = {(one.id, one.fingerprint) for one in run.requests}
    return any((one.request_id, one.fingerprint) not in shown for one in known)
