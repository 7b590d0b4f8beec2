"""Two organisations on one pipeline: events, names, duplicates, erasures, pace, suspension and usage."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import cast

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from app.admin import erasure
from app.domain.event import Event
from app.domain.ids import OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.pending_request import NotStored, PendingRequest, RequestResults, SenderAccess
from app.store import organisation_usage, organisations
from app.store.organisation_scope import EVERY, ScopedPool, prepare_engine, scoped_engine
from tests.event_loop import turns
from tests.pipeline.world import MAPPING, World, event, eventually, waiting_sessions

ACME, BETA = OrganisationId("acme"), OrganisationId("beta")
NOWHERE = "dst_" + "9" * 20


async def suspend(world: World, organisation: OrganisationId, suspended: bool) -> None:
    """As the API does."""
    engine = create_async_engine(world.url)
    prepare_engine(engine)
    async with scoped_engine(engine, EVERY).begin() as connection:
        await organisations.set_suspended(connection, organisation, suspended)
    await engine.dispose()


async def flushes_wait(world: World, number: int) -> None:
    """Return once that many flushes wait for a lock."""
    await eventually(lambda: _is(number, waiting_sessions(world)))


async def events_wait(world: World, number: int) -> None:
    """Return once that many events wait for a flush."""
    async with asyncio.timeout(20):
        while world.intake._group_commit.waiting != number:
            await asyncio.sleep(0)


async def _is(wanted: int, number: Awaitable[int]) -> bool:
    return await number == wanted


async def test_a_foreign_destination_is_one_that_does_not_exist(world: World) -> None:
    """The same rejection, cached or not, and nothing is counted for its owner."""
    dst = await world.destination(organisation=ACME)
    for _ in ("not cached", "cached"):
        (foreign,) = await world.post(dst, event(1), organisation=BETA)
        (nowhere,) = await world.post(NOWHERE, event(1), organisation=BETA)
        assert (foreign.status, foreign.rejection) == (nowhere.status, nowhere.rejection)
        assert foreign.rejection is not None
        assert foreign.rejection.reason == "destination_unknown"
        await world.post(dst, event(2), organisation=ACME)
    counts = await world.counts(dst, ACME)
    assert (counts["accepted"], counts["rejected"]) == (1, 0)


async def test_names_and_duplicates_are_of_an_organisation(world: World) -> None:
    """On one advertiser: a pinned name binds no other, and a mapped eventId is no foreign duplicate."""
    by_event = {
        **MAPPING,
        "event_type": {"path": "kind"},
        "fields": {**MAPPING["fields"], "event_id": {"path": "order"}},
    }
    one = await world.destination(
        advertiser="7", organisation=ACME, mapping={**by_event, "event_name": "One"}
    )
    two = await world.destination(
        advertiser="7", organisation=BETA, mapping={**by_event, "event_name": "Two"}
    )
    sent = {**event(1), "kind": "OFF_AMAZON_PURCHASES", "order": "o-1"}
    (first,) = await world.post(one, sent, organisation=ACME)
    (second,) = await world.post(two, sent, organisation=BETA)
    assert (first.status, second.status) == ("accepted", "accepted"), (first, second)
    (again,) = await world.post(two, {**sent, "event_id": "other"}, organisation=BETA)
    assert again.status == "duplicate"


async def test_an_erasure_concerns_its_own_organisation(world: World) -> None:
    """The same person, waiting with another organisation, is delivered."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(mine, event(3), organisation=ACME)
    await world.post(theirs, event(3), organisation=BETA)
    await erasure.request_erasure(
        ScopedPool(world.resources.pool, ACME),  # type: ignore[arg-type]
        world.resources.vault,
        {"email": "person3@example.com"},
        by="test",
        monotonic=asyncio.get_running_loop().time,
    )
    world.work()
    await world.until(mine, organisation=ACME, erased=1)
    await world.until(theirs, organisation=BETA, delivered=1)


