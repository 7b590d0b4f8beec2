"""Erase a person: stop sending the person's waiting events, and remove the person's events from batches.

An erasure begins with a row in the database. From then on, a claim rewrites a batch with the person's events
before it sends the batch. A scan rewrites the other batches: one worker at a time searches all batches of
the erasures' organisations that still have a data key. It reads many batches in one statement without a
lock, and locks only those with erased events. The scan uses a tenth of the worker's time.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import msgspec

from app.crypto import CannotDecrypt, open_batch, seal_batch
from app.delivery.worker import Worker
from app.domain import batch as packing
from app.domain.ids import BatchId, OrganisationId
from app.domain.privacy.carried_key import carried_key
from app.store import PipelineConnection, batches, callbacks, counts
from app.store.database import damage, job_leases
from app.store.encryption import erasure_place
from app.store.errors import is_transient
from app.store.privacy import erasures
from app.telemetry import describe_exception

_PAGE = 1_000  # batches whose ids are read in one statement
_MOST_EVENTS = 2_000  # events whose content is read in one statement
_NOTE_EVERY_S = 1.0
_CHECK_EVERY_S = 0.1
_KEY_PAUSE_S = 30.0  # after a scan that lacked an encryption key, so that another worker can scan
_REST_FACTOR = 9  # the scan uses a tenth of the loop's time


@dataclass(eq=False, repr=False, kw_only=True)
class ErasureScanner:
    """Finds and erases the events of requested erasures. Each worker process has one."""

    worker: Worker
    # The pending erasures whose values could be decrypted, by number.
    _opened: dict[int, frozenset[str]] = field(init=False, default_factory=dict)
    # The match key values of the persons that an organisation erases, each with its erasure. An event of the
    # organisation that contains one of them must not be sent.
    values: dict[OrganisationId, dict[str, str]] = field(init=False, default_factory=dict)
    _refreshing: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    # The erasures whose values cannot be decrypted.
    _unreadable: set[str] = field(init=False, default_factory=set)
    # The organisations of pending erasures whose values only other processes can decrypt. Their events must
    # not be sent.
    lacking: frozenset[OrganisationId] = frozenset()
    _paused_until: float = 0.0

    async def refresh(self, connection: PipelineConnection) -> list[erasures.PendingErasure]:
        """Read the pending erasures, and return those whose values can be decrypted.

        One refresh runs at a time, and the values change in one step: claims and scans use them meanwhile,
        and an older reading must not replace a newer one.
        """
        async with self._refreshing:
            pending = await erasures.pending(connection, known=list(self._opened))
            opened, found = self._opened, self.values
            if not opened.keys() <= {erasure.number for erasure in pending}:
                pending, opened, found = await erasures.pending(connection, known=[]), {}, {}
            lacking: set[OrganisationId] = set()
            for erasure in pending:
                if erasure.sealed is None:
                    continue
                if await self.worker.lacks_key(connection, erasure.sealed):
                    lacking.add(erasure.organisation_id)
                    continue
                if (values := self._open(erasure.id, erasure.sealed)) is None:
                    continue
                opened[erasure.number] = values
                known = found.setdefault(erasure.organisation_id, {})
                known.update((value, erasure.id) for value in values if value not in known)
            self._opened, self.values, self.lacking = opened, found, frozenset(lacking)
        return [erasure for erasure in pending if erasure.number in opened]

    async def scan(self) -> None:
        """Complete the pending erasures, unless another worker does so. May be cancelled at any point."""
        async with self.worker.pool.acquire() as connection:
            if not await self.refresh(connection):
                return
            if time.monotonic() < self._paused_until or not await self._has_lease(connection):
                return
            try:
                await self._scan(connection)
            finally:
                await job_leases.release(connection, job_leases.Job.ERASURES, self.worker.name)

    async def _has_lease(self, connection: PipelineConnection) -> bool:
        """Acquire or renew the lease of the scan. After its end another worker continues the scan.

        A worker that was killed delays the scan by no more than its requests to Amazon do.
        """
        lease = timedelta(seconds=self.worker.times.settled_within)
        return await job_leases.acquire(connection, job_leases.Job.ERASURES, self.worker.name, lease=lease)

    async def _scan(self, connection: PipelineConnection) -> None:
        if not (pending := await self.refresh(connection)):
            return
        # Ids bound the scan, and not times: the database's clock may have been wrong. Each event that was
        # acknowledged before the erasure has a batch up to this id.
        last = await damage.newest_batch(connection)
        newest = await erasures.newest_attempt(connection)
        settled_within = timedelta(seconds=self.worker.times.settled_within)
        # Wait for the requests to Amazon that started before the erasure, here or in other processes.
        while await erasures.under_way(connection, newest, younger_than=settled_within):
            if not await self._has_lease(connection):
                return
            await asyncio.sleep(_CHECK_EVERY_S)
        await self._search(connection, pending, last)

    async def _search(
        self, connection: PipelineConnection, pending: Sequence[erasures.PendingErasure], last: BatchId
    ) -> None:
        """Search the batches up to `last`. Finish the erasures unless another worker acquires the lease."""
        numbers = [erasure.number for erasure in pending]
        organisations = {erasure.organisation_id for erasure in pending}
        position, noted_at = min(erasure.scanned_to for erasure in pending), time.monotonic()
        scanned = unreadable = 0
        while page := await erasures.next_batches(connection, after=position, last=last, limit=_PAGE):
            for part in page.parts(_MOST_EVENTS, organisations):
                found = await self._search_batches(connection, part.batches)
                if found is None:
                    self._paused_until = time.monotonic() + _KEY_PAUSE_S
                    self.worker.telemetry.log("erasure.postponed", level=30, retry_in_s=_KEY_PAUSE_S)
                    return
                position, scanned = part.to, scanned + len(part.batches)
                unreadable += found + part.unreadable
                # Within a page too: a page of large batches takes longer than the lease.
                if time.monotonic() - noted_at >= _NOTE_EVERY_S:
                    if not await self._has_lease(connection):
                        return
                    await erasures.advance(
                        connection, numbers, to=position, scanned=scanned, unreadable=unreadable
                    )
                    scanned = unreadable = 0
                    noted_at = time.monotonic()
        if await self._has_lease(connection):
            await erasures.advance(connection, numbers, to=position, scanned=scanned, unreadable=unreadable)
            await erasures.finish(connection, numbers)
            await self.refresh(connection)
            self.worker.telemetry.log("erasure.finished", erasures=len(pending))

    async def _search_batches(
        self, connection: PipelineConnection, found: Sequence[erasures.KeyedBatch]
    ) -> int | None:
        """Rewrite the batches that have erased events; return how many cannot be read.

        Return None if only another process can read one of them. Events never join a batch, so a batch
        without an erased value needs no lock. One that cannot be read here is judged under its lock.
        """
        contents: Mapping[BatchId, tuple[bytes | None, bytes | None, bytes | None]] = {}
        async with damage.tolerated(connection):  # the statement may read damaged pages of other batches
            contents = await batches.read(connection, [(batch.id, batch.day) for batch in found])
        unreadable = 0
        for batch in found:
            began = time.thread_time()
            data_key, content, _ = contents.get(batch.id, (None, None, None))
            bodies = open_batch(batch.id, data_key, content, self.worker.vault)
            if bodies is None and await self.worker.lacks_key(connection, data_key):
                return None
            values = self.values.get(batch.organisation_id, {})
            try:
                is_free = bodies is not None and not any(
                    carried_key(body, values) is not None for body in bodies.values()
                )
            except ValueError:
                is_free = False
            if not is_free:
                unreadable += not await self._try_rewrite(connection, batch.id, batch.day)
            await asyncio.sleep(_REST_FACTOR * (time.thread_time() - began))
        return unreadable

    async def _try_rewrite(self, connection: PipelineConnection, batch: BatchId, day: date) -> bool:
        """Rewrite a batch. If it cannot be read, log it and return False."""
        problem: str | None = None
        for _ in range(2):  # after a damaged page, the second try may use another page
            try:
                is_read = await self.rewrite(connection, batch, day)
            except Exception as error:
                if is_transient(error):
                    raise
                problem = describe_exception(error)
            else:
                problem = None if is_read else "not_opened"
                break
        if problem is None:
            return True
        self.worker.telemetry.log("erasure.batch_unreadable", level=40, batch=batch, reason=problem)
        return False

    async def rewrite(
        self,
        connection: PipelineConnection,
        batch: BatchId,
        day: date,
        *,
        in_flight: frozenset[int] = frozenset(),
    ) -> bool:
        """Remove the erased events from a batch. Return False if the batch cannot be decrypted.

        The batch must not be part of an attempt in flight. The positions `in_flight` are being retried, so
        they are skipped. The scan finds them later.
        """
        async with connection.transaction():
            locked = await erasures.lock(connection, batch, day)
            if locked is None:
                return True
            bodies = open_batch(batch, locked.data_key, locked.content, self.worker.vault)
            if bodies is None:
                return False
            values = self.values.get(locked.organisation_id, {})
            erased = {
                position: values[key]
                for position, body in bodies.items()
                if position not in in_flight and (key := carried_key(body, values)) is not None
            }
            if not erased:
                return True
            times = {shape.place: shape.event_at for shape in packing.read_shapes(locked.shapes) or ()}
            delta = counts.CountDelta()
            removed = []
            tallies: dict[str, dict[str, int]] = {}
            for position, erasure in sorted(erased.items()):
                event, state = _erase(position, locked, times.get(position, locked.last_event), delta)
                removed.append(event)
                tally = tallies.setdefault(erasure, {"waiting": 0, "dead": 0, "delivered": 0})
                tally[state] += 1
            rest = sorted((position, body) for position, body in bodies.items() if position not in erased)
            data_key, content = seal_batch(batch, packing.pack(rest), self.worker.vault)
            await erasures.rewrite(
                connection, batch, day, locked, content=content, data_key=data_key, gone=removed
            )
            await erasures.delete_samples(connection, locked.destination)
            await counts.add(connection, self.worker.writer.number, {locked.destination: delta})
            if self.worker.writer.callbacks_enabled and delta.erased:
                newly = [each for each in removed if each.status == "erased"]
                places = tuple(each.place for each in newly if locked.exceptions.get(each.place) != "erased")
                final = callbacks.FinalBatch(batch, day, places, len(places), "erased", None, "erased")
                await callbacks.note(connection, locked.destination, [final])
            for erasure, tally in tallies.items():
                await erasures.add_found(connection, erasure, **tally)
        return True

    def _open(self, id: str, sealed: bytes) -> frozenset[str] | None:
        """Decrypt the values of an erasure. Log a failure once and return None."""
        try:
            values = self.worker.vault.open(sealed, place=erasure_place(id))
        except CannotDecrypt as error:
            if id not in self._unreadable:
                self._unreadable.add(id)
                self.worker.telemetry.failed("erasure.unreadable", error, level=40, erasure=id)
            return None
        return frozenset(msgspec.json.decode(values, type=list[str]))


def _erase(
    place: int, locked: erasures.LockedBatch, event_at: datetime, delta: counts.CountDelta
) -> tuple[erasures.ErasedEvent, str]:
    """Count an erased conversion in `delta`; return its new state and its column of the erasure's receipt."""
    status = locked.exceptions.get(place)
    if status in ("delivered", "erased") or (status is None and locked.disposition == "sent"):
        return erasures.ErasedEvent(place, status or "delivered", event_at, left_batch=False), "delivered"
    delta.erased += 1
    previous = status or locked.disposition
    is_waiting = previous in (None, "retrying")
    if is_waiting:
        delta.retrying -= 1 if status or locked.tries else 0
    elif previous == "expired":
        delta.expired -= 1
    else:
        delta.dead -= 1
    erased = erasures.ErasedEvent(place, "erased", event_at, left_batch=status is None)
    return erased, "waiting" if is_waiting else "dead"
