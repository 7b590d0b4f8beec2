"""Rejected events over HTTP: records without values, and exact counts."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.admin.access import Scope
from app.admin.event_list import find_visible_row
from app.admin.inputs import Instant
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit, Page, bad_cursor, cursor_of, place_of, split_page
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.outcomes.rejection_details import rejection_detail
from app.store import rejection_records
from app.store.rejection_records import RejectionFilter, RejectionRecord

router = APIRouter(route_class=SecuredRoute, tags=["events"])


class RejectionView(ResponseBody):
    """A rejected event, without a value of it."""

    event_id: str | None
    received_at: datetime
    mapping_id: str | None
    code: str = Field(examples=["BAD_REQUEST"])
    reason: str = Field(examples=["timestamp_missing"])
    field: str | None = Field(description="The source path in the mapping.", examples=["event.timestamp"])
    mapping_field: str | None
    detail: str
    request_id: str | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None

    @classmethod
    def of(cls, record: RejectionRecord) -> "RejectionView":
        """Return the view of a record."""
        detail = rejection_detail(record.reason, record.field, record.mapping_field)
        return cls.model_validate({**asdict(record), "detail": detail})


class RejectionPage(Page[RejectionView]):
    """A page of rejected events, newest first."""


class RejectionSummaryView(ResponseBody):
    """How many events were rejected for one reason, by mapping and source path."""

    code: str
    reason: str
    field: str | None
    mapping_id: str | None
    count: int
    first_at: datetime
    last_at: datetime


class RejectionSummaryPage(ResponseBody):
    """Exact counts of rejected events, most frequent first."""

    items: list[RejectionSummaryView]


_Text = Annotated[str | None, Query(max_length=256)]


@router.get("/destinations/{destination_id}/rejections/summary", summary="Count rejected events")
@requires(Scope.EVENTS_READ)
async def summary(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="Only from this day on (UTC).")] = None,
    until: Annotated[Instant | None, Query(description="Only up to this day (UTC).")] = None,
) -> RejectionSummaryPage:
    """Count rejected events by reason, mapping and source path. Every rejected event is counted."""
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        rows = await rejection_records.summary(
            connection, destination.number, days=context.rejection_days, since=since, until=until
        )
    return RejectionSummaryPage(items=[RejectionSummaryView.model_validate(row) for row in rows])


@router.get(
    "/destinations/{destination_id}/rejections",
    summary="List rejected events",
    response_model=RejectionPage,
    responses=EXPORTED,
)
@requires(Scope.EVENTS_READ)
async def list_rejections(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="Only events received at or after this time.")] = None,
    until: Annotated[Instant | None, Query(description="Only events received before this time.")] = None,
    reason: _Text = None,
    field: _Text = None,
    mapping_id: _Text = None,
    execution_id: _Text = None,
    journey_id: _Text = None,
    node_id: _Text = None,
    event_id: _Text = None,
    request_id: _Text = None,
    export_format: Format = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> RejectionPage | StreamingResponse:
    """List rejected events, newest first: up to 600 a minute and destination leave a record.

    A record holds ids, words and paths of the mapping, and no value of the event.
    """
    wanted = RejectionFilter(
        since, until, reason, field, mapping_id, execution_id, journey_id, node_id, event_id, request_id
    )
    await context.write_rejections()

    async def page_at(position: str | None, most: int) -> RejectionPage:
        async with context.pool.acquire() as connection:
            destination = await find_visible_row(connection, caller, destination_id)
            rows = await rejection_records.page(
                connection, destination.number, wanted, limit=most + 1, below=_below(position)
            )
        items, has_more = split_page(rows, most)
        return RejectionPage(
            items=[RejectionView.of(item) for item in items],
            next_cursor=cursor_of(items[-1].id) if has_more else None,
        )

    return await page_or_export(
        export_format, page_at, RejectionView, name="rejections", cursor=cursor, limit=limit
    )


def _below(cursor: str | None) -> int | None:
    """Return the id in a cursor; ids of records may be long. Raises Refusal."""
    match place_of(cursor):
        case None:
            return None
        case [number] if number.isascii() and number.isdigit() and len(number) < 19:
            return int(number)
        case _:
            raise bad_cursor()
