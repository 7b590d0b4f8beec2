"""Partitions by day and ledger generations: created ahead, dropped when all their events are final.

The database's own functions create and drop them, because a worker's role does not own the tables (ADR 0035).
"""

from dataclasses import dataclass
from datetime import date, timedelta

from app.store import PipelineConnection, organisation_usage, transactions

# Every flush holds this lock shared; rotating the ledger and archiving a destination lock it exclusively.
FLUSH_LOCK = 7_301
# Partitions are not created and dropped at the same time.
MAINTENANCE_LOCK = 7_302

GENERATION = timedelta(days=11)  # three of them cover 22 to 33 days, beyond the age limit of 21
DAILY = ("batches", "attempts")
# States are read by destination over all days, so they have few partitions of ten days each (ADR 0019).
STATES = "batch_states"
SPAN_DAYS = 10
_EPOCH = date(1970, 1, 1)
# States are kept up to ten days longer than their batches. A state `s` without its batch is damage only if
# the partition of the batch's day exists.
STORED = "to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class DroppedPartitions:
    """Dropped partitions: days of batches and generations of the ledger."""

    days: tuple[date, ...]
    generations: tuple[int, ...]


async def create_ahead(connection: PipelineConnection, *, days: int = 7) -> None:
    """Create the partitions of today and of `days` more, and of this ledger generation and the next."""
    await transactions.lock(connection, MAINTENANCE_LOCK)
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    # Yesterday too: a transaction that began before midnight may still write into it.
    for offset in range(-1, days + 1):
        day = today + timedelta(days=offset)
        await connection.execute("SELECT create_day_partitions($1)", day)
    for start in sorted({_span(today + timedelta(days=offset)) for offset in range(-1, days + 1)}):
        await connection.execute("SELECT create_state_partition($1)", start)
    current: int = await connection.fetchval("SELECT max(generation) FROM ledger_generations")
    for generation in (current, current + 1):
        await connection.execute("SELECT create_ledger_partition($1)", generation)


async def days_ahead(connection: PipelineConnection) -> int:
    """Return the number of days after today for which every table partitioned by day has partitions."""
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
    """Start the next generation when the current one is 11 days old. Return its number, or None.

    Holds the flush lock exclusively: no flush can read one generation and write into another.
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


async def drop_old(connection: PipelineConnection, *, keep_days: int) -> DroppedPartitions:
    """Drop days older than `keep_days` without open batches, and generations that flushes no longer read.

    Takes `ACCESS EXCLUSIVE` briefly: the caller sets a lock timeout and retries later.
    """
    await transactions.lock(connection, MAINTENANCE_LOCK)
    rows = await connection.fetch(_PARTITIONS, "batches")
    limit: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date - $1::int", keep_days)
    gone: list[date] = []
    for row in rows:
        day = _days_of(row["name"])
        if day >= limit or await _open_in(connection, day):
            continue
        for table in ("exceptions", "mapped_duplicates"):
            await connection.execute(f"DELETE FROM {table} WHERE day = $1", day)
        # No event of that time is stored, so these replays have no events.
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
    """Drop each partition of states (ten days) after the batches of all its days were dropped.

    Until then, states of dropped days refer to missing batches; they contain no personal data.
    """
    kept = {_days_of(row["name"]) for row in await connection.fetch(_PARTITIONS, "batches")}
    for row in await connection.fetch(_PARTITIONS, STATES):
        start = _days_of(row["name"])
        days = [start + timedelta(days=nth) for nth in range(SPAN_DAYS)]
        if days[-1] < limit and not kept.intersection(days):
            await connection.execute("SELECT drop_state_partition($1)", start)


_PARTITIONS = """
    SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = $1::text::regclass ORDER BY c.relname
"""


async def _open_in(connection: PipelineConnection, day: date) -> bool:
    found: bool = await connection.fetchval(
        """
        -- In the order of the index of open batches: it is short, a scan of all states would be long.
        -- (EXISTS would ignore the order.)
        SELECT (SELECT batch FROM batch_states WHERE day = $1 AND settled_at IS NULL
          ORDER BY destination, queue, due_at, batch LIMIT 1) IS NOT NULL
        OR EXISTS (SELECT FROM exceptions WHERE day = $1 AND status = 'retrying')
        """,
        day,
    )
    return found


def _names(day: date) -> set[str]:
    return {_daily(table, day) for table in DAILY} | {_daily(STATES, _span(day))}


def _span(day: date) -> date:
    """Return the first of the ten days that contain a day."""
    return day - timedelta(days=(day - _EPOCH).days % SPAN_DAYS)


def _days_of(name: str) -> date:
    return date.fromisoformat(name.rpartition("_p")[2])


def _daily(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"
