"""Group the events of a destination that failed permanently, by cause and mapping."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.outcomes.failure_cause import POSITION_IN_REQUEST, failure_cause
from app.store import PipelineConnection
from app.store.rows import read_row

_MOST_GROUPS: Final = 50
_MESSAGE: Final = f"regexp_replace(coalesce(e.amazon_message, ''), '{POSITION_IN_REQUEST}', '', 'g')"
# `failure_cause` of a row of `exceptions e`.
CAUSE: Final = f"left(md5(coalesce(e.amazon_code, '') || E'\\n' || {_MESSAGE}), 12)"


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Events that failed permanently for one cause. `dismissed` counts events that users marked as handled.

    `mapping` is None for batches that were never sent: their events can have several mappings.
    """

    status: str
    reason: str
    code: str | None
    message: str | None
    mapping: MappingNumber | None
    events: int
    dismissed: int
    first_at: datetime
    last_at: datetime

    @property
    def cause(self) -> str:
        """The digest that identifies Amazon's code and message in URLs and filters."""
        return failure_cause(self.code, self.message)


async def groups(
    connection: PipelineConnection,
    number: DestinationNumber,
    *,
    since: datetime | None,
    only_mapping: MappingNumber | None,
) -> list[FailureGroup]:
    """Return the groups of dead and expired events, accepted since `since`, most frequent first.

    `only_mapping` is the destination's mapping if it has exactly one. Events without a mapping then count for
    this mapping.
    """
    rows = await connection.fetch(
        f"""
        -- Equal texts are grouped first, so that the pattern runs once per text instead of once per event.
        WITH texts AS (
          SELECT e.status, e.reason, e.amazon_code, e.amazon_message, coalesce(e.mapping, $3) AS mapping,
            count(*) AS events, count(e.dismissed_at) AS dismissed, min(e.changed_at) AS first_at,
            max(e.changed_at) AS last_at
          FROM exceptions e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
          WHERE e.destination = $1 AND e.status IN ('dead', 'expired')
            AND ($2::timestamptz IS NULL OR s.accepted_at >= $2)
          GROUP BY 1, 2, 3, 4, 5
          UNION ALL
          -- Batches that were never sent.
          SELECT CASE disposition WHEN 'discarded' THEN 'dead' ELSE disposition END, reason, NULL, NULL,
            $3::integer, sum(events), 0, min(settled_at), max(settled_at)
          FROM batch_states WHERE destination = $1 AND disposition IN ('discarded', 'expired') AND events > 0
            AND ($2::timestamptz IS NULL OR accepted_at >= $2)
          GROUP BY 1, 2
        )
        SELECT e.status, coalesce(e.reason, e.status) AS reason, e.amazon_code AS code,
          nullif({_MESSAGE}, '') AS message, e.mapping, sum(e.events)::bigint AS events,
          sum(e.dismissed)::bigint AS dismissed, min(e.first_at) AS first_at, max(e.last_at) AS last_at
        FROM texts e GROUP BY 1, 2, 3, 4, 5 ORDER BY events DESC, 1, 2, 3, 4, 5 LIMIT {_MOST_GROUPS}
        """,
        number,
        since,
        only_mapping,
    )
    return [read_row(FailureGroup, row) for row in rows]