async def test_an_organisation_does_not_wait_for_the_commit_of_another(world: World) -> None:
    """Posts of one are stored while the flush of the other waits for a lock; then both are complete."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    for number, (destination, organisation) in enumerate(((mine, ACME), (theirs, BETA))):
        await world.post(destination, event(number), organisation=organisation)
    async with world.resources.pool.acquire() as c, c.transaction():
        await c.execute(
            "UPDATE counts SET accepted = accepted FROM destinations d "
            "WHERE d.number = counts.destination AND d.id = $1",
            mine,
        )
        waiting = asyncio.create_task(world.post(mine, event(2), organisation=ACME))
        await flushes_wait(world, 1)
        behind = asyncio.create_task(world.post(mine, event(3), organisation=ACME))
        for number in range(10, 13):
            results = await asyncio.wait_for(world.post(theirs, event(number), organisation=BETA), 20)
            assert [result.status for result in results] == ["accepted"]
        again = await asyncio.wait_for(world.post(theirs, event(11), organisation=BETA), 20)
        assert [result.status for result in again] == ["duplicate"]
        assert not waiting.done()
        assert not behind.done()
    for task in (waiting, behind):
        assert [result.status for result in await asyncio.wait_for(task, 20)] == ["accepted"]
    assert (await world.counts(mine, ACME))["accepted"] == 3
    counts = await world.counts(theirs, BETA)
    assert (counts["accepted"], counts["duplicates"]) == (4, 1)


async def test_the_first_connection_is_free_while_the_second_one_writes(world: World) -> None:
    """Also if posts of the organisation that the second one writes are queued behind it."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    for number, (destination, organisation) in enumerate(((mine, ACME), (theirs, BETA))):
        await world.post(destination, event(number), organisation=organisation)
    lock = (
        "UPDATE counts SET accepted = accepted FROM destinations d "
        "WHERE d.number = counts.destination AND d.id = $1"
    )
    async with world.resources.pool.acquire() as other, other.transaction():
        await other.execute(lock, theirs)
        async with world.resources.pool.acquire() as c, c.transaction():
            await c.execute(lock, mine)
            first = asyncio.create_task(world.post(mine, event(2), organisation=ACME))
            await flushes_wait(world, 1)
            # One is written on the second connection, the other is behind it.
            posts = [asyncio.create_task(world.post(theirs, event(3), organisation=BETA))]
            await flushes_wait(world, 2)
            posts.append(asyncio.create_task(world.post(theirs, event(4), organisation=BETA)))
            await events_wait(world, 1)
        assert len(await asyncio.wait_for(first, 20)) == 1
        await turns()  # the first connection has nothing to write
        for number in range(10, 13):
            assert len(await asyncio.wait_for(world.post(mine, event(number), organisation=ACME), 20)) == 1
        assert not any(post.done() for post in posts)
    assert [len(results) for results in await asyncio.wait_for(asyncio.gather(*posts), 20)] == [1, 1]


async def test_an_organisation_does_not_wait_for_more_posts_of_another(world: World) -> None:
    """Posts of one came together, so its next ones wait for more; one of another is written at once."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(theirs, event(1), organisation=BETA)
    commit = world.intake._group_commit
    commit._linger_s = 30.0
    together = [world.post(mine, event(number), organisation=ACME) for number in (1, 2)]
    await asyncio.gather(*together)
    await asyncio.wait_for(world.post(theirs, event(2), organisation=BETA), 10)
    await asyncio.gather(*[world.post(mine, event(number), organisation=ACME) for number in (3, 4)])
    lingering = asyncio.create_task(world.post(mine, event(5), organisation=ACME))
    for number in (3, 4):
        await asyncio.wait_for(world.post(theirs, event(number), organisation=BETA), 10)
    assert not lingering.done()
    commit._may_flush.set()
    assert len(await asyncio.wait_for(lingering, 10)) == 1


async def test_few_events_are_not_written_together_with_many_of_another(world: World) -> None:
    """In whichever order they wait."""
    commit = world.intake._group_commit

    def request(organisation: OrganisationId, events: int) -> PendingRequest:
        access = SenderAccess(organisation, None)
        response: asyncio.Future[RequestResults | NotStored] = asyncio.get_running_loop().create_future()
        sent = [cast("Event", None)] * events  # only their number counts
        return PendingRequest(sent, access, response, RequestTrace(), False)

    few, many = request(BETA, 2), request(ACME, 100)
    for order in ((few, many), (many, few)):
        for each in order:
            commit._queue.add(each.access.organisation, len(each.events), each)
        commit._waiting_events += 102
        assert [commit._take_group(frozenset()) for _ in order] == [[each] for each in order]
    # Nor behind few events of its own organisation.
    first, second, third = request(ACME, 3), request(BETA, 2), request(ACME, 100)
    for each in (first, second, third):
        commit._queue.add(each.access.organisation, len(each.events), each)
    commit._waiting_events += 105
    assert [commit._take_group(frozenset()) for _ in range(2)] == [[first, second], [third]]
    assert commit.waiting == 0


async def test_an_organisation_leaves_room_among_the_events_that_wait(world: World) -> None:
    """A third of it: another one is stored while its own posts are refused."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    for number, (destination, organisation) in enumerate(((mine, ACME), (theirs, BETA))):
        await world.post(destination, event(number), organisation=organisation)
    world.intake._group_commit._max_waiting = 100
    async with world.resources.pool.acquire() as c, c.transaction():
        await c.execute("LOCK TABLE counts IN SHARE MODE")
        posts = []
        for number in range(1, 4):
            events = [event(100 * number + n) for n in range(30)]
            posts.append(asyncio.create_task(world.try_post(mine, *events, organisation=ACME)))
            await flushes_wait(world, 1)
            await events_wait(world, 30 * (number - 1))  # the first post is being written
        refused = world.try_post(mine, *[event(400 + n) for n in range(30)], organisation=ACME)
        assert isinstance(await asyncio.wait_for(refused, 20), NotStored)
        theirs_waiting = asyncio.create_task(
            world.post(theirs, *[event(900 + n) for n in range(25)], organisation=BETA)
        )
        await flushes_wait(world, 2)
        assert not any(post.done() for post in (*posts, theirs_waiting))
    assert len(await theirs_waiting) == 25
    assert not any(isinstance(results, NotStored) for results in await asyncio.gather(*posts))


