"""Find and end database sessions that hold an advisory lock and send nothing: their process is frozen.

The session of a frozen process keeps its lock, possibly forever. Ending the session frees the lock. If the
process continues, its connection is closed and it can commit nothing.
"""

from datetime import timedelta
from typing import Final

from app.store import PipelineConnection
from app.store.sql import read_sql

SQL: Final = read_sql(__file__)


async def end_silent(
    connection: PipelineConnection, classid: int, objid: int, *, silent_after: timedelta
) -> list[int]:
    """End the sessions that hold this lock and sent nothing for `silent_after`. Return their process ids.

    For an advisory lock on a single number, `classid` is 0.
    """
    rows = await connection.fetch(SQL["end_silent"], classid, objid, silent_after)
    # A frozen backend does not end.
    return [row["pid"] for row in rows if row["is_over"]]


async def speaking(
    connection: PipelineConnection, classid: int, objid: int, *, silent_after: timedelta
) -> tuple[int, int]:
    """Return how many sessions hold this lock, and how many of them sent nothing for `silent_after`."""
    row = await connection.fetchrow(SQL["speaking"], classid, objid, silent_after)
    assert row is not None
    return row["holders"], row["silent"]
