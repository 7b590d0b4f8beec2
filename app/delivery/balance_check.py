"""The balance check: do ledger, batches, states, exceptions and counts say the same?

It reads a page at a time, each in one snapshot and no transaction over several, and rests between them. What
looks wrong is read once more, so that nothing is reported that only moved meanwhile.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Any

import asyncpg

from app.domain.balance import Mismatch, MismatchKind, check_accepted, check_batch, check_keys, check_totals
from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.domain.ledger_keys import event_key
from app.store import PipelineConnection, balance
from app.telemetry import Telemetry

EVERY = timedelta(hours=1)
_PAGE = 200  # batches: up to 100,000 events
_MOST_KEYS = 5_000  # of the ledger, in one statement
_MOST_REPORTED = 100
_DAMAGED = "XX"  # the class of a page that cannot be read
_KEYS_A_DAY = 200_000  # that the hourly check looks up; the command looks up all
_MOMENT_S = 0.5  # of five seconds: a tenth of one core, however much there is
_LOOK_EVERY_S = 60.0
NO_DESTINATION = DestinationNumber(0)


@dataclass(frozen=True, slots=True)
class BalanceScope:
    """What a check looks at: all days that are kept or some, and how many keys of the ledger a day."""

    days: Callable[[Sequence[date]], Sequence[date]] = tuple
    keys_a_day: int | None = None
    turn: int = 0  # where only some keys are looked up, other ones each turn


class BalanceCheck:
    """One check. Drive `pages` to its end; then `mismatches` holds what does not add up."""

    def __init__(self, pool: asyncpg.Pool, scope: BalanceScope) -> None:
        self._pool = pool
        self._scope = scope
        self._wrong: Counter[tuple[MismatchKind, DestinationNumber, date | None]] = Counter()
        self._destinations: dict[DestinationNumber, DestinationId] = {}
        self._mappings: dict[MappingNumber, MappingId] = {}
        self.batches = 0

    async def pages(self) -> AsyncIterator[None]:
        """Check everything, yielding after each page so that the caller may rest."""
        async with self._pool.acquire() as connection:
            kept = await balance.days(connection)
            self._destinations = await balance.destinations(connection)
            self._mappings = await balance.mapping_ids(connection)
        oldest = min(kept, default=None)
        for number in self._destinations:
            await self._check_totals(number, oldest)
            yield
        for day in self._scope.days(kept):
            async for _ in self._check_day(day):
                yield

    @property
    def mismatches(self) -> list[Mismatch]:
        """Return what does not add up, the most events first."""
        return [Mismatch(kind, of, day, events) for (kind, of, day), events in self._wrong.most_common()]

    def report(self) -> list[dict[str, Any]]:
        """Return the first mismatches as they are kept and printed: ids and words, nothing of a person."""
        return [
            {
                "destination_id": self._destinations.get(one.destination),
                "day": one.day and one.day.isoformat(),
                "kind": one.kind.value,
                "events": one.events,
            }
            for one in self.mismatches[:_MOST_REPORTED]
        ]

    @property
    def imbalance(self) -> int:
        """Return for how many events something does not add up."""
        return sum(self._wrong.values())

    async def _check_totals(self, number: DestinationNumber, oldest: date | None) -> None:
        async with self._pool.acquire() as connection:
            for kind, events in check_totals(await balance.totals(connection, number, oldest)):
                self._wrong[kind, number, None] += events

    async def _check_day(self, day: date) -> AsyncIterator[None]:
        async with self._pool.acquire() as connection:
            before = await balance.accepted(connection, day)
            at, last = await balance.bounds(connection, day)
            since = await balance.ledger_since(connection)
        stride = ceil(sum(before.values()) / self._scope.keys_a_day) if self._scope.keys_a_day else 1
        found: Counter[DestinationNumber] = Counter()
        unreadable = 0
        while True:
            async with self._pool.acquire() as connection:
                ids = await balance.next_ids(connection, day, after=at, last=last, limit=_PAGE)
                page = await self._read(connection, day, ids)
                unreadable += len(ids) - len(page)
                sound = []
                for stored in page:
                    batch = stored.batch
                    found[batch.destination] += batch.accepted if batch.has_batch or batch.states else 0
                    if check_batch(batch) is not None:
                        await self._read_again(connection, day, stored.id)
                    elif stored.is_since(since) and (stored.id + self._scope.turn) % max(1, stride) == 0:
                        sound.append(stored)
                await self._check_keys(connection, day, sound)
            self.batches += len(ids)
            yield
            if len(ids) < _PAGE:
                break
            at = ids[-1]
        if unreadable:
            # How many events they hold is not known, and so neither what the day's sums should be.
            self._wrong[MismatchKind.UNREADABLE, NO_DESTINATION, day] += unreadable
            return
        async with self._pool.acquire() as connection:
            after = await balance.accepted(connection, day)
        for number in before.keys() | after.keys() | found.keys():
            off = check_accepted(found[number], before=before.get(number, 0), after=after.get(number, 0))
            if off:
                self._wrong[MismatchKind.ACCEPTED, number, day] += off

    async def _read(
        self, connection: PipelineConnection, day: date, ids: Sequence[BatchId]
    ) -> list[balance.StoredBatchState]:
        """Read these batches; where a page of them is damaged, one by one, leaving out what is on it."""
        try:
            return await balance.read(connection, day, ids)
        except asyncpg.PostgresError as error:
            if not str(error.sqlstate).startswith(_DAMAGED):
                raise
            if len(ids) == 1:
                return []
        return [one for id_ in ids for one in await self._read(connection, day, [id_])]

    async def _read_again(self, connection: PipelineConnection, day: date, id_: BatchId) -> None:
        """Note a batch that does not add up, if it still does not: its day may just have been dropped."""
        for stored in await self._read(connection, day, [id_]):
            batch = stored.batch
            if (wrong := check_batch(batch)) is not None and (batch.has_batch or batch.states or wrong[1]):
                kind, events = wrong
                self._wrong[kind, batch.destination, day] += events

    async def _check_keys(
        self, connection: PipelineConnection, day: date, sound: Sequence[balance.StoredBatchState]
    ) -> None:
        """Look up the events of these batches in the ledger, some thousand at a time."""
        owners = {stored.id: stored.batch.destination for stored in sound}
        expected: dict[bytes, tuple[int, int]] = {}
        for nth, stored in enumerate(sound, 1):
            of = self._destinations.get(stored.batch.destination)
            for shape in stored.shapes if of is not None else ():
                if (mapping := self._mappings.get(MappingNumber(shape.mapping))) is not None:
                    assert of is not None
                    expected[event_key(of, mapping, shape.event_id)] = (stored.id, shape.place)
            if len(expected) >= _MOST_KEYS or (nth == len(sound) and expected):
                found = await balance.ledger_places(connection, expected)
                for kind, batch in check_keys(expected, found):
                    self._wrong[kind, owners[BatchId(batch)], day] += 1
                expected = {}


def recent(turn: int) -> Callable[[Sequence[date]], Sequence[date]]:
    """Return a choice among the days kept: today, yesterday, and one older day, another one each turn."""

    def choose(kept: Sequence[date]) -> Sequence[date]:
        older = kept[2:]
        return [*kept[:2], *([older[turn % len(older)]] if older else [])]

    return choose


class BalanceJob:
    """Checks once an hour in the background, one worker of all, and keeps the metric of every worker."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        owner: str,
        monotonic: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._pool = pool
        self._owner = owner
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._check: BalanceCheck | None = None
        self._pages: AsyncIterator[None] | None = None
        self._idle_until = float("-inf")

    async def advance(self) -> None:
        """Go on with the check for a moment; begin one where an hour has passed since the last began."""
        began = self._monotonic()
        if began >= self._idle_until:
            self._idle_until = began + _LOOK_EVERY_S
            await self._look()
        if self._pages is None:
            return
        assert self._pages is not None
        assert self._check is not None
        try:
            async for _ in self._pages:
                if self._monotonic() - began > _MOMENT_S:
                    return
        except BaseException:
            self._pages = None
            raise
        self._pages = None
        async with self._pool.acquire() as connection:
            await balance.finish(
                connection,
                imbalance=self._check.imbalance,
                batches=self._check.batches,
                mismatches=self._check.report(),
            )
        self._telemetry.imbalance.set(self._check.imbalance)
        for one in self._check.report()[:20]:
            self._telemetry.log("balance.mismatch", level=40, **one)
        self._telemetry.log("balance.checked", batches=self._check.batches, imbalance=self._check.imbalance)

    async def _look(self) -> None:
        """Show the last result; keep the check that goes on, or begin one where it is time."""
        async with self._pool.acquire() as connection:
            last = await balance.last(connection)
            if last is not None:
                self._telemetry.imbalance.set(last.imbalance)
            if self._pages is not None:
                if not await balance.renew(connection, self._owner):
                    self._pages = None
                return
            turn = await balance.begin(connection, self._owner, every=EVERY)
        if turn is not None:
            self._check = BalanceCheck(self._pool, BalanceScope(recent(turn), _KEYS_A_DAY, turn))
            self._pages = self._check.pages()
