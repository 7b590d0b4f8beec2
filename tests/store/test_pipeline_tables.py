"""Guarantees of the pipeline's tables: generations, partitions, counts, deleted keys."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from app.domain.ids import BatchId, DestinationNumber
from app.store import attempts, batches, counts, flush, ledger
from app.store.database import partitions
from app.store.events import attempts as event_attempts
from app.store.incidents import facts as incident_facts
from tests.databases import PAGES_READ, connected
from tests.tables import cases

NOW = datetime.now(UTC)


@pytest.fixture
async def c(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection, configured as in the pipeline."""
    async with connected(database_url) as connection:
        yield connection


def entry(key: int, *, content: int = 0, batch: int = 1, place: int = 0) -> ledger.LedgerEntry:
    return ledger.LedgerEntry(digest(key), digest(content), BatchId(batch), place)


def digest(number: int) -> bytes:
    """Return 16 bytes that differ in the first ones, which the ledger stores."""
    return number.to_bytes(16, "little")


def batch(number: int) -> batches.NewBatch:
    stored = {"content": b"c", "shapes": b"s", "data_key": b"k", "events": 2, "size": 10}
    times = {"first_event": NOW, "last_event": NOW}
    return batches.NewBatch(id=BatchId(number), destination=DestinationNumber(1), **stored, **times)


async def age_ledger(c: asyncpg.Connection) -> None:
    await c.execute("UPDATE ledger_generations SET began_at = began_at - interval '11 days'")


async def add_days(c: asyncpg.Connection, *days: date) -> None:
    """Add the partitions of some passed days, which belong to one partition of states."""
    first = days[0] - timedelta(days=(days[0] - date(1970, 1, 1)).days % partitions.SPAN_DAYS)
    spans = [(table, day, 1) for day in days for table in ("batches", "attempts")]
    for table, start, length in [*spans, ("batch_states", first, partitions.SPAN_DAYS)]:
        await c.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_p{start:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{start}') TO ('{start + timedelta(days=length)}')"
        )


async def drop_old(c: asyncpg.Connection, *, keep_days: int) -> list[date]:
    """Drop partitions as the maintenance does; return the days."""
    days = await partitions.old_days(c, keep_days=keep_days)
    for day in days:
        async with c.transaction():
            await partitions.drop_day(c, day)
    for start in await partitions.old_states(c, keep_days=keep_days):
        async with c.transaction():
            await partitions.drop_states(c, start)
    return days


async def test_a_key_is_won_once_over_three_generations(c: asyncpg.Connection) -> None:
    """The two generations before the current one are searched; an older one is not."""
    key = digest(7)
    assert await ledger.claim(c, 1, [entry(7, content=1)])
    for generation in (2, 3):
        await age_ledger(c)
        assert await partitions.rotate_ledger(c) == generation
        assert not await ledger.claim(c, generation, [entry(7, content=2, batch=2)])
        stored = ledger.LedgerRow(digest(1)[: ledger.SHORT_CONTENT], BatchId(1), 0)
        assert await ledger.find(c, generation, [key]) == {key: stored}
    await age_ledger(c)
    assert await partitions.rotate_ledger(c) == 4
    assert await ledger.claim(c, 4, [entry(7, batch=2)])


async def test_a_claim_inserts_the_free_keys_only(c: asyncpg.Connection) -> None:
    """The rows of used keys stay as they are."""
    assert await ledger.claim(c, 1, [entry(1), entry(2, place=1)])
    assert not await ledger.claim(c, 1, [entry(n, batch=2, place=n) for n in (3, 2, 0, 1)])
    rows = await ledger.find(c, 1, [digest(n) for n in range(4)])
    assert {int.from_bytes(key, "little"): row.batch for key, row in rows.items()} == {0: 2, 1: 1, 2: 1, 3: 2}
    assert entry(1).is_row(rows[digest(1)])
    assert not any(entry(1, batch=n, place=n - 1).is_row(rows[digest(1)]) for n in (0, 2))
    assert not entry(1).is_row(None)


async def test_a_young_generation_is_not_rotated(c: asyncpg.Connection) -> None:
    """Eleven days, on the database's clock."""
    assert await partitions.rotate_ledger(c) is None
    assert await ledger.current_generation(c) == 1


