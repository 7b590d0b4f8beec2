"""The consent records of a destination.

A page shows the newest records and the counts of blocked events; the export has all records as CSV.
"""

from collections.abc import AsyncIterator
from dataclasses import fields

from starlette.responses import Response, StreamingResponse

from app.admin.access import Scope
from app.admin.mappings.drafts import list_mappings
from app.admin.privacy.consent_records import (
    ConsentRecord,
    Position,
    blocked_by_consent,
    list_consent_records,
)
from app.api.access.secured_route import requires
from app.api.export import csv_lines
from app.api.paging import MOST, Cursor, cursor_of, event_place_of
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Visit, page_router
from app.console.destinations.page import PAGE, show_page
from app.domain.outcomes.reasons import REASONS
from app.store.mappings import StoredMapping

router = page_router()

_PAGE_SIZE, _ROWS_PER_CHUNK = 50, 1_000
BASES = {
    "granted": "the mapping marks all events as consented",
    "amazon": "Amazon's signal of each event",
    "tcf": "the TCF string of each event",
    "gpp": "the GPP string of each event",
    "none": "the mapping requires no consent",
}
COLUMNS = tuple(column.name for column in fields(ConsentRecord))


@router.get(PAGE + "/consent")
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def page(visit: CurrentVisit, found: CurrentDestination, cursor: Cursor = None) -> Response:
    """Show the newest records. Also show how many events were blocked, by reason and basis."""
    records = await list_consent_records(
        visit.context, found.id, limit=_PAGE_SIZE, before=event_place_of(visit.context, cursor)
    )
    blocked = await blocked_by_consent(visit.context, found.id)
    mappings = await list_mappings(visit.context, found.id, limit=MOST)
    modes = {_consent_mode(each.mapping) for each in mappings}
    return await show_page(
        visit,
        found,
        "consent.html",
        items=records.items,
        next_cursor=cursor_of(visit.context, *records.last) if records.last else None,
        unreadable=records.unreadable_batches,
        later=cursor is not None,
        bases=BASES,
        evaluated=sorted(BASES[mode] for mode in modes if mode in BASES),
        blocked=[each for each in blocked if each.reason in REASONS],
    )


@router.get(PAGE + "/consent.csv")
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def export(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Stream every record as CSV, newest first."""
    headers = {"Content-Disposition": f'attachment; filename="consent-{found.id}.csv"'}
    return StreamingResponse(_rows(visit, found.id), media_type="text/csv; charset=utf-8", headers=headers)


async def _rows(visit: Visit, destination_id: str) -> AsyncIterator[bytes]:
    yield csv_lines([COLUMNS])
    before: Position | None = None
    unreadable = 0
    while True:
        page = await list_consent_records(visit.context, destination_id, limit=_ROWS_PER_CHUNK, before=before)
        yield csv_lines([getattr(record, name) for name in COLUMNS] for record in page.items)
        unreadable += page.unreadable_batches
        before = page.last
        if before is None:
            break
    if unreadable:
        missing = f"{unreadable} stored batches are damaged. Their consent records are missing in this file."
        yield csv_lines([[missing, *[""] * (len(COLUMNS) - 1)]])


def _consent_mode(mapping: StoredMapping) -> str | None:
    consent = mapping.draft.get("consent")
    return consent.get("mode") if isinstance(consent, dict) and mapping.published_version else None
