"""A database that is away is told from a statement that is wrong."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.store.errors import DRIVER_ERRORS, is_unavailable

AWAY = [
    pytest.param(ConnectionRefusedError(), id="connection refused"),
    pytest.param(asyncpg.AdminShutdownError(), id="the server was told to stop"),
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
