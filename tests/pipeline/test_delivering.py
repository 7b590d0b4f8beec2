"""What delivery promises: exactly one effect, honest outcomes, neighbours unharmed, nothing lost."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from urllib.parse import unquote

import asyncpg
import httpx
import pytest

from app.delivery.dispatcher import LONGEST_REST_S
from app.delivery.lane import POLL_EVERY_S
from app.delivery.lane_leases import RECOVER_EVERY_S
from app.domain.pacing.lane_limits import Times
from app.store import PipelineConnection
from app.store.encryption import refresh_place
from tests.databases import SESSIONS_HERE
from tests.pipeline.amazon import Hanging, Request
from tests.pipeline.service import Service
from tests.pipeline.world import World, event, eventually, locked, make_world, waits
from tests.tables import cases


def once(
    *answers: httpx.Response | Exception | None,
) -> Callable[[Request], httpx.Response | Exception | None]:
    """Give these answers one after another, then accept everything."""
    left = list(answers)
    return lambda request: left.pop(0) if left else None


async def test_the_halves_of_a_refused_request_stay_apart_after_a_failure(world: World, dst: str) -> None:
    """Sent together again, they would be refused again, and the events that Amazon accepts would wait on."""
    await world.post(dst, *(event(number) for number in range(8)))
    world.amazon.script = once(httpx.Response(400), httpx.Response(503), httpx.Response(503))
    world.work()
    await world.until(dst, delivered=8)
    assert [len(request.events) for request in world.amazon.requests] == [8, 4, 4, 4, 4]


async def test_events_of_a_deleted_mapping_are_still_delivered(service: Service) -> None:
    """Their destination becomes `connected`. It accepts no events, but sends those that wait."""
    world = service.world
    dst = await world.destination(event(1))
    [mapping] = await service.all_items(f"/destinations/{dst}/mappings")
    deleted = await service.client.delete(f"/destinations/{dst}/mappings/{mapping['id']}")
    assert deleted.status_code == 200
    assert (await service.get(f"/destinations/{dst}"))["state"] == "connected"
    await world.work_until(dst, delivered=1)


@pytest.mark.parametrize("status", [400, 413])
async def test_one_bad_event_is_isolated_in_logarithmic_rounds(world: World, status: int, dst: str) -> None:
    """⌈log2 n⌉ + 1 requests hold the poison; everybody else is delivered once."""
    n = 100
    await world.post(dst, *(event(number) for number in range(n)))

    def poison(request: Request) -> httpx.Response | None:
        bad = any(eid.endswith(":ord-37") for eid in request.ids)
        return httpx.Response(status, json={"code": "BAD_REQUEST", "message": "no"}) if bad else None

    world.amazon.script = poison
    await world.work_until(dst, delivered=n - 1, dead=1, seconds=40)
    rounds = sum(any(eid.endswith(":ord-37") for eid in r.ids) for r in world.amazon.requests)
    assert rounds <= math.ceil(math.log2(n)) + 1
    assert set(world.amazon.times.values()) == {1}
    (row,) = await world.fetch("SELECT event_at, reason FROM exceptions WHERE status = 'dead'")
    assert row["reason"] == "amazon_request_refused"


async def test_nothing_leaves_inside_a_window_whoever_owns_the_lane(world: World) -> None:
    """The next owner reads the end of the window from the database, whose time hardly passed.

    Events that come meanwhile, also of the advertiser's other destination, wait for it.
    """
    dst, sibling = [await world.destination(advertiser="77") for _ in range(2)]
    await world.post(dst, event(0))
    world.amazon.script = once(httpx.Response(429, headers={"Retry-After": "120"}))
    world.stop_clock()
    for number in range(1, 4):
        world.work()
        await world.advance(55)
        await world.post(dst, event(number))
        await world.post(sibling, event(number))
        await world.advance(55)
        assert len(world.amazon.requests) == 1
        await world.stop_workers()
    await world.fetch("UPDATE lanes SET blocked_until = now()")
    world.work()
    await world.advance(1)
    assert [(await world.counts(one))["delivered"] for one in (dst, sibling)] == [4, 3]


async def test_the_pace_of_a_lane_holds(world: World) -> None:
    """Ten full requests at 10 a second and burst 2 take at least 0.8 s."""
    dst = await world.destination(rate=10, burst=2)
    for part in range(10):
        await world.post(dst, *(event(part * 500 + number) for number in range(500)))
    times: list[float] = []
    clock = world.stop_clock()
    world.amazon.script = lambda request: times.append(clock.now)
    world.work()
    await world.advance(1.1)
    assert (await world.counts(dst))["delivered"] == 5000
    assert len(times) == 10
    for first, later in zip(times, times[5:], strict=False):
        assert later - first >= 0.3 - 1e-6  # any six requests need at least (6 - 1 - burst) / rate


async def test_a_401_that_a_fresh_token_does_not_cure_parks(world: World) -> None:
    """One refresh, then needs_reconnect with reason unauthorized; nothing is dead-lettered."""
    dst = await world.destination(event(1), event(2))
    world.amazon.script = lambda r: httpx.Response(401)
    world.stop_clock()
    world.work()
    await world.advance(1)
    assert (await world.counts(dst))["parked"] == 2
    (row,) = await world.fetch("SELECT state, sign_in_reason FROM destinations")
    assert (row["state"], row["sign_in_reason"]) == ("needs_reconnect", "unauthorized")
    assert len(world.amazon.tokens) == 1
    requests = len(world.amazon.requests)
    await world.advance(60)
    assert len(world.amazon.requests) == requests


async def test_a_revoked_sign_in_parks_and_reconnecting_delivers_all_once(world: World, dst: str) -> None:
    """invalid_grant means reconnect; nothing else does."""
    await world.fetch("UPDATE sign_ins SET access_until = now()")
    world.amazon.token_answer = lambda form: httpx.Response(400, json={"error": "invalid_grant"})
    await world.post(dst, *(event(number) for number in range(10)))
    await world.work_until(dst, parked=10)
    assert not world.amazon.requests
    world.amazon.token_answer = None
    await world.execute(
        "UPDATE sign_ins SET generation = generation + 1, refresh_until = NULL;"
        "UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL, version = version + 1"
    )
    await world.until(dst, delivered=10)
    assert set(world.amazon.times.values()) == {1}


async def test_a_refresh_lease_from_before_the_clock_went_back_is_over(world: World, dst: str) -> None:
    """Its owner has ended. No lease lasts as long as the database's clock was wrong."""
    await world.fetch(
        "UPDATE sign_ins SET access_until = now(), refresh_owner = 'ended', "
        "refresh_until = now() + interval '2 hours'"
    )
    await world.post(dst, event(1))
    await world.work_until(dst, delivered=1)


