"""The configuration as a whole: held by one who compares it with a file and changes it to agree."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_TURNS = 7_304


async def hold(connection: AsyncConnection) -> None:
    """Keep every other change of destinations and mappings out until the transaction ends.

    Every act on a destination or one of its mappings holds the destination's row. Always in the order of
    the numbers, as `of_advertiser` takes them, so that nobody waits in a circle.
    """
    # Two that hold everything take turns here, new rows included, which row locks would not see.
    await connection.execute(text("SELECT pg_advisory_xact_lock(:turns)"), {"turns": _TURNS})
    await connection.execute(
        text("SELECT id FROM destinations WHERE archived_at IS NULL ORDER BY number FOR UPDATE")
    )
