"""Search events over all visible destinations, accepted and rejected events together, newest first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import (
    BATCHES_PER_QUERY,
    DISMISSED,
    EventScan,
    ListedEvent,
    Mappings,
    ReadBatches,
    ScannedEvent,
    listed_event,
    newest_of,
    require_mapping,
    scan_events,
)
from app.admin.event_search_rules import may_be_rejected, rejection_filter, take_newest
from app.admin.ids import require_id
from app.admin.refusals import ErrorCode, Refusal
from app.domain.batch import read_shapes
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationNumber
from app.domain.ledger_keys import event_key
from app.domain.outcomes.reasons import JourneyCode
from app.domain.outcomes.rejection_details import rejection_detail
from app.domain.outcomes.status import Status
from app.store import (
    PipelineConnection,
    driver_of,
    event_history,
    event_search,
    ledger,
    rejection_records,
)
from app.store.event_history import BatchRow, DestinationRef
from app.store.event_search import NamedDestination
from app.store.rejection_records import RejectionRecord

REJECTED: Final = "rejected"
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
class FoundEvent:
    """An accepted or rejected event. An export has a column for each member."""

    destination_id: str
    destination_name: str
    received_at: Annotated[datetime, Field(description="When it was accepted or rejected.")]
    event_id: str | None
    status: Status | Literal["rejected"]
    code: JourneyCode | None
    reason: str | None
    event_type: str | None
    event_time: datetime | None
    mapping_id: str | None
    mapping_version: int | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None
    amazon_code: str | None
    amazon_message: str | None
    field: Annotated[str | None, Field(description="For a rejected event: the source path in the mapping.")]
    detail: Annotated[str | None, Field(description="For a rejected event: the reason as a sentence.")]
    request_id: Annotated[str | None, Field(description="The `X-Request-Id` of the post that contained it.")]
    dismissed_at: Annotated[datetime | None, Field(description=DISMISSED)]
    dismissed_by: str | None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of events. `following` is where the next page continues, None at the end.

    `back_to` is the earliest time that was searched. `is_exact` is True if each event has the searched id.
    """

    items: Sequence[FoundEvent]
    following: SearchPosition | None
    unreadable_batches: int = 0
    back_to: datetime | None = None
    is_exact: bool = False


async def search_events(
    context: AppContext,
    caller: Caller,
    wanted: EventQuery,
    *,
    destination_id: str | None = None,
    rejected: bool | None = None,
    before: SearchPosition = START,
    limit: int,
) -> SearchPage:
    """Return a page of events of one or all visible destinations. Raises Refusal (404).

    `rejected` selects only rejected events (True), only accepted events (False), or both (None). `any_id` of
    the filter is compared with the ids of the event, its execution, journey, node and request, and with
    Amazon's request ids. If an event has this id, the page has only the events with this id.
    """
    await context.write_rejections()
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        search = await _open(connection, caller, destination_id, wanted)
        if wanted.any_id is not None and before == START:
            exact = await search.exact(wanted.any_id, limit)
            kept = [item for item in exact.items if _is_wanted(item, wanted, rejected)]
            if kept:
                return replace(exact, items=kept)
        return await search.page(before, limit, rejected=rejected)


async def destination_names(context: AppContext, caller: Caller, *, limit: int) -> list[tuple[str, str]]:
    """Return ids and names of the destinations that a caller may see, by name."""
    async with context.engine.connect() as connection:
        return await event_search.names(await driver_of(connection), caller.only, limit=limit)


