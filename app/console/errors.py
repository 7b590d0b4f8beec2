"""Error pages of a destination: what went wrong, grouped, and the rejected events with their export."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.event_list import mapping_names
from app.admin.failures import list_failures
from app.admin.rejections import list_rejections, summarize_rejections
from app.api.event_models import RejectionView
from app.api.export import ExportFormat, ExportPage, export
from app.api.paging import Cursor, cursor_of, record_id_of, split_page
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.event_filter import Events
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.wording import EVENT_STATUSES, number
from app.console.wording import events as event_count
from app.domain.outcomes.reasons import REASONS

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
_MOST_GROUPS = 50
_GROUPS_ABOVE_LIST = 15


@router.get(PAGE + "/errors", response_model=None)
@requires(Scope.EVENTS_READ)
async def errors(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, query: Events
) -> Response:
    """Group dead, expired and rejected events by what went wrong."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    chosen = query.range(context.now())
    groups = await summarize_rejections(context, visitor.caller, destination_id, since=chosen.since)
    return pages.show(
        request,
        "errors.html",
        **content_of(context, found, visitor, "events"),
        query=query,
        range=chosen,
        failures=await list_failures(context, visitor.caller, destination_id, since=chosen.since),
        groups=groups[:_MOST_GROUPS],
        more=number(len(groups) - _MOST_GROUPS) if len(groups) > _MOST_GROUPS else None,
        mappings=await mapping_names(context, visitor.caller, destination_id),
        remedies={word: reason.remedy for word, reason in REASONS.items()},
        statuses=EVENT_STATUSES,
        number=number,
        event_count=event_count,
    )


@router.get(PAGE + "/rejections", response_model=None)
@requires(Scope.EVENTS_READ)
async def rejections(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    query: Events,
    cursor: Cursor = None,
) -> Response:
    """List rejected events, newest first, below their counts."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    chosen = query.range(context.now())
    rows = await list_rejections(
        context,
        visitor.caller,
        destination_id,
        query.rejections(chosen.since),
        limit=_PAGE_SIZE + 1,
        below=record_id_of(cursor),
    )
    items, has_more = split_page(rows, _PAGE_SIZE)
    groups = await summarize_rejections(context, visitor.caller, destination_id, since=chosen.since)
    return pages.show(
        request,
        "rejections.html",
        **content_of(context, found, visitor, "events"),
        query=query,
        range=chosen,
        items=items,
        groups=groups[:_GROUPS_ABOVE_LIST],
        more=number(len(groups) - _GROUPS_ABOVE_LIST) if len(groups) > _GROUPS_ABOVE_LIST else None,
        reasons=sorted({group.reason for group in groups} | ({query.reason} if query.reason else set())),
        total=number(sum(group.count for group in groups)),
        mappings=await mapping_names(context, visitor.caller, destination_id),
        days=context.rejection_days,
        number=number,
        event_count=event_count,
        next_cursor=cursor_of(items[-1].record.id) if has_more else None,
        later=cursor is not None,
    )


@router.get(PAGE + "/rejections/export", response_model=None)
@requires(Scope.EVENTS_READ)
async def export_rejections(
    *,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    query: Events,
    export_format: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.CSV,
) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.rejections(query.range(context.now()).since)

    async def fetch(position: str | None) -> ExportPage:
        rows = await list_rejections(
            context, visitor.caller, destination_id, wanted, limit=1_001, below=record_id_of(position)
        )
        items, has_more = split_page(rows, 1_000)
        return ExportPage(
            [RejectionView.of(item) for item in items],
            cursor_of(items[-1].record.id) if has_more else None,
        )

    return await export(export_format, RejectionView, fetch, name="rejections")
