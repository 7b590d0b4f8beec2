"""Wrong clocks: nothing is misjudged, and nothing waits for a time of a wrong clock.

Schedules and ages are the database's clock, windows each process's own monotonic one.
"""

import time
from datetime import timedelta
from typing import Final

import pytest

from app.delivery.maintenance import FUTURE_TIMES
from app.domain.pacing.lane_limits import LONGEST_LEASE_S
from app.store.database.clock import DatabaseClock, adjusted_offset
from app.store.incidents import facts
from app.store.lanes import LANE_LOCKS
from tests.pipeline.test_callback_delivery import Receiver, engine_of, received, receiver, tell
from tests.pipeline.test_erasing import EMAIL, erase, finished, retried_alone
from tests.pipeline.test_many_erasures import search
from tests.pipeline.test_missing_endpoint import GONE, fail_until_parked
from tests.pipeline.world import World, event, eventually, stamp


def off(by: timedelta) -> DatabaseClock:
    """The database's clock as a process knows it whose own is off."""
    return DatabaseClock(lambda: time.time() + by.total_seconds())


def set_api_clock(world: World, clock: DatabaseClock) -> None:
    """Give the API another clock."""
    world.intake.evaluator.clock = clock


FAR = [timedelta(hours=1), timedelta(hours=-1), timedelta(days=40), timedelta(days=-40)]


@pytest.mark.parametrize("by", FAR, ids=str)
async def test_however_far_a_clock_is_off_events_are_judged_by_the_databases(
    world: World, by: timedelta, dst: str
) -> None:
    """By the API what is new and what is old, also in a dry run; by a worker what has expired."""
    set_api_clock(world, off(by))
    ages = {"new": 0, "old": 20, "too old": 22, "future": -1}
    events = [
        event(number, event={"timestamp": stamp(ago=timedelta(days=days)), "total": 1, "brand": "acme"})
        for number, days in enumerate(ages.values())
    ]
    for take in (world.rehearse, world.post):
        results = await take(dst, *events)
        assert [one.rejection.reason if one.rejection else one.status for one in results] == [
            "accepted",
            "accepted",
            "event_too_old",
            "timestamp_future",
        ]
    world.work().worker.clock = off(by)
    await world.until(dst, delivered=2)


async def test_a_clock_that_is_set_or_stood_still_is_noticed_before_anything_is_judged(world: World) -> None:
    """Wall time leaves monotonic time behind: after it was set, and after the machine was suspended."""
    dst = await world.destination()
    off_by = [0.0]
    clock = DatabaseClock(lambda: time.time() + off_by[0])
    set_api_clock(world, clock)
    await world.post(dst, event(1))
    assert not clock.is_off
    off_by[0] = -3600.0
    assert [one.status for one in await world.post(dst, event(2))] == ["accepted"]
    assert clock.is_off
    assert round(clock.offset) == 3600
    off_by[0] = 0.0
    await world.post(dst, event(3))
    assert not clock.is_off


@pytest.mark.parametrize(
    ("before", "after", "offset"),
    [(100, 100.5, 0), (99, 101, 0), (90, 91, 9), (110, 112, -10)],
    ids=["a delay", "a long one", "behind", "ahead"],
)
def test_a_delay_is_not_mistaken_for_skew(before: float, after: float, offset: float) -> None:
    """Only what lies outside our two readings must be the clock."""
    assert adjusted_offset(0, database=100.2, before=before, after=after) == pytest.approx(offset, abs=0.3)


__all__ = ["receiver"]
AHEAD: Final = "now() + interval '2 hours'"

# Columns with times that may be in the future, and why nothing hangs if one of them is two hours late.
HARMLESS: Final = {
    ("api_keys", "expires_at"): "a person sets it; the key is valid two hours longer",
    ("incidents", "expires_at"): "shown only: when events expire",
    ("incidents", "muted_until"): "a person sets it; the incident is silent two hours longer",
    ("job_leases", "leased_until"): "`acquire` takes a lease that is too long",
    ("lanes", "probe_at"): "shown only: when the breaker lets a probe pass",
    ("oauth_states", "expires_at"): "a sign-in at Amazon may take two hours longer",
    ("replays", "until"): "the time up to which events count, not a wait",
    ("shadows", "ends_at"): "the comparison lasts two hours longer",
    ("sign_ins", "access_until"): "Amazon answers 401, and the token is refreshed",
    ("sign_ins", "refresh_until"): "`acquire` takes a lease that is too long",
}


async def test_every_time_that_may_be_in_the_future_is_corrected_or_harmless(world: World) -> None:
    rows = await world.fetch(
        "SELECT c.table_name, c.column_name FROM information_schema.columns c "
        "JOIN pg_class p ON p.relname = c.table_name AND NOT p.relispartition "
        "WHERE c.table_schema = 'public' AND c.data_type LIKE 'timestamp%' "
        "AND c.column_name ~ '(until|due_at|expires_at|ends_at|probe_at|not_before)$'"
    )
    corrected = {(each.table, each.column) for each in FUTURE_TIMES}
    found = {(row["table_name"], row["column_name"]) for row in rows}
    assert found - corrected == HARMLESS.keys()


