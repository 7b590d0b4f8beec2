"""How long a look at a lane is believed, and what ends the belief (ADR 0023)."""

import asyncio
from collections.abc import Mapping, Sequence

import httpx
import pytest

from app.delivery.lane import BELIEVED_S, LONGEST_BACK_OFF_S, Lane
from app.domain.ids import DestinationId, DestinationNumber, LaneId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.token_bucket import LanePace, RateLimit
from app.domain.pacing.watermarks import Watermarks
from app.store.lanes import DestinationQueue, LaneLease
from tests.pipeline.amazon import Request
from tests.pipeline.world import World, event

NOW = 100.0


def lane(*, gate: float = 0.0, from_start_at: float = 1e9) -> Lane:
    held = LaneLease(LaneId(1), 1, "NA", "1", 0.0)
    return Lane(
        held, 1e9, RateLimit(10, 10), LanePace(gate=gate), watermarks=Watermarks(from_start_at=from_start_at)
    )


def queue(number: int, due_in: Mapping[WorkKind, float]) -> DestinationQueue:
    return DestinationQueue(DestinationNumber(number), DestinationId(f"dst_{number}"), due_in)


LIVE = queue(1, {WorkKind.LIVE: -1.0})


def test_one_destination_with_live_events_alone_is_believed_for_half_a_second() -> None:
    """And then looked at anew."""
    one = lane()
    one.looked([LIVE], NOW)
    assert one.known(NOW + BELIEVED_S * 0.9) == LIVE
    assert one.known(NOW + BELIEVED_S) is None


@pytest.mark.parametrize(
    "queues",
    [
        pytest.param([], id="nothing active"),
        pytest.param([LIVE, queue(2, {})], id="two destinations, one of which owes nothing"),
        pytest.param([queue(1, {WorkKind.LIVE: -1.0, WorkKind.RETRY: 9.0})], id="a retry that is due later"),
        pytest.param([queue(1, {WorkKind.LIVE: -1.0, WorkKind.REPLAY: -1.0})], id="a replay"),
        pytest.param([queue(1, {WorkKind.REPLAY_RETRY: -1.0})], id="a retry of a replay"),
    ],
)
def test_what_may_have_another_turn_is_looked_at_each_time(queues: Sequence[DestinationQueue]) -> None:
    """A belief from before does not outlive such a look."""
    one = lane()
    one.looked([LIVE], NOW)
    one.looked(queues, NOW)
    assert one.known(NOW) is None


def test_a_look_from_the_start_and_a_shut_gate_are_not_passed_over() -> None:
    """What committed late lies before the floor; who may not send yet asks when."""
    for one in (lane(from_start_at=NOW), lane(gate=NOW + 1)):
        one.looked([LIVE], NOW)
        assert one.known(NOW) is None


async def test_a_retry_has_its_turn_in_a_stream_of_live_events(world: World) -> None:
    """The settlement that made it ends the belief that only live events wait."""

    def fail_one(request: Request) -> httpx.Response | None:
        if request.number != 3:
            return None
        failed = {"index": 0, "errors": [{"code": "INTERNAL_ERROR", "message": "later"}]}
        taken = [{"index": index} for index in range(1, len(request.events))]
        return httpx.Response(207, json={"success": taken, "error": [failed]})

    world.amazon.script = fail_one
    dst = await world.destination()
    world.work()
    for number in range(200):
        await world.post(dst, event(number))
        await asyncio.sleep(0.03)
        requests = world.amazon.requests
        if len(requests) > 3 and requests[3].ids[0] in world.amazon.accepted:
            break
    else:
        raise AssertionError("the retry waited for the stream to end")
    await world.until(dst, delivered=number + 1)


def test_a_lane_that_cannot_take_what_is_due_looks_ever_more_rarely() -> None:
    """At once after the first time, then later and later, up to some seconds; not at full speed for ever."""
    one, waits = lane(), []
    for _ in range(15):
        one.wake_at = None
        waits.append(one.back_off(NOW))
        assert one.wake_at == NOW + waits[-1]
    assert waits[0] == 0
    assert waits[1:9] == sorted(waits[1:9])
    assert waits[-1] == LONGEST_BACK_OFF_S
    assert sum(waits) > 15
