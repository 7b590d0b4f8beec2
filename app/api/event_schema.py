"""The event schema learned from accepted events, and backtests of drafts against these events."""

from typing import Any

from fastapi import APIRouter

from app.admin import publishing
from app.admin.access import Caller, Scope
from app.admin.backtest import compare_draft, summary
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.inputs import BacktestRequest
from app.admin.refusals import ErrorCode, Refusal
from app.api.mappings import MAPPING, find_mapping
from app.api.paging import PAGE, Cursor, Limit, page_from
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.observed.backtest import Backtest
from app.domain.observed.event_schema import EventSchema, merge_samples, suggest
from app.store import schema_samples

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


@router.get("/destinations/{destination_id}/event-schema", summary="Read the event schema")
@requires(Scope.DESTINATIONS_READ)
async def read_event_schema(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> dict[str, Any]:
    """List the paths of the newest accepted events: types, fill rate, and the fields each path could feed.

    Learned from samples without values.
    """
    schema = await event_schema_of(destination_id, caller, context)
    return {**schema, **page_from(schema["items"], limit, cursor)}


async def event_schema_of(destination_id: str, caller: Caller, context: AppContext) -> dict[str, Any]:
    """Return the event schema of a destination, with all paths and suggestions."""
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        schema = merge_samples(await schema_samples.of_destination(connection, destination.id))
    return {"events": schema.events, "items": _items(schema), "suggestions": suggest(schema)}


def _items(schema: EventSchema) -> list[dict[str, Any]]:
    suggested_for: dict[str, list[str]] = {}
    for field, paths in suggest(schema).items():
        for path in paths:
            suggested_for.setdefault(path, []).append(field)
    return [
        {
            "path": entry.path,
            "types": {name: share(times, entry.present) for name, times in entry.types.items()},
            "forms": sorted(entry.kinds),
            "fill_rate": share(entry.filled, schema.events),
            "suggested_for": suggested_for.get(entry.path, []),
        }
        for entry in schema.entries.values()
    ]


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
) -> dict[str, Any]:
    """Compare the draft (or `mapping` in the body) with the published version over the newest accepted
    events.

    Counts the events that would lose or gain a match key and those newly rejected. Lists every field that
    would be sent with another value. Samples have presence and types of fields, not values, so `uncertain`
    fields may change, depending on the values. Nothing is stored. 422 when the draft is not publishable or
    nothing is published yet.
    """
    options = body or BacktestRequest()
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        if options.mapping is None:
            draft = publishing.compile_or_refuse(mapping.draft)
        else:
            draft = publishing.compile_or_refuse(options.mapping, ErrorCode.INVALID, parent="mapping")
        if mapping.published is None:
            raise Refusal(
                ErrorCode.NOT_PUBLISHABLE,
                "No version is published yet, so there is nothing to compare the draft with.",
            )
        result = await compare_draft(connection, context, destination, mapping, draft, limit=options.events)
    return {"published_version": mapping.published_version, **backtest_response(result)}


def backtest_response(result: Backtest) -> dict[str, Any]:
    """Return the response for a backtest."""
    return {
        "events": result.events,
        "unclear": result.unclear,
        "lost": dict(result.lost.most_common()),
        "gained": dict(result.gained.most_common()),
        "changed": sorted(result.changed),
        "newly_rejected": [
            {**group._asdict(), "events": times} for group, times in result.rejected.most_common()
        ],
        "loss": float(round(result.loss, 4)),
        "uncertain": list(result.uncertain),
        "summary": summary(result),
    }
