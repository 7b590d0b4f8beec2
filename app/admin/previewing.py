"""Use case: preview the conversion of an event. Nothing is stored or sent."""

from typing import Any

from app.admin import publishing
from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.evaluation import rules_of
from app.admin.mapping_drafts import find_mapping
from app.admin.refusals import ErrorCode
from app.domain.event import Event, check_event_id, content_digest, derived_event_id
from app.domain.observed.preview import preview, rejection_view
from app.store.mappings import Document


async def preview_event(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    content: dict[str, Any],
    document: Document | None = None,
) -> dict[str, Any]:
    """Convert an event with a document, or with the saved draft, and return each step."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        rules = await rules_of(connection, context, destination, mapping)
    if document is None:
        compiled = publishing.compile_or_refuse(mapping.draft)
    else:
        compiled = publishing.compile_or_refuse(document, ErrorCode.INVALID, parent="mapping")
    given_id = content.get("event_id")
    if given_id is not None and (rejection := check_event_id(given_id)):
        return rejection_view(rejection)
    event_id = given_id or derived_event_id(content_digest(content, context.pepper))
    event = Event(0, given_id, destination.id, mapping.id, content)
    result = preview(event, event_id, compiled, rules, now=context.now())
    if given_id is None and result["ok"]:
        result["warnings"] = [{"code": "event_id_derived", "field": "event_id"}, *result["warnings"]]
    return result