async def test_without_a_second_connection_an_organisation_waits_and_is_stored(world: World) -> None:
    """The database may refuse another session."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)

    async def refuse() -> asyncpg.Connection:
        raise OSError("no more sessions")

    world.intake._group_commit._sessions[1]._connect = refuse
    posts = [
        world.post(destination, event(number), organisation=organisation)
        for number in range(20)
        for destination, organisation in ((mine, ACME), (theirs, BETA))
    ]
    for results in await asyncio.gather(*posts):
        assert [result.status for result in results] == ["accepted"]


async def test_a_large_post_is_evaluated_in_slices_with_the_same_results(world: World) -> None:
    """Once another organisation sends; in the same order, rejections included."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(theirs, event(1), organisation=BETA)
    events = [event(number) for number in range(120)]
    events[70] = {"event_id": "ord-70"}
    whole = await world.post(mine, *events, organisation=ACME)
    assert [result.event_id for result in whole] == [each["event_id"] for each in events]
    assert [result.index for result in whole if result.status == "rejected"] == [70]
    again = await world.post(mine, *events, organisation=ACME)
    assert Counter(result.status for result in again) == {"duplicate": 119, "rejected": 1}


async def test_a_shutdown_answers_posts_that_are_being_evaluated(world: World) -> None:
    """Some are stored, the others are not accepted; none waits for ever."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(theirs, event(1), organisation=BETA)
    posts = [
        asyncio.create_task(
            world.try_post(mine, *[event(100 * number + n) for n in range(90)], organisation=ACME)
        )
        for number in range(1, 4)
    ]
    await turns(2)
    world.intake.close()
    for results in await asyncio.wait_for(asyncio.gather(*posts), 20):
        assert isinstance(results, NotStored) or {result.status for result in results} == {"accepted"}


async def test_suspended_under_load_and_resumed_every_event_is_delivered_once(world: World) -> None:
    """Nothing is sent while it is suspended; another organisation goes on."""
    mine, theirs = (
        await world.destination(organisation=ACME, rate=50, burst=1),
        await world.destination(organisation=BETA, rate=50, burst=1),
    )
    world.stop_clock()
    world.work()
    accepted = 0
    for number in range(30):
        (result,) = await world.post(mine, event(number), organisation=ACME)
        accepted += result.status == "accepted"
        if number == 10:
            await world.advance(2)
        if number == 15:
            await suspend(world, ACME, True)
    sent = sum(world.amazon.times.values())
    await world.post(theirs, event(100), organisation=BETA)
    await world.advance(60)
    assert (await world.counts(theirs, BETA))["delivered"] == 1
    assert 0 < sum(world.amazon.times.values()) - 1 == sent < accepted
    assert (await world.counts(mine, ACME))["held"] == accepted - sent
    await suspend(world, ACME, False)
    await world.advance(60)
    assert (await world.counts(mine, ACME))["delivered"] == accepted
    assert set(world.amazon.times.values()) == {1}


async def test_usage_is_exact_before_and_after_the_days_are_dropped(world: World) -> None:
    """Events, requests and bytes of each organisation, as its rows say, on both sides of midnight."""
    mine, theirs = await world.destination(organisation=ACME), await world.destination(organisation=BETA)
    await world.post(mine, event(1), event(2), organisation=ACME)
    await world.post(theirs, event(3), organisation=BETA)
    world.work()
    await world.until(mine, organisation=ACME, delivered=2)
    await world.until(theirs, organisation=BETA, delivered=1)
    await world.pass_midnight()
    await world.post(mine, event(4), organisation=ACME)
    await world.until(mine, organisation=ACME, delivered=3)
    # Of whatever days they are: midnight may also pass while this runs.
    first, last = (await world.fetch("SELECT min(day), max(day) FROM counts"))[0]
    async with world.resources.pool.acquire() as c:
        before = await organisation_usage.by_day(c, ACME, first, last)
        stored = await c.fetch(
            "SELECT sum(bytes)::int FROM batch_states s JOIN destinations d ON d.number = s.destination "
            "WHERE d.organisation_id = 'acme' GROUP BY day ORDER BY day"
        )
        used = [(day.events, day.requests, day.bytes) for day in before if day.events]
        assert used == [(2, 1, stored[0][0]), (1, 1, stored[1][0])]
        for day in before:
            await organisation_usage.record_day(c, day.day)
        await c.execute("TRUNCATE attempts, batch_states")
        assert await organisation_usage.by_day(c, ACME, first, last) == before