async def test_an_event_accepted_ahead_is_delivered(world: World) -> None:
    dst = await world.destination(event(1))
    await world.fetch(f"UPDATE batch_states SET due_at = {AHEAD}, accepted_at = {AHEAD}")
    await world.work_until(dst, delivered=1)


async def test_an_event_put_off_ahead_is_delivered(world: World) -> None:
    dst = await retried_alone(world)
    await world.fetch(f"UPDATE exceptions SET due_at = {AHEAD}")
    world.amazon.script = None
    await world.work_until(dst, delivered=1)


@pytest.mark.parametrize("column", ["blocked_until", "leased_until"])
async def test_a_lane_of_a_worker_that_ended_ahead_is_served(world: World, column: str) -> None:
    """The next owner obeys no Retry-After of that time. The former owner is frozen and keeps its lock."""
    dst = await world.destination(event(1))
    await world.fetch(f"UPDATE lanes SET {column} = {AHEAD}, owner = 'frozen'")
    async with world.resources.pool.acquire() as frozen:
        if column == "leased_until":
            await frozen.execute("SELECT pg_advisory_lock($1, id) FROM lanes", LANE_LOCKS)
        await world.work_until(dst, delivered=1)
        await frozen.execute("SELECT pg_advisory_unlock_all()")


async def test_events_of_an_attempt_that_started_ahead_are_sent_again(world: World) -> None:
    """Its worker died. The next one waits until no request can be in flight, by the corrected time."""
    dst = await world.destination(event(1))
    await world.fetch(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, "
        "started_at) SELECT nextval('attempt_ids'), current_date, d.lane, d.number, 0, 'dead', "
        f"ARRAY[s.batch], 1, 0, {AHEAD} FROM destinations d JOIN batch_states s ON s.destination = d.number"
    )
    world.work()
    await eventually(lambda: world.fetch("SELECT FROM attempts WHERE started_at <= now()"))
    assert not world.amazon.requests
    await world.fetch("UPDATE attempts SET started_at = started_at - interval '1 minute'")
    await world.until(dst, delivered=1)


async def test_a_missing_endpoint_is_probed(world: World) -> None:
    world.stop_clock()
    world.amazon.script = lambda _: GONE
    dst = await world.destination(event(1))
    world.work()
    await world.advance(1)
    await fail_until_parked(world, dst)
    await world.fetch(f"UPDATE destinations SET endpoint_probe_at = {AHEAD}")
    world.amazon.script = None
    await world.advance(120)
    await world.until(dst, delivered=1)


@pytest.mark.parametrize("column", ["due_at", "leased_until"])
async def test_a_callback_of_that_time_is_sent(world: World, receiver: Receiver, column: str) -> None:
    dst = await world.destination()
    await tell(world, dst)
    await world.post(dst, event(1))
    await world.fetch(f"ALTER TABLE callbacks ALTER {column} SET DEFAULT {AHEAD}")
    world.work(journey=engine_of(receiver))
    await eventually(lambda: world.fetch("SELECT FROM callbacks"))
    await world.stop_workers()
    await world.fetch(f"ALTER TABLE callbacks ALTER {column} SET DEFAULT now()")
    world.work(journey=engine_of(receiver))
    await received(receiver, 1)


async def test_an_erasure_finds_what_was_accepted_ahead(world: World) -> None:
    """And waits for no request of that time. A search finds it as well."""
    await world.work_until(await world.destination(event(3)), delivered=1)
    await world.stop_workers()
    await world.fetch(f"UPDATE batch_states SET accepted_at = {AHEAD}, settled_at = {AHEAD}")
    assert (await search(world, email=EMAIL)).events.total() == 1
    id = await erase(world)  # noqa: A001
    world.work()
    assert (await finished(world, id)).delivered == 1
    assert (await search(world, email=EMAIL)).events.total() == 0


async def test_that_no_worker_runs_is_noticed(world: World) -> None:
    """The last one ended while its lease was two hours in the future."""
    await world.destination(event(1))
    await world.fetch(f"UPDATE lanes SET leased_until = {AHEAD}")
    async with world.resources.pool.acquire() as c:
        workers = await facts.workers(c, lease=timedelta(seconds=LONGEST_LEASE_S))
    assert not workers.is_leased


@pytest.mark.parametrize(
    ("statement", "corrected"),
    [
        (
            "INSERT INTO notifications (organisation_id, id, channel, type, body, due_at, leased_until) "
            f"VALUES ('default', 'msg_{'a' * 20}', 'ops', 'incident.opened', '', {AHEAD}, {AHEAD})",
            "SELECT FROM notifications WHERE greatest(due_at, leased_until) <= now()",
        ),
        (
            "INSERT INTO incidents (organisation_id, id, kind, severity, state, opened_at, last_seen_at, "
            f"summary) VALUES ('default', 'inc_{'a' * 20}', 'no_worker', 'critical', 'open', now(), {AHEAD}, "
            "'No worker')",
            "SELECT FROM incidents WHERE last_seen_at <= now()",
        ),
    ],
    ids=["notifications", "incidents"],
)
async def test_messages_and_incidents_of_that_time_end(world: World, statement: str, corrected: str) -> None:
    """Otherwise the message is not sent, and the incident stays open, for two hours."""
    await world.fetch(statement)
    world.work()
    await eventually(lambda: world.fetch(corrected))
