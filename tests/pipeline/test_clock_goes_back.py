"""The clock of Postgres was two hours ahead, and is right again: nothing waits for a time of the wrong clock.

Each test writes what the service writes while the clock is ahead.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from app.delivery.maintenance import FUTURE_TIMES
from app.domain.pacing.lane_limits import LONGEST_LEASE_S
from app.store.incidents import facts
from app.store.lanes import LANE_LOCKS
from tests.pipeline.test_callback_delivery import Receiver, engine_of, received, receiver, tell
from tests.pipeline.test_erasing import EMAIL, erase, finished, retried_alone
from tests.pipeline.test_finding_subjects import search
from tests.pipeline.test_missing_endpoint import GONE, fail_until_parked
from tests.pipeline.world import World, event, eventually

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
    dst = await world.destination()
    await world.post(dst, event(1))
    await world.fetch(f"UPDATE batch_states SET due_at = {AHEAD}, accepted_at = {AHEAD}")
    world.work()
    await world.until(dst, delivered=1)


async def test_an_event_put_off_ahead_is_delivered(world: World) -> None:
    dst = await retried_alone(world)
    await world.fetch(f"UPDATE exceptions SET due_at = {AHEAD}")
    world.amazon.script = None
    world.work()
    await world.until(dst, delivered=1)


@pytest.mark.parametrize("column", ["blocked_until", "leased_until"])
async def test_a_lane_of_a_worker_that_ended_ahead_is_served(world: World, column: str) -> None:
    """The next owner obeys no Retry-After of that time. The former owner is frozen and keeps its lock."""
    dst = await world.destination()
    await world.post(dst, event(1))
    await world.fetch(f"UPDATE lanes SET {column} = {AHEAD}, owner = 'frozen'")
    async with world.resources.pool.acquire() as frozen:
        if column == "leased_until":
            await frozen.execute("SELECT pg_advisory_lock($1, id) FROM lanes", LANE_LOCKS)
        world.work()
        await world.until(dst, delivered=1)
        await frozen.execute("SELECT pg_advisory_unlock_all()")


async def test_events_of_an_attempt_that_started_ahead_are_sent_again(world: World) -> None:
    """Its worker died. The next one waits until no request can be in flight, by the corrected time."""
    dst = await world.destination()
    await world.post(dst, event(1))
    await world.fetch(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, "
        "started_at) SELECT nextval('attempt_ids'), current_date, d.lane, d.number, 0, 'dead', "
        f"ARRAY[s.batch], 1, 0, {AHEAD} FROM destinations d JOIN batch_states s ON s.destination = d.number"
    )
    world.work()

    async def is_corrected() -> bool:
        (row,) = await world.fetch("SELECT started_at <= now() AS done FROM attempts")
        return bool(row["done"])

    await eventually(is_corrected)
    assert not world.amazon.requests
    await world.fetch("UPDATE attempts SET started_at = started_at - interval '1 minute'")
    await world.until(dst, delivered=1)


async def test_a_missing_endpoint_is_probed(world: World) -> None:
    world.stop_clock()
    world.amazon.script = lambda _: GONE
    dst = await world.destination()
    await world.post(dst, event(1))
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

    async def is_created() -> bool:
        return bool(await world.fetch("SELECT FROM callbacks"))

    await eventually(is_created)
    await world.stop_workers()
    await world.fetch(f"ALTER TABLE callbacks ALTER {column} SET DEFAULT now()")
    world.work(journey=engine_of(receiver))
    await received(receiver, 1)


async def test_an_erasure_finds_what_was_accepted_ahead(world: World) -> None:
    """And waits for no request of that time. A search finds it as well."""
    dst = await world.destination()
    await world.post(dst, event(3))
    world.work()
    await world.until(dst, delivered=1)
    await world.stop_workers()
    await world.fetch(f"UPDATE batch_states SET accepted_at = {AHEAD}, settled_at = {AHEAD}")
    assert (await search(world, email=EMAIL)).events.total() == 1
    id = await erase(world)  # noqa: A001
    world.work()
    assert (await finished(world, id)).delivered == 1
    assert (await search(world, email=EMAIL)).events.total() == 0


async def test_that_no_worker_runs_is_noticed(world: World) -> None:
    """The last one ended while its lease was two hours in the future."""
    dst = await world.destination()
    await world.post(dst, event(1))
    await world.fetch(f"UPDATE lanes SET leased_until = {AHEAD}")
    async with world.resources.pool.acquire() as c:
        workers = await facts.workers(c, lease=timedelta(seconds=LONGEST_LEASE_S))
    assert (workers.is_leased, workers.lapsed_at) == (False, None)


@pytest.mark.parametrize(
    ("statement", "times"),
    [
        (
            "INSERT INTO notifications (organisation_id, id, channel, type, body, due_at, leased_until) "
            f"VALUES ('default', 'msg_{'a' * 20}', 'ops', 'incident.opened', '', {AHEAD}, {AHEAD})",
            "SELECT due_at, leased_until FROM notifications",
        ),
        (
            "INSERT INTO incidents (organisation_id, id, kind, severity, state, opened_at, last_seen_at, "
            f"summary) VALUES ('default', 'inc_{'a' * 20}', 'no_worker', 'critical', 'open', now(), {AHEAD}, "
            "'No worker')",
            "SELECT last_seen_at FROM incidents",
        ),
    ],
    ids=["notifications", "incidents"],
)
async def test_messages_and_incidents_of_that_time_end(world: World, statement: str, times: str) -> None:
    """Otherwise the message is not sent, and the incident stays open, for two hours."""
    await world.fetch(statement)
    world.work()

    async def is_corrected() -> bool:
        (row,) = await world.fetch(times)
        return max(row) <= datetime.now(UTC)

    await eventually(is_corrected)
