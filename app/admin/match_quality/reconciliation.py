"""Use cases: what Amazon should count, computed from the stored batches, and the explanation of a gap."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Annotated, Final

from pydantic import Field

from app.admin import invalid
from app.admin.context import AppContext
from app.admin.destinations import reading_row
from app.admin.events.scan import exceptions_of
from app.admin.events.summary import status_and_reason
from app.admin.inputs import Day, RequestBody
from app.admin.mappings.schema import compiled_or_none
from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import BatchId, MappingNumber
from app.domain.match_quality.reconciliation import (
    DayCounts,
    EventKind,
    Gap,
    ReconciledDay,
    amc_sql,
    explain_gap,
)
from app.domain.outcomes.status import WAITING, Status
from app.store.events import batches as event_batches
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow
from app.store.match_quality import reconciliation

DAYS: Final = 7
MOST_DAYS: Final = 31
_FEW_BATCHES, _BATCHES = 10, 200  # of the first query, and of the others
_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_SECONDS: Final = 20.0  # of one request

_UNKNOWN: Final = EventKind(None, None, None, None)


class ExplainGapRequest(RequestBody):
    """The number that Amazon shows for an event name on a UTC day."""

    day: Day
    event_name: Annotated[str, Field(min_length=1, max_length=256)]
    amazon_count: Annotated[int, Field(ge=0, le=10**12)]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The rows of some days. `complete` is False if not all batches could be read in time."""

    items: list[ReconciledDay]
    amc_sql: str
    complete: bool


async def read_reconciliation(
    context: AppContext,
    destination_id: str,
    first: date | None,
    last: date | None,
    *,
    seconds: float = _SECONDS,
) -> Reconciliation:
    """Count the events of some UTC days, by default of the last seven, for at most `seconds`.

    Raises Refusal (404, 422).
    """
    last = last or context.now().astimezone(UTC).date()
    first = first or last - timedelta(days=DAYS - 1)
    if last < first:
        raise invalid("to", "before_from")
    if last - first >= timedelta(days=MOST_DAYS):
        raise invalid("from", "too_long_ago", f"Ask for 1 to {MOST_DAYS} days.")
    tally = await _count_unsent(context, destination_id, first, last)
    complete = await _count_batches(context, tally, context.monotonic() + seconds)
    items = [ReconciledDay(day, kind, counts) for (day, kind), counts in tally.counted.items()]
    items.sort(key=lambda row: (row.day, row.kind.event_name or "", row.kind.event_type or ""), reverse=True)
    names = {row.kind.event_name for row in items if row.kind.event_name}
    return Reconciliation(items, amc_sql(names), complete)


async def explain_reconciliation(context: AppContext, destination_id: str, body: ExplainGapRequest) -> Gap:
    """Explain the number that Amazon shows for an event name on a UTC day. Raises Refusal (404)."""
    found = await read_reconciliation(context, destination_id, body.day, body.day)
    return explain_gap(found.items, body.day, body.event_name, body.amazon_count, context.now())


@dataclass(frozen=True, slots=True)
class _Tally:
    """The counts of some days by day and kind. `versions` has the kinds of mappings by number and version."""

    destination: DestinationRef
    first: date
    last: date
    versions: Mapping[tuple[MappingNumber, int], EventKind]
    counted: dict[tuple[date, EventKind], DayCounts] = field(default_factory=partial(defaultdict, DayCounts))

    def of_event(self, mapping: int, version: int, event_type: str, event_source: str | None) -> EventKind:
        found = self.versions.get((MappingNumber(mapping), version), _UNKNOWN)
        return replace(found, event_type=event_type, event_source=event_source or found.event_source)


