"""The revision of the schema that this program needs, and whether a database has it."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from asyncpg import UndefinedTableError

from app.store import PipelineConnection

_VERSIONS: Final = Path(__file__).resolve().parents[3] / "migrations" / "versions"
# The file names begin with the day and the revision. To read them costs less than to load Alembic (20 MB).
_FILE: Final = re.compile(r"[0-9]{8}_([0-9]{4})_\w+\.py")


class NotMigrated(Exception):
    """The schema of the database is older than this program needs."""


@cache
def required() -> str:
    """Return the newest revision in the migrations of this program."""
    return max(match[1] for file in _VERSIONS.iterdir() if (match := _FILE.fullmatch(file.name)))


async def stored(connection: PipelineConnection) -> str | None:
    """Return the revision of the database, or None before the first migration."""
    try:
        revision: str | None = await connection.fetchval("SELECT max(version_num) FROM alembic_version")
    except UndefinedTableError:
        return None
    return revision


async def require(connection: PipelineConnection) -> None:
    """Raise NotMigrated if the schema is older than this program. Programs also run on a newer schema."""
    revision = await stored(connection)
    if revision is None or revision < required():
        at = revision or "no revision"
        raise NotMigrated(f"its migrations are at {at}, and this version needs {required()}: run migrate")
