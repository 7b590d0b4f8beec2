"""Which queue a lane serves next: retries amid live events, and queues that cannot be claimed."""

from collections import Counter
from dataclasses import replace

import httpx

from app.delivery.lane import LONGEST_BACKOFF_S, Lane
from app.delivery.request_content import RequestContent
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, DestinationNumber, LaneId
from app.domain.pacing.order import WorkKind
from app.domain.pacing.pace import Pace, RateLimit
from app.store.due_work import DestinationQueue, LanePoll
from app.store.lanes import LaneLease
from tests.pipeline.amazon import Request, items
from tests.pipeline.world import World, event

NOW = 100.0


def lane() -> Lane:
    return Lane(LaneLease(LaneId(1), 1, DEFAULT_ORGANISATION, "NA", "1", 0.0), 1e9, Pace(RateLimit(10, 10)))


LIVE = DestinationQueue(DestinationNumber(1), DestinationId("dst_1"), {WorkKind.LIVE: -1.0})


async def test_a_retry_is_sent_amid_a_stream_of_live_events(world: World) -> None:
    """Each request is chosen anew, so the retry does not wait until no live event is due."""

    def fail_one(request: Request) -> httpx.Response | None:
        if request.number != 3:
            return None
        return items("INTERNAL_ERROR", *[None] * (len(request.events) - 1))

    world.amazon.script = fail_one
    dst = await world.destination()
    await world.post(dst, event(0))
    world.stop_clock()
    world.work()
    await world.advance(1)
    requests, number = world.amazon.requests, 0
    while len(requests) <= 3 or requests[3].ids[0] not in world.amazon.accepted:
        number += 1
        assert number < 40
        await world.post(dst, event(number))
        await world.make_due()
        await world.advance(0.03)
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
    poll, later = LanePoll(None, 0, (), (LIVE,)), NOW + LONGEST_BACKOFF_S
    assert owned.select(poll, NOW, NOW) is None
    assert owned.select(poll, later, later - 0.1) is None
    assert owned.select(poll, later, later) == (LIVE, WorkKind.LIVE, False)
    number, long_after = DestinationNumber(1), later + LONGEST_BACKOFF_S
    assert owned.back_off(number, WorkKind.LIVE, long_after - 0.1).failures == 16
    assert owned.back_off(number, WorkKind.LIVE, long_after + 2 * LONGEST_BACKOFF_S).failures == 1


def test_destinations_take_turns_also_beside_the_retries_of_one() -> None:
    owned, served = lane(), Counter[tuple[int, WorkKind]]()
    both = {WorkKind.LIVE: -1.0, WorkKind.RETRY: -1.0}
    queues = [replace(LIVE, number=DestinationNumber(number)) for number in range(1, 7)]
    poll = LanePoll(None, 0, (), (replace(queues[0], due_in=both), *queues[1:]))
    for now in range(100, 148):
        selected = owned.select(poll, now, now)
        assert selected is not None
        queue, kind, _ = selected
        served[queue.number, kind] += 1
        content = RequestContent(queue, (), (), (), (), None, has_more=False, kind=kind)
        owned.begin_request(content, now, deadline=now)
    assert [served[number, WorkKind.LIVE] for number in range(1, 7)] == [6] * 6
    assert served[1, WorkKind.RETRY] == 12
