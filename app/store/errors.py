"""Classify database errors: temporarily unavailable, or a wrong statement.

Handles both drivers: asyncpg of the event pipeline and SQLAlchemy of the configuration. SQLAlchemy is
imported only on use, because workers run without it.
"""

import asyncpg

# Every error that asyncpg raises when it cannot carry out a statement. InternalClientError is raised when
# the server ends a session between two statements; neither of the others is its parent.
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# SQLSTATE classes: connection lost, transaction rolled back, out of resources, not ready, shutting down.
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57")
# SQLSTATE classes and codes on which a request may be sent again: connection lost, out of resources,
# shutting down; lock timeout, serialization failure, deadlock.
_RETRYABLE = ("08", "53", "57", "55P03", "40001", "40P01")
# asyncpg's messages for a connection whose session has ended: a separate connection, and one of a pool.
_SESSION_ENDED = ("connection is closed", "has been released back to the pool")


def is_transient(error: BaseException) -> bool:
    """Return whether an asyncpg error concerns the complete database, not the statement."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_TRANSIENT_CLASSES)
    return isinstance(error, DRIVER_ERRORS)


def is_unavailable(error: BaseException) -> bool:
    """Return whether nothing was written and the same request may succeed later.

    asyncpg's InterfaceError counts only for a session that has ended: it also reports values of the wrong
    type.
    """
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    if isinstance(error, OSError | TimeoutError | PoolTimeout):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # While connecting, the driver's own errors arrive unwrapped.
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError | asyncpg.InternalClientError):
        return True
    if isinstance(cause, asyncpg.InterfaceError) and any(text in str(cause) for text in _SESSION_ENDED):
        return True
    return (getattr(cause, "sqlstate", None) or "").startswith(_RETRYABLE)
