"""A page of events costs what the page holds, however many events are stored."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationNumber
from app.domain.outcomes.status import Status
from app.store import ledger
from app.store.destinations import figures
from app.store.events import attempts, batches, id_digests, journey_figures, rejections
from app.store.events import figures as event_figures
from app.store.replays import selection
from app.store.replays.selection import ReplaySelection
from tests.pipeline.world import World

BATCHES: Final = 40_000
KEY: Final = b"0123456789abcdef"
MOST_PAGES: Final = 300  # of 8 KiB, of which the tables have thousands


class Explained:
    """A connection that also counts the pages that each statement reads."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.pages = 0

    async def _explain(self, statement: str, *arguments: Any) -> None:
        text = await self._connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {statement}", *arguments
        )
        [plan] = json.loads(text)
        read = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        self.pages = max(self.pages, read)

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        await self._explain(statement, *arguments)
        return await self._connection.fetch(statement, *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        await self._explain(statement, *arguments)
        return await self._connection.fetchval(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        await self._explain(statement, *arguments)
        return await self._connection.fetchrow(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def fill(world: World) -> list[DestinationNumber]:
    """Store 40,000 batches of two destinations: sent ones, with dead letters in every second one."""
    numbers = [await world.number(await world.destination()) for _ in range(2)]
    await world.fetch(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, data_key,"
        "  disposition, settled_at, accepted_at) "
        "SELECT n, (now() AT TIME ZONE 'UTC')::date, $1 + n % 2, 10, 100, now(), now(), 'key',"
        "  CASE WHEN n % 5000 = 1 THEN 'expired' ELSE 'sent' END, now(), now() - interval '1 s' * ($2 - n) "
        "FROM generate_series(1, $2::int) n",
        numbers[0],
        BATCHES,
    )
    await world.fetch(
        "INSERT INTO exceptions (batch, place, day, destination, status, event_at, reason) "
        "SELECT n / 2 * 2, n % 2, (now() AT TIME ZONE 'UTC')::date, $1, 'dead', now(), 'amazon_refused' "
        "FROM generate_series(2, $2::int) n "
        "UNION ALL SELECT -n, 0, (now() AT TIME ZONE 'UTC')::date, 1000000 + n / 100, 'dead', now(), 'x' "
        "FROM generate_series(1, $2::int) n",
        numbers[0],
        BATCHES,
    )
    await world.fetch(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation,"
        "  settled_at, outcome, request_id) "
        "SELECT n, (now() AT TIME ZONE 'UTC')::date, 1, $1, 1, 'w', ARRAY[n::bigint], 1, 1, now(),"
        "  'answered', 'amzn-' || n FROM generate_series(1, $2::int) n",
        numbers[0],
        BATCHES,
    )
    await world.fetch(
        "INSERT INTO rejection_records (organisation_id, destination, received_at, event_id, code, reason) "
        "SELECT 'default', $1 + n % 2, now(), 'bad-' || n, 'BAD_REQUEST', 'timestamp_missing' "
        "FROM generate_series(1, $2::int) n",
        numbers[0],
        BATCHES,
    )
    await world.fetch(
        "INSERT INTO journey_figures (destination, day, node, writer, accepted) "
        "SELECT 1000000 + n / 1000, (now() AT TIME ZONE 'UTC')::date, n % 1000 + 1, 1, 1 "
        "FROM generate_series(1, $1::int) n",
        BATCHES,
    )
    await world.fetch(
        "INSERT INTO ledger (generation, key, content, batch, place) "
        "SELECT 1, substr(sha256(n::text::bytea), 1, 11), '', n, 0 FROM generate_series(1, $1::int) n",
        BATCHES,
    )
    await world.fetch(
        "INSERT INTO id_digests (organisation_id, first_batch, last_batch, day, digests) "
        "SELECT 'default', 20 * n + 1, 20 * n + 20, (now() AT TIME ZONE 'UTC')::date, $2 "
        "FROM generate_series(0, $1::int / 20 - 1) n",
        BATCHES,
        bytes(600),
    )
    await world.fetch(
        "ANALYZE batch_states, exceptions, attempts, rejection_records, journey_figures, ledger, id_digests"
    )
    return numbers


Read = Callable[[Any, list[DestinationNumber]], Awaitable[Any]]


def newest(wanted: str | None, count: int | None, before: int | None = None) -> Read:
    """Return a read of a page of batches of `count` destinations."""
    return lambda c, numbers: batches.newest(
        c,
        None if count is None else numbers[:count],
        wanted=wanted,
        before=None if before is None else BatchId(before),
        limit=50,
    )


def rejected(count: int | None, **wanted: str) -> Read:
    """Return a read of a page of rejection records of `count` destinations."""
    query = EventQuery(**wanted)  # type: ignore[arg-type]
    return lambda c, numbers: rejections.newest(
        c, None if count is None else numbers[:count], query, limit=50, below=BATCHES // 2
    )


READS: Final[dict[str, Read]] = {
    "the newest": newest(None, 1),
    "a later page": newest(None, 1, BATCHES // 2),
    "delivered": newest("delivered", 1),
    "waiting": newest("queued", 1),
    "dead": newest("dead", 1, BATCHES // 2),
    "expired": newest("expired", 1),
    "of two destinations": newest(None, 2, BATCHES // 2),
    "of all destinations": newest(None, None, BATCHES // 2),
    "rejections": rejected(1),
    "rejections of all destinations": rejected(None),
    "rejections of an event": rejected(None, event_id="bad-77"),
    "a request": lambda c, numbers: attempts.find_request(c, numbers, "amzn-77"),
    "attempts of an event": lambda c, numbers: attempts.attempts(
        c, numbers[0], batch=BatchId(BATCHES), place=0, day=c.today, ids=[BATCHES]
    ),
    "figures of journeys": lambda c, numbers: journey_figures.by_node(c, numbers[0], since=c.now),
    "a history": lambda c, numbers: ledger.find(c, 1, [KEY, bytes(16)]),
    "its batch": lambda c, numbers: batches.batches(c, numbers[0], BatchId(BATCHES)),
    "its exceptions": lambda c, numbers: batches.exceptions(c, numbers, [BatchId(BATCHES)]),
    "the place of a duplicate": lambda c, numbers: attempts.mapped_duplicates(c, [KEY]),
    "a search by id": lambda c, numbers: id_digests.next_spans(c, bytes(3), highest=None, since=None),
    "statistics": lambda c, numbers: event_figures.destination_figures(c, numbers[1]),
    "rates": lambda c, numbers: figures.rates(c, numbers[1], timedelta(minutes=15)),
    "requests": lambda c, numbers: figures.requests(c, numbers[0], 50),
    "a page of requests": lambda c, numbers: figures.request_page(
        c, numbers[0], since=c.now - timedelta(days=7), before=None, failed=False, limit=50
    ),
    "the next request": lambda c, numbers: figures.next_attempt_at(c, numbers[0]),
    "batches of a replay": lambda c, numbers: selection.candidate_batches(
        c, ReplaySelection(numbers[0], EventQuery(status=Status.DEAD), None), after=BATCHES // 2, limit=200
    ),
    "batches of a replay of a destination without exceptions": lambda c, numbers: selection.candidate_batches(
        c, ReplaySelection(numbers[1], EventQuery(status=Status.DEAD), None), after=0, limit=200
    ),
    "unsent batches of a replay": lambda c, numbers: selection.unsent_batches(
        c, ReplaySelection(numbers[0], EventQuery(), None), after=BATCHES // 2, limit=200
    ),
}


async def test_a_read_does_not_grow_with_the_tables(world: World) -> None:
    numbers = await fill(world)
    pages = {}
    async with world.pool.acquire() as connection:
        explained = Explained(connection)
        explained.now = await connection.fetchval("SELECT now()")  # type: ignore[attr-defined]
        explained.today = explained.now.date()  # type: ignore[attr-defined]
        for name, read in READS.items():
            explained.pages = 0
            await read(explained, numbers)
            pages[name] = explained.pages
    assert {name: read for name, read in pages.items() if read > MOST_PAGES} == {}, pages