async def _open(
    connection: PipelineConnection, caller: Caller, destination_id: str | None, wanted: EventQuery
) -> "_Search":
    only, known = caller.only, dict[DestinationNumber, NamedDestination]()
    if destination_id is not None:
        require_id("dst_", destination_id)
        only = [destination_id] if caller.sees(destination_id) else []
    if only is not None:
        known = await event_search.destinations(connection, ids=only)
    if destination_id is not None and not known:
        raise Refusal(ErrorCode.NOT_FOUND)
    mappings = await event_search.mappings(connection, only)
    require_mapping(mappings, wanted.mapping_id)
    return _Search(
        connection,
        None if only is None else list(known),
        mappings,
        wanted,
        known,
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """A search in one snapshot. `mappings` has the ids of each mapping and its destination, by number.

    `numbers` are the destinations to search, None for all. `known` caches the destinations read so far.
    """

    connection: PipelineConnection
    numbers: event_search.Numbers
    mappings: Mappings
    wanted: EventQuery
    known: dict[DestinationNumber, NamedDestination]

    async def page(self, before: SearchPosition, limit: int, *, rejected: bool | None) -> SearchPage:
        """Return the events below a position."""
        accepted = EventScan([], None, 0, None)
        if rejected is not True and before.batch > 0:
            accepted = await scan_events(
                self.connection,
                self._newest(),
                self.mappings,
                self.wanted,
                before=(before.batch, before.place),
                limit=limit,
            )
        records: list[RejectionRecord] = []
        if rejected is not False and before.rejection > 0 and may_be_rejected(self.wanted):
            records = await self._records(before.rejection, limit + 1)
        has_more = len(records) > limit
        return self._merge(before, accepted, records[:limit], limit, has_more=has_more)

    async def exact(self, text: str, limit: int) -> SearchPage:
        """Return the events with this id, or else the events of the Amazon request with this id."""
        keys = {
            event_key(destination, mapping, text): number  # type: ignore[arg-type]
            for number, (mapping, destination) in self.mappings.items()
        }
        generation = await ledger.current_generation(self.connection)
        found = await ledger.find(self.connection, generation, list(keys))
        ids = {self.mappings[keys[key]][1] for key in found}
        self.known.update(await event_search.destinations(self.connection, ids=ids) if ids else {})
        by_id = {each.ref.id: number for number, each in self.known.items()}
        items = []
        for key, row in found.items():
            number = by_id[self.mappings[keys[key]][1]]  # type: ignore[index]
            items += await self._events_at(number, row.batch, {row.place}, text)
        records = await rejection_records.of_event(self.connection, self.numbers, text, limit=limit)
        await self._learn(record.destination for record in records)
        items += [self._rejected(record) for record in records]
        if items:
            return SearchPage(items, None, is_exact=True)
        return SearchPage(await self._of_request(text, limit), None)

    async def _of_request(self, request_id: str, limit: int) -> list[FoundEvent]:
        carried = await event_search.find_request(self.connection, self.numbers, request_id)
        if carried is None:
            return []
        await self._learn([carried.destination])
        places: dict[BatchId, set[int]] = {}
        for batch, place in zip(carried.batches, carried.places or (), strict=False):
            places.setdefault(batch, set()).add(place)
        items: list[FoundEvent] = []
        for batch in dict.fromkeys(carried.batches):
            items += await self._events_at(carried.destination, batch, places.get(batch), None)
            if len(items) >= limit:
                break
        return items[:limit]

    async def _events_at(
        self, number: DestinationNumber, id_: BatchId, places: set[int] | None, event_id: str | None
    ) -> list[FoundEvent]:
        """Return the events of a batch at these places and with this id. None does not restrict."""
        destination = self.known[number]
        items = []
        for batch in await event_history.batches(self.connection, number, id_):
            exceptions = await event_history.exceptions(self.connection, [number], [batch.id])
            for shape in read_shapes(batch.shapes) or ():
                if (places is None or shape.place in places) and event_id in (None, shape.event_id):
                    exception = exceptions.get((batch.id, shape.place))
                    event = listed_event(destination.ref, batch, shape, exception, self.mappings)
                    items.append(self._accepted(number, event))
        return items

    async def _records(self, below: int, limit: int) -> list[RejectionRecord]:
        wanted = rejection_filter(self.wanted)
        if self.numbers is not None and len(self.numbers) == 1:
            return await rejection_records.page(
                self.connection, self.numbers[0], wanted, limit=limit, below=below
            )
        records = await rejection_records.search(
            self.connection, self.numbers, wanted, limit=limit, below=below
        )
        await self._learn(record.destination for record in records)
        return records

    def _newest(self) -> ReadBatches:
        if self.numbers is not None and len(self.numbers) == 1:
            return newest_of(self.connection, self.known[self.numbers[0]].ref, self.wanted)

        async def read(before: BatchId | None) -> list[tuple[DestinationRef, BatchRow]]:
            found = await event_search.newest(
                self.connection, self.numbers, before=before, limit=BATCHES_PER_QUERY
            )
            self.known.update({named.ref.number: named for named, _ in found})
            return [(named.ref, batch) for named, batch in found]

        return read

    async def _learn(self, numbers: Iterable[DestinationNumber]) -> None:
        """Read the destinations with these numbers into `known`."""
        unknown = set(numbers) - set(self.known)
        if unknown:
            self.known.update(await event_search.destinations(self.connection, numbers=unknown))

    def _merge(
        self,
        before: SearchPosition,
        accepted: EventScan,
        records: Sequence[RejectionRecord],
        limit: int,
        *,
        has_more: bool,
    ) -> SearchPage:
        """Merge accepted and rejected events, newest first.

        If a list continues on the next page, this page has no events older than the end of that list.
        """
        horizon = max(
            (accepted.back_to or _NO_TIME) if accepted.following else _NO_TIME,
            records[-1].received_at if has_more else _NO_TIME,
        )
        chosen = take_newest(
            [item.event.accepted_at for item in accepted.items],
            [record.received_at for record in records],
            horizon,
            limit,
        )
        from_accepted, from_records = chosen.count(True), chosen.count(False)
        taken, rejected = iter(accepted.items), iter(records)
        items = [
            self._of(next(taken)) if is_accepted else self._rejected(next(rejected)) for is_accepted in chosen
        ]
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
        return SearchPage(items, following, accepted.unreadable_batches, accepted.back_to)

    def _of(self, item: ScannedEvent) -> FoundEvent:
        return self._accepted(item.destination, item.event)

    def _accepted(self, number: DestinationNumber, event: ListedEvent) -> FoundEvent:
        destination = self.known[number]
        return FoundEvent(
            destination_id=destination.ref.id,
            destination_name=destination.name,
            received_at=event.accepted_at,
            event_id=event.event_id,
            status=event.status,
            code=event.code,
            reason=event.reason,
            event_type=event.event_type,
            event_time=event.event_time,
            mapping_id=event.mapping_id,
            mapping_version=event.mapping_version,
            execution_id=event.execution_id,
            journey_id=event.journey_id,
            node_id=event.node_id,
            amazon_code=event.amazon_code,
            amazon_message=event.amazon_message,
            field=None,
            detail=None,
            request_id=event.request_id,
            dismissed_at=event.dismissed_at,
            dismissed_by=event.dismissed_by,
        )

    def _rejected(self, record: RejectionRecord) -> FoundEvent:
        destination = self.known[record.destination]
        return FoundEvent(
            destination_id=destination.ref.id,
            destination_name=destination.name,
            received_at=record.received_at,
            event_id=record.event_id,
            status=REJECTED,
            code=JourneyCode(record.code),
            reason=record.reason,
            event_type=None,
            event_time=None,
            mapping_id=record.mapping_id,
            mapping_version=None,
            execution_id=record.execution_id,
            journey_id=record.journey_id,
            node_id=record.node_id,
            amazon_code=None,
            amazon_message=None,
            field=record.field,
            detail=rejection_detail(record.reason, record.field, record.mapping_field),
            request_id=record.request_id,
            dismissed_at=None,
            dismissed_by=None,
        )


def _is_wanted(item: FoundEvent, wanted: EventQuery, rejected: bool | None) -> bool:
    """Return whether an event that was found by its id matches the filter. The time range is ignored."""
    if rejected is not None and (item.status == REJECTED) is not rejected:
        return False
    return wanted.has_cause(item.amazon_code, item.amazon_message) and all(
        value in (None, getattr(item, name))
        for name, value in (
            ("status", wanted.status),
            ("reason", wanted.reason),
            ("event_type", wanted.event_type),
            ("mapping_id", wanted.mapping_id),
            ("execution_id", wanted.execution_id),
            ("journey_id", wanted.journey_id),
            ("node_id", wanted.node_id),
        )
    )
