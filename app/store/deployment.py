"""What the database says of itself: the facts that `doctor` judges."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from app.store.damage import is_damage
from app.store.partitions import days_ahead
from app.store.rewrapping import COLUMNS

if TYPE_CHECKING:
    from app.store import RoadConnection


@dataclass(frozen=True, slots=True)
class Deployment:
    """Facts about one database. `days_ahead` and `key_ids` are None before the first migration."""

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
    damaged_keys: int = 0  # sealed values that name no key, or a page of them that cannot be read


# Sealed values name the key they are sealed under in clear: its length (1 byte), then the id.
_SEALED = " UNION ALL ".join(f"SELECT {one.column} AS sealed FROM {one.table}" for one in COLUMNS)
_KEY_IDS = f"""
SELECT CASE WHEN length(sealed) > 1 THEN substring(sealed FROM 2 FOR get_byte(sealed, 0)) ELSE '' END AS id,
  count(*) AS values
FROM ({_SEALED}) AS all_sealed WHERE sealed IS NOT NULL GROUP BY 1
"""
# As `ENCRYPTION_KEYS` allows them; anything else is damage.
_KEY_ID = re.compile(rb"[A-Za-z0-9_.-]{1,32}")


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
    damaged = 0
    if facts.pop("migrated"):
        revision = await connection.fetchval("SELECT max(version_num) FROM alembic_version")
    if revision is not None:
        ahead = await days_ahead(connection)
        key_ids, damaged = await _key_ids(connection)
    return Deployment(**facts, revision=revision, days_ahead=ahead, key_ids=key_ids, damaged_keys=damaged)


async def _key_ids(connection: "RoadConnection") -> tuple[frozenset[str], int]:
    """Return the ids of the keys that stored values are sealed under, and how many values name none."""
    try:
        found = {row["id"]: row["values"] for row in await connection.fetch(_KEY_IDS)}
    except Exception as error:
        if not is_damage(error):
            raise
        return frozenset(), 1
    named = frozenset(id_.decode() for id_ in found if _KEY_ID.fullmatch(id_))
    return named, sum(number for id_, number in found.items() if not _KEY_ID.fullmatch(id_))
