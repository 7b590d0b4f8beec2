"""What was learned from accepted events, over HTTP: a destination's catalogue, and a draft's backtest."""

from typing import Any

from fastapi import APIRouter

from app.admin import publishing
from app.admin.access import Caller, Scope
from app.admin.backtest import compare_draft, summary
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.inputs import BacktestRequest
from app.admin.refusals import ErrorCode, Refusal
from app.api.mappings import MAPPING, found
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
    """Show what the newest accepted events had: paths, types, how often filled, and what to map them to.

    Learned from a sample; never a value.
    """
    complete = await event_schema_of(destination_id, caller, context)
    return {**complete, **page_from(complete["items"], limit, cursor)}


async def event_schema_of(destination_id: str, caller: Caller, context: AppContext) -> dict[str, Any]:
    """Return all paths of a destination's newest accepted events at once, and what to map them to."""
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        learned = merge_samples(await schema_samples.of_destination(connection, destination.id))
    return {"events": learned.events, "items": _items(learned), "suggestions": suggest(learned)}


def _items(learned: EventSchema) -> list[dict[str, Any]]:
    wanted: dict[str, list[str]] = {}
    for field, paths in suggest(learned).items():
        for path in paths:
            wanted.setdefault(path, []).append(field)
    return [
        {
            "path": entry.path,
            "types": {name: share(times, entry.present) for name, times in entry.types.items()},
            "forms": sorted(entry.kinds),
            "fill_rate": share(entry.filled, learned.events),
            "suggested_for": wanted.get(entry.path, []),
        }
        for entry in learned.entries.values()
    ]


def share(part: int, whole: int) -> float:
    """Return a share between 0 and 1, to four places."""
    return round(part / whole, 4) if whole else 0.0


@router.post(MAPPING + "/backtest", summary="Try a draft against recent events")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def run_backtest(
    *,
    destination_id: str,
    mapping_id: str,
    caller: CurrentCaller,
    context: Context,
    body: BacktestRequest | None = None,
) -> dict[str, Any]:
    """Compare the draft (or `mapping` in the body) with what is published, over the newest accepted events.

    By presence and form: which events would lose which match key, which would be newly rejected and why.
    Nothing is stored. 422 when the draft cannot be published or nothing is published yet.
    """
    asked = body or BacktestRequest()
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await found(connection, destination, mapping_id)
        if asked.mapping is None:
            draft = publishing.compile_or_refuse(mapping.draft)
        else:
            draft = publishing.compile_or_refuse(asked.mapping, ErrorCode.INVALID, at="mapping")
        if mapping.published is None:
            raise Refusal(ErrorCode.NOT_PUBLISHABLE, "Nothing is published yet to compare the draft with.")
        told = await compare_draft(connection, context, destination, mapping, draft, limit=asked.events)
    return {"published_version": mapping.published_version, **shown(told)}


def shown(told: Backtest) -> dict[str, Any]:
    """Return a backtest as readers see it."""
    return {
        "events": told.events,
        "unclear": told.unclear,
        "lost": [{"match_key": key, "events": times} for key, times in told.lost.most_common()],
        "gained": [{"match_key": key, "events": times} for key, times in told.gained.most_common()],
        "newly_rejected": [
            {"reason": reason, "mapping_field": field, "events": times}
            for (reason, field), times in told.rejected.most_common()
        ],
        "loss": float(round(told.loss, 4)),
        "uncertain": list(told.uncertain),
        "summary": summary(told),
    }
