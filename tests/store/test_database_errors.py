"""Errors of an unavailable database differ from errors of a wrong statement."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.ids import DEFAULT_ORGANISATION
from app.store.errors import DRIVER_ERRORS, is_unavailable
from app.store.organisations.scope import scoped_pool

AWAY = [
    pytest.param(ConnectionRefusedError(), id="connection refused"),
    pytest.param(asyncpg.AdminShutdownError(), id="the server is stopping"),
    pytest.param(asyncpg.TooManyConnectionsError(), id="no connection is left"),
    pytest.param(asyncpg.InternalClientError(), id="the session ended between two statements"),
    pytest.param(asyncpg.InterfaceError("connection is closed"), id="the session ended before a statement"),
]


@pytest.mark.parametrize("error", AWAY)
def test_what_passes_is_called_unavailable(error: Exception) -> None:
    """Bare or wrapped by SQLAlchemy; and the driver's own loops know it, too."""
    assert is_unavailable(error)
    assert is_unavailable(DBAPIError("SELECT 1", None, error))
    assert isinstance(error, DRIVER_ERRORS)


@pytest.mark.parametrize("error", [ValueError(), asyncpg.UndefinedTableError(), asyncpg.InterfaceError("x")])
def test_what_is_wrong_is_not(error: Exception) -> None:
    """Trying the same again would not help."""
    assert not is_unavailable(error)


async def test_a_session_that_ends_while_it_is_lent_costs_its_statements_only(database_url: str) -> None:
    """Its statements say that the database is unavailable, and returning the connection raises nothing."""
    async with asyncpg.create_pool(database_url.replace("+asyncpg", ""), min_size=2, max_size=2) as pool:
        async with scoped_pool(pool, DEFAULT_ORGANISATION).acquire() as connection:
            async with pool.acquire() as other:
                assert await other.fetchval(
                    "SELECT pg_terminate_backend($1, 1000)", connection.get_server_pid()
                )
            with pytest.raises(DRIVER_ERRORS) as first:
                await connection.fetchval("SELECT 1")
            with pytest.raises(asyncpg.InterfaceError) as later:
                await connection.fetchval("SELECT 1")
        assert is_unavailable(first.value)
        assert is_unavailable(later.value)
        async with scoped_pool(pool, DEFAULT_ORGANISATION).acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1
