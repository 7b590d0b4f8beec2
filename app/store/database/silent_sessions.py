"""Find and end database sessions that hold an advisory lock and send nothing: their process is frozen.

The session of a frozen process keeps its lock, possibly forever. Ending the session frees the lock. If the
process continues, its connection is closed and it can commit nothing.
"""

from datetime import timedelta

from app.store import PipelineConnection

# Only sessions of the own database role, because a role may always end its own sessions.
_HOLDERS = """
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.usename = current_user
      -- The last statement started or ended before this time. No statement of a living process takes so long.
      AND a.state_change < clock_timestamp() - $3::interval
"""


async def end_silent(
    connection: PipelineConnection, classid: int, objid: int, *, silent_after: timedelta
) -> list[int]:
    """End the sessions that hold this lock and sent nothing for `silent_after`. Return their process ids.

    For an advisory lock on a single number, `classid` is 0.
    """
    rows = await connection.fetch(
        # Waits up to a second for each session to end, so that its locks are free when this statement
        # returns.
        f"SELECT l.pid, pg_terminate_backend(l.pid, 1000) AS is_over {_HOLDERS}",
        classid,
        objid,
        silent_after,
    )
    # A frozen backend does not end.
    return [row["pid"] for row in rows if row["is_over"]]


async def speaking(
    connection: PipelineConnection, classid: int, objid: int, *, silent_after: timedelta
) -> tuple[int, int]:
    """Return how many sessions hold this lock, and how many of them sent nothing for `silent_after`."""
    row = await connection.fetchrow(
        f"""
        SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = $1
          AND objid::bigint = $2 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS holders,
          (SELECT count(*) {_HOLDERS}) AS silent
        """,
        classid,
        objid,
        silent_after,
    )
    assert row is not None
    return row["holders"], row["silent"]
