"""Liveness, readiness and Prometheus metrics of a process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import Context, SecuredRoute, public
from app.api.errors import ErrorBody
from app.api.http.response_body import ResponseBody
from app.domain.installation import MIN_DAYS_AHEAD
from app.store import PipelineConnection, driver_of, transaction
from app.store.database import readiness
from app.store.database.clock import DatabaseClock
from app.store.database.results import DatabaseResults
from app.store.errors import is_unavailable
from app.telemetry import describe_exception, sqlstate_fields

router = APIRouter(route_class=SecuredRoute, tags=["health"])

_log = logging.getLogger(__name__)
_CACHE_S = 1.0
_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of process. `rehearse` tries this process's work on the database.

    `refused` is the reason code that a process reports if the database refuses this work.
    """

    refused: str
    rehearse: Callable[[PipelineConnection], Awaitable[None]]


API = Role("flushes_refused", readiness.try_flush)
WORKER = Role("claims_refused", readiness.try_claim)


class LiveView(ResponseBody):
    """The response of a running process."""

    status: Literal["ok"]


class ReadyView(ResponseBody):
    """The response of a process that can store events."""

    status: Literal["ready"]
    reasons: list[str]


class NotReady(ErrorBody):
    """The response of a process that cannot store events now: an error with the reasons."""

    status: Literal["not_ready"]
    reasons: list[str]


class Readiness:
    """Checks the database at most once a second. All callers within a second get the same result.

    The results of the process's own flushes or claims count too. A process that is not ready receives no
    events. So it tries its work and rolls it back before it reports that it is ready again.
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
        self._lock = asyncio.Lock()
        self._valid_until = float("-inf")
        self._reasons: tuple[str, ...] = ()

    async def reasons(self) -> tuple[str, ...]:
        """Return the reasons why this process is not ready; empty if it is ready."""
        async with self._lock:
            if self._monotonic() >= self._valid_until:
                self._reasons = await self._check()
                self._valid_until = self._monotonic() + _CACHE_S
            return self._reasons

    async def _check(self) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(_TIMEOUT_S), transaction(self._engine) as (connection, driver):
                await readiness.write(connection)
                durable = await readiness.durability(connection)
                ahead = await readiness.days_ahead(connection)
                if self._clock is not None:
                    await self._clock.measure(driver)
        except Exception as error:
            # Every error means that the process is not ready. The reason tells an outage from an error of the
            # database.
            if is_unavailable(error):
                return ("database_unavailable",)
            _log_refusal(error)
            return ("database_refused",)
        checks = (
            ("fsync_off", durable.fsync),
            ("synchronous_commit_off", durable.synchronous_commit),
            ("full_page_writes_off", durable.full_page_writes),
            ("partitions_short", ahead >= MIN_DAYS_AHEAD),
            ("clock_off", self._clock is None or not self._clock.is_off),
            (self._role.refused, not await self._is_refused()),
        )
        return tuple(reason for reason, passed in checks if not passed)

    async def _is_refused(self) -> bool:
        """Return whether the database refuses this process's work.

        If that is unknown, try the work and roll it back.
        """
        if self._outcomes is None:
            return False
        if self._outcomes.want_probe:
            try:
                async with asyncio.timeout(_TIMEOUT_S), self._engine.connect() as connection:
                    driver = await driver_of(connection)
                    await self._role.rehearse(driver)
                    await connection.rollback()
            except Exception as error:
                self._outcomes.refused(error)
                _log_refusal(error)
                return True
            self._outcomes.probed()
        return self._outcomes.are_refused


class MetricsText:
    """The metrics as text. It is computed at most once a second, in a thread: large texts take 50 ms."""

    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._registry = registry
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._valid_until = float("-inf")
        self._text = b""

    async def response(self) -> Response:
        """Return the metrics of this process, up to a second old."""
        async with self._lock:
            if self._monotonic() >= self._valid_until:
                self._text = await asyncio.to_thread(generate_latest, self._registry)
                self._valid_until = self._monotonic() + _CACHE_S
        return Response(self._text, media_type=CONTENT_TYPE_LATEST)


def _log_refusal(error: Exception) -> None:
    fields = {"error": describe_exception(error), **sqlstate_fields(error)}
    _log.warning("readiness.refused", extra={"fields": fields})


@router.get("/health/live", summary="Check liveness")
@public
async def live() -> LiveView:
    """Return 200 while the process runs. Does not check the database."""
    return LiveView(status="ok")


def _not_ready_body(reasons: tuple[str, ...]) -> NotReady:
    return {
        "status": "not_ready",
        "reasons": list(reasons),
        "error": ErrorCode.UNAVAILABLE,
        "detail": "Not ready: " + ", ".join(reasons) + ".",
        "fields": [],
    }


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "model": NotReady,
        "description": "Not ready: see reasons.",
        "content": {"application/json": {"example": _not_ready_body(("database_unavailable",))}},
    }
}


@router.get("/health/ready", summary="Check readiness", response_model=ReadyView, responses=_NOT_READY)
@public
async def ready(request: Request) -> Response | ReadyView:
    """Commit a row and check the durability settings, at most once a second. A 503 lists the reasons."""
    stopping = getattr(request.app.state, "stopping", None)
    if stopping is not None and stopping():
        # Check this before the database, so that load balancers notice the stop immediately.
        return not_ready(("stopping",))
    checks: Readiness = request.app.state.readiness
    reasons = await checks.reasons()
    if reasons:
        return not_ready(reasons)
    return ReadyView(status="ready", reasons=[])


def not_ready(reasons: tuple[str, ...]) -> Response:
    """Return the 503 response with the reasons."""
    return JSONResponse(_not_ready_body(reasons), 503, {"Retry-After": "1"})


@router.get("/metrics", summary="Read Prometheus metrics", response_class=PlainTextResponse)
@public
async def metrics(request: Request, context: Context) -> Response:
    """Return the metrics of this process. Labels contain no personal data and no event ids."""
    if not context.publishes_reference:
        raise Refusal(ErrorCode.NOT_FOUND)
    text: MetricsText = request.app.state.metrics
    return await text.response()
