"""Group the events of a destination that failed permanently, by cause and mapping."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.outcomes.reasons import POSITION_IN_REQUEST, failure_cause
from app.store import PipelineConnection, fetch_rows, read_sql

SQL: Final = read_sql(__file__)

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
    return await fetch_rows(connection, FailureGroup, SQL["groups"], number, since, only_mapping)
