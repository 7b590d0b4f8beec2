"""List events of one or all visible destinations, accepted and rejected events together, newest first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter
from time import monotonic
from typing import Final, NamedTuple

from app.admin.context import AppContext
from app.admin.destinations import find_visible_row, reading_row
from app.admin.events import scan
from app.admin.events.summary import (
    REJECTED,
    EventSummary,
    accepted_summary,
    mapping_of,
    rejected_summary,
    status_and_reason,
)
from app.domain.batch import EventMetadata, read_shapes
from app.domain.event import event_key
from app.domain.event_query import MEMBERS, EventQuery
from app.domain.ids import BatchId, DestinationNumber
from app.store import PipelineConnection, ledger
from app.store.events import attempts, batches, rejections
from app.store.events.rejections import RejectionRecord

# At these limits a page ends, even if it has found few matching events. Its cursor continues the scan.
_MAX_BATCHES_PER_PAGE, _MAX_SCAN_SECONDS = 500, 0.03
_MAX_ID_SECONDS: Final = 0.2  # to find an id: few batches are read, most of the time the database searches
_FIRST_ID: Final = 2**62  # above every id
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


class SearchPosition(NamedTuple):
    """Where the next page continues: below this accepted event, and below this rejection record."""

    batch: BatchId
    place: int
    rejection: int


START: Final = SearchPosition(BatchId(_FIRST_ID), 0, _FIRST_ID)
_END_OF_ACCEPTED: Final = (BatchId(0), 0)


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events. `following` is where the next page continues, None at the end.

    `back_to` is the earliest time that was searched. `is_exact` is True if each event has the searched id.
    """

    items: Sequence[EventSummary]
    following: SearchPosition | None
    unreadable_batches: int = 0
    back_to: datetime | None = None
    is_exact: bool = False


class ScannedEvent(NamedTuple):
    """A summary and the position of its event."""

    event: EventSummary
    position: scan.Position


@dataclass(frozen=True, slots=True)
class EventScan:
    """A page of events. `following` is where the next page continues, None at the end of the list.

    `back_to` is the acceptance time of the oldest batch that the scan read, None if it read no batch.
    """

    items: list[ScannedEvent]
    following: scan.Position | None
    unreadable_batches: int
    back_to: datetime | None