async def test_a_token_server_that_is_away_parks_nothing(world: World, dst: str) -> None:
    """The event waits, and leaves when the server is back."""
    await world.fetch("UPDATE sign_ins SET access_until = now()")
    asked: list[dict[str, str]] = []

    def away(form: dict[str, str]) -> httpx.Response:
        asked.append(form)
        return httpx.Response(503)

    world.amazon.token_answer = away
    await world.post(dst, event(1))
    world.work()
    await eventually(lambda: len(asked) > 1)
    assert (await world.counts(dst))["queued"] == 1
    world.amazon.token_answer = None
    await world.until(dst, delivered=1, seconds=30)


@pytest.mark.usefixtures("short_lock_timeout")
async def test_refreshed_tokens_are_stored_when_a_foreign_lock_ends(
    world: World, caplog: pytest.LogCaptureFixture, dst: str
) -> None:
    """The token server accepts a refresh token once. If the new one were lost, the sign-in would end."""
    await world.fetch("UPDATE sign_ins SET access_until = now()")
    refreshed: list[str] = []

    def rotate(form: dict[str, str]) -> httpx.Response:
        refreshed.append(unquote(form["refresh_token"]))
        if refreshed != ["Atzr|0"]:
            return httpx.Response(400, json={"error": "invalid_grant"})
        tokens = {"access_token": "Atza|1", "refresh_token": "Atzr|1", "token_type": "bearer"}
        return httpx.Response(200, json={**tokens, "expires_in": 3600})

    world.amazon.token_answer, world.amazon.token_server = rotate, asyncio.Event()
    await world.post(dst, event(1))
    world.work()
    await eventually(lambda: world.amazon.unanswered)
    async with locked(world, "SELECT FROM sign_ins FOR UPDATE"):
        world.amazon.token_server.set()
        await eventually(lambda: caplog.messages.count("sign_in.write_failed") > 1)
    await world.until(dst, delivered=1)
    assert refreshed == ["Atzr|0"]
    lines = [line for line in caplog.records if line.message == "sign_in.write_failed"]
    assert all(vars(line)["fields"]["destination_id"] == dst for line in lines)
    (row,) = await world.fetch("SELECT refresh_token FROM sign_ins")
    assert world.resources.vault.open(row["refresh_token"], place=refresh_place(dst)) == b"Atzr|1"


