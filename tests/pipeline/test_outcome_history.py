"""The history of outcomes, and rates: every change is in one bucket of each width, and old buckets go."""

from datetime import UTC, datetime, timedelta

from app.domain.ids import DestinationNumber
from app.store.destinations import figures, outcome_history
from app.store.destinations.outcome_history import RETENTION, OutcomeBucket
from tests.pipeline.world import World, event


async def count(world: World, number: int, **changes: int) -> None:
    """Change the counts of today, as the pipeline does."""
    names, values = list(changes), list(changes.values())
    columns, places = ", ".join(names), ", ".join(f"${n + 2}" for n in range(len(names)))
    await world.fetch(
        f"INSERT INTO counts AS c (destination, day, writer, {columns}) "
        f"VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1, {places}) "
        "ON CONFLICT (destination, day, writer) DO UPDATE SET "
        + ", ".join(f"{name} = c.{name} + excluded.{name}" for name in names),
        number,
        *values,
    )


async def record(world: World, waiting: dict[DestinationNumber, float] | None = None) -> None:
    async with world.resources.pool.acquire() as connection, connection.transaction():
        await outcome_history.record(connection, waiting or {})


async def total(world: World, number: DestinationNumber, width: timedelta) -> OutcomeBucket:
    since = datetime.now(UTC) - 2 * width
    async with world.pool.acquire() as connection:
        found = (await outcome_history.buckets(connection, [number], width=width, since=since))[number]
    names = ("accepted", "rejected", "delivered", "dead", "requests", "failed_requests", "retried")
    sums = {name: sum(getattr(bucket, name) for bucket in found) for name in names}
    ages = [bucket.oldest_waiting_seconds for bucket in found if bucket.oldest_waiting_seconds]
    return OutcomeBucket(number, since, **sums, oldest_waiting_seconds=max(ages, default=None))


async def test_each_change_is_counted_once_in_every_width(world: World) -> None:
    """Recorded twice or not yet recorded, the sum is the same."""
    number = await world.number(await world.destination())
    await count(world, number, accepted=10, delivered=4, rejected=3)
    await record(world)
    await record(world)
    await count(world, number, delivered=5)
    for width in RETENTION:
        found = await total(world, number, width)
        assert (found.accepted, found.delivered, found.rejected) == (10, 9, 3), width


async def test_a_replay_takes_no_failure_back(world: World) -> None:
    """What failed has failed in its bucket; afterwards it fails again or is delivered."""
    number = await world.number(await world.destination())
    await count(world, number, accepted=10, dead=10)
    await record(world)
    await count(world, number, dead=-10)
    await record(world)
    await count(world, number, dead=2, delivered=8)
    await record(world)
    found = await total(world, number, timedelta(days=1))
    assert (found.dead, found.delivered) == (12, 8)


async def test_requests_and_waiting_events_are_recorded(world: World, dst: str) -> None:
    """A request counts once; the newest seconds are left to the next recording."""
    number = await world.number(dst)
    await world.fetch(
        "INSERT INTO commit_probes (id, at, outcomes_recorded_at) "
        "VALUES (1, now(), now() - interval '60 seconds')"
    )
    for seconds, outcome in ((1, "broken"), (20, "answered"), (31, "broken"), (90, "answered")):
        await world.add_attempt(dst, began=seconds, settled=seconds, outcome=outcome)
    await record(world, {number: 42.0})
    await record(world, {number: 7.0})
    found = await total(world, number, timedelta(days=1))
    assert (found.requests, found.failed_requests, found.retried) == (2, 1, 5)
    assert found.oldest_waiting_seconds == 42.0


async def test_old_buckets_are_deleted(world: World) -> None:
    number = await world.number(await world.destination())
    await world.fetch(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at) "
        "SELECT 'default', $1, s, now() - k + interval '1 minute' * n FROM unnest($2::int[], $3::interval[]) "
        "AS w (s, k), unnest(ARRAY[-1, 1]) n",
        number,
        [int(width.total_seconds()) for width in RETENTION],
        list(RETENTION.values()),
    )
    async with world.resources.pool.acquire() as connection:
        await outcome_history.forget(connection)
    ((left,),) = await world.fetch("SELECT count(*) FROM outcome_history")
    assert left == len(RETENTION)


SPAN = timedelta(minutes=5)


async def _rates(world: World, destination: str, newest: int = 1_000) -> figures.Rates:
    number = await world.number(destination)
    async with world.resources.pool.acquire() as connection:
        return await figures.rates(connection, number, SPAN, newest=newest)


async def test_rates_are_of_the_last_span(world: World, dst: str) -> None:
    """Nothing before anything; then what came and what Amazon took; what is older no longer counts."""
    assert await _rates(world, dst) == figures.Rates(0, 0, 0, 0)
    await world.post(dst, *[event(n) for n in range(60)])
    await world.work_until(dst, delivered=60)
    rates = await _rates(world, dst)
    assert (rates.accepted_per_second, rates.delivered_per_second) == (0.2, 0.2)
    assert rates.requests_per_second > 0 == rates.failed_requests_per_second
    await world.stop_workers()
    await world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '6 minutes'")
    assert (await _rates(world, dst)).accepted_per_second == 0


async def test_of_very_many_batches_the_newest_tell(world: World, dst: str) -> None:
    """Where those that are read are all of the span, the rate is by the time they cover, not by the span."""
    await world.post_apart(dst, 6)
    assert (await _rates(world, dst, newest=3)).accepted_per_second > 6 / SPAN.total_seconds()