async def test_rotation_waits_for_flushes_and_flushes_for_rotation(
    c: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """No transaction reads one generation and writes into another."""
    await age_ledger(c)

    async def rotate() -> int | None:
        async with owner.transaction():
            return await partitions.rotate_ledger(owner)

    async with flush.transaction(c):
        rotating = asyncio.create_task(rotate())
        waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
        async with asyncio.timeout(30):
            while not await c.fetchval(waits, owner.get_server_pid()):
                assert not rotating.done()
        assert (await flush.read_preconditions(c, [])).generation == 1
    assert await asyncio.wait_for(rotating, 30) == 2


async def test_partitions_are_made_ahead_and_counted(c: asyncpg.Connection) -> None:
    """A fresh database has seven days more than the day it was made; one that lost some says so."""
    age = await c.fetchval(
        "SELECT (now() AT TIME ZONE 'UTC')::date - (began_at AT TIME ZONE 'UTC')::date "
        "FROM ledger_generations"
    )  # the suite's template may be of before midnight
    assert await partitions.days_ahead(c) == 7 - age
    await partitions.create_ahead(c)
    assert await partitions.days_ahead(c) == 7
    later = datetime.now(UTC).date() + timedelta(days=2)
    await c.execute(f"DROP TABLE attempts_p{later:%Y%m%d}")
    assert await partitions.days_ahead(c) == 1
    await partitions.create_ahead(c)
    assert await partitions.days_ahead(c) == 7


async def test_a_passed_day_is_dropped_only_when_nothing_in_it_is_open(c: asyncpg.Connection) -> None:
    """Batches, states, exceptions, attempts, duplicates and replays of the day go together."""
    day = datetime.now(UTC).date() - timedelta(days=40)
    await add_days(c, day)
    await flush.append(c, [batch(1)])
    await c.execute("UPDATE batches SET day = $1", day)
    await c.execute("UPDATE batch_states SET day = $1", day)
    assert await drop_old(c, keep_days=30) == []
    await c.execute("UPDATE batch_states SET disposition = 'sent', settled_at = now()")
    await event_attempts.note_mapped_duplicates(c, [((n).to_bytes(16), BatchId(1), 0) for n in (1, 2)])
    await c.execute("UPDATE mapped_duplicates SET day = $1 WHERE key = $2", day, (1).to_bytes(16))
    lane = await c.fetchval("INSERT INTO lanes (region, advertiser_id) VALUES ('NA', '1') RETURNING id")
    await c.execute(
        "INSERT INTO destinations (id, number, lane, name, advertiser_id, region, currency) "
        "OVERRIDING SYSTEM VALUE VALUES ($1, 1, $2, 'Acme', '1', 'NA', 'USD')",
        f"dst_{1:020d}",
        lane,
    )
    for n, days_ago in ((1, 41), (2, 39)):
        await c.execute(
            "INSERT INTO replays (id, destination, requested_by, selection, requested_at) "
            "VALUES ($1, 1, 'test', '{}', now() - $2::interval)",
            f"rpl_{n:020d}",
            timedelta(days=days_ago),
        )
    assert await drop_old(c, keep_days=30) == [day]
    for table, left in (("batches", 0), ("mapped_duplicates", 1), ("replays", 1)):
        assert await c.fetchval(f"SELECT count(*) FROM {table}") == left, table


async def test_responses_of_amazon_are_deleted_after_their_days(c: asyncpg.Connection) -> None:
    """The last day stays; a statement deletes at most its limit."""
    await c.execute(
        "INSERT INTO responses (attempt, day, destination, content) "
        "SELECT n, (now() AT TIME ZONE 'UTC')::date - $1::int + 2 - n, 1, '{}' FROM generate_series(1, 4) n",
        attempts.RESPONSE_DAYS,
    )
    assert await attempts.delete_responses(c, limit=1)
    assert await c.fetchval("SELECT count(*) FROM responses") == 3
    assert await attempts.delete_responses(c, limit=10)
    assert not await attempts.delete_responses(c, limit=10)
    assert [row["attempt"] for row in await c.fetch("SELECT attempt FROM responses ORDER BY 1")] == [1, 2]


async def test_the_content_of_a_day_is_dropped_with_its_last_data_key(c: asyncpg.Connection) -> None:
    """The shapes stay, also for batches of other days; a day that is open or has a key keeps its content."""
    today = await c.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    day, younger = today - timedelta(days=2), today - timedelta(days=1)
    await add_days(c, day, younger)
    await flush.append(c, [batch(1), batch(2), batch(3), batch(4)])
    for table, column in (("batches", "id"), ("batch_states", "batch")):
        await c.execute(f"UPDATE {table} SET day = $1 WHERE {column} IN (1, 2)", day)
        await c.execute(f"UPDATE {table} SET day = $1 WHERE {column} = 3", younger)

    async def dropped() -> list[date]:
        await c.execute("SET enable_nestloop = off")  # Postgres then reads the names of all tables
        days = await partitions.days_without_keys(c)
        await c.execute("RESET enable_nestloop")
        for each in days:
            async with c.transaction():
                await partitions.drop_content(c, each)
        return days

    settle = (
        "UPDATE batch_states SET disposition = 'sent', settled_at = now(), data_key = NULL WHERE batch = $1"
    )
    await c.execute(settle, 1)
    await c.execute(settle, 3)
    assert await dropped() == []
    with pytest.raises(asyncpg.CheckViolationError):
        await c.execute("SELECT drop_day_content($1)", day)
    await c.execute("UPDATE batch_states SET disposition = 'sent', settled_at = now() WHERE batch = 2")
    assert await dropped() == []
    with pytest.raises(asyncpg.CheckViolationError):
        await c.execute("SELECT drop_day_content($1)", day)
    await c.execute(settle, 2)
    assert await dropped() == [day]
    assert await dropped() == []
    await c.execute("SELECT drop_day_content($1)", day)
    rows = await c.fetch("SELECT id, day, content, shapes FROM batches ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (1, day, b"", b"s"),
        (2, day, b"", b"s"),
        (3, younger, b"c", b"s"),
        (4, today, b"c", b"s"),
    ]
    assert day in await partitions.old_days(c, keep_days=1)
    async with c.transaction():
        await partitions.drop_day(c, day)
    assert await c.fetchval("SELECT count(*) FROM batches") == 2


async def test_the_monitor_reads_what_is_open_and_recent_by_index(c: asyncpg.Connection) -> None:
    """Beside much that is settled: it runs every three seconds over all destinations."""
    await c.execute(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, data_key,"
        "  disposition, settled_at, accepted_at) "
        "SELECT n, (now() AT TIME ZONE 'UTC')::date, n % 500, 1, 1, now(), now(), 'k',"
        "  CASE WHEN n > 50 THEN 'sent' END, CASE WHEN n > 50 THEN now() END, now() - interval '1 minute' "
        "FROM generate_series(1, 20000) n"
    )
    await c.execute(
        "INSERT INTO exceptions (batch, place, day, destination, status, event_at, reason) "
        "SELECT n, 0, (now() AT TIME ZONE 'UTC')::date, n % 500,"
        "  CASE WHEN n > 50 THEN 'delivered' ELSE 'dead' END, now(), 'x' FROM generate_series(1, 20000) n"
    )
    await c.execute(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation,"
        "  started_at, settled_at, outcome) "
        "SELECT n, (now() AT TIME ZONE 'UTC')::date, 1, n % 500, 1, 'w', ARRAY[n], 1, 1, at, at,"
        "  CASE n % 500 WHEN 7 THEN 'lost' ELSE 'answered' END FROM generate_series(1, 20000) n,"
        "  LATERAL (SELECT now() - interval '1 hour' * (n % 500 <> 7)::int AS at) x"
    )
    await c.execute("VACUUM ANALYZE batch_states, exceptions, attempts")
    numbers = [DestinationNumber(number) for number in range(500)]
    windows = [60.0] * 500
    for found, statement, *arguments in (
        (set(range(1, 51)), incident_facts.SQL["waiting"]),
        (set(range(1, 51)), incident_facts.SQL["dead"]),
        ({7}, incident_facts.SQL["requests"], numbers, windows),
    ):
        assert {row["number"] for row in await c.fetch(statement, *arguments)} == found
        plan = "\n".join(row[0] for row in await c.fetch(f"EXPLAIN {statement}", *arguments))
        for table in re.findall(r"Seq Scan on (\w+)", plan):
            assert not await c.fetchval(f"SELECT EXISTS (SELECT FROM {table})"), plan
    [failing] = await c.fetch(incident_facts.SQL["requests"], numbers, windows)
    assert (failing["failed_requests"], failing["last_outcome"]) == (40, "lost")


async def test_a_million_states_are_dropped_without_being_deleted(c: asyncpg.Connection) -> None:
    """Ten days of lone batches go with their partition: next to nothing is written ahead for it."""

    async def written() -> int:
        await partitions.create_ahead(c)
        await c.execute(
            "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
            "disposition, settled_at) "
            "SELECT n, $1, 1, 1, 1, now(), now(), 'sent', now() FROM generate_series(1, 100000) n",
            datetime.now(UTC).date(),
        )
        before = await c.fetchval("SELECT pg_current_wal_insert_lsn()")
        await drop_old(c, keep_days=-30)
        assert await c.fetchval("SELECT count(*) FROM batch_states") == 0
        return int(await c.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", before))

    # Deleting would write ten times as much, every time. The server's log is that of all tests that run now.
    tries = [await written()]
    while tries[-1] >= 1_000_000 and len(tries) < 5:
        tries.append(await written())
    assert min(tries) < 1_000_000, tries


async def test_states_stay_until_the_last_of_their_ten_days_is_gone(c: asyncpg.Connection) -> None:
    """A day of it in which something is open keeps the partition."""
    await flush.append(c, [batch(1)])
    assert await drop_old(c, keep_days=-30)
    assert await c.fetchval("SELECT count(*) FROM batch_states") == 1
    await c.execute("UPDATE batch_states SET disposition = 'sent', settled_at = now()")
    await drop_old(c, keep_days=-30)
    assert await c.fetchval("SELECT count(*) FROM batch_states") == 0


async def test_a_claim_beside_an_old_snapshot_begins_where_the_last_one_found_something(
    c: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """Settled batches that no vacuum may remove are walked over once, not at every claim."""
    number, queue = DestinationNumber(1), 0
    await c.execute(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, "
        "data_key, due_at) SELECT n, current_date, 1, 1, 1, now(), now(), 'k', now() - interval '1 hour' "
        "+ n * interval '1 ms' FROM generate_series(1, 40001) n"
    )
    await c.execute(
        "INSERT INTO batches (day, id, destination, content, shapes) "
        "SELECT day, batch, destination, 'c', 's' FROM batch_states"
    )
    await c.execute("ANALYZE batch_states, batches")
    async with owner.transaction(isolation="repeatable_read"):
        await owner.fetchval("SELECT count(*) FROM batch_states")
        await c.execute(
            "UPDATE batch_states SET disposition = 'sent', settled_at = now() WHERE batch <= 40000"
        )

        async def claim(watermark: datetime | None) -> tuple[int, list[batches.DueBatch]]:
            """Return the pages that a claim reads, and what it finds."""
            async with c.transaction():
                before = await c.fetchval(PAGES_READ)
                due, _ = await batches.due(
                    c, number, queue=queue, in_flight=[], max_events=1, max_bytes=10**6, watermark=watermark
                )
                return await c.fetchval(PAGES_READ) - before, due

        all_pages, due = await claim(None)
        assert [one.id for one in due] == [40_001]
        few_pages, same = await claim(due[0].due_at)
        assert [one.id for one in same] == [one.id for one in due]
        assert few_pages < all_pages / 10, (few_pages, all_pages)


async def test_a_settled_batches_key_goes_and_a_dead_letters_stays_longer(c: asyncpg.Connection) -> None:
    """24 hours after the last final state; seven days with a dead letter; never while one is retried."""
    await flush.append(c, [batch(number) for number in (1, 2, 3, 4)])
    await c.execute(
        "UPDATE batch_states SET disposition = 'sent', settled_at = now() - interval '25 hours' "
        "WHERE batch < 4"
    )
    await c.execute(
        "INSERT INTO exceptions (batch, place, day, destination, status, event_at, reason, changed_at) "
        "VALUES (2, 0, current_date, 1, 'dead', now(), 'amazon_refused', now() - interval '25 hours'), "
        "(3, 0, current_date, 1, 'retrying', now(), 'amazon_item_failed', now() - interval '25 hours')"
    )
    assert await batches.delete_data_keys(c, after=timedelta(hours=24), dead_after=timedelta(days=7)) == 1
    # As when a replay queued its event before the batch was locked.
    assert await c.fetch(batches.SQL["delete_keys"], [3], timedelta(hours=24), 1, 4) == []
    left = await c.fetch("SELECT batch FROM batch_states WHERE data_key IS NOT NULL ORDER BY batch")
    assert [row["batch"] for row in left] == [2, 3, 4]


async def test_settling_what_is_settled_is_a_defect_and_says_so(c: asyncpg.Connection) -> None:
    """n batches in, n states written, or nothing."""
    await flush.append(c, [batch(1)])
    await batches.close(c, [BatchId(1)], "sent", None)
    with pytest.raises(AssertionError):
        await batches.close(c, [BatchId(1)], "sent", None)


async def test_only_an_open_batch_with_the_same_key_is_unchanged(c: asyncpg.Connection) -> None:
    """A settled one has its end, and a rewritten one another key."""
    await flush.append(c, [batch(number) for number in (1, 2, 3)])
    await batches.close(c, [BatchId(2)], "expired", None)
    state = await c.fetchrow(
        "SELECT disposition, settled_at IS NULL AS open FROM batch_states WHERE batch = 2"
    )
    assert dict(state) == {"disposition": "expired", "open": False}
    stored = batch(1).data_key
    keys = {BatchId(1): stored, BatchId(2): stored, BatchId(3): b"another"}
    assert await batches.lock_unchanged(c, keys) == {1}


async def test_counts_of_many_writers_add_up(c: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    """Two connections that move the same rows in opposite order neither wait in a circle nor lose one."""
    there = {DestinationNumber(n): counts.IngestCounts(accepted=1) for n in (1, 2, 3)}
    back = {DestinationNumber(n): counts.CountDelta(accepted=1, retrying=-1) for n in (3, 2, 1)}

    async def ten_times(connection: asyncpg.Connection, add: Callable[[], Awaitable[None]]) -> None:
        for _ in range(10):
            async with connection.transaction():
                await add()

    await asyncio.gather(
        ten_times(c, lambda: flush.append(c, [], writer=1, deltas=there)),
        ten_times(owner, lambda: counts.add(owner, 1, back)),
    )
    rows = await c.fetch("SELECT sum(accepted) AS a, sum(retrying) AS r FROM counts GROUP BY destination")
    assert [(row["a"], row["r"]) for row in rows] == [(20, -10)] * 3


@cases(
    "statement",
    {
        "a disposition without its time": "UPDATE batch_states SET disposition = 'sent'",
        "an open batch without its key": "UPDATE batch_states SET data_key = NULL",
        "an unknown disposition": "UPDATE batch_states SET disposition = 'lost', settled_at = now()",
        "a time that Python cannot read": "UPDATE batch_states SET due_at = 'infinity'",
        "more events than a request takes": "UPDATE batch_states SET events = 501",
    },
)
async def test_the_database_defends_the_state_machine(c: asyncpg.Connection, statement: str) -> None:
    """Invalid writes are refused by the database."""
    await flush.append(c, [batch(1)])
    with pytest.raises(asyncpg.CheckViolationError):
        await c.execute(statement)


async def test_a_flush_that_fails_leaves_no_transaction_behind(c: asyncpg.Connection) -> None:
    """The connection takes the next flush, and what the failed one wrote is gone."""
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with flush.transaction(c):
            await c.execute("INSERT INTO ledger_generations (generation) VALUES (99)")
            await c.execute("SELECT 1 / 0")
    assert not c.is_in_transaction()
    async with flush.transaction(c):
        assert c.is_in_transaction()
        assert (await flush.read_preconditions(c, [])).generation == 1
    held = await c.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )
    assert held == 0


async def test_a_flush_whose_lock_fails_leaves_no_transaction_open(
    c: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """Or every flush after it would fail on the same connection."""
    await owner.execute(f"SELECT pg_advisory_lock({partitions.FLUSH_LOCK})")
    await c.execute("SET lock_timeout = '10ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        async with flush.transaction(c):
            pass
    assert not c.is_in_transaction()
