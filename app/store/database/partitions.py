"""Create partitions ahead, and drop them when all their events are final.

The statements call functions of the database that act as the owner of the tables, because a worker's role is
not the owner (ADR 0035).
"""

from datetime import date, timedelta
from typing import Final

from app.store import PipelineConnection, fetch_scalar, read_sql, transactions
from app.store.organisations import usage

SQL: Final = read_sql(__file__)

# Every flush holds this lock in shared mode. Ledger rotation, archiving and erasures take it exclusively.
FLUSH_LOCK = 7_301
# New flushes wait behind an exclusive request for the lock, so this wait is shorter than theirs.
_HOLD_FLUSHES_S = transactions.LOCK_TIMEOUT_S / 2
# Dropping a partition locks its parent exclusively. Every other statement waits behind a wait for this lock.
_DROP_LOCK_S = 0.3
_COPY_S = 600
# A process holds this lock while it creates or drops partitions.
MAINTENANCE_LOCK = 7_302

GENERATION = timedelta(days=11)  # three generations cover 22 to 33 days; the age limit of events is 21 days
# States are read by destination over all days, so they have few partitions of ten days each (ADR 0019).
STATES = "batch_states"
SPAN_DAYS = 10
_EPOCH = date(1970, 1, 1)
# Whether the partition with the batch of a state `s` exists. States are kept up to ten days longer than their
# batches. A missing batch is damage only if this partition exists.
STORED = "to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL"


async def hold_flushes(connection: PipelineConnection) -> None:
    """Wait for running flushes and block new ones until the transaction ends.

    Call it after all locks that others may hold for long, because flushes wait meanwhile.
    """
    await transactions.set_lock_timeout(connection, seconds=_HOLD_FLUSHES_S)
    await transactions.lock(connection, FLUSH_LOCK)


async def create_ahead(connection: PipelineConnection, *, days: int = 7) -> None:
    """Create the partitions of today and the next `days` days, and of this ledger generation and the next."""
    await transactions.lock(connection, MAINTENANCE_LOCK)
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    # Also for yesterday, because a transaction that began before midnight writes into it.
    window = [today + timedelta(days=offset) for offset in range(-1, days + 1)]
    for day in window:
        await connection.execute("SELECT create_day_partitions($1)", day)
    for start in sorted({_span(day) for day in window}):
        await connection.execute("SELECT create_state_partition($1)", start)
    current: int = await connection.fetchval("SELECT max(generation) FROM ledger_generations")
    for generation in (current, current + 1):
        await connection.execute("SELECT create_ledger_partition($1)", generation)


async def days_ahead(connection: PipelineConnection) -> int:
    """Return the number of days after today with all partitions; -1 if a partition for today is missing."""
    batches, attempts, states = [await starts(connection, table) for table in ("batches", "attempts", STATES)]
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    known = {day for day in batches if day in attempts and _span(day) in states}
    ahead = -1
    while today + timedelta(days=ahead + 1) in known:
        ahead += 1
    return ahead


async def rotate_ledger(connection: PipelineConnection) -> int | None:
    """Start the next ledger generation when the current one is 11 days old. Return its number, or None.

    It takes the flush lock exclusively, so that no flush reads one generation and writes into another.
    """
    await hold_flushes(connection)
    [row] = await connection.fetch(SQL["newest_generation"])
    if row["age"] < GENERATION:
        return None
    following: int = row["generation"] + 1
    await connection.execute("SELECT create_ledger_partition($1)", following)
    await connection.execute("INSERT INTO ledger_generations (generation) VALUES ($1)", following)
    return following


async def starts(connection: PipelineConnection, table: str) -> list[date]:
    """Return the first day of each partition of a table, oldest first."""
    return [row["day"] for row in await connection.fetch(SQL["starts"], table)]


async def old_days(connection: PipelineConnection, *, keep_days: int) -> list[date]:
    """Return the days that can be dropped: older than `keep_days`, with all events final."""
    limit: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date - $1::int", keep_days)
    days = [day for day in await starts(connection, "batches") if day < limit]
    return [day for day in days if not await fetch_scalar(connection, bool, SQL["has_open"], day)]


async def drop_day(connection: PipelineConnection, day: date) -> None:
    """Drop the partitions of a day and delete the rows of its events. Call it in a transaction of its own."""
    await transactions.lock(connection, MAINTENANCE_LOCK)
    for table in ("exceptions", "mapped_duplicates", "journey_figures", "journey_nodes", "id_digests"):
        await connection.execute(f"DELETE FROM {table} WHERE day = $1", day)
    # The events of these replays were accepted before this day. They were dropped with earlier days.
    await connection.execute("DELETE FROM replays WHERE requested_at < $1::date", day)
    await usage.record_day(connection, day)
    await _drop(connection, "SELECT drop_day_partitions($1)", day)


async def days_without_keys(connection: PipelineConnection) -> list[date]:
    """Return the days whose stored content no data key can decrypt, oldest first."""
    days = [row["day"] for row in await connection.fetch(SQL["days_without_keys"])]
    return [day for day in days if not await fetch_scalar(connection, bool, SQL["has_keys"], day)]


async def drop_content(connection: PipelineConnection, day: date) -> bool:
    """Drop the content of a day's batches. Their events' ids and times stay.

    Return False if another worker creates or drops partitions. Call it in a transaction of its own. It copies
    what stays, and then locks the table of batches for a moment.
    """
    if not await transactions.try_lock(connection, MAINTENANCE_LOCK):
        return False
    await transactions.set_statement_timeout(connection, seconds=_COPY_S)
    await _drop(connection, "SELECT drop_day_content($1)", day, timeout_s=_COPY_S)
    return True


async def old_states(connection: PipelineConnection, *, keep_days: int) -> list[date]:
    """Return the first day of each ten-day partition of states whose days were all dropped."""
    limit: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date - $1::int", keep_days)
    kept = set(await starts(connection, "batches"))
    days = timedelta(days=SPAN_DAYS - 1)
    return [
        start
        for start in await starts(connection, STATES)
        if start + days < limit and not any(start <= day <= start + days for day in kept)
    ]


async def drop_states(connection: PipelineConnection, start: date) -> None:
    """Drop a partition of states. Call it in a transaction of its own."""
    await _drop(connection, "SELECT drop_state_partition($1)", start)


async def drop_generation(connection: PipelineConnection) -> int | None:
    """Drop the oldest ledger generation that flushes no longer read. Return its number, or None."""
    generation: int | None = await connection.fetchval(SQL["delete_generation"])
    if generation is not None:
        await _drop(connection, "SELECT drop_ledger_partition($1)", generation)
    return generation


async def _drop(
    connection: PipelineConnection, call: str, partition: date | int, *, timeout_s: float | None = None
) -> None:
    """Drop a partition as the last step of a transaction, because everything waits for its locks."""
    await transactions.set_lock_timeout(connection, seconds=_DROP_LOCK_S)
    await connection.execute(call, partition, timeout=timeout_s)


def _span(day: date) -> date:
    """Return the first day of the ten-day partition of states that contains a day."""
    return day - timedelta(days=(day - _EPOCH).days % SPAN_DAYS)