@pytest.mark.usefixtures("short_lock_timeout")
async def test_a_token_in_its_last_minutes_is_used_while_another_session_locks_its_row(world: World) -> None:
    """It cannot be refreshed early, but is valid."""
    dst = await world.destination(event(1))
    await world.fetch("UPDATE sign_ins SET access_until = now() + interval '2 minutes'")
    async with locked(world, "SELECT FROM sign_ins FOR UPDATE"):
        await world.work_until(dst, delivered=1)
        assert world.amazon.tokens == []


@pytest.mark.usefixtures("short_lock_timeout")
@cases(
    "status, table, reason, requests",
    {
        "the first 401": (401, "sign_ins", "unauthorized", 2),  # the second has a new token
        "401 to a new token": (401, "destinations", "unauthorized", 1),
        "403": (403, "destinations", "forbidden", 1),
    },
)
async def test_a_refusal_is_stored_while_another_session_locks_the_destination(
    world: World, caplog: pytest.LogCaptureFixture, status: int, table: str, reason: str, requests: int
) -> None:
    """Its attempt has a result, no request follows, and the destination waits when the lock ends."""
    dst = await world.destination(event(1), event(2))
    if requests == 1:
        await world.fetch("UPDATE sign_ins SET forced_at = now()")
    foreign = await asyncpg.connect(world.resources.dsn)

    async def refuse(_: Request) -> httpx.Response:
        if not foreign.is_closed() and not foreign.is_in_transaction():
            await foreign.execute(f"BEGIN; SELECT FROM {table} FOR UPDATE")
        return httpx.Response(status)

    world.amazon.script = refuse
    world.work()
    outcomes = "SELECT outcome FROM attempts WHERE settled_at IS NOT NULL"
    await eventually(lambda: world.fetch(outcomes))
    await eventually(lambda: caplog.messages.count("sign_in.write_failed") > 1)
    counts = await world.counts(dst)
    assert (counts["accepted"], counts["queued"], len(world.amazon.requests)) == (2, 2, 1)
    await foreign.close()
    await world.until(dst, parked=2)
    (row,) = await world.fetch("SELECT state, sign_in_reason FROM destinations")
    assert (row["state"], row["sign_in_reason"]) == ("needs_reconnect", reason)
    assert len(world.amazon.requests) == requests
    assert [each["outcome"] for each in await world.fetch("SELECT outcome FROM attempts")] == [
        reason
    ] * requests


