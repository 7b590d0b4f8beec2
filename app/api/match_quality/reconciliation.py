"""The reconciliation with Amazon's numbers over HTTP."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.admin.access import Scope
from app.admin.inputs import Day
from app.admin.match_quality.inputs import ExplainGapRequest
from app.admin.match_quality.reconciliation import explain_reconciliation, read_reconciliation
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, slice_page
from app.domain.match_quality.reconciliation import ReconciledDay

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])

RECONCILIATION = "/destinations/{destination_id}/reconciliation"


class ReconciledDayView(ResponseBody):
    """The conversions of one kind on one UTC day, by the events' own times, as in AMC."""

    day: date
    event_name: str | None
    event_type: str | None
    event_source: str | None = Field(description="Null for rejected events whose source differs per event.")
    dataset_name: str | None
    accepted: int = Field(description="Events that this service accepted.")
    sent: int = Field(description="Events that were in a request to Amazon.")
    amazon_accepted: int = Field(description="Conversions that Amazon listed under `success`.")
    amazon_refused: int
    repeated_ids: int = Field(description="Not accepted: an earlier event had the id. By day of receipt.")
    without_consent: int = Field(description="Not accepted, because consent lacks. By day of receipt.")
    rejected: int = Field(description="Not accepted for another reason. By day of receipt.")
    waiting: int

    @classmethod
    def of(cls, row: ReconciledDay) -> "ReconciledDayView":
        """Return a row as the API shows it."""
        return cls(day=row.day, **asdict(row.kind), **asdict(row.counts))


class ReconciliationPage(Page[ReconciledDayView]):
    """A page of the reconciliation, newest day first."""

    amc_sql: str = Field(description="The query for Amazon Marketing Cloud that counts the same events.")
    complete: bool = Field(description="False if not all stored events could be counted in 20 seconds.")


class GapView(ResponseBody):
    """The difference between what Amazon accepted and what it shows."""

    gap: int = Field(description="Accepted by Amazon minus shown; negative if it shows more.")
    sentence: str
    stable_at: datetime = Field(description="When Amazon's numbers for the day should no longer change.")


@router.get(RECONCILIATION, summary="Read the reconciliation")
@requires(Scope.DESTINATIONS_READ)
async def read(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    first: Annotated[
        Day | None, Query(alias="from", description="The first UTC day, by default six before the last.")
    ] = None,
    last: Annotated[
        Day | None, Query(alias="to", description="The last UTC day, by default today; at most 31 days.")
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> ReconciliationPage:
    """Count what Amazon should show: conversions by UTC day, event name, type, source and data set.

    `amc_sql` asks Amazon for its own numbers of the same events. Amazon's campaign reports count attributed
    conversions and never equal these.
    """
    found = await read_reconciliation(context, caller, destination_id, first, last)
    items, next_cursor = slice_page(context, found.items, limit, cursor)
    return ReconciliationPage(
        items=[ReconciledDayView.of(row) for row in items],
        next_cursor=next_cursor,
        amc_sql=found.amc_sql,
        complete=found.complete,
    )


@router.post(RECONCILIATION + "/explain", summary="Explain a gap")
@requires(Scope.EVENTS_READ)
async def explain(
    destination_id: str, caller: CurrentCaller, context: Context, body: ExplainGapRequest
) -> GapView:
    """Explain the number that Amazon shows for an event name on a UTC day, in one paragraph."""
    found = await explain_reconciliation(
        context, caller, destination_id, body.day, body.event_name, body.amazon_count
    )
    return GapView.model_validate(found)
