"""Shadows of drafts over HTTP."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.match_quality.inputs import ShadowRequest
from app.admin.match_quality.shadow import end_shadow, read_shadow, start_shadow
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.mappings import MAPPING

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])

SHADOW = MAPPING + "/shadow"


class ShadowFieldView(ResponseBody):
    """The events for which the draft changes a field."""

    field: str
    gained: int
    lost: int
    changed: int


class ShadowView(ResponseBody):
    """The shadow of a mapping's draft. It sends nothing; only counts are stored."""

    state: Literal["none", "running", "ended"]
    share: float | None
    started_at: datetime | None
    ends_at: datetime | None
    started_by: str | None
    events: int = Field(description="Events that both the draft and the published version converted.")
    same: int
    different: int
    fields: list[ShadowFieldView]
    newly_rejected: int
    newly_accepted: int
    skipped: int = Field(description="Chosen events that were not converted, because the service was busy.")


@router.post(SHADOW, summary="Start a shadow")
@requires(Scope.DESTINATIONS_WRITE)
async def start(
    destination_id: str, mapping_id: str, body: ShadowRequest, caller: CurrentCaller, context: Context
) -> ShadowView:
    """Convert a share of the live events with the draft, beside the published version, and send nothing.

    The draft is copied: later edits change nothing. A destination has one shadow, so that another one ends.
    """
    found = await start_shadow(
        context, caller, destination_id, mapping_id, share=body.share, minutes=body.minutes
    )
    return ShadowView.model_validate(found)


@router.get(SHADOW, summary="Read a shadow")
@requires(Scope.DESTINATIONS_READ)
async def read(destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context) -> ShadowView:
    """Return the results of the mapping's last shadow."""
    return ShadowView.model_validate(await read_shadow(context, caller, destination_id, mapping_id))


@router.delete(SHADOW, summary="End a shadow")
@requires(Scope.DESTINATIONS_WRITE)
async def end(destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context) -> ShadowView:
    """End the shadow. Its results stay until the next one starts."""
    return ShadowView.model_validate(await end_shadow(context, caller, destination_id, mapping_id))
