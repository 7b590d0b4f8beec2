"""What replay promises: honest counts, once when asked twice, behind what is live, nothing past its age."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.admin import Caller, Scope
from app.admin.replays import ReplayResult, replay_steps
from app.domain.event_query import EventQuery
from app.domain.ids import DEFAULT_ORGANISATION, KeyId
from app.domain.outcomes.status import Status
from tests.pipeline.amazon import Request, items
from tests.pipeline.service import Service
from tests.pipeline.world import World, event

MAX_AGE = timedelta(days=21)


OPERATOR = Caller(KeyId("cli:ops"), frozenset(Scope))


async def steps(
    world: World, dst: str, *, dry_run: bool = False, most: int = 50_000, **of: Any
) -> AsyncIterator[ReplayResult]:
    results = replay_steps(
        (world.receiving or world.resources).engine_of(DEFAULT_ORGANISATION),
        OPERATOR,
        dst,
        EventQuery(**of),
        max_age=MAX_AGE,
        writer=1,
        dry_run=dry_run,
        most=most,
    )
    async with aclosing(results):
        async for _, result in results:
            yield result


async def ask(world: World, dst: str, **of: Any) -> ReplayResult:
    """Return the result of the first transaction."""
    results = steps(world, dst, **of)
    async with aclosing(results):  # type: ignore[type-var]
        return await anext(results)


def refuse(request: Request) -> httpx.Response:
    return items(*["FIELD_VALUE_IS_INVALID"] * len(request.events))


async def dead(world: World, number: int, **more: Any) -> str:
    """Make a destination with that many dead events, the worker still running."""
    dst = await world.destination(**more)
    world.amazon.script = refuse
    await world.post(dst, *(event(n) for n in range(number)))
    await world.work_until(dst, dead=number)
    return dst


async def never_send(world: World, dst: str, disposition: str, status: str, events: int) -> None:
    """Settle the waiting batches of a destination without a request, and count their events."""
    number = await world.number(dst)
    await world.fetch(
        "UPDATE batch_states SET disposition = $2, settled_at = now(), reason = $2 WHERE destination = $1",
        *(number, disposition),
    )
    await world.fetch(
        f"INSERT INTO counts (destination, day, writer, {status}) VALUES ($1, current_date, 32767, $2)",
        *(number, events),
    )


async def test_a_dry_run_says_how_many_and_how_long_and_changes_nothing(world: World) -> None:
    """1,200 events are three requests; at 2 a second, a fifth of it for replay, the last leaves after 5 s."""
    dst = await dead(world, 1200, rate=100)
    await world.fetch("UPDATE destinations SET requests_per_second = 2")
    result = await ask(world, dst, dry_run=True)
    assert (result.matched, result.replayed, result.requests, result.seconds) == (1200, 1200, 3, 5.0)
    assert (await world.counts(dst))["dead"] == 1200


async def test_asking_twice_is_asking_once(world: World) -> None:
    """The second response reports zero events; each event is sent once more, with the bytes of old."""
    dst = await dead(world, 5)
    await world.stop_workers()
    world.amazon.script = None
    answers = await asyncio.gather(*(ask(world, dst) for _ in range(4)))
    assert sum(one.replayed for one in answers) == 5
    again = await ask(world, dst)
    assert (again.matched, again.requests, again.seconds) == (0, 0, 0.0)
    assert (await world.counts(dst))["retrying"] == 5
    assert await world.fetch("SELECT FROM exceptions WHERE queue <> 2") == [], "live events come first"
    await world.work_until(dst, delivered=5, dead=0)
    assert set(world.amazon.times.values()) == {1}
    refused, accepted = world.amazon.requests
    assert {e["eventId"]: e for e in refused.events} == {e["eventId"]: e for e in accepted.events}


async def test_what_is_too_old_or_forgotten_is_refused_and_counted(world: World) -> None:
    """matched = replayed + too_old + forgotten + remaining."""
    dst = await dead(world, 6)
    await world.stop_workers()
    await world.fetch("UPDATE exceptions SET event_at = now() - interval '22 days' WHERE place < 2")
    result = await ask(world, dst, dry_run=True)
    assert (result.matched, result.replayed, result.too_old) == (6, 4, 2)
    await world.fetch("UPDATE batch_states SET data_key = NULL")
    result = await ask(world, dst)
    assert (result.matched, result.replayed, result.too_old, result.forgotten) == (6, 0, 2, 4)
    assert (await world.counts(dst))["dead"] == 6


async def test_a_replay_records_its_filter(world: World) -> None:
    """Another reason, or an earlier end, names nothing."""
    dst = await dead(world, 3)
    assert (await ask(world, dst, dry_run=True, reason="gave_up")).matched == 0
    assert (await ask(world, dst, dry_run=True, reason="amazon_refused")).matched == 3
    (row,) = await world.fetch("SELECT min(accepted_at) AS at FROM batch_states")
    assert (await ask(world, dst, dry_run=True, until=row["at"])).matched == 0
    assert (await ask(world, dst, dry_run=True, since=row["at"])).matched == 3


async def test_discarded_and_expired_batches_are_replayed_too(world: World) -> None:
    """A discarded batch is dead, an expired one expired; both return, with their counts."""
    gone, late = await world.destination(), await world.destination()
    await world.post(gone, *(event(n) for n in range(4)))
    await world.post(late, *(event(n) for n in range(3)))
    await never_send(world, gone, "discarded", "dead", 4)
    await never_send(world, late, "expired", "expired", 3)
    assert (await ask(world, gone)).replayed == 4
    assert (await ask(world, late, status=Status.EXPIRED)).replayed == 3
    await world.work_until(gone, delivered=4, dead=0)
    await world.until(late, delivered=3, expired=0)


@pytest.mark.parametrize("others", ["autumn", "spring"])
async def test_a_selection_finds_events_of_batches_that_were_never_sent(world: World, others: str) -> None:
    """By journey or event id. The other events of the batch keep their status; the figures agree."""
    dst = await world.destination()
    ids = [{"id": "spring" if n < 2 else others, "node_id": "n1"} for n in range(4)]
    await world.post(dst, *(event(n, journey=journey) for n, journey in enumerate(ids)))
    await never_send(world, dst, "expired", "expired", 4)
    first = {"event_ids": ["ord-0", "ord-1"]}
    dry = await ask(world, dst, dry_run=True, journey_id="spring")
    assert dry.matched == dry.replayed == (2 if others == "autumn" else 4)
    dry = await ask(world, dst, dry_run=True, **first)
    assert (dry.matched, dry.replayed, dry.too_old, dry.forgotten) == (2, 2, 0, 0)
    assert (await ask(world, dst, dry_run=True, journey_id="spring", status=Status.DEAD)).matched == 0
    assert (await ask(world, dst, dry_run=True, journey_id="spring", reason="gave_up")).matched == 0
    assert await world.fetch("SELECT FROM exceptions") == []
    done = await ask(world, dst, journey_id="spring", **first)
    assert (done.matched, done.replayed, done.remaining) == (2, 2, 0)
    assert (await ask(world, dst, dry_run=True, event_ids=["ord-0", "ord-2"])).matched == 1
    await world.work_until(dst, delivered=2, expired=2)
    sent = [id_ for request in world.amazon.requests for id_ in request.ids]
    assert sorted(id_.rpartition(":")[2] for id_ in sent) == ["ord-0", "ord-1"]
    [batch] = await world.fetch("SELECT events FROM batch_states")
    assert batch["events"] == 2
    assert (await ask(world, dst)).replayed == 2
    await world.until(dst, delivered=4, expired=0)
    figures = await world.fetch(
        "SELECT n.journey_id, sum(f.delivered)::int AS delivered, sum(f.expired)::int AS expired "
        "FROM journey_figures f JOIN journey_nodes n "
        "ON n.destination = f.destination AND n.number = f.node AND n.day = f.day GROUP BY 1 ORDER BY 1"
    )
    expected = [("autumn", 2, 0), ("spring", 2, 0)] if others == "autumn" else [("spring", 4, 0)]
    assert [tuple(row.values()) for row in figures] == expected


async def test_one_call_replays_all_that_match_however_many(service: Service) -> None:
    """More than one transaction takes; a dry run counts the same."""
    world = service.world
    dst = await world.destination()
    events = 250 * 500
    await world.fetch(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
        "data_key, disposition, reason, settled_at) "
        "SELECT n, current_date, $1, 500, 1, now(), now(), 'key', "
        "'discarded', 'discarded', now() FROM generate_series(1, 250) AS n",
        await world.number(dst),
    )
    await world.fetch(
        "INSERT INTO counts (destination, day, writer, accepted, dead) "
        "VALUES ($1, current_date, 32767, $2, $2)",
        await world.number(dst),
        events,
    )
    for dry_run in (True, False):
        answer = await service.do(f"/destinations/{dst}/replay", {"status": "dead", "dry_run": dry_run})
        numbers = {name: answer[name] for name in ("matched", "replayed", "remaining")}
        assert numbers == {"matched": events, "replayed": events, "remaining": 0}
    counts = await world.counts(dst)
    assert (counts["dead"], counts["queued"]) == (0, events)


async def test_a_replay_queues_an_event_once_also_if_it_dies_again_meanwhile(world: World) -> None:
    """Otherwise a replay of events that Amazon always refuses would not end."""
    dst = await dead(world, 5)
    results = []
    async for result in steps(world, dst, most=2):
        results.append((result.replayed, result.remaining))
        assert len(results) < 5
        await world.until(dst, dead=5)
    assert results == [(2, 3), (4, 1), (5, 0)]
    assert [row["replayed"] for row in await world.fetch("SELECT replayed FROM replays")] == [5]


async def test_events_of_unsent_batches_are_queued_once(world: World) -> None:
    """Amazon refuses them before the replay ends: they are single dead events then."""
    dst = await world.destination()
    for n in (0, 2):
        await world.post(dst, event(n), event(n + 1))
    await never_send(world, dst, "discarded", "dead", 4)
    world.amazon.script = refuse
    world.work()
    results = []
    async for result in steps(world, dst, most=2):
        results.append((result.replayed, result.remaining))
        assert len(results) < 4
        await world.until(dst, dead=4)
    assert results == [(2, 2), (4, 0)]


async def test_a_replay_over_http_of_several_transactions_has_one_id(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record, the one audit row and the history of each event name it. A dry run changes nothing."""
    monkeypatch.setitem(replay_steps.__kwdefaults__, "most", 2)
    dst = await dead(service.world, 5)
    await service.world.stop_workers()
    ids = [f"ord-{number}" for number in range(5)]
    dry = await service.do(f"/destinations/{dst}/replay", {"dry_run": True, "event_ids": ids})
    assert (dry["matched"], dry["replayed"], dry["replay_id"]) == (5, 5, None)
    answer = await service.do(f"/destinations/{dst}/replay", {"dry_run": False, "event_ids": ids})
    assert (answer["matched"], answer["replayed"], answer["remaining"]) == (5, 5, 0)
    (record,) = (await service.get(f"/destinations/{dst}/replays"))["items"]
    (row,) = (await service.get("/audit", action="events.replayed"))["items"]
    assert record["replay_id"] == row["after"]["replay_id"] == answer["replay_id"]
    assert record["replayed"] == row["after"]["matched"] == 5
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    assert record["event_ids"] == row["after"]["event_ids"] == {"count": 5, "sha256": digest}
    for id_ in ids:
        replays = (await service.history(dst, id_))["replays"]
        assert [one["replay_id"] for one in replays] == [answer["replay_id"]]
