"""Replay: count the dead and expired events that would be queued again, or queue them."""

import math
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta

from app.amazon.wire import MAX_EVENTS
from app.domain.ids import DestinationNumber, LaneId
from app.domain.pacing.fair_queueing import REPLAY_SHARE
from app.store import PipelineConnection, counts, lanes, replays

MOST = 50_000  # events of one transaction; the rest follow in further ones


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay did, or would do. `seconds`: until the last of it is sent, at the lane's pace.

    `matched = replayed + too_old + forgotten + remaining`.
    """

    matched: int
    replayed: int
    too_old: int
    forgotten: int
    remaining: int
    requests: int
    seconds: float
    replay_id: str | None = None  # None where nothing was changed


async def replay(
    connection: PipelineConnection,
    number: DestinationNumber,
    lane: LaneId,
    wanted: replays.ReplayFilter,
    *,
    max_age: timedelta,
    writer: int,
    by: str,
    dry_run: bool,
    most: int = MOST,
) -> ReplayResult:
    """Queue the events that a filter matches again for `by`, within the caller's transaction. Twice is once.

    What is past the age limit, and what has no data key any more, stays where it is and is counted.
    """
    found = await replays.count(connection, number, wanted, max_age=max_age)
    before = await replays.waiting(connection, number)
    moved = found.ready if dry_run else min(found.ready, most)
    replay_id = None
    if not dry_run:
        replay_id = f"rpl_{secrets.token_hex(10)}"
        this = await replays.begin(connection, replay_id, number, wanted, by=by)
        moved, delta = await replays.requeue(
            connection, number, wanted, max_age=max_age, most=most, replay=this
        )
        await replays.finish(connection, this, moved)
        await counts.add(connection, writer, {number: delta})
    # A replay of nothing takes no request, whatever still waits from an earlier one.
    requests, seconds = await _time_of(connection, lane, moved + before) if moved else (0, 0.0)
    return ReplayResult(
        matched=found.matched,
        replayed=moved,
        too_old=found.too_old,
        forgotten=found.forgotten,
        remaining=max(0, found.ready - moved),
        requests=requests,
        seconds=seconds,
        replay_id=replay_id,
    )


def together(first: ReplayResult, last: ReplayResult, replayed: int) -> ReplayResult:
    """Return the result of a replay in several transactions, `replayed` events in all of them."""
    return replace(
        first, replayed=replayed, remaining=last.remaining, requests=last.requests, seconds=last.seconds
    )


async def _time_of(connection: PipelineConnection, lane: LaneId, events: int) -> tuple[int, float]:
    """Return how many requests that takes at least, and the seconds, a fifth of the lane's pace for it."""
    requests = math.ceil(events / MAX_EVENTS)
    terms = await lanes.pace_settings(connection, lane)
    rate = terms.limit.per_second if terms.limit is not None else 1.0
    if terms.learned_rate is not None:
        rate = min(rate, terms.learned_rate)
    return requests, round(max(0, requests - 1) * REPLAY_SHARE / rate, 3)
