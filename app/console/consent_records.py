"""Consent records: on which ground events left, what the gate stopped, and all of it as a file."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.api import consent_records, mappings
from app.api.paging import MOST, Cursor
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.sessions import Visitor
from app.console.wording import number
from app.domain.outcomes.reasons import REASONS

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_A_PAGE, _AT_ONCE = 50, 1_000
BASES = {
    "granted": "the mapping marks all events as consented",
    "amazon": "Amazon's signal of each event",
    "tcf": "the TCF string of each event",
    "gpp": "the GPP string of each event",
    "none": "the mapping requires no consent",
}
COLUMNS = (
    "event_id",
    "event_at",
    "accepted_at",
    "mapping_id",
    "mapping_version",
    "basis",
    "source",
    "decision",
    "signal",
    "string_sha256",
)


@router.get(PAGE + "/consent", response_model=None)
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def page(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """Show the newest records, and how many events were stopped for want of consent, by reason and ground."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    records = await consent_records.read_records(
        destination_id, visitor.caller, context, since=None, limit=_A_PAGE, cursor=cursor
    )
    stopped = await consent_records.blocked_by_consent(destination_id, visitor.caller, context)
    listed = pages.plain(await mappings.list_all(destination_id, visitor.caller, context, limit=MOST))[
        "items"
    ]
    return pages.show(
        request,
        "consent.html",
        **content_of(context, found, visitor, "events"),
        items=pages.plain(records.items),
        next_cursor=records.next_cursor,
        unreadable=records.unreadable_batches,
        later=cursor is not None,
        bases=BASES,
        evaluated=sorted({BASES[mode] for one in listed if (mode := _mode(one)) in BASES}),
        stopped=[
            {**one, "events": number(one["events"]), "remedy": REASONS[one["reason"]].remedy}
            for one in stopped
            if one["reason"] in REASONS
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
    yield _line(dict(zip(COLUMNS, COLUMNS, strict=True)))
    cursor: str | None = None
    unreadable = 0
    while True:
        found = await consent_records.read_records(
            destination_id, visitor.caller, context, since=None, limit=_AT_ONCE, cursor=cursor
        )
        yield "".join(_line(one) for one in pages.plain(found.items))
        unreadable += found.unreadable_batches
        cursor = found.next_cursor
        if cursor is None:
            break
    if unreadable:
        missing = f"{unreadable} stored batches are damaged; their records are missing"
        yield _line(dict.fromkeys(COLUMNS) | {COLUMNS[0]: missing})


def _line(record: dict[str, Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([harmless(record[name]) for name in COLUMNS])
    return out.getvalue()


def harmless(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula, whoever chose the event id in it."""
    cell = "" if value is None else str(value)
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _mode(mapping: dict[str, Any]) -> str | None:
    consent = mapping.get("consent")
    return consent.get("mode") if isinstance(consent, dict) and mapping["published_version"] else None
