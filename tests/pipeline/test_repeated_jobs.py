"""How long a job of a worker rests after a run that took long."""

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from app.delivery.dispatcher import LONGEST_REST_S, Dispatcher, rest_after
from app.store.database.results import DatabaseResults
from app.telemetry import Telemetry


@pytest.mark.parametrize(
    ("took", "previous", "rest"),
    [
        (0.1, 0.1, 1.9),
        (0.25, 0.0, 0.0),  # the first run after a restart of Postgres
        (12.0, 0.01, 0.19),  # a run that hung
        (0.01, 12.0, 0.19),
        (2.0, 2.0, LONGEST_REST_S),
    ],
)
def test_a_job_rests_in_proportion_to_the_shorter_of_two_runs(
    took: float, previous: float, rest: float
) -> None:
    assert rest_after(took, previous, share=1 / 20) == pytest.approx(rest)


async def test_a_job_that_waited_for_a_silent_connection_runs_again_at_once() -> None:
    """Otherwise the only worker whose lease connection is half-open leaves its lanes for ten more seconds."""
    now, runs = 0.0, 0
    has_run_again = asyncio.Event()
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    async def reads_from_a_silent_connection() -> None:
        nonlocal now, runs
        runs += 1
        now += 2.0
        if runs == 2:
            has_run_again.set()
        raise asyncpg.InterfaceError("connection is closed")

    part: Any = None
    telemetry = Telemetry(CollectorRegistry())
    worker: Any = SimpleNamespace(
        monotonic=lambda: now, sleep=rest, timeout=asyncio.timeout, telemetry=telemetry
    )
    dispatcher = Dispatcher(
        worker=worker,
        delivery=part,
        leases=part,
        maintenance=part,
        balancing=part,
        erasing=part,
        outcomes=DatabaseResults(lambda: now),
    )
    job = asyncio.create_task(dispatcher._repeat(reads_from_a_silent_connection, 0.01, share=1 / 20))
    try:
        await asyncio.wait_for(has_run_again.wait(), 20)
        assert rests == []
    finally:
        job.cancel()
