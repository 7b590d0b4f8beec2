"""A scan for an id reads no more than the batches that may contain it."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, cast

from app.admin.events.scan import BATCHES_PER_QUERY, BatchReader
from app.admin.events.search import EventScan, EventSearch
from app.domain.batch import EventMetadata, pack
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationId, DestinationNumber
from app.store.events.batches import BatchRow, DestinationRef

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DESTINATION = DestinationRef(DestinationId("dst_1"), DestinationNumber(1), "Shop", "active", None, None)


def packed_event(event_id: str) -> bytes:
    return pack([EventMetadata(0, event_id, 1, 1, "LEAD", 1_800_000_000_000, (), ())])


def batch(number: int) -> BatchRow:
    """Return a delivered batch of one event."""
    return BatchRow(
        id=BatchId(number),
        destination=DESTINATION.number,
        day=date(2026, 11, 26),
        accepted_at=NOW,
        due_at=NOW,
        tries=1,
        first_event=NOW,
        disposition="sent",
        settled_at=NOW,
        reason=None,
        attempts=(1,),
        replays=(),
        shapes=packed_event(f"order-{number}"),
    )


NEWEST = [batch(number) for number in range(BATCHES_PER_QUERY - 1, 0, -1)]


class OnePage:
    """A reader that has these batches."""

    def __init__(self, found: list[BatchRow]) -> None:
        self.found = found

    async def page(self, _highest: BatchId | None) -> tuple[list[BatchRow], BatchId | None]:
        return self.found, None


class CountingConnection:
    """A connection whose statements return no row."""

    def __init__(self) -> None:
        self.arguments: list[tuple[Any, ...]] = []

    async def fetch(self, _statement: str, *arguments: Any) -> list[Any]:
        self.arguments.append(arguments)
        return []


async def scan(connection: CountingConnection, found: list[BatchRow], wanted: EventQuery) -> EventScan:
    """Return a page of up to 50 events of these batches, the first one."""
    known = {DESTINATION.number: DESTINATION}
    search = EventSearch(cast(Any, connection), None, {}, wanted, known)
    return await search.accepted(cast(BatchReader, OnePage(found)), (BatchId(2**62), 0), 50)


async def test_batches_that_cannot_contain_an_id_cost_no_statement() -> None:
    """A search for an id that does not exist reads the newest batches, nothing else."""
    connection = CountingConnection()
    wanted = EventQuery(any_id="nothing-like-it")
    found = await scan(connection, NEWEST, wanted)
    assert (found.items, found.following, found.back_to) == ([], None, NOW)
    assert connection.arguments == []


async def test_exceptions_are_read_of_the_batch_with_the_id_only() -> None:
    """Fifty batches are read; one of them may contain the id."""
    connection = CountingConnection()
    wanted = EventQuery(any_id="order-31")
    found = await scan(connection, NEWEST, wanted)
    assert [item.event.event_id for item in found.items] == ["order-31"]
    assert connection.arguments == [([31], [1])]


async def test_two_batches_of_one_id_are_both_in_the_page() -> None:
    """Damage can leave them on different days: neither event takes the place of the other."""
    earlier = replace(batch(7), day=date(2026, 11, 25), shapes=packed_event("order-before"))
    found = await scan(CountingConnection(), [batch(7), earlier], EventQuery())
    assert [(item.event.event_id, item.position) for item in found.items] == [
        ("order-7", (7, 0)),
        ("order-before", (7, 0)),
    ]
