"""The published versions of a mapping: content, changes and rollback."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.mappings.drafts import read_mapping
from app.admin.mappings.publishing import list_versions, roll_back
from app.admin.refusals import ErrorCode, Problem, Refusal
from app.api.access.secured_route import requires
from app.api.errors import status_of
from app.api.paging import Cursor, number_of
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations.page import show_page
from app.console.mappings import MAPPING, address_of
from app.console.mappings.statements import statement_changes
from app.console.wording import person
from app.store.destinations.destinations import Destination

router = page_router()

_PAGE_SIZE = 20
VersionNumber = Annotated[int | None, Query(ge=1, lt=2**31)]


@router.get(MAPPING + "/versions")
@requires(Scope.DESTINATIONS_READ)
async def page(
    visit: CurrentVisit,
    destination: CurrentDestination,
    mapping_id: str,
    version: VersionNumber = None,
    cursor: Cursor = None,
) -> Response:
    """List the versions, newest first, and show the content of the selected version."""
    return await _page(visit, destination, mapping_id, version, cursor)


@router.post(MAPPING + "/rollback")
@requires(Scope.DESTINATIONS_WRITE)
async def rollback(
    visit: CurrentVisit, destination: CurrentDestination, mapping_id: str, form: Form
) -> Response:
    """Roll back to an earlier version."""
    version = form.text("to")
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        raise Refusal(ErrorCode.INVALID, "Choose one of the listed versions.")
    number = int(version)
    try:
        await roll_back(visit.context, destination.id, mapping_id, number, form.version)
    except Refusal as refusal:
        return await _page(visit, destination, mapping_id, number, None, problem=refusal.problem)
    return visit.done("rolled_back", MAPPING + "/versions", number)


async def _page(
    visit: Visit,
    destination: Destination,
    mapping_id: str,
    version: int | None,
    cursor: str | None,
    *,
    problem: Problem | None = None,
) -> Response:
    mapping = (await read_mapping(visit.context, destination.id, mapping_id)).mapping
    found = await list_versions(
        visit.context,
        destination.id,
        mapping_id,
        limit=_PAGE_SIZE + 1,
        below=number_of(visit.context, cursor),
    )
    content = pages.listed(visit.context, found, lambda each: (each.version,), cursor, _PAGE_SIZE)
    chosen = version or mapping.published_version or 0
    # The changes of a version are relative to its predecessor, so load the predecessor too.
    shown = await list_versions(visit.context, destination.id, mapping_id, limit=2, below=chosen + 1)
    shown = [each for each in shown if each.version in (chosen, chosen - 1)]
    if version is not None and (not shown or shown[0].version != version):
        raise Refusal(ErrorCode.NOT_FOUND)
    selected = shown[0] if shown else None
    before = shown[1].mapping if len(shown) > 1 else None
    names = await visit.names(each.published_by for each in found)
    in_use = mapping.published
    return await show_page(
        visit,
        destination,
        "mapping_versions.html",
        status=200 if problem is None else status_of(problem),
        **content,
        here=address_of(destination.id, mapping_id),
        mapping=mapping,
        publishers={each.version: person(each.published_by, names) for each in found},
        selected=selected,
        says=statement_changes(None, selected.mapping) if selected else [],
        changed=statement_changes(before, selected.mapping) if selected and before else [],
        rollback=statement_changes(in_use, selected.mapping) if selected and in_use else [],
        refused=problem and (problem.detail or "Someone else changed this mapping. Review it and try again."),
    )
