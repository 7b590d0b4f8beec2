"""The balance check: verify that ledger, batches, states, exceptions and counts agree on every event.

The check reads the batches page by page, each page in one snapshot. It reads a batch with a mismatch again
before it reports the mismatch, because the batch may have changed during the first read.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import ceil
from typing import Any

import asyncpg

from app.delivery.worker import Worker
from app.domain.balance import MismatchKind, check_accepted, check_batch, check_keys, check_totals
from app.domain.event import event_key
from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.store import PipelineConnection
from app.store.database import balance, damage

EVERY = timedelta(hours=1)
_PAGE = 200  # batches, with up to 100,000 events
_MOST_KEYS = 5_000  # ledger keys that one statement looks up
_MOST_REPORTED = 100
_KEYS_A_DAY = 200_000  # sample of the hourly check for each day; the command checks all keys
_SLICE_S = 0.5  # time that the hourly check may use every five seconds: a tenth of a core
_CHECK_DUE_EVERY_S = 60.0
NO_DESTINATION = DestinationNumber(0)


class BalanceCheck:
    """One balance check of the newest `days`, or of all. Its result is complete at the end of `pages`.

    With `turn`, it checks today, yesterday, one older day, and a sample of the ledger keys. Each number
    selects another older day and other keys.
    """

    def __init__(self, pool: asyncpg.Pool, *, days: int | None = None, turn: int | None = None) -> None:
        self._pool = pool
        self._days = days
        self._turn = turn
        self._wrong: Counter[tuple[MismatchKind, DestinationNumber, date | None]] = Counter()
        self._destinations: dict[DestinationNumber, DestinationId] = {}
        self._mappings: dict[MappingNumber, MappingId] = {}
        self.batches = 0

    async def pages(self) -> AsyncIterator[None]:
        """Check the scope. Yield after each page, so that the caller can pause."""
        async with self._pool.acquire() as connection:
            days = await balance.days(connection)
            self._destinations = await balance.destinations(connection)
            self._mappings = await balance.mapping_ids(connection)
        oldest = min(days, default=None)
        for number in self._destinations:
            async with self._pool.acquire() as connection:
                totals = await balance.totals(connection, number, oldest)
            for kind, events in check_totals(totals):
                self._wrong[kind, number, None] += events
            yield
        checked = days[: self._days]
        if self._turn is not None and len(days) > 2:
            checked = [*days[:2], days[2 + self._turn % (len(days) - 2)]]
        for day in checked:
            async for _ in self._check_day(day):
                yield

    async def finish(self) -> list[dict[str, Any]]:
        """Store the result. Return the report."""
        report = self.report()
        async with self._pool.acquire() as connection:
            await balance.finish(
                connection, imbalance=self.imbalance, batches=self.batches, mismatches=report
            )
        return report

    def report(self) -> list[dict[str, Any]]:
        """Return the mismatches with the most events as JSON objects, to store or print them.

        `day` is None for totals over all days.
        """
        return [
            {
                "destination_id": self._destinations.get(destination),
                "day": day and day.isoformat(),
                "kind": kind.value,
                "events": events,
            }
            for (kind, destination, day), events in self._wrong.most_common(_MOST_REPORTED)
        ]

    @property
    def imbalance(self) -> int:
        """The number of events with a mismatch."""
        return sum(self._wrong.values())

    async def _check_day(self, day: date) -> AsyncIterator[None]:
        async with self._pool.acquire() as connection:
            before = await balance.accepted(connection, day)
            position, last = await balance.bounds(connection, day)
            since = await balance.ledger_since(connection)
        turn, stride = 0, 1
        if self._turn is not None:
            turn, stride = self._turn, max(1, ceil(sum(before.values()) / _KEYS_A_DAY))
        found: Counter[DestinationNumber] = Counter()
        unreadable = 0
        while True:
            async with self._pool.acquire() as connection:
                ids = await balance.next_ids(connection, day, after=position, last=last, limit=_PAGE)
                page = await self._read(connection, day, ids)
                unreadable += len(ids) - len(page)
                sound = []
                for stored in page:
                    batch = stored.batch
                    found[batch.destination] += batch.accepted if batch.has_batch or batch.states else 0
                    if check_batch(batch) is not None:
                        await self._read_again(connection, day, stored.id)
                    elif stored.is_since(since) and (stored.id + turn) % stride == 0:
                        sound.append(stored)
                await self._check_keys(connection, day, sound)
            self.batches += len(ids)
            yield
            if len(ids) < _PAGE:
                break
            position = ids[-1]
        if unreadable:
            # The number of events in these batches is unknown, so the sums of the day cannot be checked.
            self._wrong[MismatchKind.UNREADABLE, NO_DESTINATION, day] += unreadable
            return
        async with self._pool.acquire() as connection:
            after = await balance.accepted(connection, day)
        for number in before.keys() | after.keys() | found.keys():
            difference = check_accepted(
                found[number], before=before.get(number, 0), after=after.get(number, 0)
            )
            if difference:
                self._wrong[MismatchKind.ACCEPTED, number, day] += difference

    async def _read(
        self, connection: PipelineConnection, day: date, ids: Sequence[BatchId]
    ) -> list[balance.StoredBatchState]:
        """Read these batches. Leave out batches on damaged database pages."""
        async with damage.tolerated(connection):
            return await balance.read(connection, day, ids)
        if len(ids) == 1:
            return []
        # Read the batches one by one.
        return [stored for id_ in ids for stored in await self._read(connection, day, [id_])]

    async def _read_again(self, connection: PipelineConnection, day: date, id_: BatchId) -> None:
        """Read a batch again, and record its mismatch if the mismatch persists.

        Skip a batch whose partition was dropped since the first read.
        """
        for stored in await self._read(connection, day, [id_]):
            batch = stored.batch
            if (wrong := check_batch(batch)) is not None and (batch.has_batch or batch.states or wrong[1]):
                kind, events = wrong
                self._wrong[kind, batch.destination, day] += events

    async def _check_keys(
        self, connection: PipelineConnection, day: date, sound: Sequence[balance.StoredBatchState]
    ) -> None:
        """Look up the events of these batches in the ledger, and record the mismatches."""
        owners = {stored.id: stored.batch.destination for stored in sound}
        expected: dict[bytes, tuple[int, int]] = {}
        for count, stored in enumerate(sound, 1):
            destination = self._destinations.get(stored.batch.destination)
            for shape in stored.shapes if destination is not None else ():
                if (mapping := self._mappings.get(MappingNumber(shape.mapping))) is not None:
                    assert destination is not None
                    expected[event_key(destination, mapping, shape.event_id)] = (stored.id, shape.place)
            if len(expected) >= _MOST_KEYS or (count == len(sound) and expected):
                found = await balance.ledger_places(connection, expected)
                for kind, batch in check_keys(expected, found):
                    self._wrong[kind, owners[BatchId(batch)], day] += 1
                expected = {}


@dataclass(eq=False, repr=False, kw_only=True)
class BalanceJob:
    """Starts a balance check once an hour, and stores its result.

    A lease ensures that only one worker runs the check. Every worker reads the stored result once a minute,
    and reports it in the metric `amazon_conversions_event_count_imbalance`.
    """

    worker: Worker
    # A check and the rest of its pages.
    _running: tuple[BalanceCheck, AsyncIterator[None]] | None = field(init=False, default=None)
    _idle_until: float = field(init=False, default=float("-inf"))

    async def advance(self) -> None:
        """Continue a check for up to half a second. Checks start one hour apart."""
        started_at = self.worker.monotonic()
        if started_at >= self._idle_until:
            self._idle_until = started_at + _CHECK_DUE_EVERY_S
            await self._start_if_due()
        if self._running is None:
            return
        check, pages = self._running
        try:
            async for _ in pages:
                if self.worker.monotonic() - started_at > _SLICE_S:
                    return
        except BaseException:
            self._running = None
            raise
        self._running = None
        report = await check.finish()
        self.worker.telemetry.imbalance.set(check.imbalance)
        for mismatch in report[:20]:
            self.worker.telemetry.log("balance.mismatch", level=40, **mismatch)
        self.worker.telemetry.log("balance.checked", batches=check.batches, imbalance=check.imbalance)

    async def _start_if_due(self) -> None:
        """Set the metric from the last result. Renew the lease of a running check, or start a due check."""
        async with self.worker.pool.acquire() as connection:
            last = await balance.last(connection)
            if last is not None:
                self.worker.telemetry.imbalance.set(last.imbalance)
            if self._running is not None:
                if not await balance.renew(connection, self.worker.name):
                    self._running = None
                return
            turn = await balance.begin(connection, self.worker.name, every=EVERY)
        if turn is not None:
            check = BalanceCheck(self.worker.pool, turn=turn)
            self._running = check, check.pages()
