"""Preview over HTTP: what an event would become, with the draft as saved or one that is not saved yet."""

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
from app.api.mappings import MAPPING, found
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.event import Event, check_event_id, content_digest, derived_event_id
from app.domain.observed.preview import preview as show
from app.domain.observed.preview import rejection_view

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


@router.post(MAPPING + "/preview", summary="Show what an event would become", response_model=None)
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def preview(
    destination_id: str, mapping_id: str, body: PreviewRequest, caller: CurrentCaller, context: Context
) -> Response:
    """Convert one event and show the result step by step; nothing is stored, nothing is sent.

    200 also when the event would be refused (`ok` is false), 422 only for a request or mapping that is wrong.
    """
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await found(connection, destination, mapping_id)
        rules = await rules_of(connection, context, destination, mapping)
    if body.mapping is None:
        made = publishing.compile_or_refuse(mapping.draft)
    else:
        made = publishing.compile_or_refuse(body.mapping, ErrorCode.INVALID, at="mapping")
    given = body.event.get("event_id")
    if given is not None and (wrong := check_event_id(given)):
        return ExactJsonResponse(rejection_view(wrong))
    event_id = given or derived_event_id(content_digest(body.event, context.pepper))
    event = Event(0, given, destination.id, mapping.id, body.event)
    shown: dict[str, Any] = show(event, event_id, made, rules, now=context.now())
    if given is None and shown["ok"]:
        shown["warnings"] = [{"code": "event_id_derived", "field": "event_id"}, *shown["warnings"]]
    return ExactJsonResponse(shown)
