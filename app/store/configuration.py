"""Lock the complete configuration while it is compared with a file and changed."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import execute

_TURNS = 7_304


async def lock_all(connection: AsyncConnection) -> None:
    """Block every other change of destinations and mappings until the transaction ends.

    Every change of a destination or its mappings locks the destination's row. Rows are locked in order of
    their numbers, as `of_advertiser` does, so that callers cannot deadlock.
    """
    # An exclusive lock between two callers: row locks would not cover new rows.
    await execute(connection, "SELECT pg_advisory_xact_lock(:turns)", turns=_TURNS)
    await execute(
        connection,
        "SELECT id FROM destinations WHERE organisation_id = acting_organisation() "
        "AND archived_at IS NULL ORDER BY number FOR UPDATE",
    )
