"""Rules of the search that merge accepted and rejected events. Pure."""

from collections.abc import Sequence
from datetime import datetime

from app.domain.event_query import EventQuery
from app.store.rejection_records import RejectionFilter


def take_newest(
    accepted: Sequence[datetime], rejected: Sequence[datetime], horizon: datetime, limit: int
) -> list[bool]:
    """Merge two lists, newest first; return for each item of the result whether it is an accepted event.

    Each list is newest first. Items older than the horizon are left out.
    """
    chosen: list[bool] = []
    a = r = 0
    while len(chosen) < limit and (a < len(accepted) or r < len(rejected)):
        is_accepted = r == len(rejected) or (a < len(accepted) and accepted[a] >= rejected[r])
        if (accepted[a] if is_accepted else rejected[r]) < horizon:
            break
        chosen.append(is_accepted)
        a, r = a + is_accepted, r + (not is_accepted)
    return chosen


def rejection_filter(wanted: EventQuery) -> RejectionFilter:
    """Convert a filter of events to a filter of rejection records."""
    return RejectionFilter(
        since=wanted.since,
        until=wanted.until,
        reason=wanted.reason,
        mapping_id=wanted.mapping_id,
        execution_id=wanted.execution_id,
        journey_id=wanted.journey_id,
        node_id=wanted.node_id,
        any_id=wanted.any_id,
    )


def may_be_rejected(wanted: EventQuery) -> bool:
    """Return whether a rejected event can match: it has no delivery status and no event type."""
    return wanted.status is None and wanted.event_type is None and not wanted.dismissed
