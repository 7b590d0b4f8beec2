"""Which lane and which queue is served next: ready and idle lanes, retries, low priority, merge windows."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

from app.delivery.claim import RequestContent
from app.delivery.dispatcher import Dispatcher
from app.delivery.lane import LONGEST_BACKOFF_S, POLL_EVERY_S, Alarms, Lane, Selection
from app.domain.destination import RequestRate
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, DestinationNumber, LaneId
from app.domain.pacing.order import CAPACITY, WorkKind
from app.domain.pacing.pace import SLOW_S, CircuitBreaker, Pace
from app.ingest.intake import EventResult
from app.store.database.results import DatabaseResults
from app.store.due_work import DestinationQueue, LanePoll
from app.store.lanes import LaneLease
from app.telemetry import Telemetry
from tests.pipeline.world import World, event, eventually

NOW = 10.0
CONTENT = RequestContent(
    cast(Any, SimpleNamespace(number=1)), (), (), (), (), None, has_more=False, kind=WorkKind.LIVE
)


def lane_of(pace: Pace, alarms: Alarms, number: int = 1) -> Lane:
    lease = LaneLease(LaneId(number), 1, DEFAULT_ORGANISATION, "NA", str(number), 0.0)
    return Lane(lease, 1e9, pace, alarms)


def bare_dispatcher(
    worker: Any, monotonic: Callable[[], float], part: Any = None, leases: Any = None
) -> Dispatcher:
    """Return a dispatcher whose parts all are `part`."""
    return Dispatcher(
        worker=worker,
        delivery=part,
        leases=leases,
        maintenance=part,
        balancing=part,
        erasing=part,
        outcomes=DatabaseResults(monotonic),
    )


def dispatcher_with(ready: int, *, busy: int) -> Dispatcher:
    """Return a dispatcher with `busy` requests in flight, each of a lane, and `ready` other lanes."""
    alarms, part = Alarms(), SimpleNamespace(serve=lambda *_, **__: asyncio.Future())

    def lane(number: int) -> Lane:
        return lane_of(Pace(RequestRate(10, 10)), alarms, number)

    worker: Any = SimpleNamespace(monotonic=lambda: NOW, telemetry=Telemetry(), capacity=CAPACITY)
    dispatcher = bare_dispatcher(worker, lambda: NOW, part, leases=SimpleNamespace(alarms=alarms))
    for number in range(busy):
        serving = lane(number)
        serving.begin_claim(NOW)
        task: Any = number
        dispatcher._tasks[task] = serving
    for number in range(busy, busy + ready):
        lane(number).wake(NOW)
    return dispatcher


def calls_of_a_pass(dispatcher: Dispatcher) -> int:
    """Return the number of Python functions that one look at the ready lanes calls."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        dispatcher._serve_ready()
    finally:
        sys.setprofile(None)
    return calls


async def test_a_lane_that_waits_for_a_slot_costs_hardly_anything() -> None:
    """Counting the requests in flight for each of a thousand lanes took 11 ms each time a request ended."""
    dispatcher = dispatcher_with(1_000, busy=CAPACITY.region)
    calls_of_a_pass(dispatcher)  # takes the lanes from the alarms
    assert len(dispatcher._ready) == 1_000
    assert calls_of_a_pass(dispatcher) < 2_000


@pytest.mark.parametrize("busy", [0, CAPACITY.region - 5])
async def test_ready_lanes_get_the_free_slots(busy: int) -> None:
    """Each start counts for the lanes after it, and the lanes that have waited longest come first."""
    dispatcher = dispatcher_with(100, busy=busy)
    dispatcher._serve_ready()
    started = {task: lane for task, lane in dispatcher._tasks.items() if isinstance(task, asyncio.Task)}
    assert [lane.lease.id for lane in started.values()] == list(range(busy, CAPACITY.region))
    for task in started:
        task.cancel()


