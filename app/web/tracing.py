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
from app.domain.parcel import Shape, may_hold_execution, unpack_shapes
from app.domain.status import FINAL, Status, status_of, tally
from app.intake.judging import event_key
from app.store import RoadConnection, attempts, ledger, observations, traces
from app.web.auth import Caller, Scope
from app.web.door import CallerOf, Door, Wired, needs
from app.web.errors import Refusal, Word
from app.web.exact import ExactJson
from app.web.ids import require_destination_id
from app.web.paging import PAGE, Cursor, Limit, cursor_of, event_place_of, page
from app.web.wiring import Wiring

router = APIRouter(route_class=Door, tags=["events"])

_PARCELS_AT_ONCE = 50
# What is rare among many parcels ends a page early, with a cursor to go on.
_PARCELS_A_PAGE, _LOOKS_FOR_S = 500, 0.1

_RATES_OVER = timedelta(minutes=5)
_SAMPLED_PARCELS = 20

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
        ((_, place),) = found.items()
        return ExactJson(await _trace(connection, wired, destination, place.parcel, place.place, known))


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
    """List events, newest first. A page may be short and still have a `next_cursor`."""
    before = event_place_of(cursor)
    async with (
        wired.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await _destination(connection, caller, destination_id)
        known = await traces.mappings(connection, destination.id)
        items: list[dict[str, Any]] = []
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
                for shape in reversed(unpack_shapes(parcel.shapes)):
                    if execution_id and shape.execution_id != execution_id:
                        continue
                    if before and parcel.id == before[0] and shape.place >= before[1]:
                        continue
                    found = special.get(parcel.id, {}).get(shape.place)
                    if together if found is None else shape.place in alone:
                        items.append(_summary(destination, parcel, shape, found, known))
                        if len(items) == limit:
                            return ExactJson(page(items, cursor_of(parcel.id, shape.place)))
            looked_at += len(parcels)
            if len(parcels) < _PARCELS_AT_ONCE:
                return ExactJson(page(items, None))
            # Place 0 of the last parcel was looked at: go on below it.
            before = (parcels[-1].id, 0)
        return ExactJson(page(items, cursor_of(*before) if before else None))


@router.get("/destinations/{destination_id}/stats", summary="Figures that add up", response_model=None)
@needs(Scope.DESTINATIONS_READ, Scope.EVENTS_READ)
async def stats(destination_id: str, caller: CallerOf, wired: Wired) -> Response:
    """Give the counts by status (they add up to `accepted`), what waits, and how fast it may leave.

    `rates` are of the last five minutes; `match_key_coverage` is of the newest accepted events.
    """
    async with wired.pool.acquire() as connection:
        destination = await _destination(connection, caller, destination_id)
        figures = await traces.figures(connection, destination.number)
        rates = await observations.rates(connection, destination.number, _RATES_OVER)
        samples = await observations.samples(connection, destination.number, _SAMPLED_PARCELS)
    assert figures is not None
    counts = tally(figures.totals, State(figures.state))
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
            "match_key_coverage": covered(
                shape for sample in samples for shape in reversed(unpack_shapes(sample.shapes))
            ),
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
    parcel_id: ParcelId,
    place: int,
    known: dict[Any, tuple[MappingId, str]],
) -> dict[str, Any]:
    parcels = await traces.parcels(connection, [parcel_id])
    parcel = parcels.get(parcel_id)
    shape = next((s for s in unpack_shapes(parcel.shapes) if s.place == place), None) if parcel else None
    if parcel is None or shape is None:
        raise Refusal(
            Word.NOT_FOUND, "The event was accepted, but what is known of it was dropped with its age."
        )
    exception = (await traces.exceptions(connection, [parcel_id])).get((parcel_id, place))
    shown = _summary(destination, parcel, shape, exception, known)
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
        event_at=shape.event_at,
        due_at=due_at,
        finished_at=finished,
        amazon_message=exception.amazon_message if exception else None,
        max_age=wired.max_event_age,
    )
    return {
        **shown,
        "destination_id": destination.id,
        "match_keys": list(shape.match_keys),
        "warnings": [{"code": code, "field": field} for code, field in shape.warnings],
        "attempts": [_attempt(told) for told in await attempts.told(connection, ids)],
        "tries": tries,
        "dead_letter": DEAD_LETTERS.get(shown["reason"], DeadLetter.SYSTEM)
        if status is Status.DEAD
        else None,
        "next_attempt_at": due_at if waits else None,
        "expires_at": None if status in FINAL else standing.expires_at,
        "erased_at": exception.erased_at if exception else None,
        "explanation": explain(standing),
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
        is_of_sign_in = destination.sign_in_reason != "endpoint_not_found"
        reason = _PARKED * is_of_sign_in + destination.sign_in_reason
    if status is Status.DELIVERED or (status is Status.QUEUED and parcel.tries == 0):
        reason = None
    return status, reason


def _summary(
    destination: traces.DestinationRow,
    parcel: traces.ParcelRow,
    shape: Shape,
    exception: traces.ExceptionRow | None,
    known: dict[Any, tuple[MappingId, str]],
) -> dict[str, Any]:
    status, reason = _fate(destination, parcel, exception)
    mapping = known.get(shape.mapping)
    return {
        "event_id": shape.event_id,
        "status": status.value,
        "code": REASONS[reason].code if reason is not None and reason in REASONS else None,
        "reason": reason,
        "accepted_at": parcel.accepted_at,
        "event_time": shape.event_at,
        "event_type": shape.event_type,
        "execution_id": shape.execution_id,
        "mapping_id": mapping[0] if mapping else None,
        "mapping_version": shape.mapping_version,
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
