"""The store's record of requests: what is new, what has ended, and who is to hear of it."""

from dataclasses import replace
from secrets import token_hex

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    MACHINE,
    NOW,
    PEOPLE,
    claim,
    event_of,
    make_new_request,
    make_request,
    make_run,
    open_store,
    outbox,
    pending,
    pending_key,
    record_answered,
    record_new,
    records,
)
from tests.support.databases import Place, rows
from watcher.models import App, MessageRef, NewRequest, Outcome, RequestEvent, ResolvedRequest, Route
from watcher.store import Claim, Dead, Retry, Sent

pytestmark = pytest.mark.anyio

NEWS, END = "run.input_requested", "run.input_resolved"


# What is new


async def test_a_request_comes_with_a_delivery_for_each_notifier(database: Place) -> None:
    """A recorded request waits, and one delivery per notifier is pending at once, of one event."""
    async with open_store(database) as store:
        await record_new(store)
        assert [("run-1", "q1", NOW, ())] == [
            (request.run_id, request.request_id, request.first_seen_at, request.told)
            for request in pending(database)
        ]
        assert [("slack", NEWS, "pending"), ("webhook", NEWS, "pending")] == outbox(database)
        assert 1 == len({record.event_id for record in records(database)})


async def test_who_has_something_to_claim_is_said(database: Place) -> None:
    """News names the notifiers that can claim it, now or later; what is held names them as it is released."""
    routes = (replace(PEOPLE, digests=True), MACHINE, Route("leads", for_people=True, after=60.0))
    async with open_store(database) as store:
        new = await store.record_changes(APP, routes, new=[make_new_request()], now=NOW)
        again = await store.record_changes(APP, routes, new=[make_new_request()], now=NOW)
        released = await store.release_held(APP.name, digest_above=0, now=NOW)
        change = ResolvedRequest(await pending_key(store), "answered", "completed")
        ended = await store.record_changes(APP, routes, ended=[change], now=NOW + 1)
    named = [sorted(names) for names in (new.notifiers, again.notifiers, released, ended.notifiers)]
    assert [["leads", "webhook"], [], ["slack"], ["webhook"]] == named


async def test_a_delivery_carries_everything_that_was_seen(database: Place) -> None:
    """What was recorded of run and request comes back whole with the delivery."""
    request = replace(
        make_request(params={"amount": 620, "deep": [None]}),
        editable_params=("amount",),
        masked=("amount",),
        questions=[{"question": "Which?"}],
        is_browser_takeover=True,
    )
    run = replace(make_run(), user_id="u", session_id="s", input={"text": "hello"})
    async with open_store(database) as store:
        await record_new(store, NewRequest(run, request, "https://ui.example/run-1", (2, 3)))
        (delivery,) = await claim(store, "slack")
    event = event_of(delivery, RequestEvent)
    assert (APP, run, request) == (event.app, event.run, event.request)
    assert (NEWS, NOW, NOW) == (event.type, event.at, event.first_seen_at)
    assert ("https://ui.example/run-1", (2, 3)) == (event.link, event.position)
    assert (1, NOW, None) == (delivery.attempt, delivery.due_at, delivery.first_message)
    assert [event.key] == [waiting.id for waiting in pending(database)]


