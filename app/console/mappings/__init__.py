"""The pages around the mapping editor: lists of mappings and of the paths of events, the copy of a mapping.

Also the pinned event names of advertisers, and their rename with its effects (R12).
"""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin import Refusal, Scope
from app.admin.destinations.event_schemas import read_observed
from app.admin.destinations.settings import list_destinations
from app.admin.mappings.event_names import list_pinned_names, preview_rename, rename_event
from app.admin.mappings.mappings import copy_mapping, delete_mapping, list_mappings, read_mapping
from app.api.lists import bad_cursor
from app.console.visits import PAGE, CurrentDestination, CurrentVisit, Form, PageRouter, Paging
from app.domain.destination import State
from app.domain.mapping.document import FIELDS, MAX_NAME_LENGTH
from app.domain.suggestions.suggest import fields_by_path

router = PageRouter()

_MOST_PATHS = 200
MAPPINGS = PAGE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"
SearchText = Annotated[str, Query(max_length=200)]


@router.get(MAPPINGS, Scope.DESTINATIONS_READ)
async def list_all(visit: CurrentDestination, paging: Paging) -> Response:
    """List the destination's mappings, one page at a time."""
    found = await list_mappings(*visit.on, limit=paging.most, after=paging.number)
    content = visit.listed(found, lambda details: (details.mapping.number,), paging)
    return await visit.show("mappings.html", **content)


@router.get(PAGE + "/event-schema", Scope.DESTINATIONS_READ)
async def event_schema(visit: CurrentDestination) -> Response:
    """List the paths of recent events: fill rate, types and suggested fields, and never their values."""
    observed = await read_observed(*visit.on)
    return await visit.show(
        "event_schema.html",
        schema=observed.schema,
        entries=list(observed.schema.entries.values())[:_MOST_PATHS],
        fields=fields_by_path(observed.suggestion),
        labels={name: field.label for name, field in FIELDS.items()},
    )


@router.post(MAPPING + "/delete", Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentDestination, mapping_id: str) -> Response:
    """Archive the mapping."""
    await delete_mapping(*visit.on, mapping_id, None)
    return visit.done("mapping_deleted", PAGE + "/mappings")


def address_of(destination_id: str, mapping_id: str) -> str:
    """Return the address of a mapping's editor."""
    return f"/console/destinations/{destination_id}/mappings/{mapping_id}"


_TARGETS = 20


@router.get(MAPPING + "/copy", Scope.DESTINATIONS_WRITE)
async def copy_page(visit: CurrentDestination, mapping_id: str, q: SearchText = "") -> Response:
    """Show the form that copies a mapping. `q` searches for the destination of the copy."""
    mapping = (await read_mapping(*visit.on, mapping_id)).mapping
    # Besides the targets: this destination, and one that shows that there are more.
    listed = await list_destinations(visit.context, limit=_TARGETS + 2, search=q)
    targets = [
        each for each in listed if each.state is not State.ARCHIVED and each.id != visit.destination.id
    ]
    return await visit.show(
        "mapping_copy.html",
        mapping=mapping,
        name=f"Copy of {mapping.name}"[:MAX_NAME_LENGTH],
        max_name=MAX_NAME_LENGTH,
        q=q,
        targets=targets[:_TARGETS],
        more=len(targets) > _TARGETS,
    )


@router.post(MAPPING + "/copy", Scope.DESTINATIONS_WRITE)
async def copy(visit: CurrentDestination, mapping_id: str, form: Form) -> Response:
    """Copy the mapping as a draft and redirect to the copy."""
    try:
        copied = await copy_mapping(*visit.on, mapping_id, to=form.text("to"), name=form.text("name"))
    except Refusal as refusal:
        return await copy_page(visit.refused(refusal), mapping_id)
    return visit.done("mapping_copied", address_of(copied.mapping.destination, copied.mapping.id))


_NAMES = "/console/event-names"
_NAME = _NAMES + "/{advertiser_id}/{event_type}"


@router.get(_NAMES, Scope.DESTINATIONS_READ)
async def list_names(visit: CurrentVisit, paging: Paging, q: SearchText = "") -> Response:
    """List pinned names by advertiser and event type."""
    place = paging.parts
    if place is not None and len(place) != 2:
        raise bad_cursor()
    after = (place[0], place[1]) if place else None
    found = await list_pinned_names(visit.context, limit=paging.most, after=after, search=q.strip() or None)
    content = visit.listed(found, lambda pin: (pin.advertiser_id, pin.event_type), paging)
    return await visit.show("event_names.html", **content, q=q)


@router.get(_NAME, Scope.DESTINATIONS_READ)
async def name_page(visit: CurrentVisit, advertiser_id: str, event_type: str) -> Response:
    """Show a pinned name, the mappings that use it, and the form that renames it."""
    impact = await preview_rename(visit.context, advertiser_id, event_type)
    return await visit.show("event_name.html", impact=impact)


@router.post(_NAME, Scope.DESTINATIONS_WRITE)
async def rename(visit: CurrentVisit, advertiser_id: str, event_type: str, form: Form) -> Response:
    """Rename the event type and republish the mappings that send it."""
    try:
        renamed = await rename_event(visit.context, advertiser_id, event_type, form.text("to"))
    except Refusal as refusal:
        return await name_page(visit.refused(refusal), advertiser_id, event_type)
    if renamed.name == renamed.previous_name:
        return visit.done("event_name_kept", _NAME)
    return visit.done("event_renamed", _NAME, len(renamed.mappings))
