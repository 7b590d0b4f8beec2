"""Ingest returns one result per event, stable ids, and current versions."""

import asyncio
import json
import threading
from dataclasses import astuple
from datetime import timedelta
from typing import Any, cast

import pytest

from app.api.events.intake import read_body
from app.api.http.responses import NDJSON
from app.domain import batch as packing
from app.domain.event import LARGE_JSON_BYTES, Event, Events, Read
from app.domain.ids import DestinationId
from app.ingest import evaluate as evaluation
from app.ingest.evaluate import DedupResult, Evaluated
from app.ingest.intake import QueueAgeMonitor, _results
from app.store.database.partitions import hold_flushes
from tests.databases import execute
from tests.event_loop import pauses, turns
from tests.pipeline.rows import LABORIOUS, MAPPING, publish, request_of
from tests.pipeline.service import Service
from tests.pipeline.world import World, event, eventually, laborious_event, stamp
from tests.tables import cases


async def test_each_event_gets_one_result_in_its_order(world: World, dst: str) -> None:
    """A bad member is rejected alone; its neighbours are accepted under their own indexes.

    Also by a process that stores in one round trip, where a rejection needs a second statement.
    """
    await world.post(dst, event(0))
    bad = event(2, user={"email": 5})
    results = await world.post(dst, event(1), bad, event(3))
    assert [(r.index, r.event_id, r.status) for r in results] == [
        (0, "ord-1", "accepted"),
        (1, "ord-2", "rejected"),
        (2, "ord-3", "accepted"),
    ]
    assert results[1].rejection is not None
    assert results[1].rejection.reason == "no_match_key"
    assert await world.counts(dst) == await world.until(dst, accepted=3, rejected=1, queued=3)


async def test_a_derived_id_comes_from_the_content(world: World, dst: str) -> None:
    """The same event without an id is a duplicate of itself, and says that its id was derived.

    So does its preview in a dry run.
    """
    nameless = event(1)
    del nameless["event_id"]
    (rehearsed,) = await world.rehearse(dst, nameless)
    assert rehearsed.preview is not None
    assert rehearsed.preview["warnings"] == [{"code": "event_id_derived", "field": "event_id"}]
    (first,), (second,) = await world.post(dst, nameless), await world.post(dst, nameless)
    assert (first.status, second.status) == ("accepted", "duplicate")
    assert first.event_id == second.event_id
    assert [w.code for one in (rehearsed, first) for w in one.warnings] == ["event_id_derived"] * 2


async def test_what_was_refused_is_refused_by_the_current_version_only(world: World, dst: str) -> None:
    """A destination that was a draft a moment ago takes events as soon as it is connected."""
    await world.fetch("UPDATE destinations SET sign_in = 'none', version = version + 1 WHERE id = $1", dst)
    (refused,) = await world.post(dst, event(1))
    assert refused.rejection is not None
    assert (refused.rejection.reason, refused.rejection.code) == ("destination_draft", "ENDPOINT_NOT_FOUND")
    await world.fetch("UPDATE destinations SET sign_in = 'valid', version = version + 1 WHERE id = $1", dst)
    (taken,) = await world.post(dst, event(1))
    assert taken.status == "accepted"


async def test_a_new_draft_is_known_at_once_where_the_destination_is_cached(service: Service) -> None:
    """An event for it is refused because the draft is not published, not because it does not exist."""
    dst = await service.world.destination()
    await service.post(dst, event(1))
    draft = (await service.do(f"/destinations/{dst}/mappings", {**MAPPING, "name": "Second"}))["id"]
    (refused,) = await service.post(dst, event(2, mapping_id=draft))
    assert (refused["code"], refused["reason"]) == ("ENDPOINT_NOT_FOUND", "mapping_not_published")


@cases(
    ("facts", "result"),
    {
        "archived": ("archived_at = now()", "destination_archived"),
        "paused": ("paused = true", "held"),
        "without a sign-in": ("sign_in = 'broken', sign_in_reason = 'revoked'", "parked"),
    },
)
async def test_a_destination_keeps_events_or_says_why_not(
    world: World, dst: str, facts: str, result: str
) -> None:
    """What it cannot send now waits; what it never sends is refused."""
    await world.fetch(f"UPDATE destinations SET {facts}, version = version + 1 WHERE id = $1", dst)
    (posted,) = await world.post(dst, event(1))
    if posted.rejection is None:
        assert (await world.counts(dst))[result] == 1
    else:
        assert (posted.rejection.reason, posted.rejection.code) == (result, "ENDPOINT_NOT_FOUND")


async def test_a_key_limited_to_another_destination_finds_none(world: World) -> None:
    """It learns nothing of what it may not see."""
    (result,) = await world.post(await world.destination(), event(1), destinations=frozenset())
    assert result.rejection is not None
    assert result.rejection.reason == "destination_unknown"