@cases(
    "answer, outcome, counted",
    {
        "accepted": (None, "answered", {"delivered": 1}),
        "throttled": (httpx.Response(429, headers={"Retry-After": "60"}), "throttled", {"queued": 1}),
    },
)
async def test_a_result_is_stored_while_another_session_changes_its_lane(
    world: World, answer: httpx.Response | None, outcome: str, counted: dict[str, int]
) -> None:
    """The pace of the lane, which the result changes too, waits. Otherwise the events would be sent again."""
    dst = await world.destination(event(1))
    world.amazon.script = hanging = Hanging(answer)
    world.work()
    await eventually(hanging.entered.is_set)
    async with locked(world, "UPDATE lanes SET learned_rate = 1"):
        hanging.release.set()
        settled = "SELECT outcome FROM attempts WHERE settled_at IS NOT NULL"
        assert (await eventually(lambda: world.fetch(settled)))[0]["outcome"] == outcome
        await world.until(dst, **counted)
    assert len(world.amazon.requests) == 1


async def test_one_refresh_serves_two_workers(world: World, database_url: str) -> None:
    """The lease row keeps the second from asking too."""
    first, second = await world.destination(), await world.destination()
    await world.fetch("UPDATE sign_ins SET access_until = now()")
    async with make_world(database_url, world.amazon) as other:
        world.work()
        other.work()
        for number in range(10):
            await world.post(first, event(number))
            await world.post(second, event(number))
        await world.until(first, delivered=10)
        await world.until(second, delivered=10)
    assert len(world.amazon.tokens) == 2


async def test_a_pause_is_answered_once_nothing_is_under_way_and_nothing_leaves_after_it(
    world: World,
) -> None:
    """A request that was started is waited for; the rest is held, and resumes."""
    dst = await world.destination(event(1))
    world.amazon.script = hanging = Hanging()
    world.stop_clock()
    world.work()
    await world.advance(1)
    assert hanging.entered.is_set()
    await world.fetch("UPDATE destinations SET paused = true, version = version + 1 WHERE id = $1", dst)
    looks: list[float] = []

    def clock() -> float:
        looks.append(asyncio.get_running_loop().time())
        return looks[-1]

    pausing = asyncio.create_task(world.holding(monotonic=clock).quiesce(await world.number(dst)))
    await world.post(dst, event(2))

    await eventually(lambda: len(looks) > 4)
    assert not pausing.done()
    hanging.release.set()
    await asyncio.wait_for(pausing, 20)
    await world.advance(60)
    counts = await world.counts(dst)
    assert (counts["delivered"], counts["held"], len(world.amazon.requests)) == (1, 1, 1)
    await world.fetch("UPDATE destinations SET paused = false, version = version + 1 WHERE id = $1", dst)
    await world.advance(2)
    assert (await world.counts(dst))["delivered"] == 2


async def test_events_that_pass_the_age_limit_while_they_wait_expire(world: World) -> None:
    """A batch whose youngest event is too old becomes expired; one that is not is delivered."""
    late, fresh = await world.destination(), await world.destination()
    await world.post(late, event(1), event(2))
    await world.post(fresh, event(3))
    await world.fetch(
        "UPDATE batch_states SET first_event = now() - interval '22 days', "
        "last_event = now() - interval '22 days' WHERE destination = $1",
        await world.number(late),
    )
    await world.work_until(late, expired=2)
    await world.until(fresh, delivered=1)
    assert all(":ord-3" in eid for r in world.amazon.requests for eid in r.ids)


async def test_a_started_attempt_that_nobody_settled_is_sent_again_only_after_its_deadline(
    world: World,
) -> None:
    """A crashed worker's request may still be under way: its batches wait, then go again, byte for byte."""
    dst = await world.destination(event(1))
    world.amazon.script = hanging = Hanging()
    clock = world.stop_clock()
    world.work()
    await world.advance(1)
    assert hanging.entered.is_set()
    dispatcher, task = world.workers.pop()
    await _crash(world, dispatcher, task)
    world.amazon.script = None
    clock.workers.clear()
    world.work()
    await world.advance(60)
    assert await world.fetch("SELECT 1 FROM lanes WHERE fence = 2")
    assert len(world.amazon.requests) == 1
    await world.fetch(
        "UPDATE attempts SET started_at = started_at - interval '31 s' WHERE settled_at IS NULL"
    )
    await world.advance(RECOVER_EVERY_S + 1)
    await world.make_due()
    await world.advance(2 * POLL_EVERY_S)
    assert (await world.counts(dst))["delivered"] == 1
    assert world.amazon.requests[0].events == world.amazon.requests[1].events


