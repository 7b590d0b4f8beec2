"""Set the organisation that a transaction or a session acts for.

Statements compare `organisation_id` with `acting_organisation()`. Row-level security does the same for roles
that do not own the tables. Until this module sets an organisation, statements and policies match no row.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from app.domain.ids import OrganisationId
from app.store import PipelineConnection

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

SETTING: Final = "app.organisation_id"
NONE: Final = OrganisationId("")
EVERY: Final = OrganisationId("*")
"""Acting for this value, row-level security shows the rows of all organisations.

The pipeline, workers and maintenance use it. A statement that compares `organisation_id` still finds nothing.
"""

_SET: Final = "SELECT set_config($1, $2, $3)"
_OPTION: Final = "organisation"


def prepare_engine(engine: "AsyncEngine") -> None:
    """Make every transaction of an engine begin by setting the organisation of `scoped_engine`, if any."""
    # Imported here: workers run without SQLAlchemy, which takes 20 MB.
    from sqlalchemy import event

    event.listen(engine.sync_engine, "begin", _set_at_begin)


def scoped_engine(engine: "AsyncEngine", organisation: OrganisationId) -> "AsyncEngine":
    """Return an engine that shares this engine's pool and acts for an organisation."""
    return engine.execution_options(**{_OPTION: organisation})


def _set_at_begin(connection: "Connection") -> None:
    organisation = connection.get_execution_options().get(_OPTION)
    if organisation is not None:
        connection.exec_driver_sql(_SET, (SETTING, organisation, True))


class ScopedPool:
    """A pool whose connections act for an organisation while in use.

    The organisation is set for the session, because some callers use several transactions: exports, and
    readers that continue after a damaged page. A connection whose organisation cannot be reset is closed.
    """

    def __init__(self, pool: asyncpg.Pool, organisation: OrganisationId) -> None:
        self._pool = pool
        self._organisation = organisation

    @asynccontextmanager
    async def acquire(self, **settings: Any) -> AsyncIterator[PipelineConnection]:
        """Lend a connection that acts for the organisation."""
        async with self._pool.acquire(**settings) as connection:
            try:
                # Inside the try block: a caller that is cancelled meanwhile may have set it.
                await connection.execute(_SET, SETTING, self._organisation, False)
                yield connection
            finally:
                await _reset(connection)


async def _reset(connection: PipelineConnection) -> None:
    try:
        await connection.execute(f"RESET {SETTING}")
    except BaseException as error:
        # An InterfaceError means that the session has ended and the pool already has the connection.
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
        if not isinstance(error, Exception):
            raise


PipelinePool: TypeAlias = asyncpg.Pool | ScopedPool


def scoped_pool(pool: PipelinePool, organisation: OrganisationId) -> ScopedPool:
    """Return a pool that lends the connections of `pool` for an organisation."""
    return ScopedPool(pool._pool if isinstance(pool, ScopedPool) else pool, organisation)


async def sees_every_organisation(connection: PipelineConnection) -> bool:
    """Return whether the session has the setting with which a connection for all organisations begins."""
    return bool(await connection.fetchval("SELECT current_setting($1, true)", SETTING) == EVERY)
