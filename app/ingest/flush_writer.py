"""Write a flush: ledger rows first, then batches of the accepted events, then the counts."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from time import monotonic

import asyncpg

from app import crypto
from app.domain import batch as packing
from app.domain.ids import BatchId, DestinationId, DestinationNumber
from app.domain.trace import RequestTrace
from app.ingest.dedup import EventIndex, Flush, accept_all, count_results, decide, unpinned_type
from app.ingest.destination_cache import CachedDestination
from app.ingest.evaluate import Candidate, DedupResult, PendingRequest, node_of
from app.store import PipelineConnection, batches, counts, ledger
from app.store import flush as flush_store
from app.store.counts import CountWriter
from app.store.destinations import cache
from app.store.events import journey_figures
from app.store.events.attempts import note_mapped_duplicates

_RESERVED_IDS = 256  # batch ids that a session reserves at a time
# Then a session reserves new ids. Searches rely on it: ids are in time order within seconds.
_RESERVED_S = 10.0

# Registers journey nodes so often: other processes can take a number between reading and inserting.
_TRIES = 10

# After a duplicate, this many flushes check every key separately, because duplicates come in series.
CAUTIOUS_FLUSHES = 20


@dataclass(slots=True, repr=False)
class _Batch:
    """A batch to store. The position of a candidate is its index in `members`.

    A member whose result is not ACCEPTED any more leaves its position empty.
    """

    id: BatchId
    destination: CachedDestination
    low_priority: bool
    bytes_left: int = packing.MAX_BYTES
    members: list[tuple[EventIndex, Candidate]] = field(default_factory=list)


@dataclass(slots=True)
class JourneyNodes:
    """The numbers of journey nodes on one day, as this process knows them.

    `day` is None before the first registration. A node without a number has the number `OTHER`.
    """

    day: date | None = None
    numbers: dict[journey_figures.JourneyNode, int] = field(default_factory=dict)
    _full: set[DestinationNumber] = field(default_factory=set)
    _session: "PipelineConnection | None" = None

    async def register(self, connection: PipelineConnection, requests: Iterable[PendingRequest]) -> None:
        """Learn the numbers of all nodes of these requests, outside the transaction that stores them.

        A new session may be one of a new primary that lost the newest nodes, so it learns all numbers again.
        """
        if connection is not self._session:
            self._forget()
            self._session = connection
        for _ in range(_TRIES):
            missing = self._missing(requests)
            if not missing and self.day is not None:
                return
            found = await journey_figures.register(connection, missing)
            if found.day != self.day:
                self.day, self.numbers, self._full = found.day, {}, set()
            self.numbers |= found.numbers
            self._full |= found.full

    def is_complete(self, requests: Iterable[PendingRequest], day: date) -> bool:
        """Return whether all nodes of these requests have numbers of a day. Forget those of other days."""
        if day != self.day:
            self._forget()
        return self.day is not None and not self._missing(requests)

    def _forget(self) -> None:
        self.day, self.numbers, self._full = None, {}, set()

    def _missing(self, requests: Iterable[PendingRequest]) -> set[journey_figures.JourneyNode]:
        """Return the nodes of these requests whose number is not known."""
        return {
            node
            for request in requests
            for node in request.nodes
            if node not in self.numbers and node[0] not in self._full
        }


@dataclass(slots=True, repr=False)
class FlushWriter:
    """Writes flushes. `count_writer` selects the rows of the count tables to which this process adds."""

    vault: crypto.Vault
    count_writer: CountWriter
    journeys: JourneyNodes = field(default_factory=JourneyNodes)
    # By the session that reserved them, with the time until which they are used.
    _ids: dict[PipelineConnection, tuple[float, list[BatchId]]] = field(default_factory=dict)
    # For a destination that had a duplicate: how many further flushes check every key separately.
    _cautious_flushes: dict[DestinationNumber, int] = field(default_factory=dict)

    async def write_in_one_round_trip(
        self, connection: asyncpg.Connection, flush: Flush, versions: Mapping[DestinationId, int | None]
    ) -> bool:
        """Write a flush in one round trip and its own transaction, or write nothing and return False.

        Possible only in the usual case: no name to pin, no rejection, no duplicate, and one free key for each
        event.
        """
        if self._cautious_flushes and self._expects_duplicates(flush):
            return False
        accepted = accept_all(flush)
        if not accepted or self.journeys.day is None:
            return False
        batches_of_flush = await self._assign_batches(connection, accepted, flush.requests)
        deltas: dict[DestinationNumber, counts.IngestCounts] = {}
        for batch in batches_of_flush:
            delta = deltas.setdefault(batch.destination.stored.number, counts.IngestCounts())
            delta.accepted += len(batch.members)
        in_order = [candidate for batch in batches_of_flush for _, candidate in batch.members]
        return await flush_store.store_in_one_round_trip(
            connection,
            await self._seal_all(flush, batches_of_flush),
            b"".join([candidate.keys[0] for candidate in in_order]),
            b"".join([candidate.content for candidate in in_order]),
            generation=flush.generation,
            versions=versions,
            nodes_day=self.journeys.day,
            writer=self.count_writer.number,
            deltas=deltas,
        )

    def _expects_duplicates(self, flush: Flush) -> bool:
        """Return whether a destination of a flush had a duplicate recently; count this flush."""
        cautious = self._cautious_flushes
        recent = {
            number for request in flush.requests for number in request.destinations if number in cautious
        }
        for number in recent:
            cautious[number] -= 1
            if cautious[number] <= 0:
                del cautious[number]
        return bool(recent)

    async def write(self, connection: PipelineConnection, flush: Flush) -> None:
        """Write a flush inside the caller's transaction, which holds the flush lock."""
        await self._read_pins(connection, flush)
        claimed, entries = await self._claim_keys(connection, flush)
        await self._pin_names(connection, flush)
        if flush.mapped_duplicates:
            # The earlier event is stored, or it is in this flush.
            earlier = [
                (key, flush.ledger_rows.get(amazon) or entries[amazon])
                for key, amazon in flush.mapped_duplicates
            ]
            places = [(key, row.batch, row.place) for key, row in earlier]
            await note_mapped_duplicates(connection, places)
        flush_counts = count_results(flush)
        sealed = await self._seal_all(flush, claimed)
        if flush_counts.deltas:
            await flush_store.append(
                connection, sealed, writer=self.count_writer.number, deltas=flush_counts.deltas
            )
        flush.rejected_at = await counts.add_rejections(
            connection, self.count_writer.number, flush_counts.rejected
        )
        await self._add_unstored(connection, flush_counts.unstored)
        await counts.add_consent_stops(connection, self.count_writer.number, flush_counts.stopped)

    async def _add_unstored(
        self, connection: PipelineConnection, unstored: Mapping[tuple[journey_figures.JourneyNode, bool], int]
    ) -> None:
        """Add rejected events and duplicates to the figures of their journey nodes."""
        figures: dict[tuple[DestinationNumber, int], list[int]] = {}
        for (node, is_duplicate), events in unstored.items():
            number = self.journeys.numbers.get(node, journey_figures.OTHER)
            figures.setdefault((node[0], number), [0, 0])[is_duplicate] += events
        added = {key: journey_figures.UnstoredEvents(*each) for key, each in figures.items()}
        await journey_figures.add(connection, added)

    async def read(self, connection: PipelineConnection, flush: Flush) -> None:
        """Set the results that `write` would set, for a dry run."""
        await self._read_pins(connection, flush)
        keys = [key for _, candidate in flush.candidates() for key in candidate.keys]
        flush.ledger_rows = await ledger.find(connection, flush.generation, keys)
        decide(flush)

    async def _read_pins(self, connection: PipelineConnection, flush: Flush) -> None:
        """Read the pinned names that the cache does not have."""
        types = {type_ for _, candidate in flush.candidates() if (type_ := unpinned_type(candidate))}
        if types:
            flush.pinned_names = await cache.pinned_names(connection, types)

    async def _pin_names(self, connection: PipelineConnection, flush: Flush) -> None:
        """Pin the name of each event type that has none to the name of its first accepted event (R12)."""
        names = {
            type_: candidate.conversion.event_name
            for (request, event), candidate in flush.candidates()
            if flush.results[request][event] is DedupResult.ACCEPTED
            and (type_ := unpinned_type(candidate))
            and type_ not in flush.pinned_names
        }
        if not names:
            return
        if await cache.pin_names(connection, names) != names:
            # Another flush pinned another name meanwhile. The transaction starts again and reads it.
            raise asyncpg.SerializationError("An event name was pinned concurrently.")
        flush.pinned_names |= names

    async def _assign_batches(
        self,
        connection: PipelineConnection,
        candidates: Sequence[tuple[EventIndex, Candidate]],
        requests: Sequence[PendingRequest],
    ) -> list[_Batch]:
        """Assign each candidate a batch and a position, in order of arrival. Return the batches.

        A batch fits into one request to Amazon.
        """
        assigned: list[_Batch] = []
        # Live and low-priority events never share a batch: a batch waits in one queue.
        filling: dict[tuple[DestinationNumber, bool], _Batch] = {}
        for member in candidates:
            index, candidate = member
            destination = candidate.destination
            low_priority = requests[index[0]].low_priority
            size = len(candidate.conversion.body)
            queue = (destination.stored.number, low_priority)
            batch = filling.get(queue)
            if batch is None or size > batch.bytes_left or len(batch.members) == packing.MAX_EVENTS:
                batch = _Batch(await self._next_id(connection), destination, low_priority)
                filling[queue] = batch
                assigned.append(batch)
            batch.members.append(member)
            batch.bytes_left -= size
        return assigned

    async def _next_id(self, connection: PipelineConnection) -> BatchId:
        """Return a batch id that this session reserved.

        A crash or a failover can undo a reservation whose session has not committed since. The session ends
        too, and its remaining ids are dropped, so an id is never used twice.
        """
        until, ids = self._ids.get(connection, (0.0, []))
        if not ids or monotonic() >= until:
            until = monotonic() + _RESERVED_S
            ids = (await batches.reserve_ids(connection, _RESERVED_IDS))[::-1]
            self._ids = {session: left for session, left in self._ids.items() if not session.is_closed()}
            self._ids[connection] = until, ids
        return ids.pop()

    async def _claim_keys(
        self, connection: PipelineConnection, flush: Flush
    ) -> tuple[list[_Batch], dict[bytes, ledger.LedgerEntry]]:
        """Set the results, and insert the ledger rows of the accepted events. Return the batches and rows.

        Usually every key is free. Otherwise the ledger is read and the events are decided again, until every
        accepted event has its rows. A repetition after the first needs a key of a concurrent flush.
        """
        assigned: list[_Batch] = []
        places: dict[EventIndex, tuple[BatchId, int]] = {}
        claimed: dict[bytes, ledger.LedgerEntry] = {}
        keys = [key for _, candidate in flush.candidates() for key in candidate.keys]
        has_read = False
        while True:
            accepted = decide(flush)
            new = [entry for entry in accepted if entry[0] not in places]
            for batch in await self._assign_batches(connection, new, flush.requests):
                assigned.append(batch)
                places |= {index: (batch.id, place) for place, (index, _) in enumerate(batch.members)}
            entries = {
                key: ledger.LedgerEntry(key, candidate.content, *places[index])
                for index, candidate in accepted
                for key in candidate.keys
            }
            if surplus := [key for key, entry in claimed.items() if entries.get(key) != entry]:
                await ledger.release(connection, flush.generation, surplus)
            missing = [entry for key, entry in entries.items() if claimed.get(key) != entry]
            is_complete = not missing or await ledger.claim(connection, flush.generation, missing)
            if is_complete and (has_read or len(entries) == len(keys)):
                return assigned, entries
            rows = await ledger.find(connection, flush.generation, keys)
            has_read = True
            claimed = {key: entry for key, entry in entries.items() if entry.is_row(rows.get(key))}
            flush.ledger_rows = {key: row for key, row in rows.items() if key not in claimed}
            for _, candidate in flush.candidates():
                if not flush.ledger_rows.keys().isdisjoint(candidate.keys):
                    self._cautious_flushes[candidate.destination.stored.number] = CAUTIOUS_FLUSHES

    async def _seal_all(self, flush: Flush, assigned: Sequence[_Batch]) -> list[batches.NewBatch]:
        """Compress and encrypt the accepted events. Between two batches the loop serves other requests."""
        sealed: list[batches.NewBatch] = []
        for batch in assigned:
            accepted = [
                (place, index[0], candidate)
                for place, (index, candidate) in enumerate(batch.members)
                if flush.results[index[0]][index[1]] is DedupResult.ACCEPTED
            ]
            if accepted:
                if sealed:
                    await asyncio.sleep(0)
                sealed.append(self._seal(flush, batch, accepted))
        return sealed

    def _seal(
        self, flush: Flush, batch: _Batch, accepted: Sequence[tuple[int, int, Candidate]]
    ) -> batches.NewBatch:
        """Seal the accepted events of a batch: their position, the index of their request, the candidate."""
        requests = {request for _, request, _ in accepted}
        flush.stored_batches[batch.id] = requests
        lane = batch.destination.stored.lane
        flush.waiting[lane] = flush.waiting.get(lane, 0) + len(accepted)
        traces = {request: flush.requests[request].trace for request in requests}
        bodies = [(place, candidate.conversion.body) for place, _, candidate in accepted]
        shapes = [_metadata(place, candidate, traces[request]) for place, request, candidate in accepted]
        times = [shape.event_at_ms for shape in shapes]
        number = batch.destination.stored.number
        nodes = {node for request in requests for node in flush.requests[request].nodes if node[0] == number}
        numbers = self.journeys.numbers
        if len(nodes) == 1 and len(accepted) == len(batch.members):
            by_place = [numbers.get(nodes.pop(), journey_figures.OTHER)]  # one number stands for all events
        else:
            by_place = [journey_figures.NO_EVENT] * len(batch.members)
            for place, _, candidate in accepted:
                node = node_of(number, candidate.journey)
                by_place[place] = numbers.get(node, journey_figures.OTHER)
        data_key, content = crypto.seal_batch(batch.id, packing.pack(bodies), self.vault)
        return batches.NewBatch(
            id=batch.id,
            destination=number,
            content=content,
            shapes=packing.pack(shapes),
            events=len(bodies),
            size=sum([len(body) for _, body in bodies]),
            first_event=datetime.fromtimestamp(min(times) / 1000, UTC),
            last_event=datetime.fromtimestamp(max(times) / 1000, UTC),
            data_key=data_key,
            queue=batches.LOW if batch.low_priority else batches.LIVE,
            nodes=by_place,
        )


def _metadata(place: int, candidate: Candidate, trace: RequestTrace) -> packing.EventMetadata:
    conversion, mapping, journey = candidate.conversion, candidate.mapping, candidate.journey
    warnings = candidate.warnings
    return packing.EventMetadata(
        place,
        conversion.event_id,
        mapping.number,
        mapping.version,
        conversion.event_type,
        round(conversion.event_at.timestamp() * 1000),
        conversion.match_keys,
        tuple([(warning.code, warning.field) for warning in warnings]) if warnings else (),
        conversion.consent,
        journey.execution_id,
        journey.journey_id,
        journey.node_id,
        conversion.dropped_keys,
        trace.traceparent,
        trace.request_id,
        conversion.event_source,
    )
