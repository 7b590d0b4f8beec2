"""Queues that are longer than events may grow old are found; those that wait on purpose are not."""

from datetime import timedelta

from app.ingest.queue_age import QueueAgeMonitor
from tests.pipeline.world import World, event


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
    assert backlogs.overdue == {late}

    world.work()
    await world.until(late, delivered=1)
    await backlogs.check()
    assert backlogs.overdue == frozenset()