@pytest.mark.parametrize(
    ("again", "outcome", "asked_before"),
    [
        (make_new_request(), "answered", NOW),
        (make_new_request(request_id="q2"), "answered", NOW),
        (make_new_request(prompt="Really?"), "answered", None),
        (make_new_request("run-2"), "answered", None),
        (make_new_request(), "canceled", None),
    ],
)
async def test_what_a_run_asked_before_is_known(
    database: Place, again: NewRequest, outcome: Outcome, asked_before: float | None
) -> None:
    """A question that its run asked before, and that was answered, carries when, also under a new id."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        change = ResolvedRequest(await pending_key(store), outcome, "started")
        await store.record_changes(APP, [MACHINE], ended=[change], now=NOW + 60)
        await record_new(store, again, routes=[PEOPLE], now=NOW + 240)
        (delivery,) = await claim(store, "slack", now=NOW + 240)
    assert asked_before == event_of(delivery, RequestEvent).asked_before


async def test_an_invisible_question_is_never_the_same(database: Place) -> None:
    """Nobody knows whether a run asks the same again if its question is not visible."""
    async with open_store(database) as store:
        await record_new(store, make_new_request(request_id=""))
        await record_answered(store)
        await record_new(store, make_new_request(request_id=""), routes=[PEOPLE], now=NOW + 60)
        *_, delivery = await claim(store, "slack", now=NOW + 60)
    assert event_of(delivery, RequestEvent).asked_before is None


async def test_the_same_request_is_recorded_once(database: Place) -> None:
    """A request that is seen again, in a later call or in the same, is no news."""
    async with open_store(database) as store:
        first = await store.record_changes(APP, BOTH, new=[make_new_request(), make_new_request()], now=NOW)
        again = await store.record_changes(APP, BOTH, new=[make_new_request()], now=NOW + 1)
    assert (1, 0) == (len(first.new), len(again.new))
    assert 2 == len(records(database))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(make_new_request(run_id="run-2"), id="run"),
        pytest.param(make_new_request(request_id="q2"), id="request"),
        pytest.param(make_new_request(prompt="Approve it all?"), id="content"),
    ],
)
async def test_another_identity_is_another_request(database: Place, other: NewRequest) -> None:
    """Run, request id and content tell requests apart, each alone."""
    async with open_store(database) as store:
        await record_new(store)
        await record_new(store, other)
        assert 2 == len(pending(database))


async def test_the_same_request_of_another_app_is_another(database: Place) -> None:
    """Two apps may use the same ids."""
    async with open_store(database) as store:
        await record_new(store)
        await store.record_changes(App("sales", "https://x.example"), BOTH, new=[make_new_request()], now=NOW)
        assert ["support", "sales"] == [request.app for request in pending(database, "support", "sales")]
        assert ["support"] == [request.app for request in pending(database, "support")]


@pytest.mark.parametrize(("later", "waiting"), [(0.0, 0), (4.9, 0), (5.0, 1), (60.0, 1), (-3600.0, 1)])
async def test_an_echo_of_an_answered_request_is_no_news(database: Place, later: float, waiting: int) -> None:
    """Within 5 s of its end an identical request is an echo; later, or by a clock set back, it is new."""
    async with open_store(database) as store:
        await record_new(store)
        await record_answered(store, now=NOW + 10)
        await record_new(store, now=NOW + 10 + later)
        assert waiting == len(pending(database))


async def test_an_unannounced_request_is_known_and_nobody_is_told(database: Place) -> None:
    """With `announce=False` a request waits without a delivery, and its end interests nobody either."""
    async with open_store(database) as store:
        await record_new(store, announce=False)
        assert 1 == len(pending(database))
        await record_answered(store)
    assert [] == outbox(database)


async def test_without_notifiers_nothing_is_to_be_delivered(database: Place) -> None:
    """An app that no notifier is told of leaves no event behind."""
    async with open_store(database) as store:
        await record_new(store, routes=())
    assert [] == rows(database, "SELECT 1 FROM events")


# What has ended


async def test_people_not_told_yet_are_spared_and_machines_hear_both(database: Place) -> None:
    """An end before the news went out supersedes it for people; a webhook gets news and end, in order."""
    async with open_store(database) as store:
        await record_new(store)
        superseded = await record_answered(store)
        assert [("slack", "superseded")] == [(record.notifier, record.state) for record in superseded]
        first = await claim(store, "webhook", now=NOW + 10)
        after_first = await store.settle_and_claim(
            "webhook", [Sent(first[0].id, None)], limit=9, now=NOW + 10
        )
    told = [delivery.event.type for delivery in (*first, *after_first.deliveries)]
    assert [NEWS, END] == told
    assert [("slack", NEWS, "superseded"), ("webhook", NEWS, "sent"), ("webhook", END, "pending")] == outbox(
        database
    )


async def test_people_who_were_told_hear_the_end_with_their_receipt(database: Place) -> None:
    """The end reaches who was told, with outcome, status and the receipt of the first message."""
    receipt = MessageRef({"channel": "C1", "ts": "1.5"})
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Sent(news.id, receipt)], limit=1, now=NOW)
        await record_answered(store, routes=[PEOPLE])
        (ended,) = await claim(store, "slack", now=NOW + 10)
    assert (END, receipt) == (ended.event.type, ended.first_message)
    event = event_of(ended, RequestEvent)
    resolution = event.resolution
    assert resolution is not None
    assert ("answered", "completed", NOW + 10) == (
        resolution.outcome,
        resolution.run_status,
        resolution.resolved_at,
    )
    assert "completed" == event.run.status


async def test_a_request_ends_once(database: Place) -> None:
    """A request that ended already changes nothing when its end is reported again."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        change = ResolvedRequest(await pending_key(store), "answered", "completed")
        first = await store.record_changes(APP, [MACHINE], ended=[change], now=NOW)
        again = await store.record_changes(APP, [MACHINE], ended=[change], now=NOW)
    assert ((change,), ()) == (first.ended, again.ended)
    assert [NEWS, END] == [kind for _, kind, _ in outbox(database)]