async def _crash(world: World, dispatcher: object, task: "asyncio.Task[None]") -> None:
    """End a worker as SIGKILL would: its session dies, nothing is settled or given back."""
    await world.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'conversions-own' "
        "AND datname = current_database() AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
    )
    for running in (*dispatcher._tasks, task):  # type: ignore[attr-defined]
        running.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_lane_that_was_lost_and_leased_again_can_move_to_another_worker(
    world: World, database_url: str, dst: str
) -> None:
    """A session's lock counts how often it was taken; losing a lane gives it back."""
    world.work()
    await world.post(dst, event(1))
    await world.until(dst, delivered=1)
    ownership = world.workers[0][0].leases
    for lane in list(ownership.owned.values()):
        ownership.lose(lane)
    await world.post(dst, event(2))
    await world.until(dst, delivered=2)
    await world.stop_workers()
    async with make_world(database_url, world.amazon) as other:
        other.work()
        await world.post(dst, event(3))
        await world.until(dst, delivered=3)


@asynccontextmanager
async def release_waits(world: World, lane: int) -> AsyncIterator[None]:
    """Let the release of a lane wait until the end of the block."""
    await world.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;"
        "CREATE TRIGGER wait BEFORE UPDATE ON lanes FOR EACH ROW "
        f"WHEN (NEW.owner IS NULL AND NEW.id = {lane}) EXECUTE FUNCTION wait()"
    )
    async with world.resources.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        yield


async def test_a_lane_that_is_lost_during_the_release_of_another_is_released_too(world: World) -> None:
    """A lock that stayed would delay its next owner until the lease has expired."""
    for dst in [await world.destination(), await world.destination()]:
        await world.post(dst, event(1))
        await world.work_until(dst, delivered=1)
    ownership = world.workers[0][0].leases
    one, other = list(ownership.owned.values())
    async with release_waits(world, one.lease.id):
        ownership.lose(one)
        await waits(world)
        ownership.lose(other)

    async def released() -> bool:
        return not await world.fetch(f"SELECT 1 FROM pg_locks WHERE classid = 7311 AND {SESSIONS_HERE}")

    await eventually(released, seconds=5)


async def test_no_lane_is_released_that_began_a_request_meanwhile(world: World) -> None:
    """Four idle lanes, of which another worker gets two: one begins a request while another is released."""
    destinations = [await world.destination() for _ in range(4)]
    world.work()
    for dst in destinations:
        await world.post(dst, event(1))
        await world.until(dst, delivered=1)
    ownership = world.workers[0][0].leases
    first, second, *_ = ownership.owned.values()
    world.amazon.script = hanging = Hanging()
    another = await world.resources.connect()
    [of_second] = await world.fetch("SELECT id FROM destinations WHERE lane = $1", second.lease.id)
    async with release_waits(world, first.lease.id):
        await another.execute("SELECT pg_advisory_lock_shared(7312, 0)")  # as a worker does
        await waits(world)
        await world.post(of_second["id"], event(2))
        await hanging.entered.wait()
    await eventually(lambda: len(ownership.owned) == 2)
    assert ownership.owned.get(second.lease.id) is second
    hanging.release.set()
    await world.until(of_second["id"], delivered=2)
    await another.close()


async def test_a_window_read_by_a_replaced_owner_holds_for_its_successor(
    world: World, database_url: str
) -> None:
    """`blocked_until` is written even if another worker owns the lane by then."""
    await world.destination(event(1))
    world.amazon.script = hanging = Hanging(httpx.Response(429, headers={"Retry-After": "600"}))
    world.work()
    await hanging.entered.wait()
    await world.fetch("UPDATE lanes SET fence = fence + 1, leased_until = now() + interval '1 hour'")
    hanging.release.set()
    await eventually(
        lambda: world.fetch("SELECT 1 FROM lanes WHERE blocked_until > now() + interval '500 s'")
    )


