"""Leases of the jobs that one process of a deployment runs at a time.

A lease ends by the database's clock. A session's lock is not enough: a frozen backend keeps it for as long as
it is frozen, and cannot be ended.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Final

from app.store import PipelineConnection, execute, fetch_scalar, read_sql

SQL: Final = read_sql(__file__)
# An incident monitor of the release before the leases holds this lock of its session while it computes.
_EARLIER_MONITOR: Final = 7_306


class Job(StrEnum):
    """A job that only one process runs at a time."""

    INCIDENTS = "incidents"
    ERASURES = "erasures"


async def acquire(connection: PipelineConnection, job: Job, owner: str, *, lease: timedelta) -> bool:
    """Acquire or renew the lease of a job. Return False if another process has it.

    Call it outside a transaction, because the row stays locked until the end.
    """
    return await execute(connection, SQL["acquire"], job.value, owner, lease) == 1


async def exclude_earlier_monitors(connection: PipelineConnection) -> bool:
    """Keep monitors of the release before the leases from computing, until this session ends.

    Return False if one of them computes now. The lock is shared: among the processes of this release, the
    lease decides. Needed only while a rolling upgrade can begin at a release without leases.
    """
    return await fetch_scalar(connection, bool, "SELECT pg_try_advisory_lock_shared($1)", _EARLIER_MONITOR)


async def release(connection: PipelineConnection, job: Job, owner: str) -> None:
    """Release the lease of a job, so that another process acquires it at once."""
    await connection.execute("DELETE FROM job_leases WHERE job = $1 AND owner = $2", job.value, owner)
