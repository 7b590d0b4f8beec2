"""Run migrations one at a time, each in a separate transaction, with short lock timeouts.

While a migration waits for a table lock, every later query waits behind it. The lock timeout therefore lets
it fail soon, and `app.store.database.migrate` tries again. A rolling deploy can start several migrators. They
wait for each other by an advisory lock.

Revisions are written by hand, because there is no table metadata from which Alembic could generate them.
"""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.store.database import schema_revision
from app.store.database.migrate import CONNECT_SECONDS, LOCK_TIMEOUT_MS, SchemaIsNewer
from app.store.database.servers import Servers

TURN = 0x616D7A6D6967  # the advisory lock of migrators: "amzmig" in ASCII
LIMITS = {
    "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
    # Long enough, because a migration contains only DDL on new or small tables. It does not rewrite rows.
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "120s",
}
TURN_SECONDS = 300  # the longest wait for another migrator
TURN_POLL_SECONDS = 0.5


def database_url() -> str:
    url = context.config.attributes.get("url") or os.environ.get("DATABASE_URL")
    if not url:
        raise SystemExit("DATABASE_URL is not set.")
    return str(url)


def write_sql() -> None:
    """Print the statements instead of running them (`alembic upgrade head --sql`)."""
    context.configure(dialect_name="postgresql", literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=True)
    stored = context.get_context().get_current_revision()
    connection.commit()
    if stored is not None and stored > schema_revision.required():
        raise SchemaIsNewer(stored)
    with context.begin_transaction():
        context.run_migrations()


async def run() -> None:
    # asyncpg parses the address, because it can list several servers. SQLAlchemy cannot parse such a list.
    dsn = database_url().replace("postgresql+asyncpg://", "postgresql://", 1)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        # A migration can wait for minutes until it is its turn.
        async_creator=lambda: Servers().connect(dsn, timeout=CONNECT_SECONDS, command_timeout=None),
        poolclass=NullPool,
    )
    try:
        async with engine.connect() as connection:
            async with asyncio.timeout(TURN_SECONDS):
                # A statement that waits has a snapshot, and CREATE INDEX CONCURRENTLY waits for snapshots.
                while not await connection.scalar(text("SELECT pg_try_advisory_lock(:turn)"), {"turn": TURN}):
                    await connection.commit()
                    await asyncio.sleep(TURN_POLL_SECONDS)
            for name, value in LIMITS.items():
                await connection.execute(text(f"SET {name} = '{value}'"))
            await connection.commit()
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    write_sql()
else:
    asyncio.run(run())
