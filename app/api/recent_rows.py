"""Cache database rows that requests use, and refresh recently used rows in the background.

A sender that posts every few seconds then does not wait for a database query before its post is read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import nlargest
from typing import Final, Generic, TypeVar

from app.telemetry import Telemetry

# A change must take effect in every process within 5 s. If a cached row is older than CACHE_SECONDS, a
# request waits until the row is read again. In the background, recently used rows are read again every
# REFRESH_SECONDS.
REFRESH_SECONDS: Final = 2.0
CACHE_SECONDS: Final = 3.0
IDLE_SECONDS: Final = 300.0  # a row that no request used for this time is dropped
MAX_REFRESHED: Final = 1_000  # only so many rows are read again in the background: the last used
_MAX_CACHED: Final = 10_000

Id = TypeVar("Id")
Row = TypeVar("Row")


@dataclass(slots=True)
class _Entry(Generic[Row]):
    row: Row
    until: float
    used_at: float


@dataclass
class RecentRows(Generic[Id, Row]):
    """Caches rows for a few seconds. `read` reads rows from the database and returns them by their ids."""

    read: Callable[[Sequence[Id]], Awaitable[Mapping[Id, Row]]]
    monotonic: Callable[[], float]
    _entries: dict[Id, _Entry[Row]] = field(default_factory=dict)
    _queries: dict[Id, asyncio.Task[Row | None]] = field(default_factory=dict)

    async def find(self, id_: Id) -> Row | None:
        """Return a row, or None if it does not exist. Waits for the database if the row is not cached."""
        row, is_current = self.cached(id_)
        if is_current:
            return row
        query = self._queries.get(id_)
        if query is None:
            query = self._queries[id_] = asyncio.create_task(self._find(id_))
            query.add_done_callback(partial(self._end_query, id_))
        # Other requests may wait for this query, so a client that disconnects must not cancel it.
        return await asyncio.shield(query)

    def cached(self, id_: Id) -> tuple[Row | None, bool]:
        """Return the last row that was read, and whether it is current: an older one must be read again."""
        if (entry := self._entries.get(id_)) is None:
            return None, False
        entry.used_at = now = self.monotonic()
        return entry.row, now < entry.until

    async def _find(self, id_: Id) -> Row | None:
        # Take the time before the query, because the database may read the row long before the result
        # arrives.
        now = self.monotonic()
        row = (await self.read([id_])).get(id_)
        if self._queries.get(id_) is asyncio.current_task():  # else a row was forgotten meanwhile
            if len(self._entries) >= _MAX_CACHED:
                self._entries.clear()
            self._entries.pop(id_, None)
            if row is not None:
                self._entries[id_] = _Entry(row, now + CACHE_SECONDS, now)
        return row

    def _end_query(self, id_: Id, query: "asyncio.Task[Row | None]") -> None:
        if self._queries.get(id_) is query:
            del self._queries[id_]
        if not query.cancelled():
            query.exception()  # marks the error as handled if all clients have disconnected

    def forget(self, *ids: Id) -> None:
        """Drop rows that this process has changed. Also drop the results of all queries that are running."""
        self._queries.clear()
        for id_ in ids:
            self._entries.pop(id_, None)

    def uses(self) -> list[tuple[Id, Row, float]]:
        """Return the id and the content of each cached row, and the time at which a request last used it."""
        return [(id_, entry.row, entry.used_at) for id_, entry in self._entries.items()]

    async def refresh(self) -> None:
        """Read recently used rows again. Drop deleted rows and rows that no request used recently."""
        now = self.monotonic()
        self._entries = {
            id_: entry for id_, entry in self._entries.items() if now - entry.used_at < IDLE_SECONDS
        }
        recent = nlargest(MAX_REFRESHED, self._entries.items(), key=lambda item: item[1].used_at)
        if not recent:
            return
        rows = await self.read([id_ for id_, _ in recent])
        for id_, entry in recent:
            # Do not update an entry that was dropped or replaced during the query.
            if (row := rows.get(id_)) is not None:
                entry.row, entry.until = row, now + CACHE_SECONDS
            elif self._entries.get(id_) is entry:
                del self._entries[id_]


async def keep_fresh(
    refreshes: Sequence[Callable[[], Awaitable[None]]],
    telemetry: Telemetry,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call the `refresh` of caches until the task is cancelled.

    After an error the rows expire, and the next requests read them.
    """
    while True:
        await sleep(REFRESH_SECONDS)
        for refresh in refreshes:
            try:
                await refresh()
            except Exception as error:
                telemetry.failed("cache.refresh_failed", error, level=logging.WARNING)