async def test_people_whose_news_is_dead_do_not_hear_the_end(database: Place) -> None:
    """Nobody is told of the end of something of which the news was given up; a webhook is."""
    async with open_store(database) as store:
        await record_new(store)
        for notifier in ("slack", "webhook"):
            (news,) = await claim(store, notifier)
            await store.settle_and_claim(notifier, [Dead(news.id, "no")], limit=1, now=NOW)
        await record_answered(store)
    assert [("slack", NEWS, "dead"), ("webhook", NEWS, "dead"), ("webhook", END, "pending")] == outbox(
        database
    )


@pytest.mark.parametrize("route", [PEOPLE, MACHINE])
async def test_who_wants_no_ends_gets_none(database: Place, route: Route) -> None:
    """With `resolved=False` a notifier that was told of a request is not told of its end."""
    quiet = replace(route, resolved=False)
    async with open_store(database) as store:
        await record_new(store, routes=[quiet])
        (news,) = await claim(store, route.notifier)
        await store.settle_and_claim(route.notifier, [Sent(news.id, None)], limit=1, now=NOW)
        await record_answered(store, routes=[quiet])
    assert [(route.notifier, NEWS, "sent")] == outbox(database)


async def test_a_notifier_removed_from_an_app_does_not_hear_the_end(database: Place) -> None:
    """Who is told of an end follows the configuration of now, not the one of the news."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        await record_answered(store, routes=[PEOPLE])
    assert [("webhook", NEWS, "pending")] == outbox(database)


async def test_news_under_way_at_the_end_is_followed_by_it(database: Place) -> None:
    """News that is being sent while its request ends is no longer taken back; the end follows it."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
        assert () == await record_answered(store, routes=[PEOPLE])
        follow = await store.settle_and_claim("slack", [Sent(news.id, None)], limit=1, now=NOW + 10)
    assert [END] == [delivery.event.type for delivery in follow.deliveries]


@pytest.mark.parametrize("result", [Retry(1, "down", NOW + 11), Dead(1, "down")])
async def test_news_that_fails_after_the_end_is_dropped_with_it(
    database: Place, result: Retry | Dead
) -> None:
    """When news was not accepted and the request has ended since, people hear neither news nor end.

    That others got it, and that they got other news, makes no difference.
    """
    async with open_store(database) as store:
        await record_new(store, routes=BOTH)
        await record_new(store, make_new_request("run-2"), routes=[PEOPLE])
        for notifier, accepted in (("slack", 3), ("webhook", 2)):
            await claim(store, notifier)
            await store.settle_and_claim(notifier, [Sent(accepted, None)], limit=0, now=NOW)
        await record_answered(store, routes=[PEOPLE])
        settled = await store.settle_and_claim("slack", [result], limit=1, now=NOW + 10)
    assert [1, 4] == [record.id for record in settled.superseded]
    assert ((), None) == (settled.deliveries, settled.wake_at)
    assert ["superseded", "sent", "sent", "superseded"] == [state for _, _, state in outbox(database)]
    assert (1, "down") == (records(database)[0].attempts, records(database)[0].last_error)