async def test_a_defect_in_the_evaluation_of_one_request_concerns_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dst = await world.destination(event(1))

    evaluate = evaluation.evaluate

    def evaluate_all_but_three(read: Event, *rest: Any, **more: Any) -> Evaluated:
        if read.event_id == event(3)["event_id"]:
            raise ZeroDivisionError
        return evaluate(read, *rest, **more)

    monkeypatch.setattr(evaluation, "evaluate", evaluate_all_but_three)
    async with asyncio.timeout(30):
        second, third, fourth = await asyncio.gather(
            *(world.post(dst, event(n)) for n in (2, 3, 4)), return_exceptions=True
        )
    assert isinstance(third, ZeroDivisionError)
    assert [result.status for post in (second, fourth) for result in post] == ["accepted"] * 2  # type: ignore[union-attr]


async def test_a_database_that_refuses_writes_is_answered_by_not_stored(world: World, dst: str) -> None:
    """Nothing is acknowledged; once it writes again, so do we, on a fresh connection."""
    name = (await world.fetch("SELECT current_database()"))[0][0]
    await world.post(dst, event(1))
    await world.fetch(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await world.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'conversions-own' AND datname = current_database()"
    )

    async def refused() -> bool:
        return (await world.try_post(dst, event(2))) is None

    assert await refused() or await refused()
    await execute(
        world.resources.dsn,
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE {name} SET default_transaction_read_only = off",
    )
    (result,) = await world.post(dst, event(2))
    assert result.status == "accepted"
    assert (await world.counts(dst))["accepted"] == 2


async def test_a_caller_who_hangs_up_does_not_cancel_the_flush(world: World, dst: str) -> None:
    """What was gathered is written, and the others of the flush get their results."""
    calls = [asyncio.create_task(world.post(dst, event(number))) for number in range(20)]
    await turns()
    for call in calls[::2]:
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in done[::2])
    for each in done[1::2]:
        assert not isinstance(each, BaseException), each
        assert [result.status for result in each] == ["accepted"]
    await world.until(dst, accepted=20)


async def test_a_rehearsal_answers_as_the_call_would_and_stores_nothing(world: World) -> None:
    """With a preview that shows exactly what would be sent, and hashes in place of traits."""
    dst = await world.destination(event(1))
    results = await world.rehearse(dst, event(1), event(2), event(1, user={}))
    assert [r.status for r in results] == ["duplicate", "accepted", "rejected"]
    assert results[1].preview is not None
    assert results[1].preview["amazon_event"]["eventId"].endswith(":ord-2")
    assert "person2" not in json.dumps(results[1].preview, default=str)
    assert (await world.counts(dst))["accepted"] == 1


async def test_a_pinned_name_compiles_no_mapping_again(world: World) -> None:
    """The response waits for the new rules of every mapping of the advertiser, also without that type."""
    by_event = {**MAPPING, "event_type": {"path": "event.kind"}}
    pinning = await world.destination(advertiser="77", mapping=by_event)
    sibling = await world.destination(advertiser="77", mapping=MAPPING)
    cache = world.intake.evaluator.destinations
    await world.post(pinning, event(1, event={"timestamp": stamp(), "kind": "OFF_AMAZON_PURCHASES"}))
    await world.post(sibling, event(2))
    before = [cache.get(DestinationId(id_)) for id_ in (pinning, sibling)]
    await world.post(pinning, event(3, event={"timestamp": stamp(), "kind": "LEAD"}))
    after = [cache.get(DestinationId(id_)) for id_ in (pinning, sibling)]
    for old, new in zip(before, after, strict=True):
        assert old is not None
        assert new is not None
        assert new.stored.pins == {**old.stored.pins, "LEAD": "Added to cart"}
        (old_mapping,) = old.published
        (new_mapping,) = new.published
        assert old_mapping.plan is not None
        assert new_mapping.plan is not None
        assert new_mapping.plan.mapping is old_mapping.plan.mapping
        assert new_mapping.plan.rules.pins == new.stored.pins
        assert new.stored.mappings == ()  # their documents need no memory


async def test_an_evaluation_uses_the_names_that_another_process_pinned(world: World) -> None:
    """The same answer as the real call's, and nothing is pinned by it."""
    typed = {**MAPPING, "event_type": {"path": "event.type"}, "event_name": "One"}
    dst = await world.destination(mapping=typed)
    search = event(1, event={"type": "SEARCH", "timestamp": stamp()})
    assert [each.status for each in await world.rehearse(dst, search)] == ["accepted"]
    assert await world.fetch("SELECT 1 FROM event_names") == []
    # As another process would as it stores an event: the destination's version stays as it was.
    await world.fetch(
        "INSERT INTO event_names (advertiser_id, event_type, name) VALUES ('1001', 'SEARCH', 'Two')"
    )
    assert [each.status for each in await world.rehearse(dst, search)] == ["rejected"]


async def test_the_events_after_too_much_work_are_rejected(world: World) -> None:
    """A request may take 2,000,000 steps; the events before that are accepted."""
    dst = await world.destination(mapping=LABORIOUS)
    events = [laborious_event(number) for number in range(150)]
    results = await world.post(dst, *events)
    statuses = [result.status for result in results]
    accepted = statuses.count("accepted")
    assert 100 <= accepted < 150
    assert statuses == ["accepted"] * accepted + ["rejected"] * (150 - accepted)
    last = results[-1].rejection
    assert last is not None
    assert (last.reason, last.code, last.event_id) == ("too_much_work", "RATE_LIMIT", "ord-149")


