"""Telling a database that is away from a statement that is wrong."""

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# Connection lost, out of resources, shutting down: Postgres's own classes of trouble that pass.
_PASSING = ("08", "53", "57")
_SINGLE = ("55P03", "40001", "40P01")  # a lock not granted in time, two transactions in each other's way


def is_unavailable(error: BaseException) -> bool:
    """Return whether trying the same again later may work, with nothing written now.

    The driver's InterfaceError is not trouble by itself: it reports values of the wrong type too.
    """
    if isinstance(error, OSError | TimeoutError | PoolTimeout):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # While connecting, the driver's own errors arrive unwrapped.
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError | asyncpg.InternalClientError):
        return True
    state = getattr(cause, "sqlstate", None) or ""
    return state.startswith(_PASSING) or state in _SINGLE
