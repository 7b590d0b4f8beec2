"""Read the batches of destinations that may hold events of a filter, newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from app.admin import invalid
from app.admin.events.summary import THROTTLED
from app.domain.batch import digest_of
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.domain.outcomes.status import Status
from app.store import MAX_BIGINT, PipelineConnection
from app.store.events import batches, id_digests
from app.store.events.batches import BatchRow, ExceptionRow, Mappings, Numbers

BATCHES_PER_QUERY: Final = 50

Position = tuple[BatchId, int]
"""The id of a batch, and the position of an event in the batch."""


def require_mapping(mappings: Mappings, mapping_id: str | None) -> None:
    """Raise Refusal (422) if a filter names a mapping that does not exist here."""
    if mapping_id is not None and all(mapping_id != mapping.id for mapping in mappings.values()):
        raise invalid("mapping_id", "unknown")


def _status_of_all(wanted: EventQuery) -> Status | None:
    """Return the status of all events that can match, or None if they can have several."""
    if wanted.status is None and wanted.reason == THROTTLED:
        return Status.QUEUED  # only queued events can be throttled
    if wanted.status is None and wanted.dismissed:
        return Status.DEAD
    return wanted.status


def highest_id(before: Position | None) -> BatchId | None:
    """Return the highest id of a batch with events below a position, or None if there is no position."""
    return None if before is None else BatchId(before[0] if before[1] else before[0] - 1)


@dataclass(slots=True)
class BatchReader:
    """Reads batches of destinations that may hold matching events, newest first.

    For a filter with an id, these are the batches that may hold the id, by its digest.
    """

    connection: PipelineConnection
    numbers: Numbers
    wanted: EventQuery
    _spans: list[id_digests.BatchSpan] = field(default_factory=list)
    _are_all: bool = False

    async def page(
        self, highest: BatchId | None, *, limit: int = BATCHES_PER_QUERY
    ) -> tuple[list[BatchRow], BatchId | None]:
        """Return batches up to an id, and the id below which the next ones are; None at the end.

        A page may be empty.
        """
        span = await self._span(BatchId(MAX_BIGINT) if highest is None else highest)
        if span is None:
            return [], None
        found = await batches.newest(
            self.connection,
            self.numbers,
            wanted=_status_of_all(self.wanted),
            before=span.last,
            after=span.first,
            limit=limit,
        )
        if len(found) == limit:
            return found, found[-1].id
        return found, span.first if span.first > 0 else None

    async def _span(self, highest: BatchId) -> id_digests.BatchSpan | None:
        if (id_ := self.wanted.searched_id) is None:
            return id_digests.BatchSpan(BatchId(0), highest)
        self._spans = [span for span in self._spans if span.first <= highest]
        if not self._spans and not self._are_all:
            since = self.wanted.since
            self._spans, self._are_all = await id_digests.next_spans(
                self.connection,
                digest_of(id_),
                highest=highest,
                since=None if since is None else since.astimezone(UTC).date(),
            )
        return self._spans[0]._replace(last=min(self._spans[0].last, highest)) if self._spans else None


async def exceptions_of(
    connection: PipelineConnection, found: Sequence[BatchRow]
) -> Mapping[BatchId, Mapping[int, ExceptionRow]]:
    """Return the exceptions of these batches by batch and place."""
    if not found:
        return {}
    numbers = {batch.destination for batch in found}
    return await batches.exceptions(connection, numbers, [batch.id for batch in found])


def are_older(found: Sequence[BatchRow], since: datetime | None) -> bool:
    """Return whether all batches of a query are older than `since`. Batch ids are nearly in time order."""
    return since is not None and bool(found) and all(batch.accepted_at < since for batch in found)
