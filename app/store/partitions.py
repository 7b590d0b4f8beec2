"""Create partitions ahead, and drop them when all their events are final.

The statements call functions of the database that act as the owner of the tables, because a worker's role is
not the owner (ADR 0035).
"""

from dataclasses import dataclass
from datetime import date, timedelta

from app.store import PipelineConnection, organisation_usage, transactions

# Every flush holds this lock in shared mode. Ledger rotation and archiving take it exclusively.
FLUSH_LOCK = 7_301
# A process holds this lock while it creates or drops partitions.
MAINTENANCE_LOCK = 7_302

GENERATION = timedelta(days=11)  # three generations cover 22 to 33 days; the age limit of events is 21 days
DAILY = ("batches", "attempts")
# States are read by destination over all days, so they have few partitions of ten days each (ADR 0019).
STATES = "batch_states"
SPAN_DAYS = 10
_EPOCH = date(1970, 1, 1)
# Whether the partition with the batch of a state `s` exists. States are kept up to ten days longer than their
# batches. A missing batch is damage only if this partition exists.
STORED = "to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class DroppedPartitions:
    """The days and the ledger generations whose partitions were dropped."""

    days: tuple[date, ...]
    generations: tuple[int, ...]


async def create_ahead(connection: PipelineConnection, *, days: int = 7) -> None:
    """Create the partitions of today and the next `days` days, and of this ledger generation and the next."""
    await transactions.lock(connection, MAINTENANCE_LOCK)
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    # Also for yesterday, because a transaction that began before midnight writes into it.
    for offset in range(-1, days + 1):
        day = today + timedelta(days=offset)
        await connection.execute("SELECT create_day_partitions($1)", day)
    for start in sorted({_span(today + timedelta(days=offset)) for offset in range(-1, days + 1)}):
        await connection.execute("SELECT create_state_partition($1)", start)
    current: int = await connection.fetchval("SELECT max(generation) FROM ledger_generations")
    for generation in (current, current + 1):
        await connection.execute("SELECT create_ledger_partition($1)", generation)


async def days_ahead(connection: PipelineConnection) -> int:
    """Return the number of days after today with all partitions; -1 if a partition for today is missing."""
    known = {
        row["name"]
        for row in await connection.fetch(
            """
            SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent IN ('batches'::regclass, 'attempts'::regclass, 'batch_states'::regclass)
            """
        )
    }
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    ahead = -1
    while _names(today + timedelta(days=ahead + 1)) <= known:
        ahead += 1
    return ahead


async def rotate_ledger(connection: PipelineConnection) -> int | None:
    """Start the next ledger generation when the current one is 11 days old. Return its number, or None.

    It takes the flush lock exclusively, so that no flush reads one generation and writes into another.
    """
    await transactions.lock(connection, FLUSH_LOCK)
    row = await connection.fetchrow(
        "SELECT generation, now() - began_at AS age FROM ledger_generations ORDER BY generation DESC LIMIT 1"
    )
    assert row is not None
    if row["age"] < GENERATION:
        return None
    following: int = row["generation"] + 1
    await connection.execute("SELECT create_ledger_partition($1)", following)
    await connection.execute("INSERT INTO ledger_generations (generation) VALUES ($1)", following)
    return following


async def starts(connection: PipelineConnection, table: str) -> list[date]:
    """Return the first day of each partition of a table, oldest first."""
    rows = await connection.fetch(
        """
        SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = $1::text::regclass ORDER BY day
        """,
        table,
    )
    return [row["day"] for row in rows]


async def drop_old(connection: PipelineConnection, *, keep_days: int) -> DroppedPartitions:
    """Drop the partitions of old data: days and ledger generations.

    A day is dropped when it is older than `keep_days` and all its events are final. A ledger generation is
    dropped when flushes no longer read it. Dropping takes `ACCESS EXCLUSIVE` locks, so the caller sets a lock
    timeout and retries later.
    """
    await transactions.lock(connection, MAINTENANCE_LOCK)
    limit: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date - $1::int", keep_days)
    gone: list[date] = []
    for day in await starts(connection, "batches"):
        if day >= limit or await _open_in(connection, day):
            continue
        for table in ("exceptions", "mapped_duplicates"):
            await connection.execute(f"DELETE FROM {table} WHERE day = $1", day)
        # The events of these replays were accepted before this day. They were dropped with earlier days.
        await connection.execute("DELETE FROM replays WHERE requested_at < $1::date", day)
        await organisation_usage.record_day(connection, day)
        await connection.execute("SELECT drop_day_partitions($1)", day)
        gone.append(day)
    await _drop_states(connection, limit)
    passed = await connection.fetch(
        """
        DELETE FROM ledger_generations WHERE generation < (SELECT max(generation) - 2 FROM ledger_generations)
        RETURNING generation
        """
    )
    for row in passed:
        await connection.execute("SELECT drop_ledger_partition($1)", row["generation"])
    return DroppedPartitions(tuple(gone), tuple(row["generation"] for row in passed))


async def _drop_states(connection: PipelineConnection, limit: date) -> None:
    """Drop each ten-day partition of states when the batches of all its days were dropped."""
    kept = set(await starts(connection, "batches"))
    for start in await starts(connection, STATES):
        days = [start + timedelta(days=offset) for offset in range(SPAN_DAYS)]
        if days[-1] < limit and not kept.intersection(days):
            await connection.execute("SELECT drop_state_partition($1)", start)


async def _open_in(connection: PipelineConnection, day: date) -> bool:
    found: bool = await connection.fetchval(
        """
        -- ORDER BY makes Postgres use the index of open batches, which is short. With EXISTS it would ignore
        -- the order and scan all states.
        SELECT (SELECT batch FROM batch_states WHERE day = $1 AND settled_at IS NULL
          ORDER BY destination, queue, due_at, batch LIMIT 1) IS NOT NULL
        OR EXISTS (SELECT FROM exceptions WHERE day = $1 AND status = 'retrying')
        """,
        day,
    )
    return found


def _names(day: date) -> set[str]:
    """Return the names of the partitions that store the events of a day."""
    return {f"{table}_p{day:%Y%m%d}" for table in DAILY} | {f"{STATES}_p{_span(day):%Y%m%d}"}


def _span(day: date) -> date:
    """Return the first day of the ten-day partition of states that contains a day."""
    return day - timedelta(days=(day - _EPOCH).days % SPAN_DAYS)
