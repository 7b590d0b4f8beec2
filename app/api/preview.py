"""Preview over HTTP: convert an event with the saved draft or with a mapping in the request."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.admin import publishing
from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.evaluation import rules_of
from app.admin.inputs import PreviewRequest
from app.admin.refusals import ErrorCode
from app.api.json_response import ExactJsonResponse
from app.api.mappings import MAPPING, find_mapping
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.event import Event, check_event_id, content_digest, derived_event_id
from app.domain.observed.preview import preview as preview_conversion
from app.domain.observed.preview import rejection_view

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


@router.post(MAPPING + "/preview", summary="Preview a conversion", response_model=None)
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def preview(
    destination_id: str, mapping_id: str, body: PreviewRequest, caller: CurrentCaller, context: Context
) -> Response:
    """Convert one event and show each step. Nothing is stored or sent.

    200 also when the event would be rejected (`ok` is false); 422 only for an invalid request or mapping.
    """
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        rules = await rules_of(connection, context, destination, mapping)
    if body.mapping is None:
        compiled = publishing.compile_or_refuse(mapping.draft)
    else:
        compiled = publishing.compile_or_refuse(body.mapping, ErrorCode.INVALID, parent="mapping")
    given_id = body.event.get("event_id")
    if given_id is not None and (rejection := check_event_id(given_id)):
        return ExactJsonResponse(rejection_view(rejection))
    event_id = given_id or derived_event_id(content_digest(body.event, context.pepper))
    event = Event(0, given_id, destination.id, mapping.id, body.event)
    result: dict[str, Any] = preview_conversion(event, event_id, compiled, rules, now=context.now())
    if given_id is None and result["ok"]:
        result["warnings"] = [{"code": "event_id_derived", "field": "event_id"}, *result["warnings"]]
    return ExactJsonResponse(result)
