"""The search over all destinations: an event by its id, or every event of a journey execution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.sessions import Visitor
from app.console.wording import number
from app.domain.batch import may_hold_execution, read_shapes
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.ids import BatchId, MappingNumber
from app.domain.ledger_keys import event_key
from app.store import event_history, ledger, metrics

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_BATCHES_AT_ONCE = 40
_LOOKS_FOR_S = 0.12  # then the page says how far back it looked, and asks before it goes on
_MOST = 50


@dataclass(slots=True)
class ExecutionSearch:
    """What a search for a journey execution found. `before` is where to go on, None at the end."""

    found: list[dict[str, Any]] = field(default_factory=list)
    events: int = 0
    unreadable: int = 0  # batches
    back_to: datetime | None = None
    before: BatchId | None = None


@router.get("/console/events", response_model=None)
@requires(Scope.EVENTS_READ)
async def search(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    q: Annotated[str, Query(max_length=600)] = "",
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:
    """Find an event by its id or its journey execution, whatever destination it was sent to."""
    wanted = q.strip()
    found: list[dict[str, Any]] = []
    looked = ExecutionSearch()
    if wanted:
        if before is None:
            found = await _by_event_id(context, visitor, wanted)
        if not found:
            # One text names an event or an execution; where it names an event, that was meant.
            looked = await _by_execution(
                context, visitor, wanted, None if before is None else BatchId(before)
            )
    return pages.show(
        request,
        "search.html",
        q=wanted,
        found=found,
        looked=looked,
        events=number(looked.events),
        further=before is not None,
        types=EVENT_TYPES,
    )


async def _by_event_id(context: AppContext, visitor: Visitor, event_id: str) -> list[dict[str, Any]]:
    """Return where an event id was accepted: the same keys that the door would look for."""
    async with context.pool.acquire() as connection:
        known = await metrics.every_mapping(connection, visitor.caller.only)
        keys = {event_key(one.destination, one.id, event_id): one for one in known}
        generation = await ledger.current_generation(connection)
        places = await ledger.find(connection, generation, list(keys))
    return [
        {
            "destination_id": keys[key].destination,
            "name": keys[key].destination_name,
            "mapping_id": keys[key].id,
        }
        for key in places
    ]


async def _by_execution(
    context: AppContext, visitor: Visitor, execution_id: str, before: BatchId | None
) -> ExecutionSearch:
    """Look through batches, newest first, for as long as a page may take."""
    looked, until = ExecutionSearch(before=before), monotonic() + _LOOKS_FOR_S
    async with context.pool.acquire() as connection:
        known = {one.number: one for one in await metrics.every_mapping(connection, visitor.caller.only)}
        only = None if visitor.caller.only is None else {one.destination_number for one in known.values()}
        while monotonic() < until and len(looked.found) < _MOST:
            batches = await event_history.latest(
                connection,
                None if only is None else list(only),
                before=looked.before,
                limit=_BATCHES_AT_ONCE,
            )
            for batch in batches:
                of_batch = matching_events(batch, execution_id, known)
                looked.found += of_batch or ()
                looked.unreadable += of_batch is None
                looked.events += batch.events
                looked.back_to, looked.before = batch.accepted_at, batch.id
            if len(batches) < _BATCHES_AT_ONCE:
                looked.before = None
                break
    return looked


def matching_events(
    batch: event_history.StoredMetadata, execution_id: str, known: Mapping[MappingNumber, metrics.Mapped]
) -> Sequence[dict[str, Any]] | None:
    """Return what the page shows of a batch's events that this journey execution sent, newest first.

    None where the batch cannot be read.
    """
    if not may_hold_execution(batch.shapes, execution_id):
        return ()
    if (shapes := read_shapes(batch.shapes)) is None:
        return None
    return [
        {
            "event_id": shape.event_id,
            "event_type": shape.event_type,
            "event_time": shape.event_at,
            "accepted_at": batch.accepted_at,
            "destination_id": known[MappingNumber(shape.mapping)].destination,
            "name": known[MappingNumber(shape.mapping)].destination_name,
            "mapping_id": known[MappingNumber(shape.mapping)].id,
        }
        for shape in reversed(shapes)
        if shape.execution_id == execution_id and shape.mapping in known
    ]