def test_a_lane_claims_while_its_pace_allows_one_more_request() -> None:
    lane = lane_of(Pace(RequestRate(10, 10), in_flight_limit=2), Alarms())
    claims = []
    for _ in range(3):
        claims.append(lane.may_claim())
        lane.begin_request(CONTENT, NOW, deadline=NOW)
    assert claims == [True, True, False]


def test_a_lane_may_hang_after_a_failure_and_beside_a_slow_request() -> None:
    pace = Pace(RequestRate(10, 10))

    def may_hang(*recent: bool, is_slow: bool = False) -> bool:
        lane = lane_of(replace(pace, breaker=CircuitBreaker(recent), is_slow=is_slow), Alarms())
        return lane.may_hang(NOW)

    assert [may_hang(), may_hang(True, False), may_hang(False, True)] == [False, False, True]
    assert may_hang(False, is_slow=True)
    beside = lane_of(pace, Alarms())
    beside.begin_request(CONTENT, NOW, deadline=NOW)
    assert [beside.may_hang(NOW + later) for later in (0.0, SLOW_S)] == [False, True]


AT = 100.0


LIVE = DestinationQueue(DestinationNumber(1), DestinationId("dst_1"), {WorkKind.LIVE: -1.0})


def test_a_queue_that_cannot_be_claimed_backs_off_longer_each_time() -> None:
    """Almost no wait after the first failure, then twice as long each time, up to half a minute."""
    owned = lane_of(Pace(RequestRate(10, 10)), Alarms())
    waits = [owned.back_off(DestinationNumber(1), WorkKind.LIVE, AT).until - AT for _ in range(15)]
    assert waits[0] <= 0.1
    assert waits == sorted(waits)
    assert waits[8] > 10
    assert waits[-1] == LONGEST_BACKOFF_S
    poll, later = LanePoll(None, 0, (), (LIVE,)), AT + LONGEST_BACKOFF_S
    assert owned.select(poll, {}, AT, AT) is None
    assert owned.select(poll, {}, later, later - 0.1) is None
    assert owned.select(poll, {}, later, later) == Selection(LIVE, WorkKind.LIVE, False, {})
    number, long_after = DestinationNumber(1), later + LONGEST_BACKOFF_S
    assert owned.back_off(number, WorkKind.LIVE, long_after - 0.1).failures == 16
    assert owned.back_off(number, WorkKind.LIVE, long_after + 2 * LONGEST_BACKOFF_S).failures == 1


def test_destinations_take_turns_also_beside_the_retries_of_one() -> None:
    owned, served = lane_of(Pace(RequestRate(10, 10)), Alarms()), Counter[tuple[int, WorkKind]]()
    both = {WorkKind.LIVE: -1.0, WorkKind.RETRY: -1.0}
    queues = [replace(LIVE, number=DestinationNumber(number)) for number in range(1, 7)]
    poll = LanePoll(None, 0, (), (replace(queues[0], due_in=both), *queues[1:]))
    for now in range(100, 148):
        selected = owned.select(poll, {}, now, now)
        assert selected is not None
        queue, kind = selected.queue, selected.kind
        served[queue.number, kind] += 1
        content = RequestContent(queue, (), (), (), (), None, has_more=False, kind=kind)
        owned.begin_request(content, now, deadline=now)
    assert [served[number, WorkKind.LIVE] for number in range(1, 7)] == [6] * 6
    assert served[1, WorkKind.RETRY] == 12


IDLE = 100
WATCHED_S = 20


