"""Silent sessions with an advisory lock: their process is frozen or unreachable.

Such a session keeps its lock until its process continues or its connection breaks, possibly never. Ending the
session is a fence: a process that continues finds its connection closed and can commit nothing.
"""

from datetime import timedelta

from app.store import PipelineConnection

# A role may always end its own sessions and read their last statement.
_HOLDERS = """
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.usename = current_user
      -- Start or end of the last statement. Statements end within statement_timeout: an older one hangs.
      AND a.state_change < clock_timestamp() - $3::interval
"""


async def end_silent(
    connection: PipelineConnection, classid: int, objid: int, *, silent_after: timedelta
) -> list[int]:
    """End the sessions that hold this lock and were silent for this long; return their process ids.

    For a lock on one number, `classid` is 0.
    """
    rows = await connection.fetch(
        # The timeout waits for the session to end, so that its locks are free when this returns.
        f"SELECT l.pid, pg_terminate_backend(l.pid, 1000) AS is_over {_HOLDERS}",
        classid,
        objid,
        silent_after,
    )
    return [row["pid"] for row in rows]


async def speaking(
    connection: PipelineConnection, classid: int, objid: int, *, silent_after: timedelta
) -> tuple[int, int]:
    """Return the number of sessions with this lock, and the number of those silent for this long."""
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
