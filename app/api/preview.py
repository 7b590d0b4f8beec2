"""Preview over HTTP: convert an event with the saved draft or with a mapping in the request."""

from fastapi import APIRouter
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.inputs import PreviewRequest
from app.admin.previewing import preview_event
from app.api.json_response import ExactJsonResponse
from app.api.mappings import MAPPING
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


@router.post(MAPPING + "/preview", summary="Preview a conversion", response_model=None)
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def preview(
    destination_id: str, mapping_id: str, body: PreviewRequest, caller: CurrentCaller, context: Context
) -> Response:
    """Convert one event and show each step. Nothing is stored or sent.

    200 also when the event would be rejected (`ok` is false); 422 only for an invalid request or mapping.
    """
    return ExactJsonResponse(
        await preview_event(context, caller, destination_id, mapping_id, body.event, body.mapping)
    )
