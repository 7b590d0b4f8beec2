"""Use case of the system page. It reads processes, lanes, database, clock, keys, maintenance and balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from app.admin import ErrorCode, Refusal
from app.admin.context import AppContext
from app.store import encryption
from app.store.database import balance, deployment, partitions
from app.store.database.balance import BalanceResult

SESSION_PREFIX: Final = "conversions-"  # set by app.processes.resources


@dataclass(frozen=True, slots=True)
class SystemState:
    """The state of this installation. `lanes` and `waiting` cover only the caller's organisation.

    `clock_offset_s` is the database's clock minus this process's clock. `seals` maps the id of each
    encryption key to an upper bound for the number of its uses.
    """

    database: deployment.DatabaseFacts
    processes: Sequence[deployment.ProcessRole]
    lanes: Sequence[deployment.WorkerLanes]
    waiting: deployment.WaitingEvents
    clock_offset_s: float | None
    seals: Mapping[str, int]
    writing_key: str
    oldest_day: date | None
    days_ahead: int
    balance: BalanceResult | None


async def read_system(context: AppContext) -> SystemState:
    """Return the state of this installation. Raises Refusal (403) for a key limited to destinations."""
    if context.caller.destination_ids is not None:
        raise Refusal(ErrorCode.FORBIDDEN, "Keys limited to destinations cannot see the system page.")
    async with context.pool.acquire() as connection:
        days = await partitions.starts(connection, "batches")
        return SystemState(
            database=await deployment.database(connection),
            processes=await deployment.processes(connection, SESSION_PREFIX),
            lanes=await deployment.lanes_by_worker(connection),
            waiting=await deployment.waiting_events(connection),
            clock_offset_s=None if context.readiness.clock is None else context.readiness.clock.offset,
            seals=await encryption.seals(connection),
            writing_key=context.vault.writes,
            oldest_day=days[0] if days else None,
            days_ahead=await partitions.days_ahead(connection),
            balance=await balance.last(connection),
        )
