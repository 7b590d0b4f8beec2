"""Consent records of a destination: the newest on a page, all as CSV, and how many events were blocked."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.admin.access import Scope
from app.admin.consent_records import ConsentRecord, Position, blocked_by_consent, list_consent_records
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.mappings import list_mappings
from app.api.paging import MOST, Cursor, cursor_of, event_place_of
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.sessions import Visitor
from app.console.wording import number
from app.domain.outcomes.reasons import REASONS
from app.store.mappings import StoredMapping

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE, _ROWS_PER_CHUNK = 50, 1_000
BASES = {
    "granted": "the mapping marks all events as consented",
    "amazon": "Amazon's signal of each event",
    "tcf": "the TCF string of each event",
    "gpp": "the GPP string of each event",
    "none": "the mapping requires no consent",
}
COLUMNS = tuple(column.name for column in fields(ConsentRecord))


@router.get(PAGE + "/consent", response_model=None)
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def page(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """Show the newest records, and how many events were blocked, by reason and basis."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    records = await list_consent_records(
        context, visitor.caller, destination_id, limit=_PAGE_SIZE, before=event_place_of(cursor)
    )
    blocked = await blocked_by_consent(context, visitor.caller, destination_id)
    mappings = await list_mappings(context, visitor.caller, destination_id, limit=MOST)
    modes = {_consent_mode(each.mapping) for each in mappings}
    return pages.show(
        request,
        "consent.html",
        **content_of(context, found, visitor, "events"),
        items=records.items,
        next_cursor=cursor_of(*records.last) if records.last else None,
        unreadable=records.unreadable_batches,
        later=cursor is not None,
        bases=BASES,
        evaluated=sorted(BASES[mode] for mode in modes if mode in BASES),
        blocked=[
            (each, number(each.events), REASONS[each.reason].remedy)
            for each in blocked
            if each.reason in REASONS
        ],
    )


@router.get(PAGE + "/consent.csv", response_model=None)
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def export(destination_id: str, context: Context, visitor: CurrentVisitor) -> Response:
    """Stream every record as CSV, newest first."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    return StreamingResponse(
        _rows(destination_id, visitor, context),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="consent-{found.id}.csv"'},
    )


async def _rows(destination_id: str, visitor: Visitor, context: AppContext) -> AsyncIterator[str]:
    yield _line(COLUMNS)
    before: Position | None = None
    unreadable = 0
    while True:
        page = await list_consent_records(
            context, visitor.caller, destination_id, limit=_ROWS_PER_CHUNK, before=before
        )
        # As builtins, because times are text there.
        yield "".join(_line([*msgspec.to_builtins(record).values()]) for record in page.items)
        unreadable += page.unreadable_batches
        before = page.last
        if before is None:
            break
    if unreadable:
        missing = f"{unreadable} stored batches are damaged; their records are missing"
        yield _line([missing, *[None] * (len(COLUMNS) - 1)])


def _line(cells: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([harmless(cell) for cell in cells])
    return out.getvalue()


def harmless(value: Any) -> str:
    """Return a cell that no spreadsheet runs as a formula. Senders choose event ids."""
    cell = "" if value is None else str(value)
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _consent_mode(mapping: StoredMapping) -> str | None:
    consent = mapping.draft.get("consent")
    return consent.get("mode") if isinstance(consent, dict) and mapping.published_version else None
