"""Decide whether a database error means that the database is unavailable, or that a statement is wrong.

The errors come from asyncpg, or from SQLAlchemy, which wraps them. SQLAlchemy is imported only on use,
because workers run without it.
"""

import ssl
import traceback

import asyncpg

from app.store.database.schema_revision import NotMigrated

# Every error that asyncpg raises when it cannot carry out a statement. It raises InternalClientError when the
# server ended the session between two statements.
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# SQLSTATE classes: connection lost, transaction rolled back, out of resources, not ready, shutting down.
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57")
# SQLSTATE classes and codes on which a request may be sent again: connection lost, out of resources,
# shutting down; lock timeout, serialization failure, deadlock.
_RETRYABLE = ("08", "53", "57", "55P03", "40001", "40P01")
# SQLSTATE classes of a refused connection: lost, not authorised, no such database, too many, not ready.
_REFUSED = ("08", "28", "3D", "53", "57P")
# The modules that open connections.
_DRIVERS = ("asyncpg.", "app.store.database.servers")
# asyncpg's messages for a connection whose session has ended, outside a pool and in a pool.
_SESSION_ENDED = ("connection is closed", "has been released back to the pool")


def is_transient(error: BaseException) -> bool:
    """Return whether an error of asyncpg comes from the state of the database, not from the statement."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_TRANSIENT_CLASSES)
    return isinstance(error, DRIVER_ERRORS)


def is_unavailable(error: BaseException) -> bool:
    """Return whether nothing was written and the same statements may succeed later."""
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # While connecting, the driver's own errors arrive unwrapped.
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause is not None and is_driver_unavailable(cause)


def is_driver_unavailable(error: BaseException) -> bool:
    """Return the same as `is_unavailable` for an error of asyncpg. Does not load SQLAlchemy."""
    if isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError):
        return True
    # An InterfaceError can also report a value of the wrong type.
    if isinstance(error, asyncpg.InterfaceError) and any(text in str(error) for text in _SESSION_ENDED):
        return True
    return (getattr(error, "sqlstate", None) or "").startswith(_RETRYABLE)


def connection_problem(error: BaseException) -> str | None:
    """Return in a few words why the database cannot be reached, or None for any other error.

    An OSError counts only if asyncpg raised it. The text can name hosts, roles and files, but no password.
    """
    if isinstance(error, NotMigrated):
        return str(error)
    cause = error
    while not isinstance(cause, (ssl.SSLError, *DRIVER_ERRORS)):
        # SQLAlchemy wraps the driver's error twice.
        if (inner := getattr(cause, "orig", None) or cause.__cause__) is None:
            return None
        cause = inner
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server is not accepted: {cause.verify_message}; renew it, or name its "
            "authority in sslrootcert"
        )
    if isinstance(cause, asyncpg.ClientConfigurationError):
        return str(cause)
    if "unsupported startup parameter" in str(cause):
        return f"{cause}: connect to Postgres directly, not through a pooler such as PgBouncer"
    if isinstance(cause, asyncpg.PostgresError):
        return str(cause) if (cause.sqlstate or "").startswith(_REFUSED) else None
    if isinstance(cause, ConnectionError) and "rejected SSL" in str(cause):
        return "the server offers no TLS, which sslmode in the URL requires: turn ssl on at the server"
    if isinstance(cause, OSError | asyncpg.InternalClientError) and _is_of_driver(cause):
        return f"the database cannot be reached ({_described(cause)})"
    return None


def _is_of_driver(error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").startswith(_DRIVERS) for frame, _ in frames)


def _described(error: BaseException) -> str:
    """Return the type of an error, with the servers that were tried and the operating system's words."""
    words = [*getattr(error, "__notes__", ()), getattr(error, "strerror", None) or ""]
    return ": ".join([type(error).__name__, *filter(None, words)])
