"""What a liveness run is judged by: records for the judge of liveness and for that of safety."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from campaigns.chaos import rare_states
from campaigns.chaos.damage import RETRIED, Damage, Expected
from campaigns.chaos.liveness_judge import DamageRecord, LaneRecord
from tests.crashes import stored
from tests.crashes.evidence import Evidence, Request

if TYPE_CHECKING:
    from campaigns.chaos.liveness_run import Run

NAMED = "dead unreadable"


async def read_views(run: "Run") -> None:
    """Gather what the judge of liveness needs, with the thing still broken."""
    seen, ledger = run.seen, run.caller.ledger
    taken: dict[str, float] = {}
    for request in run.requests():
        for event in request.accepted:
            taken.setdefault(event, request.ended)
    places = {
        post_name: run.healthy[post.destination].advertiser
        for post in run.schedule.posts()
        for post_name in post.names
    }
    victims = {victim.advertiser for victim in run.victims}
    damaged = {event for one in run.damages for event in one.events}
    places |= {
        name: run.victims[int(name.split("-")[2])].advertiser
        for name in ledger.acknowledged
        if name.startswith("dam-")
    }
    # What waits in a paused destination may be sent from the end of the baseline on.
    since = seen.baseline[1]
    accepted = {
        name: at if name.startswith("ev-") else max(at, since)
        for name, at in ledger.acknowledged_at.items()
        if name not in run.erased
    }
    seen.lanes = [
        LaneRecord(
            name=f"advertiser {index}",
            accepted={n: at for n, at in accepted.items() if places[n] == one.advertiser},
            delivered={n: at for n, at in taken.items() if places.get(n) == one.advertiser},
            is_sick=one.advertiser == run.sick,
            is_moving=one.advertiser in run.moving,
            has_damage=one.advertiser in victims,
        )
        for index, one in enumerate(run.healthy)
    ]
    seen.declared = damaged
    async with run.stage.office() as connection:
        seen.damages = [await _record(run, connection, one, taken) for one in run.damages]
        seen.undeclared = await _unreadable_elsewhere(run, connection)
    seen.erasures = {f"erasure {index}": took for index, took in enumerate(run.erasures.values())}
    seen.unanswered = {
        name for name in ledger.offered - ledger.acknowledged - ledger.refused if name.startswith("ev-")
    }
    await _ask_about_damage(run)
    seen.internal_errors = run.errors + sorted(
        {odd for odd in run.operator.unexpected if odd.endswith("500")}
    )


async def _record(run: "Run", connection: Any, one: Damage, taken: dict[str, float]) -> DamageRecord:
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
    declared = one.expected is Expected.DECLARED and await rare_states.imbalance(run.stage, one.destination)
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


async def _unreadable_elsewhere(run: "Run", connection: Any) -> set[str]:
    rows = await connection.fetch(
        "SELECT e.batch, e.place FROM exceptions e JOIN destinations d ON d.number = e.destination "
        "WHERE d.id = ANY($1) AND e.reason = 'unreadable'",
        [one.number for one in run.destinations],
    )
    damaged = {batch for one in run.damages for batch in one.batches}
    return {f"{row['batch']}/{row['place']}" for row in rows if row["batch"] not in damaged}


async def _ask_about_damage(run: "Run") -> None:
    """Read every view of the damaged destinations; none may answer 500."""
    for one in run.damages:
        path = f"/destinations/{one.destination}"
        event = min(one.events, default=None)
        addresses = [f"{path}/stats", f"{path}/events?status=dead", f"{path}/events"]
        addresses += [f"/events/{event}?destination_id={one.destination}"] if event else []
        for address in addresses:
            try:
                await run.operator.ask("GET", address, patience=3, timeout=5)
            except AssertionError as error:
                run.errors.append(f"{one.kind}: GET {address.replace(path, '…')}: {error}"[:160])


async def safety(run: "Run") -> Evidence:
    """Gather what the judge of safety needs; damaged events are judged elsewhere and left out."""
    ledger = run.caller.ledger
    damaged = {event for one in run.damages for event in one.events}
    batches = {batch for one in run.damages for batch in one.batches if one.kind != RETRIED}
    numbers = [one.number for one in run.destinations]
    fresh = await _fresh(run)
    seen = Evidence(samples=run.samples, transit=run.transit, fresh=fresh, erasable=set(run.erased))
    async with run.stage.office() as connection:
        run.stage.damaged |= batches
        found = await stored.places(connection, numbers, without=run.stage.damaged)
        seen.attempts = await stored.attempts(connection, numbers)
    seen.stored = {event: states for event, states in found.items() if event not in damaged}
    seen.requests = [_without(request, damaged) for request in run.requests()]
    seen.offered = ledger.offered - damaged
    seen.acknowledged = ledger.acknowledged - damaged
    seen.refused = ledger.refused - damaged
    odd = Counter(one for one in ledger.unexpected)
    seen.leftovers = [
        *await run.stage.leftovers(),
        *(f"{number}x {text}" for text, number in odd.items()),
    ]
    return seen


async def _fresh(run: "Run") -> dict[str, bool]:
    names = [f"fresh-{run.schedule.seed}-{index}" for index in range(len(run.destinations))]
    until = asyncio.get_running_loop().time() + 20
    await asyncio.gather(
        *(
            run.caller.send([name], one.number, until)
            for name, one in zip(names, run.destinations, strict=True)
        )
    )
    deadline = time.monotonic() + 25
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
