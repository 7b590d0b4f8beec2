"""The event schema learned from accepted events, and backtests of drafts against these events."""

from collections import Counter

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.destinations.event_schemas import ObservedEvents, read_observed
from app.admin.inputs import BacktestRequest
from app.admin.mappings.backtest import backtest_draft, summary
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.mappings import MAPPING
from app.api.paging import PAGE, Cursor, Limit, cursor_of, number_of
from app.domain.observed.backtest import EventGroup
from app.domain.suggestions.from_samples import fields_by_path, paths_by_field

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


class PathView(ResponseBody):
    """A path that occurs in recent events."""

    path: str
    types: dict[str, float] = Field(description="The share of each JSON type (0 to 1).")
    forms: list[str]
    fill_rate: float
    suggested_for: list[str]


class EventSchemaView(ResponseBody):
    """A page of the paths of recent events."""

    events: int = Field(description="The number of events from which the figures are computed.")
    items: list[PathView]
    next_cursor: str | None
    suggestions: dict[str, list[str]] = Field(
        description="The paths that a suggested mapping reads, by field."
    )


class EventCount(ResponseBody):
    """The number of events that the draft would reject, or whose result is unclear, for one reason."""

    reason: str
    field: str | None = Field(description="The source path in the mapping.")
    mapping_field: str | None
    events: int


class BacktestResult(ResponseBody):
    """The effect of a draft on recent events."""

    published_version: int
    events: int = Field(description="The number of events checked.")
    lost: dict[str, int] = Field(description="Events that lose a match key, by key.")
    gained: dict[str, int] = Field(description="Events that gain a match key, by key.")
    changed: list[str] = Field(description="Mapping fields that would be sent with another value.")
    newly_rejected: list[EventCount]
    newly_accepted: int = Field(description="Events that only the draft accepts.")
    unclear: list[EventCount] = Field(
        description="Events with a result that depends on texts that are not stored."
    )
    repeated_event_ids: int = Field(description="Events that would repeat the event id of an earlier event.")
    loss: float = Field(
        description="The largest share of events that lose one match key or would be rejected (0 to 1)."
    )
    summary: str


@router.get("/destinations/{destination_id}/event-schema", summary="Read the event schema")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> EventSchemaView:
    """List the paths of the newest events, with types, fill rate and suggested fields.

    The paths come from stored samples, which contain no values.
    """
    observed = await read_observed(context, caller, destination_id)
    begin = number_of(context, cursor) or 0
    end = begin + limit
    following = cursor_of(context, end) if end < len(observed.schema.entries) else None
    return await context.compute(_page, observed, begin, end, following)


def _page(observed: ObservedEvents, begin: int, end: int, next_cursor: str | None) -> EventSchemaView:
    schema = observed.schema
    entries = list(schema.entries.values())
    fields = fields_by_path(observed.suggestion)
    return EventSchemaView(
        events=schema.events,
        items=[
            PathView(
                path=entry.path,
                types={name: share(times, entry.present) for name, times in entry.types.items()},
                forms=sorted(entry.kinds),
                fill_rate=share(entry.filled, schema.events),
                suggested_for=fields.get(entry.path, []),
            )
            for entry in entries[begin:end]
        ],
        next_cursor=next_cursor,
        suggestions=paths_by_field(observed.suggestion),
    )


def share(part: int, whole: int) -> float:
    """Return a share between 0 and 1, rounded to four places."""
    return round(part / whole, 4) if whole else 0.0


@router.post(MAPPING + "/backtest", summary="Test a draft on recent events")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def run_backtest(
    *,
    destination_id: str,
    mapping_id: str,
    caller: CurrentCaller,
    context: Context,
    body: BacktestRequest | None = None,
) -> BacktestResult:
    """Compare the draft (or `mapping` in the body) with the published version over the newest events.

    The result counts the events that would certainly lose a match key, gain a match key, or be newly
    rejected, and lists every field that would be sent with another value. The samples of events hold no
    texts, so `unclear` counts the events whose result depends on a text. Nothing is stored. 422 if the draft
    cannot be published, or if no version is published yet.
    """
    options = body or BacktestRequest()
    version, result = await backtest_draft(
        context, caller, destination_id, mapping_id, document=options.mapping, limit=options.events
    )
    return BacktestResult(
        published_version=version,
        events=result.events,
        lost=dict(result.lost.most_common()),
        gained=dict(result.gained.most_common()),
        changed=sorted(result.changed),
        newly_rejected=_counts(result.rejected),
        newly_accepted=result.newly_accepted,
        unclear=_counts(result.unclear),
        repeated_event_ids=result.repeated_event_ids,
        loss=float(round(result.loss, 4)),
        summary=summary(result),
    )


def _counts(groups: Counter[EventGroup]) -> list[EventCount]:
    return [EventCount(**group._asdict(), events=times) for group, times in groups.most_common()]
