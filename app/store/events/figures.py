"""Read the figures of one destination's events: counts, the oldest waiting event, its lane and failures."""

import json
from dataclasses import dataclass, fields
from datetime import datetime

from app.domain.ids import DestinationNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection
from app.store.database import damage
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """A destination's figures from one snapshot. `rejected` has (code, reason, n), `dead` has (reason, n)."""

    state: str
    totals: CountTotals
    oldest_waiting: datetime | None
    earliest_expiry: datetime | None
    learned_rate: float | None
    breaker: str
    error_rate: float
    requests_per_second: float
    burst: int
    lane_owned: bool
    shared_account: bool
    rejected: tuple[tuple[str, str, int], ...]
    dead: tuple[tuple[str, int], ...]


async def destination_figures(
    connection: PipelineConnection, number: DestinationNumber
) -> DestinationFigures | None:
    """Read the figures of a destination in one statement, so that they add up.

    `oldest_waiting` and `earliest_expiry` are None when the states of its batches cannot be read.
    """
    try:
        row = await connection.fetchrow(_FIGURES.format(oldest=_OLDEST, first_event=_FIRST_EVENT), number)
    except Exception as error:
        if not damage.is_damage(error):
            raise
        row = await connection.fetchrow(_FIGURES.format(oldest=_UNKNOWN, first_event=_UNKNOWN), number)
    if row is None:
        return None
    return read_row(
        DestinationFigures,
        row,
        totals=json.loads(row["totals"]),
        rejected=[tuple(entry.values()) for entry in json.loads(row["rejected"])],
        dead=[tuple(entry.values()) for entry in json.loads(row["dead"])],
    )


_UNKNOWN = "NULL::timestamptz"
_OLDEST, _FIRST_EVENT = (
    f"""(SELECT min({column}) FROM batch_states s WHERE s.destination = d.number AND s.settled_at IS NULL)"""
    for column in ("accepted_at", "first_event")
)
_SUMS = ", ".join(f"coalesce(sum({each.name}), 0)::bigint AS {each.name}" for each in fields(CountTotals))
_FIGURES = f"""
        SELECT d.state, d.requests_per_second, d.burst, l.learned_rate, l.breaker, l.error_rate,
          coalesce(l.leased_until > now(), false) AS lane_owned,
          is_shared_account(d.number) AS shared_account,
          (SELECT row_to_json(c)::text FROM (
             SELECT {_SUMS} FROM counts WHERE destination = d.number) c) AS totals,
          {{oldest}} AS oldest_waiting, {{first_event}} AS earliest_expiry,
          (SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT code, reason, sum(rejected)::bigint AS n
             FROM rejections WHERE destination = d.number GROUP BY code,
               reason ORDER BY 3 DESC LIMIT 50) r) AS rejected,
          (SELECT coalesce(json_agg(x), '[]')::text FROM (SELECT reason, count(*) AS n
             FROM exceptions WHERE destination = d.number AND status = 'dead' GROUP BY reason) x) AS dead
        FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.number = $1
"""