async def _count_unsent(context: AppContext, destination_id: str, first: date, last: date) -> _Tally:
    """Read the mappings, and count the events that were not accepted."""
    async with reading_row(context, destination_id) as (connection, destination):
        number = destination.number
        found = await reconciliation.versions(connection, number)
        unsent = await reconciliation.unsent(connection, number, first=first, last=last)
        repeated = await reconciliation.mapped_duplicates(connection, number, first=first, last=last)
        ids = {batch for _, batch, _ in repeated}
        owners = await event_batches.batches(connection, number, ids)
    versions = await context.compute(
        lambda: {(each.mapping, each.version): _described(each) for each in found}
    )
    current = {each.mapping: versions[each.mapping, each.version] for each in found if each.is_current}
    tally = _Tally(destination, first, last, versions)
    for row in unsent:
        tally.counted[row.day, current.get(row.mapping, _UNKNOWN)] += DayCounts(
            without_consent=row.without_consent, repeated_ids=row.repeated_ids, rejected=row.rejected
        )
    shapes: dict[tuple[BatchId, int], EventMetadata] = {}
    for batch in owners:
        await asyncio.sleep(0)  # other requests of this process go on meanwhile
        shapes |= {(batch.id, shape.place): shape for shape in read_shapes(batch.shapes) or ()}
    for day, id_, place in repeated:
        if (shape := shapes.get((id_, place))) is not None:
            tally.counted[day, tally.of_event(*_kind_of(shape))] += DayCounts(repeated_ids=1)
    return tally


def _described(version: reconciliation.MappingVersion) -> EventKind:
    """Return the event kind of a version. Type and source are None if they differ per event."""
    compiled = compiled_or_none(version.document)
    if compiled is None:
        return EventKind(str(version.document.get("event_name") or ""), None, None, version.dataset_name)
    source = compiled.by_field["event_source"].const
    return EventKind(compiled.event_name, compiled.constant_event_type, source, version.dataset_name)


async def _count_batches(context: AppContext, tally: _Tally, deadline: float) -> bool:
    """Count the events of the stored batches, page by page. Return whether all could be read in time."""
    days = (tally.first, tally.last + timedelta(days=1))
    since, until = (datetime.combine(day, time(), UTC) for day in days)
    before: BatchId | None = None
    limit, is_first = _FEW_BATCHES, True
    while True:
        async with context.pool.acquire() as connection:
            batches = await reconciliation.batches_of_days(
                connection, tally.destination.number, since=since, until=until, before=before, limit=limit
            )
            exceptions = await exceptions_of(connection, batches)
        for batch in batches:
            if not is_first and context.monotonic() >= deadline:
                return False
            _count(tally, batch, exceptions.get(batch.id, {}))
            is_first = False
            await asyncio.sleep(0)  # other requests of this process go on meanwhile
        if len(batches) < limit:
            return True
        before, limit = batches[-1].id, _BATCHES


def _kind_of(shape: EventMetadata) -> tuple[int, int, str, str | None]:
    return shape.mapping, shape.mapping_version, shape.event_type, shape.event_source


def _count(tally: _Tally, batch: BatchRow, exceptions: Mapping[int, ExceptionRow]) -> None:
    """Count the events of a batch. Events of a day and kind count together, unless they have an exception."""
    alike = Counter(
        (shape.event_at_ms // _DAY_MS, _kind_of(shape), shape.place if shape.place in exceptions else None)
        for shape in read_shapes(batch.shapes) or ()
    )
    for (number, kind, place), events in alike.items():
        day = date.fromordinal(_EPOCH + number)
        if tally.first <= day <= tally.last:
            exception = None if place is None else exceptions[place]
            tally.counted[day, tally.of_event(*kind)] += _counts(tally.destination, batch, exception, events)


def _counts(
    destination: DestinationRef, batch: BatchRow, exception: ExceptionRow | None, events: int
) -> DayCounts:
    status, reason = status_and_reason(destination, batch, exception)
    was_sent = batch.attempts or batch.tries or (exception and exception.item_outcomes)
    return DayCounts(
        accepted=events,
        sent=events if was_sent or status is Status.DELIVERED else 0,
        amazon_accepted=events if status is Status.DELIVERED else 0,
        amazon_refused=events if status is Status.DEAD and reason == "amazon_refused" else 0,
        waiting=events if status in WAITING else 0,
    )