async def test_events_that_take_much_work_are_evaluated_with_pauses(world: World) -> None:
    """Each takes more than ten milliseconds, in which no other request of the process is answered."""
    first = laborious_event(0)
    plain, laborious = await world.destination(first), await world.destination(first, mapping=LABORIOUS)
    events = [laborious_event(number) for number in range(20)]
    for dst, fewest, most in ((plain, 0, 0), (laborious, 9, 20)):
        request = request_of(events, dst)
        assert fewest <= pauses(world.intake.evaluate(request)) <= most
        request.dedup = [DedupResult.ACCEPTED] * len(events)
        previews = world.intake._add_previews(request, _results(request))
        assert fewest < pauses(previews) <= most + 1


@pytest.mark.parametrize("media_type", ["application/json", NDJSON])
async def test_a_large_event_is_read_outside_the_event_loop(world: World, media_type: str) -> None:
    """Its values take up to half a second to parse, in which no request would be answered."""
    dst = await world.destination(event(0))
    events = [event(1), event(2, note="x" * LARGE_JSON_BYTES)]
    texts = [json.dumps(each) for each in events]
    body = "\n".join(texts) if media_type == NDJSON else f"[{','.join(texts)}]"
    members, read_event = astuple(read_body(body.encode(), media_type, dst, None))
    threads = []

    def read(member: Any) -> Read:
        threads.append(threading.current_thread() is threading.main_thread())
        return cast("Read", read_event(member))

    request = request_of(events, dst)
    request.events = Events(members, read)
    await world.intake.evaluate(request)
    request.dedup = [DedupResult.ACCEPTED] * 2
    await world.intake._add_previews(request, _results(request))
    assert threads == [True, False, True, False]
    world.intake.sampler._waiting.clear()
    world.intake.sampler.observe(world.intake._find, request)
    assert len(world.intake.sampler._waiting) == 1, "a sample would be as much work again"


async def test_a_large_event_waits_for_others_without_the_flush_lock(world: World) -> None:
    """It must be evaluated again after a publication. Archiving waits for the lock."""
    dst = await world.destination(event(0))
    request = request_of([event(1)], dst)
    body = json.dumps(event(1, note="x" * LARGE_JSON_BYTES)).encode()
    request.events = cast("Events", read_body(body, "application/json", dst, None))
    await world.intake.evaluate(request)
    destinations, version = world.intake.evaluator.destinations, request.versions[DestinationId(dst)]
    await publish(world.resources.pool, dst, f"map_{1:020d}", MAPPING, version=2)
    release = threading.Event()
    other = asyncio.create_task(world.intake.parse_large("other", release.wait, 20))
    storing = asyncio.create_task(world.intake.store(request))
    try:
        await eventually(lambda: destinations.version(DestinationId(dst)) != version)
        async with world.resources.pool.acquire() as connection, connection.transaction():
            await hold_flushes(connection)
    finally:
        release.set()
    assert [result.status for result in await storing or ()] == ["accepted"]
    await other


async def test_each_request_of_a_flush_is_stored_with_the_current_mapping(world: World) -> None:
    """Also one that was evaluated before a change, beside one that was evaluated after it."""
    dst = await world.destination(event(1))
    early = await world.evaluated(dst, event(2))
    await publish(world.resources.pool, dst, f"map_{1:020d}", MAPPING, version=2)
    await world.post(dst, event(3))  # by which the process learns of the change
    late = await world.evaluated(dst, event(4))
    for results in await asyncio.gather(world.intake.store(early), world.intake.store(late)):
        assert results is not None
        assert [result.status for result in results] == ["accepted"]
    rows = await world.fetch("SELECT shapes FROM batches")
    stored = [each for row in rows for each in packing.read_shapes(row["shapes"]) or ()]
    assert {each.event_id: each.mapping_version for each in stored} == {
        "ord-1": 1,
        "ord-2": 2,
        "ord-3": 2,
        "ord-4": 2,
    }


async def test_only_a_queue_that_is_sent_and_has_waited_too_long_is_late(world: World) -> None:
    """Sixteen days of twenty-one are too long, fifteen are not; a paused one waits on purpose."""
    late, long, paused = [await world.destination() for _ in range(3)]
    for number, (dst, days) in enumerate(((late, 16), (long, 15), (paused, 16))):
        await world.post(dst, event(number))
        await world.fetch(
            "UPDATE batch_states SET accepted_at = now() - $1::interval WHERE destination = $2",
            timedelta(days=days),
            await world.number(dst),
        )
    await world.fetch("UPDATE destinations SET paused = true WHERE id = $1", paused)
    backlogs = QueueAgeMonitor(
        pool=world.resources.pool,
        max_age=timedelta(days=21),
        jitter=lambda: 0.0,
        telemetry=world.resources.telemetry,
    )
    await backlogs.check()
    assert backlogs.overdue == {"default": {late}}

    await world.work_until(late, delivered=1)
    await backlogs.check()
    assert backlogs.overdue == {}
