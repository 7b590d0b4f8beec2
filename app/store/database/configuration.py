"""Lock the complete configuration while it is compared with a file and changed."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import execute

_TURNS = 7_308


async def lock_all(connection: AsyncConnection) -> None:
    """Block every other change of destinations and mappings until the transaction ends.

    It locks the rows of all destinations, because each such change locks its destination's row. The order by
    number prevents a deadlock with `destinations.of_advertiser`.
    """
    # Row locks do not cover new rows, so two callers of this function also exclude each other.
    # Every process applies its file when it starts, so this wait is longer than that for other locks.
    await execute(connection, "SET LOCAL lock_timeout = '20s'")
    await execute(connection, "SELECT pg_advisory_xact_lock(:turns)", turns=_TURNS)
    await execute(connection, "SET LOCAL lock_timeout TO DEFAULT")
    await execute(
        connection,
        "SELECT id FROM destinations WHERE organisation_id = acting_organisation() "
        "AND archived_at IS NULL ORDER BY number FOR UPDATE",
    )
