"""The only module that sets the organisation of a transaction.

Statements compare `organisation_id` with `acting_organisation()`, and row-level security does the same for
roles that do not own the tables. Without a setting both match nothing.
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
"""Row-level security shows all rows. For the pipeline, workers and maintenance: their statements name the
rows that they need. A statement that compares `organisation_id` finds nothing."""

_SET: Final = f"SELECT set_config('{SETTING}', $1, true)"
_SET_SESSION: Final = f"SELECT set_config('{SETTING}', $1, false)"
_OPTION: Final = "organisation"


def prepare_engine(engine: "AsyncEngine") -> None:
    """Let every transaction of a new engine begin by setting the engine's organisation, if it has one."""
    # Imported here: workers run without SQLAlchemy, which takes 20 MB.
    from sqlalchemy import event

    event.listen(engine.sync_engine, "begin", _set_at_begin)


def scoped_engine(engine: "AsyncEngine", organisation: OrganisationId) -> "AsyncEngine":
    """Return an engine on the same pool whose transactions act for an organisation."""
    return engine.execution_options(**{_OPTION: organisation})


def _set_at_begin(connection: "Connection") -> None:
    organisation = connection.get_execution_options().get(_OPTION)
    if organisation is not None:
        connection.exec_driver_sql(_SET, (organisation,))


class ScopedPool:
    """A pool whose connections act for an organisation while in use.

    The organisation is set for the session, not for a transaction: readers of damaged pages continue after an
    error, and exports have no transaction between their pages. A connection that cannot be reset is closed.
    """

    def __init__(self, pool: asyncpg.Pool, organisation: OrganisationId) -> None:
        self._pool = pool
        self._organisation = organisation

    @asynccontextmanager
    async def acquire(self, **settings: Any) -> AsyncIterator[PipelineConnection]:
        """Lend a connection."""
        async with self._pool.acquire(**settings) as connection:
            await connection.execute(_SET_SESSION, self._organisation)
            try:
                yield connection
            finally:
                await _reset(connection)


async def _reset(connection: PipelineConnection) -> None:
    try:
        await connection.execute(f"RESET {SETTING}")
    except BaseException as error:
        with suppress(
            asyncpg.InterfaceError
        ):  # the session has ended and the pool already has the connection
            connection.terminate()
        if not isinstance(error, Exception):
            raise


PipelinePool: TypeAlias = asyncpg.Pool | ScopedPool


def scoped_pool(pool: PipelinePool, organisation: OrganisationId) -> ScopedPool:
    """Return a pool that lends connections of the same pool for an organisation."""
    return ScopedPool(pool._pool if isinstance(pool, ScopedPool) else pool, organisation)