async def test_a_database_that_stood_still_is_worked_on_soon_after(world: World) -> None:
    """A worker whose look for lanes hung for seconds takes up a new lane at its next look, not much later."""
    first, second = await world.destination(), await world.destination()
    await world.post(first, event(1))
    clock = world.stop_clock()
    world.work(listens=False)
    await world.advance(0.5)
    assert (await world.counts(first))["delivered"] == 1
    # Everybody who asks after lanes waits here.
    async with locked(world, "LOCK TABLE lanes IN ACCESS EXCLUSIVE MODE"):
        clock.step(POLL_EVERY_S)
        await waits(world)
        clock.step(2 * LONGEST_REST_S)
    await world.post(second, event(2))
    await world.advance(POLL_EVERY_S + 0.5)
    assert (await world.counts(second))["delivered"] == 1


@pytest.mark.usefixtures("short_lock_timeout")
async def test_a_locked_sign_in_lets_no_accepted_event_leave_again(world: World) -> None:
    """That Amazon accepts the refreshed token cannot be noted then; what it accepted is stored.

    One refresh cures the 401: the next event leaves with the same token.
    """
    dst = await world.destination(event(1))
    blocking = await world.resources.connect()

    async def lock(request: Request) -> httpx.Response | None:
        if request.token == "Atza|0":
            return httpx.Response(401)
        if len(world.amazon.requests) == 2:
            await blocking.execute("BEGIN; SELECT FROM sign_ins FOR UPDATE")
        return None

    world.amazon.script = lock
    await world.work_until(dst, delivered=1)
    assert set(world.amazon.times.values()) == {1}
    await blocking.close()
    await world.post(dst, event(2))
    await world.until(dst, delivered=2)
    assert len(world.amazon.tokens) == 1
    assert (await world.fetch("SELECT forced_at FROM sign_ins"))[0][0] is None


async def test_a_sign_in_that_no_connection_can_change_lets_no_accepted_event_leave_again(
    world: World,
) -> None:
    """The first connection after the reply is lost before it can be used."""
    dst = await world.destination(event(1))
    worker = world.work().worker
    pool = worker.pool
    lost = 0

    @asynccontextmanager
    async def acquire_at_second_try() -> AsyncIterator[PipelineConnection]:
        nonlocal lost
        if len(world.amazon.requests) == 2 and not lost:
            lost += 1
            raise ConnectionResetError
        async with pool.acquire() as connection:
            yield connection

    def refuse_the_first_token(request: Request) -> httpx.Response | None:
        return httpx.Response(401) if request.token == "Atza|0" else None

    world.amazon.script = refuse_the_first_token
    worker.pool = SimpleNamespace(acquire=acquire_at_second_try)
    await world.until(dst, delivered=1)
    assert lost == 1
    assert set(world.amazon.times.values()) == {1}


async def test_a_result_that_waits_for_a_lock_is_not_replaced_by_an_unknown_one(world: World) -> None:
    """Its attempt is as old by then as that of a worker that died."""
    made = [await world.destination(event(1)) for _ in range(5)]
    blocking, turn = await world.resources.connect(), asyncio.Lock()

    async def lock(_: Request) -> None:
        async with turn:
            if not blocking.is_in_transaction():
                await blocking.execute("BEGIN; SELECT FROM batch_states FOR UPDATE")

    world.amazon.script = lock
    world.work(times=Times(lease=12, request=0.5))
    old = "SELECT 1 FROM attempts WHERE settled_at IS NULL AND started_at < now() - interval '5 seconds'"
    await eventually(lambda: world.fetch(old))
    await blocking.close()
    for dst in made:
        await world.until(dst, delivered=1)
    assert set(world.amazon.times.values()) == {1}
