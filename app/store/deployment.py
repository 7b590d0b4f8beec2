"""What the database says of itself: the facts that `doctor` judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from app.store import key_usage
from app.store.partitions import days_ahead
from app.store.rewrapping import COLUMNS

if TYPE_CHECKING:
    from app.store import RoadConnection


@dataclass(frozen=True, slots=True)
class Deployment:
    """Facts about one database. `days_ahead` and `key_ids` are None before the first migration.

    `seals` is how many values each encryption key has sealed at most.
    """

    version: int
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    max_connections: int
    superuser: bool
    now: datetime
    revision: str | None
    days_ahead: int | None
    key_ids: frozenset[str] | None
    seals: Mapping[str, int] = field(default_factory=dict)


# Sealed values name the key they are sealed under in clear: its length (1 byte), then the id.
_SEALED = " UNION ALL ".join(f"SELECT {one.column} AS sealed FROM {one.table}" for one in COLUMNS)
_KEY_IDS = f"""
SELECT DISTINCT convert_from(substring(sealed FROM 2 FOR get_byte(sealed, 0)), 'SQL_ASCII') AS id
FROM ({_SEALED}) AS all_sealed
WHERE length(sealed) > 0
"""


async def read_deployment(connection: "RoadConnection") -> Deployment:
    """Read the facts. Changes nothing."""
    row = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int AS version, current_setting('fsync') AS fsync, "
        "current_setting('synchronous_commit') AS synchronous_commit, "
        "current_setting('full_page_writes') AS full_page_writes, "
        "current_setting('max_connections')::int AS max_connections, "
        "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, "
        "clock_timestamp() AS now, to_regclass('alembic_version') IS NOT NULL AS migrated"
    )
    assert row is not None
    facts = dict(row)
    revision = ahead = key_ids = None
    seals: Mapping[str, int] = {}
    if facts.pop("migrated"):
        revision = await connection.fetchval("SELECT max(version_num) FROM alembic_version")
    if revision is not None:
        ahead = await days_ahead(connection)
        key_ids = frozenset(found["id"] for found in await connection.fetch(_KEY_IDS))
        # A database that waits for its migrations may lack the table; doctor says that it waits.
        if await connection.fetchval("SELECT to_regclass('encryption_keys') IS NOT NULL"):
            seals = await key_usage.seals(connection)
    return Deployment(**facts, revision=revision, days_ahead=ahead, key_ids=key_ids, seals=seals)
