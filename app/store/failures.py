"""Group the events of a destination that failed permanently, by reason and Amazon's message."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.ids import BatchId, DestinationNumber
from app.store import PipelineConnection

# Amazon's messages contain the position of an event in its request, which differs between equal failures.
POSITION_IN_REQUEST: Final = r"events\[\d+\][.:]?\s*"
_MOST_GROUPS: Final = 50
_SAMPLES: Final = 5
_PLACES: Final = 1_000  # more than the positions of a batch


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Events that failed in the same way. `dismissed` counts those marked as handled; `samples` are some of
    them.
    """

    status: str
    reason: str
    code: str | None
    message: str | None
    events: int
    dismissed: int
    first_at: datetime
    last_at: datetime
    samples: tuple[tuple[BatchId, int], ...]


async def groups(
    connection: PipelineConnection, number: DestinationNumber, *, since: datetime | None
) -> list[FailureGroup]:
    """Return the groups of dead and expired events that failed since a time, most frequent first."""
    rows = await connection.fetch(
        f"""
        -- Group equal texts first: the pattern then runs once per text instead of once per event.
        WITH texts AS (
          SELECT status, reason, amazon_code, amazon_message, count(*) AS events,
            count(dismissed_at) AS dismissed, min(changed_at) AS first_at, max(changed_at) AS last_at,
            max(batch * {_PLACES} + place) AS sample
          FROM exceptions WHERE destination = $1 AND status IN ('dead', 'expired')
            AND ($2::timestamptz IS NULL OR changed_at >= $2)
          GROUP BY 1, 2, 3, 4
          UNION ALL
          -- Batches that were never sent.
          SELECT CASE disposition WHEN 'discarded' THEN 'dead' ELSE disposition END, reason, NULL, NULL,
            sum(events), 0, min(settled_at), max(settled_at), max(batch * {_PLACES})
          FROM batch_states WHERE destination = $1 AND disposition IN ('discarded', 'expired') AND events > 0
            AND ($2::timestamptz IS NULL OR settled_at >= $2)
          GROUP BY 1, 2
        )
        SELECT status, coalesce(reason, status) AS reason, amazon_code AS code,
          nullif(regexp_replace(amazon_message, $3, '', 'g'), '') AS message,
          sum(events)::bigint AS events, sum(dismissed)::bigint AS dismissed,
          min(first_at) AS first_at, max(last_at) AS last_at,
          (array_agg(sample ORDER BY sample DESC))[1:{_SAMPLES}] AS samples
        FROM texts GROUP BY 1, 2, 3, 4 ORDER BY events DESC, 1, 2, 3, 4 LIMIT {_MOST_GROUPS}
        """,
        number,
        since,
        POSITION_IN_REQUEST,
    )
    return [
        FailureGroup(
            **{
                **dict(row),
                "samples": tuple((BatchId(each // _PLACES), each % _PLACES) for each in row["samples"]),
            }
        )
        for row in rows
    ]
