"""How long a lane's poll result is cached, and what ends the cache (ADR 0023)."""

from collections.abc import Mapping, Sequence

import httpx
import pytest

from app.delivery.lane import LONGEST_BACKOFF_S, POLL_CACHE_S, Lane
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, DestinationNumber, LaneId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.token_bucket import LanePace, RateLimit
from app.domain.pacing.watermarks import Watermarks
from app.store.lanes import DestinationQueue, LaneLease, LanePoll
from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event

NOW = 100.0


def lane(*, blocked_until: float = 0.0, full_scan_at: float = 1e9) -> Lane:
    return Lane(
        LaneLease(LaneId(1), 1, DEFAULT_ORGANISATION, "NA", "1", 0.0),
        1e9,
        RateLimit(10, 10),
        LanePace(blocked_until=blocked_until),
        watermarks=Watermarks(full_scan_at=full_scan_at),
    )


def queue(number: int, due_in: Mapping[WorkKind, float]) -> DestinationQueue:
    return DestinationQueue(DestinationNumber(number), DestinationId(f"dst_{number}"), due_in)


def poll(*queues: DestinationQueue) -> LanePoll:
    return LanePoll(None, 0, (), queues)


LIVE = queue(1, {WorkKind.LIVE: -1.0})


def test_a_poll_that_found_one_live_queue_is_cached_for_half_a_second() -> None:
    """Then the lane is polled again."""
    owned = lane()
    owned.polled(poll(LIVE), NOW, NOW)
    assert owned.cached_queue(NOW + POLL_CACHE_S * 0.9) == LIVE
    assert owned.cached_queue(NOW + POLL_CACHE_S) is None


@pytest.mark.parametrize(
    "queues",
    [
        pytest.param([], id="nothing active"),
        pytest.param([LIVE, queue(2, {})], id="two destinations, one without due work"),
        pytest.param([queue(1, {WorkKind.LIVE: -1.0, WorkKind.RETRY: 9.0})], id="a retry that is due later"),
        pytest.param([queue(1, {WorkKind.LIVE: -1.0, WorkKind.REPLAY: -1.0})], id="a replay"),
        pytest.param([queue(1, {WorkKind.REPLAY_RETRY: -1.0})], id="a retry of a replay"),
    ],
)
def test_a_poll_with_any_other_due_work_is_not_cached(queues: Sequence[DestinationQueue]) -> None:
    """Such a poll also ends the cache of the one before."""
    owned = lane()
    owned.polled(poll(LIVE), NOW, NOW)
    owned.polled(poll(*queues), NOW, NOW)
    assert owned.cached_queue(NOW) is None


def test_the_cache_hides_neither_a_full_scan_nor_a_blocked_lane() -> None:
    """Batches that committed late lie below the watermark; a blocked lane must set its wake-up."""
    for owned in (lane(full_scan_at=NOW), lane(blocked_until=NOW + 1)):
        owned.polled(poll(LIVE), NOW - 0.1, NOW - 0.1)
        assert owned.cached_queue(NOW) is None


async def test_a_retry_is_sent_amid_a_stream_of_live_events(world: World) -> None:
    """The settlement that made the retry ends the cache of a live queue."""

    def fail_one(request: Request) -> httpx.Response | None:
        if request.number != 3:
            return None
        failed = {"index": 0, "errors": [{"code": "INTERNAL_ERROR", "message": "later"}]}
        accepted = [{"index": index} for index in range(1, len(request.events))]
        return httpx.Response(207, json={"success": accepted, "error": [failed]})

    world.amazon.script = fail_one
    dst = await world.destination()
    await world.post(dst, event(0))
    clock = world.stop_clock()
    world.work()
    await world.advance(1)
    requests, number, ended = world.amazon.requests, 0, None
    while len(requests) <= 3 or requests[3].ids[0] not in world.amazon.accepted:
        number += 1
        assert number < 200
        await world.post(dst, event(number))
        await world.make_due()
        await world.advance(0.03)
        if len(requests) > 3:
            ended = ended or clock.now + POLL_CACHE_S / 2
            assert clock.now < ended, "the retry waited until the cache of the live queue ended"
    await world.advance(1)
    assert (await world.counts(dst))["delivered"] == number + 1


def test_a_queue_that_cannot_be_claimed_backs_off_longer_each_time() -> None:
    """Almost no wait after the first failure, then twice as long each time, up to half a minute."""
    owned = lane()
    waits = [owned.back_off(DestinationNumber(1), WorkKind.LIVE, NOW).until - NOW for _ in range(15)]
    assert waits[0] <= 0.1
    assert waits == sorted(waits)
    assert waits[8] > 10
    assert waits[-1] == LONGEST_BACKOFF_S
    assert owned.select([LIVE], NOW) is None
    assert owned.select([LIVE], NOW + LONGEST_BACKOFF_S - 0.1) is None
    assert owned.select([LIVE], NOW + LONGEST_BACKOFF_S) == (LIVE, WorkKind.LIVE, False)
