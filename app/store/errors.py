"""What the driver raises when the database is away or refuses. The road's: it knows no SQLAlchemy."""

import asyncpg

# All that the driver raises when a statement cannot be carried out. The last is its own confusion, when the
# server ends a session between two statements: neither of the others is its parent.
DRIVER_TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# Connection lost, rolled back for another's sake, out of resources, not granted in time, shutting down.
_PASSING = ("08", "40", "53", "55", "57")


def is_passing(error: BaseException) -> bool:
    """Return whether an error concerns the database as a whole, and not what a statement asked for."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_PASSING)
    return isinstance(error, DRIVER_TROUBLE)
