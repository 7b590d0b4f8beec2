"""Whether a process is ready for its work, and its metrics as text."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, generate_latest

from app.domain.installation import MIN_DAYS_AHEAD
from app.store import PipelineConnection
from app.store.database import partitions, readiness
from app.store.database.clock import DatabaseClock
from app.store.database.results import DatabaseResults
from app.store.errors import is_driver_unavailable
from app.store.organisations.scope import PipelinePool
from app.telemetry import describe_exception, sqlstate_fields

_log = logging.getLogger(__name__)
_CACHE_S = 1.0
_TIMEOUT_S = 3.0
Result = TypeVar("Result")


class CachedResult(Generic[Result]):
    """Computes a result at most once a second. Callers meanwhile wait for the same result."""

    def __init__(self, compute: Callable[[], Awaitable[Result]], monotonic: Callable[[], float]) -> None:
        self._compute = compute
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._valid_until = float("-inf")

    async def get(self) -> Result:
        """Return the result, up to a second old."""
        async with self._lock:
            if self._monotonic() >= self._valid_until:
                self._result = await self._compute()
                self._valid_until = self._monotonic() + _CACHE_S
            return self._result


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of process. `rehearse` tries this process's work on the database.

    `refused` is the reason code that a process reports if the database refuses this work.
    """

    refused: str
    rehearse: Callable[[PipelineConnection], Awaitable[None]]


API = Role("flushes_refused", readiness.try_flush)
WORKER = Role("claims_refused", readiness.try_claim)


@dataclass(eq=False)
class Readiness:
    """Checks the database at most once a second. All callers within a second get the same result.

    The results of the process's own flushes or claims count too. A process that is not ready receives no
    events. So it tries its work and rolls it back before it reports that it is ready again.
    """

    pool: PipelinePool
    monotonic: Callable[[], float]
    role: Role = API
    outcomes: DatabaseResults | None = None
    clock: DatabaseClock | None = None

    def __post_init__(self) -> None:
        self._last = CachedResult(self._check, self.monotonic)

    async def reasons(self) -> tuple[str, ...]:
        """Return the reasons why this process is not ready; empty if it is ready."""
        return await self._last.get()

    async def _check(self) -> tuple[str, ...]:
        try:
            async with (
                asyncio.timeout(_TIMEOUT_S),
                self.pool.acquire() as connection,
                connection.transaction(),
            ):
                await readiness.write(connection)
                unsafe = await readiness.unsafe_settings(connection)
                ahead = await partitions.days_ahead(connection)
                if self.clock is not None:
                    await self.clock.measure(connection)
        except Exception as error:
            # Every error means that the process is not ready. The reason tells an outage from an error of the
            # database.
            if is_driver_unavailable(error):
                return ("database_unavailable",)
            _log_refusal(error)
            return ("database_refused",)
        checks = (
            ("partitions_short", ahead >= MIN_DAYS_AHEAD),
            ("clock_off", self.clock is None or not self.clock.is_off),
            (self.role.refused, not await self._is_refused()),
        )
        failed = [reason for reason, passed in checks if not passed]
        return (*unsafe, *failed)

    async def _is_refused(self) -> bool:
        """Return whether the database refuses this process's work.

        If that is unknown, try the work and roll it back.
        """
        if self.outcomes is None:
            return False
        if self.outcomes.want_probe:
            try:
                async with asyncio.timeout(_TIMEOUT_S), self.pool.acquire() as connection:
                    attempt = connection.transaction()
                    await attempt.start()
                    try:
                        await self.role.rehearse(connection)
                    finally:
                        await attempt.rollback()
            except Exception as error:
                self.outcomes.refused(error)
                _log_refusal(error)
                return True
            self.outcomes.probed()
        return self.outcomes.are_refused


def metrics_text(registry: CollectorRegistry, monotonic: Callable[[], float]) -> CachedResult[bytes]:
    """Return the metrics of this process as text. It is computed in a thread: large texts take 50 ms."""
    return CachedResult(partial(asyncio.to_thread, generate_latest, registry), monotonic)


def _log_refusal(error: Exception) -> None:
    fields = {"error": describe_exception(error), **sqlstate_fields(error)}
    _log.warning("readiness.refused", extra={"fields": fields})
