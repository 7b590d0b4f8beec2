"""Migrate a database with Alembic, for the launcher, the command line and the tests."""

import asyncio
import io
import logging
import time
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from app.store.database import partitions, privileges
from app.store.database.servers import Servers

ROOT = Path(__file__).resolve().parents[3]
# A migration waits briefly for a lock, because every later query of the table waits behind it. In the pause
# before the next attempt these queries finish. If one of them holds another lock that the migration needs,
# the migration gives way before Postgres (`deadlock_timeout`, 1 s) would end the query.
LOCK_TIMEOUT_MS = 400
LOCK_ATTEMPTS = 60
LOCK_PAUSE_SECONDS = 2.0
CONNECT_SECONDS = 10.0
_LOCK_REFUSED = ("55P03", "40P01")  # the time-out, or a deadlock
_LOG = logging.getLogger(__name__)


class MigrationBlocked(Exception):
    """Another session holds a lock that a migration needs; nothing of that migration was applied."""


class SchemaIsNewer(Exception):
    """A newer release migrated the database to this revision. This release runs on it."""


def upgrade(url: str, revision: str = "head", roles: privileges.RoleNames | None = None) -> list[str]:
    """Run every outstanding migration up to `revision`.

    After a migration to the newest revision it grants `roles` their privileges. If some roles do not exist,
    it grants nothing and returns their names. Concurrent calls wait for each other. A coroutine must call it
    in a thread, because it runs its own event loop. Raises MigrationBlocked when a lock is not free for about
    two minutes, and SchemaIsNewer.
    """
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            command.upgrade(configured(url), revision)
            # Create partitions, so that a new database accepts events before a worker has run maintenance.
            return asyncio.run(_complete(url, roles)) if revision == "head" else []
        except (DBAPIError, asyncpg.PostgresError) as error:
            if getattr(getattr(error, "orig", error), "sqlstate", None) not in _LOCK_REFUSED:
                raise
            if attempt == LOCK_ATTEMPTS:
                raise MigrationBlocked from error
            _LOG.warning("migration.lock_not_available", extra={"fields": {"attempt": attempt}})
            time.sleep(LOCK_PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")


async def _complete(url: str, roles: privileges.RoleNames | None) -> list[str]:
    connection = await Servers().connect(
        url.replace("postgresql+asyncpg://", "postgresql://", 1), timeout=CONNECT_SECONDS
    )
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
        async with connection.transaction():
            await partitions.create_ahead(connection)
        if roles is None:
            return []
        missing = await privileges.missing(connection, roles)
        if not missing:
            await privileges.grant(connection, roles)
        return missing
    finally:
        await connection.close()


def downgrade(url: str, revision: str = "base") -> None:
    """Undo migrations down to `revision`."""
    command.downgrade(configured(url), revision)


def as_sql() -> str:
    """Return the SQL of every migration, without a database."""
    config = Config(ROOT / "alembic.ini", output_buffer=(written := io.StringIO()))
    command.upgrade(config, "head", sql=True)
    return written.getvalue()


def configured(url: str) -> Config:
    """Return Alembic's configuration. The address is an attribute, so that it is not logged."""
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    return config
