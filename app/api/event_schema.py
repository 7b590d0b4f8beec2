"""The event schema learned from accepted events, and backtests of drafts against these events."""

from typing import Any

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.backtest import backtest_draft, summary
from app.admin.event_schemas import read_event_schema
from app.admin.inputs import BacktestRequest
from app.api.mappings import MAPPING
from app.api.paging import PAGE, Cursor, Limit, page_from
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.observed.event_schema import EventSchema, fields_by_path, suggest

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


@router.get("/destinations/{destination_id}/event-schema", summary="Read the event schema")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> dict[str, Any]:
    """List the paths of the newest accepted events: types, fill rate, and the fields each path could feed.

    Learned from samples without values.
    """
    schema = await read_event_schema(context, caller, destination_id)
    items = _items(schema)
    return {"events": schema.events, "suggestions": suggest(schema), **page_from(items, limit, cursor)}


def _items(schema: EventSchema) -> list[dict[str, Any]]:
    fields = fields_by_path(schema)
    return [
        {
            "path": entry.path,
            "types": {name: share(times, entry.present) for name, times in entry.types.items()},
            "forms": sorted(entry.kinds),
            "fill_rate": share(entry.filled, schema.events),
            "suggested_for": fields.get(entry.path, []),
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

    Counts the events that would lose or gain a match key and those newly rejected. It uses presence and types
    of fields, not values. Nothing is stored. 422 when the draft is not publishable or nothing is published
    yet.
    """
    options = body or BacktestRequest()
    version, result = await backtest_draft(
        context, caller, destination_id, mapping_id, document=options.mapping, limit=options.events
    )
    return {
        "published_version": version,
        "events": result.events,
        "unclear": result.unclear,
        "lost": [{"match_key": key, "events": times} for key, times in result.lost.most_common()],
        "gained": [{"match_key": key, "events": times} for key, times in result.gained.most_common()],
        "newly_rejected": [
            {"reason": reason, "mapping_field": field, "events": times}
            for (reason, field), times in result.rejected.most_common()
        ],
        "loss": float(round(result.loss, 4)),
        "uncertain": list(result.uncertain),
        "summary": summary(result),
    }