async def test_a_machine_hears_of_an_ended_request_however_often_it_failed(database: Place) -> None:
    """News to a webhook that failed is tried again although the request has ended."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await record_answered(store, routes=[MACHINE])
        settled = await store.settle_and_claim(
            "webhook", [Retry(news.id, "x", NOW + 60)], limit=1, now=NOW + 10
        )
    assert Claim((), NOW + 60, ()) == settled
    assert ["pending", "pending"] == [state for _, _, state in outbox(database)]


# Escalation


@pytest.mark.parametrize("route", [replace(PEOPLE, after=300.0), replace(PEOPLE, digests=True)])
async def test_an_end_is_told_at_once(database: Place, route: Route) -> None:
    """The end of a request waits neither as long as its news did, nor for the end of a poll."""
    async with open_store(database) as store:
        await record_new(store, routes=[route])
        await store.release_held(APP.name, digest_above=9, now=NOW)
        (news,) = await claim(store, "slack", now=NOW + 300)
        await store.settle_and_claim("slack", [Sent(news.id, None)], limit=0, now=NOW + 300)
        await record_answered(store, routes=[route], now=NOW + 310)
        assert [END] == [delivery.event.type for delivery in await claim(store, "slack", now=NOW + 310)]


async def test_escalation_waits_until_its_time(database: Place) -> None:
    """With `after` a delivery is due that much later than the request was seen."""
    async with open_store(database) as store:
        await record_new(store, routes=[replace(PEOPLE, after=300.0)])
        early = await store.settle_and_claim("slack", (), limit=1, now=NOW + 299)
        assert Claim((), NOW + 300, ()) == early
        (late,) = await claim(store, "slack", now=NOW + 300)
    assert NOW + 300 == late.due_at


@pytest.mark.parametrize("route", [PEOPLE, MACHINE])
async def test_a_request_answered_before_its_escalation_concerns_nobody(
    database: Place, route: Route
) -> None:
    """Whoever was to be told only later hears nothing of what ended before, a webhook neither."""
    later = replace(route, after=300.0)
    async with open_store(database) as store:
        await record_new(store, routes=[later])
        await record_answered(store, routes=[later], now=NOW + 299)
    assert [(route.notifier, NEWS, "superseded")] == outbox(database)


async def test_a_machine_whose_turn_had_come_hears_both(database: Place) -> None:
    """A request answered after a webhook's `after` is told of in full, even if that was not sent yet."""
    later = replace(MACHINE, after=300.0)
    async with open_store(database) as store:
        await record_new(store, routes=[later])
        await record_answered(store, routes=[later], now=NOW + 301)
    assert [("webhook", NEWS, "pending"), ("webhook", END, "pending")] == outbox(database)


@pytest.mark.parametrize(
    "text",
    [
        "it's \\ \" % %s ? :name $1 {} -- ; /*",
        "\u202e\u200d\ufeff \U0001f468\u200d\U0001f469",
        "",
        "\x01\x7f\r\n\t",
    ],
    ids=["marks", "invisible", "empty", "controls"],
)
async def test_texts_of_others_come_back_as_they_were(database: Place, text: str) -> None:
    """Nothing in a text acts on the database, wherever it stands."""
    run = replace(make_run(f"run {text}"), user_id=text, session_id=text, input={text: [text]})
    request = replace(make_request(f"q {text}", text, params={text: text}), editable_params=(text,))
    async with open_store(database) as store:
        await record_new(store, NewRequest(run, request, f"https://ui.example/{text}"))
        await store.record_success(APP, BOTH, invisible={run.id}, now=NOW)
        known = (await store.app_state(APP.name)).known
        (delivery,) = await claim(store, "slack")
    event = event_of(delivery, RequestEvent)
    assert [(run.id, request.id)] == [(key.run_id, key.request_id) for key in known]
    assert (replace(run, requests=()), request) == (event.run, event.request)


async def test_ids_of_any_length(database: Place) -> None:
    """No index bounds what others name: long ids are found again, and told from others that end otherwise."""
    long = token_hex(3000)  # which no compression makes short
    ids = [f"{long}{number}" for number in range(2)]
    async with open_store(database) as store:
        await record_new(store, *[make_new_request(each, each) for each in ids])
        await record_new(store, *[make_new_request(each, each) for each in ids])
        await store.record_success(APP, BOTH, invisible=set(ids), now=NOW)
        state = await store.app_state(APP.name)
        await record_answered(store, ids[0])
        questions = [(each, each, "Approve?") for each in ids]
        ended = await store.ended_among(APP.name, questions)
    assert ids == [key.run_id for key in state.known]
    assert set(ids) == set(state.invisible)
    assert {questions[0]} == ended
