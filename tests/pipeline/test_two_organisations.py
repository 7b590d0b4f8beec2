"""Two organisations on one pipeline: events, names, duplicates, erasures, pace, suspension and usage.

Also with the same advertiser and region: what one sets or does restrains no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from app.domain.ids import LaneId, OrganisationId
from app.domain.pacing.pace import BreakerState, PaceSummary
from app.store import due_work, lanes
from app.store.destinations import figures as destination_figures
from app.store.lanes import LaneLease
from app.store.organisations import organisations, usage
from app.store.organisations.scope import EVERY, prepare_engine, scoped_engine, scoped_pool
from tests.event_loop import turns
from tests.pipeline.rows import BY_ORDER
from tests.pipeline.test_erasing import erase
from tests.pipeline.world import World, event

ACME, BETA = OrganisationId("acme"), OrganisationId("beta")
NOWHERE = "dst_" + "9" * 20


async def suspend(world: World, organisation: OrganisationId, suspended: bool) -> None:
    """As the API does."""
    engine = create_async_engine(world.url)
    prepare_engine(engine)
    async with scoped_engine(engine, EVERY).begin() as connection:
        await organisations.set_suspended(connection, organisation, suspended)
    await engine.dispose()


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
    by_event = {**BY_ORDER, "event_type": {"path": "kind"}}
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
    await erase(world, organisation=ACME)
    await world.work_until(mine, organisation=ACME, erased=1)
    await world.until(theirs, organisation=BETA, delivered=1)


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
        assert results is None or {result.status for result in results} == {"accepted"}


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
    await world.work_until(mine, organisation=ACME, delivered=2)
    await world.until(theirs, organisation=BETA, delivered=1)
    await world.pass_midnight()
    await world.post(mine, event(4), organisation=ACME)
    await world.until(mine, organisation=ACME, delivered=3)
    # Of whatever days they are: midnight may also pass while this runs.
    first, last = (await world.fetch("SELECT min(day), max(day) FROM counts"))[0]
    async with world.resources.pool.acquire() as c:
        before = await usage.by_day(c, ACME, first, last)
        stored = await c.fetch(
            "SELECT sum(bytes)::int FROM batch_states s JOIN destinations d ON d.number = s.destination "
            "WHERE d.organisation_id = 'acme' GROUP BY day ORDER BY day"
        )
        used = [(day.events, day.requests, day.bytes) for day in before if day.events]
        assert used == [(2, 1, stored[0][0]), (1, 1, stored[1][0])]
        for day in before:
            await usage.record_day(c, day.day)
        await c.execute("TRUNCATE attempts, batch_states")
        assert await usage.by_day(c, ACME, first, last) == before


OURS, THEIRS = OrganisationId("beta"), OrganisationId("acme")
# The facts of a destination that put it into each state.
STATES: Mapping[str, str] = {
    "draft": "sign_in = 'none'",
    "connected": "published_mappings = 0",
    "active": "published_mappings = 1",
    "paused": "paused = true",
    "needs_reconnect": "sign_in = 'broken', sign_in_reason = 'revoked'",
    "archived": "archived_at = now()",
    "suspended": "suspended = true",
}


@dataclass(frozen=True)
class Foreign:
    """The destination of the other organisation, and its lane."""

    world: World
    id: str
    lane: LaneId
    fence: int

    async def limits_its_pace(self) -> None:
        await self.world.fetch(
            "UPDATE destinations SET requests_per_second = 0.1, burst = 1 WHERE id = $1", self.id
        )

    async def gets_a_429(self) -> None:
        async with self.world.resources.pool.acquire() as c:
            await lanes.block_until(c, self.lane, 3600.0)

    async def opens_its_breaker(self) -> None:
        await self._records(PaceSummary(None, BreakerState.OPEN, 1.0, 30.0))

    async def learns_a_rate(self) -> None:
        await self._records(PaceSummary(0.1, BreakerState.CLOSED, 0.0))

    async def erases_a_person(self) -> None:
        await erase(self.world, organisation=THEIRS, email="person1@example.com")

    async def _records(self, summary: PaceSummary) -> None:
        lease = LaneLease(self.lane, self.fence, THEIRS, "NA", "", 0.0)
        async with self.world.resources.pool.acquire() as c:
            await lanes.record_summary(c, lease, summary)


async def lane_of(world: World, destination: str) -> tuple[LaneId, int]:
    (row,) = await world.fetch(
        "SELECT l.id, l.fence FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.id = $1", destination
    )
    return LaneId(row["id"]), row["fence"]


async def listed(world: World, destination: str) -> tuple[Any, ...]:
    """Return all that restrains the requests of a destination, and what its statistics show of that."""
    lane, _ = await lane_of(world, destination)
    async with world.resources.pool.acquire() as c:
        poll = await due_work.poll(c, lane, batches_in_flight=[], exceptions_in_flight=[], watermarks={})
        terms = await due_work.pace_settings(c, lane)
    (row,) = await world.fetch(
        "SELECT blocked_until, learned_rate, breaker, error_rate, erasures FROM lanes WHERE id = $1", lane
    )
    async with scoped_pool(world.resources.pool, OURS).acquire() as c:
        figures = await destination_figures.destination_figures(c, await world.number(destination))
    shown = (figures.learned_rate, figures.breaker, figures.error_rate, figures.requests_per_second)
    return poll.limit, poll.erasures, poll.rates_elsewhere, terms, tuple(row), shown


@pytest.mark.parametrize(
    "does",
    [
        Foreign.limits_its_pace,
        Foreign.gets_a_429,
        Foreign.opens_its_breaker,
        Foreign.learns_a_rate,
        Foreign.erases_a_person,
    ],
)
async def test_a_foreign_destination_in_any_state_changes_nothing(
    world: World, does: Callable[[Foreign], Awaitable[None]]
) -> None:
    """Neither what holds for ours, nor when its events are delivered: one a second, each at once."""
    ours = {}
    for number, (state, facts) in enumerate(STATES.items()):
        mine = ours[state] = await world.destination(
            advertiser=f"7{number}", organisation=OURS, rate=5, burst=5
        )
        before = await listed(world, mine)
        theirs = await world.destination(advertiser=f"7{number}", organisation=THEIRS, rate=5, burst=5)
        await world.fetch(f"UPDATE destinations SET {facts} WHERE id = $1", theirs)
        await does(Foreign(world, theirs, *await lane_of(world, theirs)))
        assert await listed(world, mine) == before, state
    world.stop_clock(merge_window_ms=0)
    world.work()
    for number in range(3):
        for mine in ours.values():
            await world.post(mine, event(number), organisation=OURS)
        await world.advance(1)
        delivered = {state: (await world.counts(mine, OURS))["delivered"] for state, mine in ours.items()}
        assert delivered == dict.fromkeys(STATES, number + 1)


async def test_everything_that_a_lane_holds_is_tried(world: World) -> None:
    """A new column of `lanes` needs an act of `Foreign`, unless it is not state that restrains requests."""
    rows = await world.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'lanes'")
    tried = {"blocked_until", "breaker", "error_rate", "learned_rate", "erasures", "probe_at"}
    identity = {"id", "organisation_id", "region", "advertiser_id", "owner", "leased_until", "fence"}
    assert {row["column_name"] for row in rows} == tried | identity


async def test_only_amazons_own_limit_is_divided(world: World) -> None:
    """With an active destination that Amazon limits now: a 429 within a minute, and no long Retry-After."""
    lane, _ = await lane_of(world, await world.destination(advertiser="7", organisation=OURS))
    theirs = await world.destination(advertiser="7", organisation=THEIRS)
    elsewhere = await world.destination(advertiser="7", organisation=THEIRS, region="EU")

    async def rates(state: str, blocked_until: str, learned_rate: float | None = 2.0) -> tuple[float, ...]:
        await world.fetch(f"UPDATE destinations SET {STATES[state]} WHERE id IN ($1, $2)", theirs, elsewhere)
        await world.fetch(
            f"UPDATE lanes SET learned_rate = $1, blocked_until = {blocked_until} WHERE id <> $2",
            learned_rate,
            lane,
        )
        await world.fetch("UPDATE lanes SET learned_rate = 1, blocked_until = now() WHERE id = $1", lane)
        async with world.resources.pool.acquire() as c:
            poll = await due_work.poll(c, lane, batches_in_flight=[], exceptions_in_flight=[], watermarks={})
        return poll.rates_elsewhere

    assert await rates("active", "now() - interval '20 s'") == (2.0,)
    assert await rates("active", "now() + interval '20 s'") == (2.0,)
    assert await rates("active", "now() - interval '2 min'") == ()
    assert await rates("active", "now() + interval '1 hour'") == ()
    assert await rates("active", "NULL") == ()
    assert await rates("active", "now()", None) == ()
    for state in ("connected", "paused", "needs_reconnect", "archived"):
        assert await rates(state, "now()") == ()
        if state != "archived":
            await world.fetch(
                "UPDATE destinations SET published_mappings = 1, paused = false, sign_in = 'valid', "
                "sign_in_reason = NULL WHERE organisation_id = $1",
                THEIRS,
            )


@pytest.mark.parametrize("state", STATES)
async def test_the_limits_of_connected_destinations_hold_in_their_organisation(
    world: World, state: str
) -> None:
    """The lowest of those that may send; a draft, for example, limits no other."""
    mine = await world.destination(advertiser="7", rate=50, burst=9)
    slow = await world.destination(advertiser="7", rate=2, burst=3)
    await world.fetch(f"UPDATE destinations SET {STATES[state]} WHERE id = $1", slow)
    lane, _ = await lane_of(world, mine)
    async with world.resources.pool.acquire() as c:
        poll = await due_work.poll(c, lane, batches_in_flight=[], exceptions_in_flight=[], watermarks={})
        limit, _ = await due_work.pace_settings(c, lane)
    assert limit is not None
    assert poll.limit == limit
    expected = (2, 3) if state in ("connected", "active") else (50, 9)
    assert (limit.requests_per_second, limit.burst) == expected


async def test_statistics_say_that_another_organisation_uses_the_account_and_nothing_else(
    world: World,
) -> None:
    """From the first sign-in of both on. For the API's role, which cannot read the other organisation."""
    mine = await world.destination(advertiser="7", organisation=OURS)
    other_region = await world.destination(advertiser="7", region="EU", organisation=OURS)
    alone = await world.destination(advertiser="8", organisation=OURS)
    assert world.receiving is not None

    async def is_shared(destination: str) -> bool:
        async with scoped_pool(world.receiving.pool, OURS).acquire() as c:
            figures = await destination_figures.destination_figures(c, await world.number(destination))
        return figures.shared_account

    assert not await is_shared(mine)
    theirs = await world.destination(advertiser="7", organisation=THEIRS)
    for state in sorted(STATES, key="archived".__eq__):  # an archived destination stays archived
        await world.fetch(
            "UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL WHERE id = $1", theirs
        )
        await world.fetch(f"UPDATE destinations SET {STATES[state]} WHERE id = $1", theirs)
        assert await is_shared(mine) == (state not in ("draft", "archived")), state
        assert not await is_shared(other_region)
        assert not await is_shared(alone)
    another = await world.destination(advertiser="7", organisation=THEIRS)
    assert await is_shared(mine)
    await world.fetch("UPDATE destinations SET sign_in = 'none' WHERE id = $1", mine)
    assert not await is_shared(mine), another
