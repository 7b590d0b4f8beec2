"""Erasing a person: what waits is not sent, what is stored is rewritten without them.

An erasure is committed first, and no attempt starts any more with a load that was not judged by it. What a
claim finds is rewritten there and then; everything else is found by a scan over all batches that still
have a key, by any worker, one at a time.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta

import asyncpg
import msgspec

from app.crypto import CannotDecrypt, Vault, batch_place, encrypt, new_data_key
from app.delivery.claim_queries import open_bodies
from app.domain import batch as packing
from app.domain.erasure import carries_key
from app.domain.ids import BatchId
from app.domain.pacing.lane_limits import TIMES
from app.store import PipelineConnection, callbacks, counts, erasures, silent_sessions
from app.store.errors import is_transient
from app.telemetry import Telemetry, describe_exception

_AT_ONCE = 200
_LOOK_EVERY_S = 0.1


def erasure_place(id: str) -> str:  # noqa: A002
    """Return the place that an erasure's values are bound to."""
    return f"erasure:{id}"


class ErasureScanner:
    """Looks for the persons whose erasure was asked for. One per worker process."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        vault: Vault,
        writer: int,
        telemetry: Telemetry,
        settled_within: timedelta,
        silent_after: timedelta = timedelta(seconds=TIMES.silent_after),
        monotonic: Callable[[], float] = time.monotonic,
        callbacks_enabled: bool = False,
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._writer = writer
        self._telemetry = telemetry
        self._settled_within = settled_within
        self._silent_after = silent_after
        self._monotonic = monotonic
        self._callbacks_enabled = callbacks_enabled
        self._wanted: dict[str, frozenset[str]] = {}
        self._unreadable: set[str] = set()  # erasures whose own values cannot be opened

    @property
    def looked_for(self) -> frozenset[str]:
        """Return every value that nothing may be sent with."""
        return frozenset().union(*self._wanted.values())

    async def learn(self, connection: PipelineConnection) -> None:
        """Read the erasures that are under way; those of other workers' scans too."""
        self._wanted = dict(filter(None, map(self._opened, await erasures.pending(connection))))

    async def scan(self) -> None:
        """Carry out what was asked for, unless another worker is at it. Can be cut short at any point."""
        async with self._pool.acquire() as connection:
            await self.learn(connection)
            if not self._wanted:
                return
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", erasures.ERASER_LOCK):
                # A scan speaks to the database all the time. One that does not is frozen: its session is
                # ended, and the next turn of any worker goes on from where it was.
                ended = await silent_sessions.end_silent(
                    connection, 0, erasures.ERASER_LOCK, silent_after=self._silent_after
                )
                if ended:
                    self._telemetry.log("erasures.scan_taken_over", level=30, sessions=ended)
                return
            try:
                await self._scan(connection)
            finally:
                await connection.execute("SELECT pg_advisory_unlock($1)", erasures.ERASER_LOCK)

    async def _scan(self, connection: PipelineConnection) -> None:
        asked = await erasures.pending(connection)
        self._wanted = dict(filter(None, map(self._opened, asked)))
        asked = [one for one in asked if one.id in self._wanted]
        if not asked:
            return
        last = max(one.requested_at for one in asked)
        # Asked again and again: what is awaited happens in other processes.
        while await erasures.under_way(connection, last, younger_than=self._settled_within):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        ids, at = [one.id for one in asked], min(one.scanned_to for one in asked)
        while found := await erasures.next_batches(connection, after=at, accepted_until=last, limit=_AT_ONCE):
            unreadable = found.unreadable
            for batch, day in found.batches:
                unreadable += not await self._try_rewrite(connection, batch, day)
            at = found.to
            await erasures.advance(connection, ids, to=at, scanned=len(found.batches), unreadable=unreadable)
        await erasures.finish(connection, ids)
        await self.learn(connection)
        self._telemetry.log("erasures.finished", erasures=ids)

    async def _try_rewrite(self, connection: PipelineConnection, batch: BatchId, day: date) -> bool:
        """Rewrite a batch; report one that cannot be read and return False."""
        problem: str | None = None
        for _ in range(2):  # what is written may meet a damaged page too, and elsewhere the second time
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
        self._telemetry.log("erasure.batch_unreadable", level=40, batch=batch, reason=problem)
        return False

    async def rewrite(
        self,
        connection: PipelineConnection,
        batch: BatchId,
        day: date,
        *,
        spared: frozenset[int] = frozenset(),
    ) -> bool:
        """Take out of a batch what is looked for; `spared` places are under way and found later.

        To be called for batches only that no started attempt carries. Returns False where it cannot be
        opened.
        """
        async with connection.transaction():
            locked = await erasures.lock(connection, batch, day)
            if locked is None:
                return True
            place = batch_place(batch)
            bodies = open_bodies(batch, locked.data_key, locked.content, self._vault)
            if bodies is None:
                return False  # it is dead as soon as it is claimed
            found = {
                at: owner
                for at, body in bodies.items()
                if at not in spared and (owner := self._owner(body)) is not None
            }
            if not found:
                return True
            times = {shape.place: shape.event_at for shape in packing.read_shapes(locked.shapes) or ()}
            delta = counts.CountDelta()
            gone = []
            tallies: dict[str, dict[str, int]] = {}
            for at, owner in sorted(found.items()):
                one, kind = _gone(at, locked, times.get(at, locked.last_event), delta)
                gone.append(one)
                tally = tallies.setdefault(owner, {"waiting": 0, "dead": 0, "delivered": 0})
                tally[kind] += 1
            fresh = new_data_key()
            rest = {at: body for at, body in bodies.items() if at not in found}
            await erasures.rewrite(
                connection,
                batch,
                day,
                locked,
                content=encrypt(fresh, packing.repack(rest), place=place),
                data_key=self._vault.seal(fresh, place=place),
                gone=gone,
            )
            await counts.add(connection, self._writer, {locked.destination: delta})
            if self._callbacks_enabled and (
                places := tuple(one.place for one in gone if _newly_erased(one, locked))
            ):
                final = callbacks.FinalBatch(batch, day, places, len(places), "erased", None, "erased")
                await callbacks.note(connection, locked.destination, [final])
            for owner, tally in tallies.items():
                await erasures.add_found(connection, owner, **tally)
        return True

    def _owner(self, body: bytes) -> str | None:
        return next((id for id, values in self._wanted.items() if carries_key(body, values)), None)  # noqa: A001

    def _opened(self, one: erasures.PendingErasure) -> tuple[str, frozenset[str]] | None:
        """Return an erasure's id and the values it looks for; log one whose values cannot be opened."""
        try:
            values = self._vault.open(one.sealed, place=erasure_place(one.id))
        except CannotDecrypt as error:
            if one.id not in self._unreadable:
                self._unreadable.add(one.id)
                self._telemetry.log(
                    "erasure.unreadable", level=40, erasure=one.id, error=describe_exception(error)
                )
            return None
        return one.id, frozenset(msgspec.json.decode(values, type=list[str]))


def _newly_erased(one: erasures.ErasedEvents, locked: erasures.LockedBatch) -> bool:
    return one.status == "erased" and locked.exceptions.get(one.place) != "erased"


def _gone(
    place: int, locked: erasures.LockedBatch, event_at: datetime, delta: counts.CountDelta
) -> tuple[erasures.ErasedEvents, str]:
    """Return what becomes of a conversion that is erased, and under which word its receipt counts it."""
    status = locked.exceptions.get(place)
    if status in ("delivered", "erased") or (status is None and locked.disposition == "sent"):
        return erasures.ErasedEvents(place, status or "delivered", event_at, left_batch=False), "delivered"
    delta.erased += 1
    left_batch = status is None
    match status or locked.disposition:
        case None:
            delta.retrying -= 1 if locked.tries else 0
            kind = "waiting"
        case "retrying":
            delta.retrying -= 1
            kind = "waiting"
        case "expired":
            delta.expired -= 1
            kind = "dead"
        case _:
            delta.dead -= 1
            kind = "dead"
    return erasures.ErasedEvents(place, "erased", event_at, left_batch=left_batch), kind
