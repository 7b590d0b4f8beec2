"""What became of events: the trace of one, lists of a destination, and its figures that add up."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.admin.access import Caller, Scope
from app.admin.ids import require_destination_id
from app.admin.inputs import Instant
from app.admin.refusals import ErrorCode, Refusal
from app.api import event_history as event_histories
from app.api.event_history import THROTTLED, status_and_reason, summary_of
from app.api.json_response import ExactJsonResponse
from app.api.paging import PAGE, Cursor, Limit, cursor_of, event_place_of, partial_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.batch import may_hold_execution, read_shapes
from app.domain.destination import State
from app.domain.ids import BatchId, DestinationId
from app.domain.ledger_keys import event_key
from app.domain.observed.coverage import match_key_coverage
from app.domain.outcomes.reasons import DEAD_LETTERS, REASONS, DeadLetter
from app.domain.outcomes.status import Status, tally
from app.store import PipelineConnection, event_attempts, event_history, ledger, metrics

router = APIRouter(route_class=SecuredRoute, tags=["events"])

_BATCHES_AT_ONCE = 50
# What is rare among many batches ends a page early, with a cursor to go on.
_BATCHES_A_PAGE, _LOOKS_FOR_S = 500, 0.1

_RATES_OVER = timedelta(minutes=5)
_SAMPLED_BATCHES = 20


@router.get("/events/{event_id:path}", summary="Where did my event go?", response_model=None)
@requires(Scope.EVENTS_READ)
async def read_event(
    event_id: str,
    caller: CurrentCaller,
    context: Context,
    destination_id: Annotated[str, Query(description="The destination it was sent to.")],
    mapping_id: Annotated[str | None, Query(description="Needed when the id stands under several.")] = None,
) -> Response:
    """Tell everything that happened to one event, with a sentence on what to do. No personal data."""
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await _destination(connection, caller, destination_id)
        known = await event_history.mappings(connection, destination.id)
        keys = {
            event_key(destination.id, mapping, event_id): mapping
            for mapping, _ in known.values()
            if mapping_id in (None, mapping)
        }
        generation = await ledger.current_generation(connection)
        found = await ledger.find(connection, generation, list(keys))
        places = {key: (place.batch, place.place) for key, place in found.items()}
        if not found:
            duplicates = {
                one.key: one for one in await event_attempts.mapped_duplicates(connection, list(keys))
            }
            places = {key: (one.batch, one.place) for key, one in duplicates.items()}
        if not places:
            raise Refusal(ErrorCode.NOT_FOUND, "No event of this id was accepted for this destination.")
        if len(places) > 1:
            under = sorted(keys[key] for key in places)
            raise Refusal(ErrorCode.EVENT_AMBIGUOUS, None, mapping_ids=under)
        ((key, (batch, place)),) = places.items()
        asked = event_histories.EventLocation(event_id, keys[key], batch, place)
        if found:
            return ExactJsonResponse(
                await event_histories.history(connection, context, destination, asked, known)
            )
        return ExactJsonResponse(
            await event_histories.history_of_duplicate(
                connection, context, caller, destination, asked, duplicates[key]
            )
        )


@router.get("/destinations/{destination_id}/events", summary="Events by status", response_model=None)
@requires(Scope.EVENTS_READ)
async def list_events(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    status: Annotated[Status | None, Query(description="Only events of this status.")] = None,
    reason: Annotated[str | None, Query(max_length=64, description="Only events with this reason.")] = None,
    since: Annotated[Instant | None, Query(description="Only events accepted since then.")] = None,
    execution_id: Annotated[
        str | None, Query(max_length=128, description="Only events of this journey execution.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = PAGE,
) -> Response:
    """List events, newest first. A page may be short and still have a `next_cursor`.

    `unreadable_batches` counts stored batches whose events are missing here because they are damaged.
    """
    before = event_place_of(cursor)
    # What waits behind a 429 is queued: no need to look through what is not.
    wanted = Status.QUEUED if reason == THROTTLED and status is None else status
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await _destination(connection, caller, destination_id)
        known = await event_history.mappings(connection, destination.id)
        items: list[dict[str, Any]] = []
        unreadable = 0
        looked_at, until = 0, monotonic() + _LOOKS_FOR_S
        while looked_at == 0 or (looked_at < _BATCHES_A_PAGE and monotonic() < until):
            batches = await event_history.newest(
                connection,
                destination.number,
                wanted=wanted,
                since=since,
                before=before[0] if before else None,
                limit=_BATCHES_AT_ONCE,
            )
            exceptions = await event_history.exceptions(
                connection, destination.number, [batch.id for batch in batches]
            )
            special: dict[BatchId, dict[int, event_history.ExceptionRow]] = {}
            for (batch_id, place), exception in exceptions.items():
                special.setdefault(batch_id, {})[place] = exception
            for batch in batches:
                if execution_id and not may_hold_execution(batch.shapes, execution_id):
                    continue
                # Most events of a batch fare alike: which are asked for is known before any is unpacked.
                alone = {
                    place
                    for place, one in special.get(batch.id, {}).items()
                    if _is_wanted(status_and_reason(destination, batch, one), status, reason)
                }
                together = _is_wanted(status_and_reason(destination, batch, None), status, reason)
                if not alone and not together:
                    continue
                if (shapes := read_shapes(batch.shapes)) is None:
                    unreadable += 1
                    continue
                for shape in reversed(shapes):
                    if execution_id and shape.execution_id != execution_id:
                        continue
                    if before and batch.id == before[0] and shape.place >= before[1]:
                        continue
                    found = special.get(batch.id, {}).get(shape.place)
                    if together if found is None else shape.place in alone:
                        items.append(summary_of(destination, batch, shape, found, known))
                        if len(items) == limit:
                            return ExactJsonResponse(
                                partial_page(items, cursor_of(batch.id, shape.place), unreadable)
                            )
            looked_at += len(batches)
            if len(batches) < _BATCHES_AT_ONCE:
                return ExactJsonResponse(partial_page(items, None, unreadable))
            # Place 0 of the last batch was looked at: go on below it.
            before = (batches[-1].id, 0)
        return ExactJsonResponse(partial_page(items, cursor_of(*before) if before else None, unreadable))


@router.get("/destinations/{destination_id}/stats", summary="Figures that add up", response_model=None)
@requires(Scope.DESTINATIONS_READ, Scope.EVENTS_READ)
async def stats(destination_id: str, caller: CurrentCaller, context: Context) -> Response:
    """Give the counts by status (they add up to `accepted`), what waits, and how fast it may leave.

    `rates` are of the last five minutes; `match_key_coverage` is of the newest accepted events, and
    `unreadable_batches` counts the damaged batches that it leaves out.
    """
    async with context.pool.acquire() as connection:
        destination = await _destination(connection, caller, destination_id)
        figures = await event_history.destination_figures(connection, destination.number)
        rates = await metrics.rates(connection, destination.number, _RATES_OVER)
        samples = await metrics.samples(connection, destination.number, _SAMPLED_BATCHES)
    assert figures is not None
    counts = tally(figures.totals, State(figures.state))
    shapes, unreadable = metrics.shapes_in(samples)
    now = datetime.now(UTC)
    waiting = {name: counts[name] for name in ("queued", "retrying", "held", "parked")}
    return ExactJsonResponse(
        {
            "destination_id": destination.id,
            "state": figures.state,
            "counts": counts,
            "waiting": sum(waiting.values()),
            "oldest_waiting_seconds": _age(figures.oldest_waiting, now),
            "earliest_expiry_at": (
                figures.earliest_expiry + context.max_event_age if figures.earliest_expiry else None
            ),
            "rate_limit": {"requests_per_second": figures.requests_per_second, "burst": figures.burst},
            "learned_rate": figures.learned_rate,
            "rates": asdict(rates),
            "match_key_coverage": match_key_coverage(shapes),
            "unreadable_batches": unreadable,
            "breaker": {"state": figures.breaker, "error_rate": round(figures.error_rate, 3)},
            "lane_owned": figures.lane_owned,
            "rejections": [{"code": c, "reason": r, "count": n} for c, r, n in figures.rejected],
            "dead_letters": [
                {
                    "code": REASONS[reason].code,
                    "reason": reason,
                    "count": number,
                    "class": DEAD_LETTERS.get(reason, DeadLetter.SYSTEM),
                    "remedy": REASONS[reason].remedy,
                }
                for reason, number in figures.dead
                if reason in REASONS
            ],
        }
    )


async def _destination(
    connection: PipelineConnection, caller: Caller, destination_id: str
) -> event_history.DestinationRow:
    require_destination_id(destination_id)
    found = (
        await event_history.destination(connection, DestinationId(destination_id))
        if caller.sees(destination_id)
        else None
    )
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    return found


def _is_wanted(disposition: tuple[Status, str | None], status: Status | None, reason: str | None) -> bool:
    return status in (None, disposition[0]) and reason in (None, disposition[1])


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 3)
