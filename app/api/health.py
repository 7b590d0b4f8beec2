"""Whether this process lives, whether it can keep what it takes, and its numbers for Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import JSONResponse, Response

from app.api.secured_route import Context, SecuredRoute, public
from app.store import PipelineConnection, driver_of, readiness
from app.store.clock import DatabaseClock
from app.store.database_results import DatabaseResults
from app.store.errors import is_unavailable

router = APIRouter(route_class=SecuredRoute, tags=["health"])

FEWEST_DAYS_AHEAD = 2
_ASKED_EVERY_S = 1.0
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Role:
    """What a process asks of the database: how to rehearse it, and the reason when it is refused."""

    refused: str
    rehearse: Callable[[PipelineConnection], Awaitable[None]]


API = Role("flushes_refused", readiness.try_flush)
WORKER = Role("claims_refused", readiness.try_claim)


class Readiness:
    """Asks the database at most once a second, however many ask here; one question at a time.

    It also follows how the process's own flushes or claims end. A process that is not ready gets no events
    to succeed with, so what it does is rehearsed, and rolled back, before it is called ready again.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        monotonic: Callable[[], float],
        *,
        role: Role = API,
        outcomes: DatabaseResults | None = None,
        clock: DatabaseClock | None = None,
    ) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._role = role
        self._outcomes = outcomes
        self._clock = clock
        self._turn = asyncio.Lock()
        self._until = float("-inf")
        self._reasons: tuple[str, ...] = ()

    async def reasons(self) -> tuple[str, ...]:
        """Return why events should not be sent here now; nothing means ready."""
        async with self._turn:
            if self._monotonic() >= self._until:
                self._reasons = await self._ask()
                self._until = self._monotonic() + _ASKED_EVERY_S
            return self._reasons

    async def _ask(self) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(_PATIENCE_S), self._engine.begin() as connection:
                await readiness.write(connection)
                durable = await readiness.durability(connection)
                ahead = await readiness.days_ahead(connection)
                if self._clock is not None:
                    await self._clock.measure(await driver_of(connection))
        except Exception as error:
            # Not ready, whatever it is; what kind it is goes into the log where the request is noted.
            return ("database_unavailable" if is_unavailable(error) else "database_refused",)
        checks = (
            ("fsync_off", durable.fsync),
            ("synchronous_commit_off", durable.synchronous_commit),
            ("full_page_writes_off", durable.full_page_writes),
            ("partitions_short", ahead >= FEWEST_DAYS_AHEAD),
            ("clock_off", self._clock is None or not self._clock.is_off),
            (self._role.refused, not await self._is_refused()),
        )
        return tuple(reason for reason, good in checks if not good)

    async def _is_refused(self) -> bool:
        """Tell whether the database refuses what this process is for; rehearse it where that is not known."""
        if self._outcomes is None:
            return False
        if self._outcomes.want_probe:
            try:
                async with asyncio.timeout(_PATIENCE_S), self._engine.connect() as connection:
                    driver = await driver_of(connection)
                    await self._role.rehearse(driver)
                    await connection.rollback()
            except Exception as error:
                self._outcomes.refused(error)
                return True
            self._outcomes.probed()
        return self._outcomes.are_refused


@router.get("/health/live", summary="Is the process alive?")
@public
async def live() -> dict[str, str]:
    """Answer as long as the process can; says nothing of the database."""
    return {"status": "ok"}


@router.get("/health/ready", summary="Can it keep what it takes?", response_model=None)
@public
async def ready(request: Request) -> Response:
    """Commit a row (at most once a second) and look at what durability rests on; 503 with reasons."""
    stopping = getattr(request.app.state, "stopping", None)
    if stopping is not None and stopping():
        # Said before anything is asked of the database: whoever spreads the requests should know at once.
        return not_ready(("stopping",))
    checks: Readiness = request.app.state.readiness
    reasons = await checks.reasons()
    if reasons:
        return not_ready(reasons)
    return JSONResponse({"status": "ready", "reasons": []})


def not_ready(reasons: tuple[str, ...]) -> Response:
    """Return the answer of a process that should get no events now."""
    body: dict[str, Any] = {
        "status": "not_ready",
        "reasons": list(reasons),
        "error": "unavailable",
        "detail": "Not ready: " + ", ".join(reasons) + ".",
        "fields": [],
    }
    return JSONResponse(body, 503, {"Retry-After": "1"})


@router.get("/metrics", summary="Numbers for Prometheus", response_model=None)
@public
async def metrics(context: Context) -> Response:
    """Give this process's counters. Labels hold neither people nor events."""
    return Response(generate_latest(context.registry), media_type=CONTENT_TYPE_LATEST)
