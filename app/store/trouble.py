"""What the driver raises when the database is away or refuses. The road's: it knows no SQLAlchemy."""

import asyncpg

# All that the driver raises when a statement cannot be carried out. The last is its own confusion, when the
# server ends a session between two statements: neither of the others is its parent.
DRIVER_TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
