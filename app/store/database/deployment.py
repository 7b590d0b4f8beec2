"""Read facts about the database, its processes and lanes: for `doctor`, and for the console's system page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from app.store import PipelineConnection, fetch_map, fetch_only, fetch_rows, read_sql
from app.store.database import backups, balance, damage, partitions
from app.store.database.backups import BackupState
from app.store.database.balance import BalanceResult
from app.store.encryption import COLUMNS, seals
from app.store.lanes import WORKER_LOCKS
from app.store.organisations.scope import EVERY, SETTING

SQL: Final = read_sql(__file__)

_MAX_COUNTED: Final = 50_000  # batches, and events that are retried separately


@dataclass(frozen=True, slots=True)
class Deployment:
    """Facts about one database. `days_ahead` and `key_ids` are None before the first migration.

    `key_ids` are the encryption keys of stored values. `seals` has, for each key, an upper bound of the
    number of values that the key has encrypted.
    """

    version: int
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    max_connections: int
    superuser: bool
    now: datetime
    revision: str | None = None
    days_ahead: int | None = None
    key_ids: frozenset[str] | None = None
    checksums: bool = True
    checksum_failures: int = 0
    # The number of malformed encrypted values by `table.column`; None if a page of the table is damaged.
    # `app.store.database.damage.check` finds damaged batches.
    damaged: Mapping[str, int | None] = field(default_factory=dict)
    # Whether the role of this session owns the tables and can therefore change the audit.
    owner: bool = False
    balance: BalanceResult | None = None
    seals: Mapping[str, int] = field(default_factory=dict)
    # Whether this session sees the rows of all organisations, and about how many batches are stored.
    sees_every_row: bool = True
    stored_batches: int = 0
    # Whether the server is a standby, or the database refuses writes.
    is_read_only: bool = False
    # Tables with policies of row-level security that are not enabled.
    unprotected: Sequence[str] = ()
    backups: BackupState = field(default_factory=BackupState)
    # The sessions of running API processes, and the number of running workers.
    api_sessions: int = 0
    workers: int = 0


# An encrypted value starts with the length of its key's id (1 byte) and the id.
_KEY_IDS = """
SELECT CASE WHEN name ~ '^[A-Za-z0-9_.-]{{1,32}}$' THEN name END AS id, count(*) AS rows FROM (
  -- A malformed value has the name ''. A nonce of 12 bytes and a tag of 16 bytes follow the id.
  -- The escape format accepts any bytes of a damaged value.
  SELECT CASE WHEN octet_length({column}) = 0 THEN ''
    WHEN octet_length({column}) < 1 + get_byte({column}, 0) + 28 THEN ''
    ELSE encode(substring({column} FROM 2 FOR get_byte({column}, 0)), 'escape') END AS name
  FROM {table} WHERE {column} IS NOT NULL) AS named
GROUP BY 1
"""


async def read_deployment(connection: PipelineConnection) -> Deployment:
    """Read the facts about the connected database. Changes nothing."""
    [row] = await connection.fetch(SQL["settings"], WORKER_LOCKS)
    facts: dict[str, Any] = dict(row)
    if facts.pop("migrated"):
        facts["revision"] = await connection.fetchval("SELECT max(version_num) FROM alembic_version")
    if facts.get("revision") is not None:
        facts["days_ahead"] = await partitions.days_ahead(connection)
        facts["key_ids"], facts["damaged"] = await _sealed(connection)
        facts["sees_every_row"] = not await connection.fetchval(SQL["hides_rows"], SETTING, EVERY)
        # Row-level security does not hide this number.
        facts["stored_batches"] = await connection.fetchval(SQL["stored_batches"])
        # A database that lacks some migrations can lack these tables; doctor reports the migrations.
        for table, name, read in (
            ("balance_checks", "balance", balance.last),
            ("last_base_backup", "backups", backups.read),
            ("encryption_keys", "seals", seals),
        ):
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                facts[name] = await read(connection)
    return Deployment(**facts)


async def _sealed(connection: PipelineConnection) -> tuple[frozenset[str], dict[str, int | None]]:
    """Return the key ids of all encrypted values, and the number of malformed values by `table.column`."""
    ids: set[str] = set()
    malformed: dict[str, int | None] = {}
    for column in COLUMNS:
        name = f"{column.table}.{column.column}"
        malformed[name] = None  # remains if a page of the table is damaged
        async with damage.tolerated(connection):
            found = await fetch_map(connection, _KEY_IDS.format(table=column.table, column=column.column))
            malformed[name] = found.pop(None, 0)
            ids.update(found)
    return frozenset(ids), {name: wrong for name, wrong in malformed.items() if wrong != 0}


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The database and its sessions. `workers` is the number of running worker processes."""

    version: str
    size_bytes: int
    connections: int
    max_connections: int
    fsync: bool
    synchronous_commit: bool
    started_at: datetime
    now: datetime
    revision: str | None
    workers: int


@dataclass(frozen=True, slots=True)
class ProcessRole:
    """The database sessions of all processes with one role, such as `api` or `worker`."""

    role: str
    sessions: int
    active: int
    since: datetime


@dataclass(frozen=True, slots=True)
class WorkerLanes:
    """The number of lanes that a worker owns, and their state. `owner` is None for lanes without an owner."""

    owner: str | None
    lanes: int
    blocked: int
    breakers_open: int
    leased_until: datetime | None


async def database(connection: PipelineConnection) -> DatabaseFacts:
    """Return the facts about the database and its sessions."""
    return await fetch_only(connection, DatabaseFacts, SQL["database"], WORKER_LOCKS)


async def processes(connection: PipelineConnection, prefix: str) -> list[ProcessRole]:
    """Return the sessions by role. The application name of a session is `prefix` followed by the role."""
    return await fetch_rows(connection, ProcessRole, SQL["processes"], prefix)


async def lanes_by_worker(connection: PipelineConnection) -> Sequence[WorkerLanes]:
    """Return the lanes of the acting organisation's destinations by worker, the largest number first."""
    return await fetch_rows(connection, WorkerLanes, SQL["lanes_by_worker"])


@dataclass(frozen=True, slots=True)
class WaitingEvents:
    """The number of accepted events without a final state. With `is_least`, it is a lower bound."""

    events: int
    is_least: bool


async def waiting_events(connection: PipelineConnection) -> WaitingEvents:
    """Count the waiting events of the acting organisation, in a limited number of batches."""
    return await fetch_only(connection, WaitingEvents, SQL["waiting_events"], _MAX_COUNTED)
