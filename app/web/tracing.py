"""What became of events: the trace of one, lists of a destination, and its figures that add up."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from app.domain.codes import DEAD_LETTERS, REASONS, DeadLetter
from app.domain.coverage import covered
from app.domain.destination import State
from app.domain.explaining import Standing, explain
from app.domain.ids import DestinationId, MappingId, ParcelId
from app.domain.ledger_keys import event_key
from app.domain.parcel import Shape, may_hold_execution, read_shapes
from app.domain.status import FINAL, Status, status_of, tally
from app.store import RoadConnection, attempts, ledger, observations, traces
from app.web.auth import Caller, Scope
from app.web.door import CallerOf, Door, Wired, needs
from app.web.errors import Refusal, Word
from app.web.exact import ExactJson
from app.web.ids import require_destination_id
from app.web.paging import PAGE, Cursor, Limit, cursor_of, event_place_of, partial_page
from app.web.wiring import Wiring

router = APIRouter(route_class=Door, tags=["events"])

_PARCELS_AT_ONCE = 50
# What is rare among many parcels ends a page early, with a cursor to go on.
_PARCELS_A_PAGE, _LOOKS_FOR_S = 500, 0.1

_RATES_OVER = timedelta(minutes=5)
_SAMPLED_PARCELS = 20

_DROPPED = "The event was accepted, but what is known of it was dropped with its age."
_STATE_MISSING = (
    "The event was accepted, but its delivery state is missing: stored data is damaged. "
    "Ask the operator to run doctor."
)
_SHAPES_DAMAGED = (
    " What is stored beside it is damaged: its time, type, match keys and warnings cannot be read."
)

# A reason of the road that a parcel does not carry itself follows from the destination's.
_PARKED = "sign_in_"


@router.get("/events/{event_id:path}", summary="Where did my event go?", response_model=None)
@needs(Scope.EVENTS_READ)
async def explain_event(
    event_id: str,
    caller: CallerOf,
    wired: Wired,
    destination_id: Annotated[str, Query(description="The destination it was sent to.")],
    mapping_id: Annotated[str | None, Query(description="Needed when the id stands under several.")] = None,
) -> Response:
    """Tell everything that happened to one event, with a sentence on what to do. No personal data."""
    async with (
        wired.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await _destination(connection, caller, destination_id)
        known = await traces.mappings(connection, destination.id)
        keys = {
            event_key(destination.id, mapping, event_id): mapping
            for mapping, _ in known.values()
            if mapping_id in (None, mapping)
        }
        generation = await ledger.current_generation(connection)
        found = await ledger.find(connection, generation, list(keys))
        if not found:
            raise Refusal(Word.NOT_FOUND, "No event of this id was accepted for this destination.")
        if len(found) > 1:
            under = sorted(keys[key] for key in found)
            raise Refusal(Word.EVENT_AMBIGUOUS, None, mapping_ids=under)
        ((key, place),) = found.items()
        return ExactJson(await _trace(connection, wired, destination, place, known, event_id, keys[key]))


@router.get("/destinations/{destination_id}/events", summary="Events by status", response_model=None)
@needs(Scope.EVENTS_READ)
async def list_events(
    destination_id: str,
    caller: CallerOf,
    wired: Wired,
    status: Annotated[Status | None, Query(description="Only events of this status.")] = None,
    reason: Annotated[str | None, Query(max_length=64, description="Only events with this reason.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Only events accepted since then.")] = None,
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
    async with (
        wired.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await _destination(connection, caller, destination_id)
        known = await traces.mappings(connection, destination.id)
        items: list[dict[str, Any]] = []
        unreadable = 0
        looked_at, until = 0, monotonic() + _LOOKS_FOR_S
        while looked_at == 0 or (looked_at < _PARCELS_A_PAGE and monotonic() < until):
            parcels = await traces.newest(
                connection,
                destination.number,
                wanted=status,
                since=since,
                before=before[0] if before else None,
                limit=_PARCELS_AT_ONCE,
            )
            exceptions = await traces.exceptions(connection, [parcel.id for parcel in parcels])
            special: dict[ParcelId, dict[int, traces.ExceptionRow]] = {}
            for (parcel_id, place), exception in exceptions.items():
                special.setdefault(parcel_id, {})[place] = exception
            for parcel in parcels:
                if execution_id and not may_hold_execution(parcel.shapes, execution_id):
                    continue
                # Most events of a parcel fare alike: which are asked for is known before any is unpacked.
                alone = {
                    place
                    for place, one in special.get(parcel.id, {}).items()
                    if _is_wanted(_fate(destination, parcel, one), status, reason)
                }
                together = _is_wanted(_fate(destination, parcel, None), status, reason)
                if not alone and not together:
                    continue
                if (shapes := read_shapes(parcel.shapes)) is None:
                    unreadable += 1
                    continue
                for shape in reversed(shapes):
                    if execution_id and shape.execution_id != execution_id:
                        continue
                    if before and parcel.id == before[0] and shape.place >= before[1]:
                        continue
                    found = special.get(parcel.id, {}).get(shape.place)
                    if together if found is None else shape.place in alone:
                        items.append(_summary(destination, parcel, shape, found, known))
                        if len(items) == limit:
                            return ExactJson(
                                partial_page(items, cursor_of(parcel.id, shape.place), unreadable)
                            )
            looked_at += len(parcels)
            if len(parcels) < _PARCELS_AT_ONCE:
                return ExactJson(partial_page(items, None, unreadable))
            # Place 0 of the last parcel was looked at: go on below it.
            before = (parcels[-1].id, 0)
        return ExactJson(partial_page(items, cursor_of(*before) if before else None, unreadable))


@router.get("/destinations/{destination_id}/stats", summary="Figures that add up", response_model=None)
@needs(Scope.DESTINATIONS_READ, Scope.EVENTS_READ)
async def stats(destination_id: str, caller: CallerOf, wired: Wired) -> Response:
    """Give the counts by status (they add up to `accepted`), what waits, and how fast it may leave.

    `rates` are of the last five minutes; `match_key_coverage` is of the newest accepted events, and
    `unreadable_batches` counts the damaged batches that it leaves out.
    """
    async with wired.pool.acquire() as connection:
        destination = await _destination(connection, caller, destination_id)
        figures = await traces.figures(connection, destination.number)
        rates = await observations.rates(connection, destination.number, _RATES_OVER)
        samples = await observations.samples(connection, destination.number, _SAMPLED_PARCELS)
    assert figures is not None
    counts = tally(figures.totals, State(figures.state))
    shapes, unreadable = observations.shapes_in(samples)
    now = datetime.now(UTC)
    waiting = {name: counts[name] for name in ("queued", "retrying", "held", "parked")}
    return ExactJson(
        {
            "destination_id": destination.id,
            "state": figures.state,
            "counts": counts,
            "waiting": sum(waiting.values()),
            "oldest_waiting_seconds": _age(figures.oldest_waiting, now),
            "earliest_expiry_at": (
                figures.earliest_expiry + wired.max_event_age if figures.earliest_expiry else None
            ),
            "rate_limit": {"requests_per_second": figures.requests_per_second, "burst": figures.burst},
            "learned_rate": figures.learned_rate,
            "rates": asdict(rates),
            "match_key_coverage": covered(shapes),
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
    connection: RoadConnection, caller: Caller, destination_id: str
) -> traces.DestinationRow:
    require_destination_id(destination_id)
    found = (
        await traces.destination(connection, DestinationId(destination_id))
        if caller.sees(destination_id)
        else None
    )
    if found is None:
        raise Refusal(Word.NOT_FOUND)
    return found


async def _trace(
    connection: RoadConnection,
    wired: Wiring,
    destination: traces.DestinationRow,
    at: ledger.Found,
    known: dict[Any, tuple[MappingId, str]],
    event_id: str,
    mapping_id: MappingId,
) -> dict[str, Any]:
    parcel_id = at.parcel
    parcel = (await traces.parcels(connection, [parcel_id])).get(parcel_id)
    if parcel is None:
        is_damaged = await traces.has_content(connection, parcel_id)
        raise Refusal(Word.NOT_FOUND, _STATE_MISSING if is_damaged else _DROPPED)
    shape = next((s for s in read_shapes(parcel.shapes) or () if s.place == at.place), None)
    exception = (await traces.exceptions(connection, [parcel_id])).get((parcel_id, at.place))
    shown = _summary(destination, parcel, shape, exception, known)
    if shape is None:
        shown |= {"event_id": event_id, "mapping_id": mapping_id}
    event_at = shape.event_at if shape else exception.event_at if exception else parcel.first_event
    under_way = await traces.under_way(connection, destination.number, parcel_id)
    ids = [*parcel.attempts, *(exception.attempts if exception else ()), *under_way]
    tries = max(parcel.tries, exception.tries if exception else 0)
    status = Status(shown["status"])
    waits = status in {Status.QUEUED, Status.RETRYING}
    due_at = exception.due_at if exception else parcel.due_at
    finished = exception.changed_at if exception else parcel.settled_at
    standing = Standing(
        status=status,
        tries=tries,
        reason=shown["reason"],
        event_at=event_at,
        due_at=due_at,
        finished_at=finished,
        amazon_message=exception.amazon_message if exception else None,
        max_age=wired.max_event_age,
    )
    return {
        **shown,
        "destination_id": destination.id,
        "match_keys": list(shape.match_keys) if shape else [],
        "warnings": [{"code": code, "field": field} for code, field in shape.warnings] if shape else [],
        "attempts": [_attempt(told) for told in await attempts.told(connection, ids)],
        "tries": tries,
        "dead_letter": DEAD_LETTERS.get(shown["reason"], DeadLetter.SYSTEM)
        if status is Status.DEAD
        else None,
        "next_attempt_at": due_at if waits else None,
        "expires_at": None if status in FINAL else standing.expires_at,
        "erased_at": exception.erased_at if exception else None,
        "explanation": explain(standing) + ("" if shape else _SHAPES_DAMAGED),
    }


def _is_wanted(fate: tuple[Status, str | None], status: Status | None, reason: str | None) -> bool:
    return status in (None, fate[0]) and reason in (None, fate[1])


def _fate(
    destination: traces.DestinationRow, parcel: traces.ParcelRow, exception: traces.ExceptionRow | None
) -> tuple[Status, str | None]:
    """Return the status and reason of an event of a parcel, by its own row where it has one."""
    status = status_of(
        fate=parcel.fate,
        tries=parcel.tries,
        exception=exception.status if exception else None,
        state=State(destination.state),
    )
    reason = exception.reason if exception else parcel.reason
    if status is Status.PARKED and destination.sign_in_reason:
        reason = _PARKED + destination.sign_in_reason
    if status is Status.DELIVERED or (status is Status.QUEUED and parcel.tries == 0):
        reason = None
    return status, reason


def _summary(
    destination: traces.DestinationRow,
    parcel: traces.ParcelRow,
    shape: Shape | None,
    exception: traces.ExceptionRow | None,
    known: dict[Any, tuple[MappingId, str]],
) -> dict[str, Any]:
    status, reason = _fate(destination, parcel, exception)
    mapping = known.get(shape.mapping) if shape else None
    return {
        "event_id": shape.event_id if shape else None,
        "status": status.value,
        "code": REASONS[reason].code if reason is not None and reason in REASONS else None,
        "reason": reason,
        "accepted_at": parcel.accepted_at,
        "event_time": shape.event_at if shape else None,
        "event_type": shape.event_type if shape else None,
        "execution_id": shape.execution_id if shape else None,
        "mapping_id": mapping[0] if mapping else None,
        "mapping_version": shape.mapping_version if shape else None,
        "amazon_code": exception.amazon_code if exception else None,
        "amazon_message": exception.amazon_message if exception else None,
    }


def _attempt(told: attempts.Told) -> dict[str, Any]:
    return {
        "id": str(told.id),
        "started_at": told.started_at,
        "settled_at": told.settled_at,
        "outcome": told.outcome or "under_way",
        "http_status": told.http_status,
        "request_id": told.request_id,
        "message": told.message,
        "took_ms": told.took_ms,
        "events_in_request": told.events,
    }


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 3)