async def transactions(world: World) -> int:
    """Return how many transactions the sessions of the workers have ended; a lone statement is one."""
    # A session reports its transactions up to ten seconds late, or after it was asked for them.
    report = "SELECT pg_stat_force_next_flush()"
    async with AsyncExitStack() as stack:
        pool = world.delivering.pool
        for _ in range(pool.get_max_size()):
            connection = await stack.enter_async_context(pool.acquire())
            await connection.execute(report)
    for dispatcher, _ in world.workers:
        assert dispatcher.leases._session is not None
        await dispatcher.leases._session.execute(report)
    (row,) = await world.fetch("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(row["xact_commit"])


async def own(world: World, number: int) -> None:
    """Let a worker own that many lanes and deliver everything in them."""
    destinations = [await world.destination() for _ in range(number)]
    for dst in destinations:
        await world.post(dst, event(1))
    world.stop_clock()
    dispatcher = world.work(listens=False)
    await world.advance(2 * POLL_EVERY_S)
    assert not await world.fetch("SELECT 1 FROM batch_states WHERE settled_at IS NULL")
    owned = dispatcher.leases.owned
    assert len(owned) == number
    assert all(lane.wake_at is None for lane in owned.values())
    # The sessions of the API and the test report their transactions now, not while the worker's are counted.
    assert await world.fetch(
        "SELECT pg_terminate_backend(pid, 5000), pg_stat_force_next_flush() FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'test_api'"
    )


@pytest.mark.campaign
async def test_idle_lanes_cost_no_statements(world: World) -> None:
    """A hundred idle lanes cost as few statements as one: the worker's background jobs."""
    await own(world, IDLE)
    before = await transactions(world)
    asked = await transactions(world) - before
    before = await transactions(world)
    await world.advance(WATCHED_S)
    ended = await transactions(world) - before - asked
    # About five a second for leases, erasures, overdue attempts and maintenance; one statement per lane and
    # second would be 100.
    assert ended <= 10 * WATCHED_S, f"{ended} transactions in {WATCHED_S} s with {IDLE} idle lanes"
    assert ended >= WATCHED_S, "the worker's own polls were not counted"


async def test_what_comes_due_in_an_idle_lane_is_found_by_the_poll(world: World) -> None:
    """Without notifications: among many idle lanes the one with a due event is woken within two polls."""
    await own(world, 30)
    dst = await world.destination()
    for number, delivered in enumerate((1, 2)):
        await world.post(dst, event(number))
        await world.advance(2 * POLL_EVERY_S)
        assert (await world.counts(dst))["delivered"] == delivered


async def test_a_retry_that_is_due_later_does_not_hide_a_live_event(world: World) -> None:
    """A lane whose next retry is minutes away still sends what comes meanwhile, though no notice is heard."""
    dst = await world.destination(event(1))
    world.stop_clock()
    world.work(listens=False)
    await world.advance(2 * POLL_EVERY_S)
    assert (await world.counts(dst))["delivered"] == 1
    await world.fetch(
        "UPDATE batch_states SET disposition = NULL, settled_at = NULL, due_at = now() + interval '1 hour'"
    )
    await world.advance(2 * POLL_EVERY_S)  # the worker has seen the later one
    await world.post(dst, event(2))
    await world.advance(2 * POLL_EVERY_S)
    assert await world.fetch("SELECT 1 FROM batch_states WHERE settled_at IS NOT NULL")


def test_an_earlier_alarm_replaces_a_later_one() -> None:
    """Each lane is due once, in the order of the times."""
    alarms = Alarms()
    lanes = [lane_of(Pace(RequestRate(10, 10)), alarms, number) for number in range(3)]
    for lane, at in zip((*lanes, lanes[2]), (5.0, 2.0, 9.0, 1.0), strict=True):
        lane.wake(at)
    lanes[0].wake(7.0)
    assert alarms.next_at == 1.0
    assert list(alarms.due(5.0)) == [lanes[2], lanes[1], lanes[0]]
    for lane in lanes:
        lane.begin_claim(10.0)
    assert list(alarms.due(10.0)) == []
    assert alarms.next_at == float("inf")


async def post_low(world: World, dst: str, *numbers: int) -> list[EventResult]:
    return await world.post(dst, *(event(n) for n in numbers), low_priority=True)


async def test_what_is_live_leaves_first_however_much_was_filled_in_before(world: World) -> None:
    """Three low requests wait; the live one that came last is not the last to leave."""
    dst = await world.destination(rate=20, burst=1)
    for start in (0, 500, 1000):
        await post_low(world, dst, *range(start, start + 500))
    await world.post(dst, *(event(n) for n in range(5000, 5010)))
    await world.work_until(dst, delivered=1510)
    sizes = [len(request.events) for request in world.amazon.requests]
    assert sizes.index(10) <= 1
    assert sorted(sizes) == [10, 500, 500, 500]


async def test_low_and_live_share_one_commit_and_no_batch(world: World, dst: str) -> None:
    """A batch waits in one queue; what came with `low` stands in the one for replays."""
    await post_low(world, dst, 1, 2)
    await world.post(dst, event(3))
    rows = await world.fetch("SELECT queue, events FROM batch_states ORDER BY queue")
    assert [(row["queue"], row["events"]) for row in rows] == [(0, 1), (2, 2)]


async def test_an_id_is_accepted_once_whatever_its_priority(world: World) -> None:
    """Filling in what came live already, or twice, is harmless."""
    dst = await world.destination(event(1))
    assert [one.status for one in await post_low(world, dst, 1, 2)] == ["duplicate", "accepted"]
    assert [one.status for one in await post_low(world, dst, 1, 2)] == ["duplicate", "duplicate"]
    assert (await world.counts(dst))["accepted"] == 2


async def test_what_fails_keeps_its_place_behind_what_is_live(world: World, dst: str) -> None:
    """A low event that Amazon wants again is retried among replays, not among live retries."""
    world.amazon.script = lambda request: (
        None if request.number else world.amazon.take(request, but=range(len(request.events)))
    )
    await post_low(world, dst, 1)
    await world.work_until(dst, delivered=1)
    rows = await world.fetch("SELECT queue, status FROM exceptions")
    assert [(row["queue"], row["status"]) for row in rows] == [(2, "delivered")]


WINDOW_S = 0.8


@pytest.fixture
def merging(world: World) -> World:
    """A pipeline with this merge window, on a clock that the test moves."""
    world.stop_clock(merge_window_ms=round(WINDOW_S * 1000))
    return world


def sent(world: World) -> list[int]:
    """Return the number of events of each request so far."""
    return [len(request.events) for request in world.amazon.requests]


async def start(world: World) -> str:
    """Deliver the first event of a destination; return once its worker listens and the lane is idle."""
    dst = await world.destination(event(0))
    dispatcher = world.work()
    await world.advance(2 * WINDOW_S)
    assert sent(world) == [1]
    await eventually(lambda: world.fetch(LISTENING))
    (lane,) = dispatcher.leases.owned.values()
    assert lane.wake_at is None
    return dst


LISTENING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"


async def test_the_first_event_after_an_idle_time_is_sent_at_once_and_later_ones_share_a_request(
    merging: World,
) -> None:
    """The first event does not wait; those of the window after it are sent together at its end.

    A lane whose request was delivered is not polled again: a notification or a regular poll finds new events.
    """
    world = merging
    dst = await start(world)
    await world.post(dst, event(1))
    await world.until(dst, delivered=2)  # and the clock stands still
    await world.advance(0)
    ((dispatcher, _),) = world.workers
    (lane,) = dispatcher.leases.owned.values()
    assert lane.wake_at is None

    for number in (2, 3, 4):
        await world.post(dst, event(number))
        await announced(world, number - 1)
        await world.advance(WINDOW_S / 4)
    assert sent(world) == [1, 1], "the merge window was cut short"
    await world.advance(WINDOW_S / 3)
    assert sent(world) == [1, 1, 3]


async def test_a_full_request_does_not_wait(merging: World) -> None:
    """Five hundred events are sent at once, although a partial request was just sent."""
    world = merging
    dst = await start(world)
    await world.post(dst, event(501))
    await world.until(dst, delivered=2)
    await world.post(dst, *(event(number) for number in range(1, 501)))
    await world.until(dst, delivered=502)  # and the clock stands still
    assert sent(world) == [1, 1, 500]


async def announced(world: World, events: int) -> None:
    """Wait until the worker was notified of that many events since its lane's last request."""
    ((dispatcher, _),) = world.workers
    owned = dispatcher.leases.owned
    await eventually(lambda: [lane.announced_events for lane in owned.values()] == [events])
