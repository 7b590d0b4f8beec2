"""What all parts of one worker share: its name, its database, its keys, its times and its telemetry."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import asyncpg

from app.crypto import Vault
from app.domain.pacing.lane_limits import TIMES, Times
from app.domain.pacing.order import CAPACITY, Capacity
from app.store import PipelineConnection, encryption
from app.store.counts import CountWriter
from app.store.database.clock import DatabaseClock
from app.telemetry import Telemetry


@dataclass(eq=False, repr=False, kw_only=True)
class Worker:
    """A worker. `connect` opens a long-lived connection outside the pool.

    Each loop of the dispatcher waits with `timeout`. A test with its own clock replaces the last four fields,
    to see that a loop is idle.
    """

    name: str
    pool: asyncpg.Pool
    connect: Callable[[], Awaitable[asyncpg.Connection]]
    vault: Vault
    writer: CountWriter
    clock: DatabaseClock
    telemetry: Telemetry
    times: Times = TIMES
    capacity: Capacity = CAPACITY
    monotonic: Callable[[], float] = time.monotonic  # seconds
    jitter: Callable[[], float] = random.random  # 0 or more, less than 1
    timeout: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _missing_keys: set[str] = field(init=False, default_factory=set)

    async def lacks_key(self, connection: PipelineConnection, sealed: bytes | None) -> bool:
        """Return whether only other processes can decrypt a value, which have its key. Log each key once.

        A key that no process ever used does not exist, so the value is damaged.
        """
        key = None if sealed is None else self.vault.unknown_key(sealed)
        if key is None or not await encryption.is_key_used(connection, key):
            return False
        if key not in self._missing_keys:
            self._missing_keys.add(key)
            self.telemetry.log("encryption_key.missing", level=40, key=key, process=self.name)
        return True
