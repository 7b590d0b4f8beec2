"""Shadows of drafts over HTTP."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.match_quality.inputs import ShadowRequest
from app.admin.match_quality.shadow import ShadowView, end_shadow, read_shadow, start_shadow
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.mappings import MAPPING

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])

SHADOW = MAPPING + "/shadow"


@router.post(SHADOW, summary="Start a shadow")
@requires(Scope.DESTINATIONS_WRITE)
async def start(
    destination_id: str, mapping_id: str, body: ShadowRequest, caller: CurrentCaller, context: Context
) -> ShadowView:
    """Convert a share of the live events with the draft, beside the published version, and send nothing.

    The draft is copied: later edits change nothing. A destination has one shadow, so that another one ends.
    """
    return await start_shadow(
        context, caller, destination_id, mapping_id, share=body.share, minutes=body.minutes
    )


@router.get(SHADOW, summary="Read a shadow")
@requires(Scope.DESTINATIONS_READ)
async def read(destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context) -> ShadowView:
    """Return the results of the mapping's last shadow."""
    return await read_shadow(context, caller, destination_id, mapping_id)


@router.delete(SHADOW, summary="End a shadow")
@requires(Scope.DESTINATIONS_WRITE)
async def end(destination_id: str, mapping_id: str, caller: CurrentCaller, context: Context) -> ShadowView:
    """End the shadow. Its results stay until the next one starts."""
    return await end_shadow(context, caller, destination_id, mapping_id)
