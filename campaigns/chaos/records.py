"""What a run is judged by: records for the judge of liveness and for that of safety."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from app.delivery.balance_check import BalanceCheck
from campaigns.chaos.administrator import Destination
from campaigns.chaos.caller import Ledger
from campaigns.chaos.damage import RETRIED, Damage, Expected
from campaigns.chaos.liveness_judge import DamageRecord, LaneRecord
from campaigns.chaos.stage import Installation
from tests.crashes import stored
from tests.crashes.evidence import Evidence, Request

if TYPE_CHECKING:
    from campaigns.chaos.liveness_run import LivenessRun
    from campaigns.chaos.run import Run

NAMED = "dead unreadable"


def lanes(
    destinations: Sequence[Destination],
    ledger: Ledger,
    requests: Sequence[Request],
    *,
    sick: Collection[str] = (),
    moving: Collection[str] = (),
    damaged: Collection[str] = (),
    left_out: Collection[str] = (),
    since: Mapping[str, float] = {},
) -> list[LaneRecord]:
    """Return a record for each advertiser; `since` says from when on destinations that were paused send."""
    advertisers = {one.number: one.advertiser for one in destinations}
    owners = {name: advertisers[place] for name, place in ledger.offered.items()}
    accepted = {
        name: max(at, since.get(ledger.offered[name], at))
        for name, at in ledger.acknowledged.items()
        if name not in left_out
    }
    taken: dict[str, float] = {}
    for request in requests:
        for event in request.accepted:
            taken.setdefault(event, request.ended)
    return [
        LaneRecord(
            name=f"advertiser {one}",
            accepted={name: at for name, at in accepted.items() if owners[name] == one},
            delivered={name: at for name, at in taken.items() if owners.get(name) == one},
            is_sick=one in sick,
            is_moving=one in moving,
            has_damage=one in damaged,
        )
        for one in dict.fromkeys(advertisers.values())
    ]


def misplaced(destinations: Sequence[Destination], ledger: Ledger, requests: Sequence[Request]) -> list[str]:
    """Return the events that were sent to another advertiser than that of their destination."""
    advertisers = {one.number: one.advertiser for one in destinations}
    return [
        event
        for request in requests
        for event in request.accepted
        if event in ledger.offered and advertisers[ledger.offered[event]] != request.advertiser
    ]


async def read_views(run: "LivenessRun") -> None:
    """Gather what the judge of liveness needs, with the thing still broken."""
    seen, scene, ledger, requests = run.seen, run.scene, run.scene.caller.ledger, run.requests()
    seen.declared = {event for one in run.damages for event in one.events}
    seen.lanes = lanes(
        run.destinations,
        ledger,
        requests,
        sick={run.sick},
        moving=scene.touched,
        damaged={victim.advertiser for victim in run.victims},
        left_out=run.erased,
        since=dict.fromkeys((victim.number for victim in run.victims), seen.baseline[1]),
    )
    seen.misplaced = misplaced(run.destinations, ledger, requests)
    taken = {event for lane in seen.lanes for event in lane.delivered}
    async with run.stage.office() as connection:
        seen.damages = [await _record(run, connection, one, taken) for one in run.damages]
        seen.undeclared = await _unreadable_elsewhere(run, connection)
    seen.unfinished_erasures = await scene.unfinished_erasures()
    seen.unanswered = {name for name in ledger.unanswered if name.startswith("ev-")}
    await _ask_about_damage(run)


async def _record(run: "LivenessRun", connection: Any, one: Damage, taken: set[str]) -> DamageRecord:
    rows = await connection.fetch(
        "SELECT batch, place, status, reason FROM exceptions WHERE batch = ANY($1::bigint[])",
        list(one.batches),
    )
    alone = {(row["batch"], row["place"]): f"{row['status']} {row['reason'] or ''}".strip() for row in rows}
    dispositions = {
        row["batch"]: row["disposition"] or "waiting"
        for row in await connection.fetch(
            "SELECT batch, disposition FROM batch_states WHERE batch = ANY($1::bigint[])", list(one.batches)
        )
    }
    declared = one.expected is Expected.DECLARED and await _is_imbalanced(run.stage, one.destination)
    states = {}
    for batch, places in one.batches.items():
        for place, event in places.items():
            state = alone.get((batch, place)) or dispositions.get(batch, "no state row")
            if state in {"sent", "delivered"} or state.startswith("delivered"):
                state = "delivered" if event in taken else "called delivered, never taken"
            if declared and state in {"no state row", "called delivered, never taken"}:
                state = "declared by the imbalance check"
            states[event] = state
    allowed = {NAMED}
    if one.expected is not Expected.UNREADABLE:
        allowed.add("delivered")
    if one.expected is Expected.DECLARED:
        allowed.add("declared by the imbalance check")
    return DamageRecord(one.kind, states, frozenset(allowed))


async def _is_imbalanced(stage: Installation, destination: str) -> bool:
    """Tell whether the product's own balance check names this destination."""
    dsn = stage.cluster.url.replace("+asyncpg", "")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        check = BalanceCheck(pool)
        async for _ in check.pages():
            pass
        return any(one["destination_id"] == destination for one in check.report())