async def mapping_names(context: AppContext, destination_id: str) -> dict[str, str]:
    """Return the names of a destination's mappings, also deleted ones, by id. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, destination):
        mappings = await batches.mappings(connection, [destination.id])
        return {mapping.id: mapping.name for mapping in mappings.values()}


async def search_events(
    context: AppContext,
    wanted: EventQuery,
    *,
    destination_id: str | None,
    before: SearchPosition = START,
    limit: int,
) -> EventPage:
    """Return a page of events of one or all visible destinations. Raises Refusal (404, 422).

    `any_id` of the filter is compared with the ids of the event, its execution, journey, node and request,
    and with Amazon's request ids. If an event has this id, the page has only the events with this id.
    """
    await context.intake.recorder.write()
    async with context.snapshot() as connection:
        only, known = context.caller.only, dict[DestinationNumber, batches.DestinationRef]()
        if destination_id is not None:
            destination = await find_visible_row(connection, context.caller, destination_id)
            only, known = [destination.id], {destination.number: destination}
        elif only is not None:
            known = await batches.destinations(connection, ids=only)
        mappings = await batches.mappings(connection, only)
        scan.require_mapping(mappings, wanted.mapping_id)
        search = EventSearch(connection, None if only is None else list(known), mappings, wanted, known)
        if wanted.any_id is not None and before == START:
            exact = await search.exact(wanted.any_id, limit)
            matching = [item for item in exact.items if _is_wanted(item, wanted)]
            if matching:
                return replace(exact, items=matching)
        return await search.page(before, limit)


@dataclass(frozen=True, slots=True)
class EventSearch:
    """A search in one snapshot.

    `numbers` are the destinations to search, None for all. `known` caches the destinations read so far.
    """

    connection: PipelineConnection
    numbers: batches.Numbers
    mappings: batches.Mappings
    wanted: EventQuery
    known: dict[DestinationNumber, batches.DestinationRef]

    async def page(self, before: SearchPosition, limit: int) -> EventPage:
        """Return the events below a position."""
        accepted = EventScan([], None, 0, None)
        if self.wanted.may_be_accepted and before.batch > 0:
            reader = scan.BatchReader(self.connection, self.numbers, self.wanted)
            accepted = await self.accepted(reader, (before.batch, before.place), limit)
        records: list[RejectionRecord] = []
        if before.rejection > 0 and self.wanted.may_be_rejected:
            records = await rejections.newest(
                self.connection, self.numbers, self.wanted, limit=limit + 1, below=before.rejection
            )
        await self._learn(record.destination for record in records)
        return self._merge(before, accepted, records, limit)

    async def accepted(self, reader: scan.BatchReader, before: scan.Position, limit: int) -> EventScan:
        """Return up to `limit` accepted events below `before`, newest first. A shorter page may have a next
        page.
        """
        wanted = self.wanted
        items: list[ScannedEvent] = []
        unreadable, scanned = 0, 0
        back_to: datetime | None = None
        deadline = monotonic() + (_MAX_SCAN_SECONDS if wanted.searched_id is None else _MAX_ID_SECONDS)
        while scanned == 0 or (scanned < _MAX_BATCHES_PER_PAGE and monotonic() < deadline):
            found, below = await reader.page(scan.highest_id(before))
            await self._learn(batch.destination for batch in found)
            candidates = [batch for batch in found if wanted.may_match(batch.accepted_at, batch.shapes)]
            exceptions = await scan.exceptions_of(self.connection, candidates)
            searched = {batch.id for batch in candidates}
            for batch in found:
                back_to = batch.accepted_at if back_to is None else min(back_to, batch.accepted_at)
                if batch.id not in searched:
                    continue
                of_batch = exceptions.get(batch.id, {})
                shapes = self._matching(batch, of_batch)
                if shapes is None:
                    unreadable += 1
                    continue
                for shape in shapes:
                    position = (batch.id, shape.place)
                    if position >= before:
                        continue
                    event = self._accepted(batch, shape, of_batch.get(shape.place))
                    items.append(ScannedEvent(event, position))
                    if len(items) == limit:
                        return EventScan(items, position, unreadable, back_to)
            if below is None or scan.are_older(found, wanted.since):
                return EventScan(items, None, unreadable, back_to)
            scanned += len(found)
            before = (below, 0)
        return EventScan(items, before, unreadable, back_to)

    def _matching(
        self, batch: batches.BatchRow, exceptions: Mapping[int, batches.ExceptionRow]
    ) -> list[EventMetadata] | None:
        """Return the events of a batch that match the filter, newest first; None if the batch is damaged."""
        destination, wanted = self.known[batch.destination], self.wanted
        # Most events of a batch share one status: decide by status before unpacking the metadata.
        special = {
            place: wanted.includes(
                *status_and_reason(destination, batch, exception),
                dismissed=exception.dismissed_at is not None,
            )
            and wanted.has_cause(exception.amazon_code, exception.amazon_message)
            for place, exception in exceptions.items()
        }
        others = wanted.includes(*status_and_reason(destination, batch, None)) and wanted.has_cause(
            None, None
        )
        if not others and not any(special.values()):
            return []
        if (shapes := read_shapes(batch.shapes)) is None:
            return None
        return [
            shape
            for shape in reversed(shapes)
            if special.get(shape.place, others)
            and wanted.matches(shape)
            and (wanted.mapping_id is None or mapping_of(shape, self.mappings) == wanted.mapping_id)
        ]

    async def exact(self, text: str, limit: int) -> EventPage:
        """Return the events with this id, or else the events of the Amazon request with this id."""
        keys = {
            event_key(mapping.destination, mapping.id, text): mapping.destination
            for mapping in self.mappings.values()
        }
        generation = await ledger.current_generation(self.connection)
        found = await ledger.find(self.connection, generation, list(keys))
        ids = {keys[key] for key in found}
        self.known.update(await batches.destinations(self.connection, ids=ids) if ids else {})
        numbers = {destination.id: number for number, destination in self.known.items()}
        items = []
        for key, row in found.items():
            items += await self._events_at(numbers[keys[key]], row.batch, {row.place}, text)
        named = EventQuery(event_id=text)
        records = await rejections.newest(self.connection, self.numbers, named, limit=limit)
        await self._learn(record.destination for record in records)
        items += [self._rejected(record) for record in records]
        if items:
            return EventPage(items, None, is_exact=True)
        return EventPage(await self._of_request(text, limit), None)

    async def _of_request(self, request_id: str, limit: int) -> list[EventSummary]:
        carried = await attempts.find_request(self.connection, self.numbers, request_id)
        if carried is None:
            return []
        await self._learn([carried.destination])
        places: dict[BatchId, set[int]] = {}
        for batch, place in zip(carried.batches, carried.places or (), strict=False):
            places.setdefault(batch, set()).add(place)
        items: list[EventSummary] = []
        for batch in dict.fromkeys(carried.batches):
            items += await self._events_at(carried.destination, batch, places.get(batch), None)
            if len(items) >= limit:
                break
        return items[:limit]

    async def _events_at(
        self, number: DestinationNumber, id_: BatchId, places: set[int] | None, event_id: str | None
    ) -> list[EventSummary]:
        """Return the events of a batch at these places and with this id. None does not restrict."""
        items: list[EventSummary] = []
        for batch in await batches.batches(self.connection, number, [id_]):
            of_batch = (await scan.exceptions_of(self.connection, [batch])).get(batch.id, {})
            items += [
                self._accepted(batch, shape, of_batch.get(shape.place))
                for shape in read_shapes(batch.shapes) or ()
                if (places is None or shape.place in places) and event_id in (None, shape.event_id)
            ]
        return items

    async def _learn(self, numbers: Iterable[DestinationNumber]) -> None:
        """Read the destinations with these numbers into `known`."""
        unknown = set(numbers) - set(self.known)
        if unknown:
            self.known.update(await batches.destinations(self.connection, numbers=unknown))

    def _merge(
        self, before: SearchPosition, accepted: EventScan, found: Sequence[RejectionRecord], limit: int
    ) -> EventPage:
        """Merge accepted and up to `limit` rejected events, newest first.

        `found` may have one more than `limit` rejected events, which shows that further ones follow.
        If a list continues on the next page, this page has no events older than the end of that list.
        """
        records, has_more = found[:limit], len(found) > limit
        horizon = max(
            (accepted.back_to or _NO_TIME) if accepted.following else _NO_TIME,
            records[-1].received_at if has_more else _NO_TIME,
        )
        rejected = [self._rejected(record) for record in records]
        items = take_newest([item.event for item in accepted.items], rejected, horizon, limit)
        from_records = sum(item.status == REJECTED for item in items)
        from_accepted = len(items) - from_records
        if from_accepted == len(accepted.items):
            batch, place = accepted.following or _END_OF_ACCEPTED
        elif from_accepted:
            batch, place = accepted.items[from_accepted - 1].position
        else:
            batch, place = before.batch, before.place
        if from_records == len(records) and not has_more:
            rejection = 0
        else:
            rejection = records[from_records - 1].id if from_records else before.rejection
        following = SearchPosition(batch, place, rejection) if batch or rejection else None
        return EventPage(items, following, accepted.unreadable_batches, accepted.back_to)

    def _accepted(
        self, batch: batches.BatchRow, shape: EventMetadata, exception: batches.ExceptionRow | None
    ) -> EventSummary:
        destination = self.known[batch.destination]
        return accepted_summary(destination, batch, shape, exception, self.mappings)

    def _rejected(self, record: RejectionRecord) -> EventSummary:
        return rejected_summary(self.known[record.destination], record)


def take_newest(
    accepted: Sequence[EventSummary], rejected: Sequence[EventSummary], horizon: datetime, limit: int
) -> list[EventSummary]:
    """Merge two lists, each newest first. Events older than the horizon are left out."""
    merged = merge(accepted, rejected, key=attrgetter("received_at"), reverse=True)
    return list(islice(takewhile(lambda event: event.received_at >= horizon, merged), limit))


_EQUAL: Final = ("status", "reason", "mapping_id", "field", *MEMBERS)


def _is_wanted(item: EventSummary, wanted: EventQuery) -> bool:
    """Return whether an event that was found by its id matches the filter. The time range is ignored."""
    if wanted.rejected not in (None, item.status == REJECTED):
        return False
    if wanted.dismissed not in (None, item.dismissed_at is not None):
        return False
    return wanted.has_cause(item.amazon_code, item.amazon_message) and all(
        getattr(wanted, name) in (None, getattr(item, name)) for name in _EQUAL
    )
