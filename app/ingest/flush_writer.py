"""What one flush writes: ledger rows first, then batches of the events that won, then the counts."""

from collections.abc import Mapping, Sequence

import asyncpg
import msgspec

from app import crypto
from app.domain import batch as packing
from app.domain.event import Rejection
from app.domain.ids import AdvertiserId, BatchId, DestinationId, DestinationNumber
from app.ingest.dedup import (
    At,
    DedupVerdict,
    FlushBatch,
    count_results,
    mapped_duplicates,
    resolve_followers,
    split_duplicates,
    verdict_of,
)
from app.ingest.evaluate import Candidate
from app.store import PipelineConnection, batches, counts, event_attempts, ledger
from app.store import flush as one_round_trip
from app.store import targets as target_rows

_IDS_AT_ONCE = 256

# How many flushes ask about every key after one that met a repeat: where there is one, more follow.
CAUTIOUS_FLUSHES = 20


class _Positioned(msgspec.Struct, frozen=True):
    """A candidate that is first of its keys in this flush, with the place it has in a batch if it wins."""

    at: At
    candidate: Candidate
    batch: BatchId
    place: int
    low: bool

    __repr__ = object.__repr__


class FlushWriter:
    """Writes flushes. `pepper` keys the content hash and never rotates; `writer` names our count rows."""

    def __init__(self, *, keys: crypto.Vault, pepper: bytes, writer: int) -> None:
        self.pepper = pepper
        self._vault = keys
        self._writer = writer
        self._ids: list[BatchId] = []
        self._ids_from: PipelineConnection | None = None  # the session that reserved them
        self._cautious = 0  # for how many more flushes every key is asked about by itself

    async def write_in_one_round_trip(
        self,
        connection: asyncpg.Connection,
        flush: FlushBatch,
        versions: Mapping[DestinationId, int | None],
    ) -> bool:
        """Write a flush in one round trip and a transaction of its own; return False where it cannot.

        Then nothing is written. It can where everything is as usual: no name to pin, nothing rejected, one
        key an event, none of them held. After a repeat it is not tried for a while.
        """
        if self._cautious:
            self._cautious -= 1
            return False
        firsts, followers = split_duplicates(flush)
        if not all(_is_usual(candidate) for _, candidate in firsts):
            return False
        for at, _ in firsts:
            flush.give(at, DedupVerdict.ACCEPTED)
        resolve_followers(flush, followers)
        moved = count_results(flush)
        if not firsts or moved.rejected:
            return False
        grouped = _grouped(await self._place(connection, firsts, flush.low))
        outcome = await one_round_trip.store(
            connection,
            [self._seal(batch, members) for batch, members in grouped.items()],
            [
                [(one.candidate.keys[0], one.candidate.content) for one in members]
                for members in grouped.values()
            ],
            generation=flush.generation,
            versions=versions,
            writer=self._writer,
            deltas=moved.deltas,
        )
        if outcome is one_round_trip.FlushOutcome.HELD:
            self._cautious = CAUTIOUS_FLUSHES
        if outcome is not one_round_trip.FlushOutcome.STORED:
            return False
        flush.note_waiting(candidate for _, candidate in firsts)
        return True

    async def write(self, connection: PipelineConnection, flush: FlushBatch) -> None:
        """Write a flush inside the caller's transaction, which holds the flush lock."""
        await self._pin_names(connection, flush)
        firsts, followers = split_duplicates(flush)
        won: list[_Positioned] = []
        if firsts:
            placed = await self._place(connection, firsts, flush.low)
            won = await self._claim(connection, flush, placed)
        resolve_followers(flush, followers)
        if duplicates := mapped_duplicates(
            flush, firsts, followers, {one.at: (one.batch, one.place) for one in won} if followers else {}
        ):
            await event_attempts.note_mapped_duplicates(connection, duplicates)
        moved = count_results(flush)
        if won:
            made = [self._seal(batch, members) for batch, members in _grouped(won).items()]
            await batches.append(connection, made, writer=self._writer, deltas=moved.deltas)
            flush.note_waiting(one.candidate for one in won)
        else:
            await counts.add(connection, self._writer, moved.deltas)
        await counts.add_rejections(connection, self._writer, moved.rejected)
        await counts.add_consent_stops(connection, self._writer, moved.stopped)

    async def read(self, connection: PipelineConnection, flush: FlushBatch) -> None:
        """Fill in the verdicts that `write` would give, and write nothing."""
        await self._pin_names(connection, flush, dry=True)
        firsts, followers = split_duplicates(flush)
        keys = [key for _, candidate in firsts for key in candidate.keys]
        if keys:
            flush.found = await ledger.find(connection, flush.generation, keys)
        for at, candidate in firsts:
            flush.give(at, verdict_of(candidate, flush.found))
        resolve_followers(flush, followers)

    async def _pin_names(
        self, connection: PipelineConnection, flush: FlushBatch, *, dry: bool = False
    ) -> None:
        """Pin the names of event types that were read from events, and turn away those that differ (R12).

        A `dry` one pins nothing and turns away what would be.
        """
        wanted: dict[tuple[AdvertiserId, str], str] = {}
        asking = []
        for (nth, index), candidate in flush.candidates():
            if candidate.conversion.event_type not in candidate.target.pins:
                key = (candidate.target.advertiser_id, candidate.conversion.event_type)
                wanted.setdefault(key, candidate.conversion.event_name)
                asking.append((nth, index, key, candidate))
        if not wanted:
            return
        if dry:
            flush.pinned = {**wanted, **await target_rows.pinned_names(connection, wanted)}
        else:
            flush.pinned = await target_rows.pin_names(connection, wanted)
        for nth, index, key, candidate in asking:
            pinned = flush.pinned[key]
            if pinned != candidate.conversion.event_name:
                flush.evaluated_posts[nth][index] = Rejection(
                    reason="event_name_conflict",
                    field=None,
                    mapping_field="event_name",
                    detail=f"The name pinned for {key[1]} is {pinned!r}.",
                    event_id=candidate.conversion.event_id,
                )

    async def _place(
        self,
        connection: PipelineConnection,
        firsts: Sequence[tuple[At, Candidate]],
        low: frozenset[int],
    ) -> list[_Positioned]:
        """Give each candidate a batch and a place, in order of arrival, batches no larger than a request."""
        placed: list[_Positioned] = []
        # What is live and what is low never share a batch: a batch waits in one queue.
        filling: dict[tuple[DestinationNumber, bool], tuple[BatchId, int, int]] = {}
        for at, candidate in firsts:
            is_low = at[0] in low
            queue, size = (candidate.target.number, is_low), len(candidate.conversion.body)
            batch, events, total = filling.get(queue, (None, 0, 0))
            if batch is None or events == packing.MAX_EVENTS or total + size > packing.MAX_BYTES:
                batch, events, total = await self._next_id(connection), 0, 0
            placed.append(_Positioned(at, candidate, batch, events, is_low))
            filling[queue] = (batch, events + 1, total + size)
        return placed

    async def _next_id(self, connection: PipelineConnection) -> BatchId:
        """Return an id that this session reserved. Ids never outlive the session that reserved them.

        A reservation is on disk no later than the first commit of its session, so a crash can take back only
        what that session never used; and a crash, like a failover, ends the session.
        """
        if not self._ids or self._ids_from is not connection:
            self._ids = (await batches.reserve_ids(connection, _IDS_AT_ONCE))[::-1]
            self._ids_from = connection
        return self._ids.pop()

    async def _claim(
        self, connection: PipelineConnection, flush: FlushBatch, placed: Sequence[_Positioned]
    ) -> list[_Positioned]:
        """Enter the candidates in the ledger; those whose keys were all free have won."""
        entries = [
            ledger.LedgerEntry(key, one.candidate.content, one.batch, one.place)
            for one in placed
            for key in one.candidate.keys
        ]
        flush.found = await ledger.claim(connection, flush.generation, entries)
        won = list(placed)
        if flush.found:
            self._cautious = CAUTIOUS_FLUSHES
            taken = flush.found.keys()
            won = [one for one in placed if taken.isdisjoint(one.candidate.keys)]
            lost = [one for one in placed if not taken.isdisjoint(one.candidate.keys)]
            halves = [key for one in lost for key in one.candidate.keys if key not in taken]
            if halves:
                await ledger.release(connection, flush.generation, halves)
            for one in lost:
                flush.give(one.at, verdict_of(one.candidate, flush.found))
        for one in won:
            flush.give(one.at, DedupVerdict.ACCEPTED)
        return won

    def _seal(self, batch: BatchId, members: Sequence[_Positioned]) -> batches.NewBatch:
        packed = packing.pack([one.candidate.conversion.body for one in members], list(map(_shape, members)))
        data_key = crypto.new_data_key()
        place = crypto.batch_place(batch)
        return batches.NewBatch(
            id=batch,
            destination=members[0].candidate.target.number,
            content=crypto.encrypt(data_key, packed.content, place=place),
            shapes=packed.shapes,
            events=packed.events,
            size=packed.size,
            first_event=packed.first_event,
            last_event=packed.last_event,
            data_key=self._vault.seal(data_key, place=place),
            queue=batches.LOW if members[0].low else batches.LIVE,
        )


def _shape(one: _Positioned) -> packing.EventMetadata:
    candidate = one.candidate
    conversion = candidate.conversion
    return packing.EventMetadata(
        place=one.place,
        event_id=conversion.event_id,
        mapping=candidate.mapping.number,
        mapping_version=candidate.mapping.version,
        event_type=conversion.event_type,
        event_at_ms=round(conversion.event_at.timestamp() * 1000),
        match_keys=conversion.match_keys,
        warnings=tuple([(warning.code, warning.field) for warning in candidate.warnings]),
        consent=conversion.consent,
        execution_id=candidate.execution_id,
    )


def _grouped(placed: Sequence[_Positioned]) -> dict[BatchId, list[_Positioned]]:
    """Return the members of each batch, in order of place."""
    grouped: dict[BatchId, list[_Positioned]] = {}
    for one in placed:
        grouped.setdefault(one.batch, []).append(one)
    return grouped


def _is_usual(candidate: Candidate) -> bool:
    return len(candidate.keys) == 1 and candidate.conversion.event_type in candidate.target.pins