async def _unreadable_elsewhere(run: "LivenessRun", connection: Any) -> set[str]:
    rows = await connection.fetch(
        "SELECT e.batch, e.place FROM exceptions e JOIN destinations d ON d.number = e.destination "
        "WHERE d.id = ANY($1) AND e.reason = 'unreadable'",
        [one.number for one in run.destinations],
    )
    damaged = {batch for one in run.damages for batch in one.batches}
    return {f"{row['batch']}/{row['place']}" for row in rows if row["batch"] not in damaged}


async def _ask_about_damage(run: "LivenessRun") -> None:
    """Read every view of the damaged destinations; none may answer 500."""
    for one in run.damages:
        path = f"/destinations/{one.destination}"
        event = min(one.events, default=None)
        addresses = [f"{path}/stats", f"{path}/events?status=dead", f"{path}/events"]
        addresses += [f"/events/{event}?destination_id={one.destination}"] if event else []
        for address in addresses:
            try:
                await run.scene.operator.ask("GET", address, patience=3, timeout=5)
            except AssertionError as error:
                run.seen.unexpected.append(f"{one.kind}: GET {address.replace(path, '…')}: {error}"[:160])


async def safety(run: "Run") -> Evidence:
    """Gather what the judge of safety needs; damaged events are judged elsewhere and left out."""
    scene, ledger = run.scene, run.scene.caller.ledger
    damaged = {event for one in run.damages for event in one.events}
    numbers = [one.number for one in run.destinations]
    seen = Evidence(
        samples=run.samples,
        stops=scene.stops,
        transit=scene.transit,
        fresh=await _fresh(run),
        guilty=run.guilty,
        erasable=run.erased,
    )
    run.stage.damaged |= {batch for one in run.damages for batch in one.batches if one.kind != RETRIED}
    async with run.stage.office() as connection:
        found = await stored.places(connection, numbers, without=run.stage.damaged)
        seen.attempts = await stored.attempts(connection, numbers)
    seen.stored = {event: states for event, states in found.items() if event not in damaged}
    seen.requests = [_without(request, damaged) for request in run.requests()]
    seen.offered = ledger.offered.keys() - damaged
    seen.acknowledged = ledger.acknowledged.keys() - damaged
    seen.refused = ledger.refused - damaged
    if not damaged:
        seen.listed, total = {}, Counter[str]()
        for destination in run.destinations:
            seen.listed |= await scene.operator.listed(destination)
            sample = await scene.operator.sample(destination, patience=30)
            assert sample is not None
            total.update(sample.counts)
        seen.final_counts = total
    seen.leftovers = [*await run.stage.leftovers(), *counted(ledger.unexpected)]
    return seen


def counted(sentences: Iterable[str]) -> Iterator[str]:
    """Return each sentence once, with how often it occurs."""
    return (f"{number}x {text}" for text, number in Counter(sentences).items())


async def _fresh(run: "Run") -> dict[str, bool]:
    """Post an event to each destination, and tell whether it is delivered."""
    names = [f"fresh-{run.schedule.seed}-{index}" for index in range(len(run.destinations))]
    until = asyncio.get_running_loop().time() + 60
    sends = (
        run.scene.caller.send([name], one.number, until)
        for name, one in zip(names, run.destinations, strict=True)
    )
    await asyncio.gather(*sends)
    deadline = time.monotonic() + 60
    while True:
        taken = {event for request in run.requests() for event in request.accepted}
        if taken.issuperset(names) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.4)
    await run.stage.drain([one.number for one in run.destinations], seconds=10)
    return {name: name in taken for name in names}


def _without(request: Request, damaged: set[str]) -> Request:
    kept = [n for n, event in enumerate(request.ids) if event not in damaged]
    return replace(
        request,
        ids=tuple(request.ids[n] for n in kept),
        hashes=tuple(request.hashes[n] for n in kept),
        taken=tuple(request.taken[n] for n in kept),
    )
