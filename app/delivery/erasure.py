"""Erase a person: stop sending the person's waiting events, and remove the person's events from batches.

An erasure begins with a row in the database. From then on, a claim rewrites a batch with the person's events
before it sends the batch. A scan rewrites the other batches: one worker at a time reads all batches that
still have a data key.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import asyncpg
import msgspec

from app.crypto import CannotDecrypt, Vault, batch_place, encrypt, new_data_key
from app.delivery.due_work import open_bodies
from app.domain import batch as packing
from app.domain.erasure import carries_key
from app.domain.ids import BatchId, OrganisationId
from app.domain.pacing.lane_limits import TIMES
from app.store import PipelineConnection, callbacks, counts, erasures, job_leases
from app.store.errors import is_transient
from app.store.job_leases import Job
from app.telemetry import Telemetry, describe_exception

_SCAN_LIMIT = 200
_CHECK_EVERY_S = 0.1


def erasure_place(id: str) -> str:
    """Return the `place` for which the values of an erasure are encrypted."""
    return f"erasure:{id}"


@dataclass(eq=False, repr=False, kw_only=True)
class ErasureScanner:
    """Finds and erases the events of requested erasures. Each worker process has one."""

    pool: asyncpg.Pool
    vault: Vault
    writer: int
    telemetry: Telemetry
    settled_within: timedelta
    worker: str
    lease: timedelta = timedelta(seconds=TIMES.silent_after)
    callbacks_enabled: bool = False
    _erasures: dict[str, tuple[OrganisationId, frozenset[str]]] = field(init=False, default_factory=dict)
    # The erasures whose values cannot be decrypted.
    _unreadable: set[str] = field(init=False, default_factory=set)

    def erased_values(self, organisation: OrganisationId) -> frozenset[str]:
        """Return the match key values of the persons that an organisation erases.

        An event of this organisation that contains one of them must not be sent.
        """
        return frozenset().union(
            *(values for owner, values in self._erasures.values() if owner == organisation)
        )

    async def refresh(self, connection: PipelineConnection) -> list[erasures.PendingErasure]:
        """Read the pending erasures, and return those whose values can be decrypted."""
        pending = await erasures.pending(connection)
        self._erasures = dict(filter(None, map(self._open, pending)))
        return [erasure for erasure in pending if erasure.id in self._erasures]

    async def scan(self) -> None:
        """Complete the pending erasures, unless another worker does so. May be cancelled at any point."""
        async with self.pool.acquire() as connection:
            if not await self.refresh(connection):
                return
            if not await self._has_lease(connection):
                return
            try:
                await self._scan(connection)
            finally:
                await job_leases.release(connection, Job.ERASURES, self.worker)

    async def _has_lease(self, connection: PipelineConnection) -> bool:
        """Acquire or renew the lease of the scan. After its end another worker continues the scan."""
        return await job_leases.acquire(connection, Job.ERASURES, self.worker, lease=self.lease)

    async def _scan(self, connection: PipelineConnection) -> None:
        if not (pending := await self.refresh(connection)):
            return
        requested_until = max(erasure.requested_at for erasure in pending)
        # Wait for the requests to Amazon that started before the erasure, here or in other processes.
        while await erasures.under_way(connection, requested_until, younger_than=self.settled_within):
            if not await self._has_lease(connection):
                return
            await asyncio.sleep(_CHECK_EVERY_S)
        ids = [erasure.id for erasure in pending]
        position = min(erasure.scanned_to for erasure in pending)
        while page := await erasures.next_batches(
            connection, after=position, accepted_until=requested_until, limit=_SCAN_LIMIT
        ):
            unreadable = page.unreadable
            for batch, day in page.batches:
                unreadable += not await self._try_rewrite(connection, batch, day)
            position = page.to
            if not await self._has_lease(connection):
                return
            await erasures.advance(
                connection, ids, to=position, scanned=len(page.batches), unreadable=unreadable
            )
        await erasures.finish(connection, ids)
        await self.refresh(connection)
        self.telemetry.log("erasure.finished", erasures=ids)

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
        self.telemetry.log("erasure.batch_unreadable", level=40, batch=batch, reason=problem)
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
            place = batch_place(batch)
            bodies = open_bodies(batch, locked.data_key, locked.content, self.vault)
            if bodies is None:
                return False
            erased = {
                position: erasure
                for position, body in bodies.items()
                if position not in in_flight
                and (erasure := self._erasure_of(locked.organisation_id, body)) is not None
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
            new_key = new_data_key()
            rest = {position: body for position, body in bodies.items() if position not in erased}
            await erasures.rewrite(
                connection,
                batch,
                day,
                locked,
                content=encrypt(new_key, packing.repack(rest), place=place),
                data_key=self.vault.seal(new_key, place=place),
                gone=removed,
            )
            await erasures.delete_samples(connection, locked.destination)
            await counts.add(connection, self.writer, {locked.destination: delta})
            if self.callbacks_enabled and (
                places := tuple(event.place for event in removed if _newly_erased(event, locked))
            ):
                final = callbacks.FinalBatch(batch, day, places, len(places), "erased", None, "erased")
                await callbacks.note(connection, locked.destination, [final])
            for erasure, tally in tallies.items():
                await erasures.add_found(connection, erasure, **tally)
        return True

    def _erasure_of(self, organisation: OrganisationId, body: bytes) -> str | None:
        """Return the id of the erasure whose values a conversion contains, or None."""
        return next(
            (
                id_
                for id_, (owner, values) in self._erasures.items()
                if owner == organisation and carries_key(body, values)
            ),
            None,
        )

    def _open(
        self, erasure: erasures.PendingErasure
    ) -> tuple[str, tuple[OrganisationId, frozenset[str]]] | None:
        """Decrypt an erasure; return its id, organisation and values. Log a failure and return None."""
        try:
            values = self.vault.open(erasure.sealed, place=erasure_place(erasure.id))
        except CannotDecrypt as error:
            if erasure.id not in self._unreadable:
                self._unreadable.add(erasure.id)
                self.telemetry.log(
                    "erasure.unreadable", level=40, erasure=erasure.id, error=describe_exception(error)
                )
            return None
        return erasure.id, (erasure.organisation_id, frozenset(msgspec.json.decode(values, type=list[str])))


def _newly_erased(event: erasures.ErasedEvents, locked: erasures.LockedBatch) -> bool:
    return event.status == "erased" and locked.exceptions.get(event.place) != "erased"


def _erase(
    place: int, locked: erasures.LockedBatch, event_at: datetime, delta: counts.CountDelta
) -> tuple[erasures.ErasedEvents, str]:
    """Count an erased conversion in `delta`; return its new state and its column of the erasure's receipt."""
    status = locked.exceptions.get(place)
    if status in ("delivered", "erased") or (status is None and locked.disposition == "sent"):
        return erasures.ErasedEvents(place, status or "delivered", event_at, left_batch=False), "delivered"
    delta.erased += 1
    left_batch = status is None
    match status or locked.disposition:
        case None:
            delta.retrying -= 1 if locked.tries else 0
            state = "waiting"
        case "retrying":
            delta.retrying -= 1
            state = "waiting"
        case "expired":
            delta.expired -= 1
            state = "dead"
        case _:
            delta.dead -= 1
            state = "dead"
    return erasures.ErasedEvents(place, "erased", event_at, left_batch=left_batch), state
