"""Use case of the system page. It reads processes, lanes, database, clock, keys, maintenance and balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from app.admin import ErrorCode, Refusal
from app.admin.context import AppContext
from app.store import encryption
from app.store.database import balance, partitions, system_facts
from app.store.database.balance import BalanceResult

SESSION_PREFIX: Final = "conversions-"  # set by app.processes.resources


@dataclass(frozen=True, slots=True)
class SystemState:
    """The state of this installation. `lanes` and `waiting` cover only the caller's organisation.

    `clock_offset_s` is the database's clock minus this process's clock. `seals` maps the id of each
    encryption key to an upper bound for the number of its uses.
    """

    database: system_facts.DatabaseFacts
    processes: Sequence[system_facts.ProcessRole]
    lanes: Sequence[system_facts.WorkerLanes]
    waiting: system_facts.WaitingEvents
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
            database=await system_facts.database(connection),
            processes=await system_facts.processes(connection, SESSION_PREFIX),
            lanes=await system_facts.lanes_by_worker(connection),
            waiting=await system_facts.waiting_events(connection),
            clock_offset_s=None if context.readiness.clock is None else context.readiness.clock.offset,
            seals=await encryption.seals(connection),
            writing_key=context.vault.writes,
            oldest_day=days[0] if days else None,
            days_ahead=await partitions.days_ahead(connection),
            balance=await balance.last(connection),
        )
