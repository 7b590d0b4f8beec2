"""Liveness, readiness and Prometheus metrics of a process."""

from typing import Any, Literal

from fastapi import Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from app.admin import ErrorCode, Refusal
from app.api.access.secured_route import Context, SecuredRouter, public
from app.api.errors import NotReady, not_ready, not_ready_body
from app.api.http.responses import ResponseBody
from app.health import CachedResult

router = SecuredRouter("health")


class LiveView(ResponseBody):
    """The response of a running process."""

    status: Literal["ok"]


class ReadyView(ResponseBody):
    """The response of a process that can store events."""

    status: Literal["ready"]
    reasons: list[str]


@router.get("/health/live", summary="Check liveness")
@public
async def live() -> LiveView:
    """Return 200 while the process runs. Does not check the database."""
    return LiveView(status="ok")


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "model": NotReady,
        "description": "Not ready: see reasons.",
        "content": {"application/json": {"example": not_ready_body(("database_unavailable",))}},
    }
}


@router.get("/health/ready", summary="Check readiness", response_model=ReadyView, responses=_NOT_READY)
@public
async def ready(request: Request, context: Context) -> Response | ReadyView:
    """Commit a row and check the durability settings, at most once a second. A 503 lists the reasons."""
    # A stop needs no check of the database, so that load balancers notice it immediately.
    reasons = ("stopping",) if request.app.state.stopping() else await context.readiness.reasons()
    return not_ready(reasons) if reasons else ReadyView(status="ready", reasons=[])


@router.get("/metrics", summary="Read Prometheus metrics", response_class=PlainTextResponse)
@public
async def metrics(request: Request, context: Context) -> Response:
    """Return the metrics of this process. Labels contain no personal data and no event ids."""
    if not context.publishes_reference:
        raise Refusal(ErrorCode.NOT_FOUND)
    text: CachedResult[bytes] = request.app.state.metrics
    return Response(await text.get(), media_type=CONTENT_TYPE_LATEST)
