"""Consent records over HTTP: on which ground each accepted event left, for those who must show it."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app.admin.access import Caller, Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.inputs import Instant
from app.api.json_response import ExactJsonResponse
from app.api.paging import PAGE, Cursor, Limit, cursor_of, event_place_of, partial_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.batch import EventMetadata, read_shapes
from app.domain.conversion.consent import Mode, decision
from app.domain.ids import BatchId, MappingId, MappingNumber
from app.store import counts, event_history, mappings
from app.store.mappings import Document

router = APIRouter(route_class=SecuredRoute, tags=["events"])

_BATCHES_AT_ONCE = 20
# Where a mapping reads the consent of a mode from, by their names in its document.
_SOURCES = {Mode.AMAZON: "user_data", Mode.TCF: "string", Mode.GPP: "string"}


@router.get("/destinations/{destination_id}/consent-records", summary="On which ground did events leave?")
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def list_all(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="Only events accepted since then.")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """List a record for each accepted event, newest first, for as long as its batch is kept (30 days).

    Basis, source, times, decision, and the SHA-256 of the consent string where there was one. `stopped`
    counts, by reason and basis, the events that the gate did not let in; of these nothing else is kept.
    `unreadable_batches` counts stored batches whose records are missing here because they are damaged.
    """
    found = await read_records(destination_id, caller, context, since=since, limit=limit, cursor=cursor)
    listed = partial_page(found.items, found.next_cursor, found.unreadable_batches)
    return ExactJsonResponse({**listed, "stopped": await blocked_by_consent(destination_id, caller, context)})


@dataclass(frozen=True, slots=True)
class Collected:
    """Records, the cursor where there may be more, and how many batches among them could not be read."""

    items: list[dict[str, Any]]
    next_cursor: str | None
    unreadable_batches: int


async def read_records(
    destination_id: str,
    caller: Caller,
    context: AppContext,
    *,
    since: datetime | None,
    limit: int,
    cursor: str | None,
) -> Collected:
    """Return up to `limit` records, newest first."""
    before = event_place_of(cursor)
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        records = _RecordReader(connection, context, before, since)
        return await records.collect(destination.id, destination.number, limit)


async def blocked_by_consent(
    destination_id: str, caller: Caller, context: AppContext
) -> list[dict[str, Any]]:
    """Return how many events the consent gate did not let in, by reason and by the basis of each event."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
    async with context.pool.acquire() as delivery_control:
        return [asdict(one) for one in await counts.consent_stops(delivery_control, destination.number)]


class _RecordReader:
    """Reads records batch by batch, newest first."""

    def __init__(
        self,
        connection: AsyncConnection,
        context: AppContext,
        before: tuple[BatchId, int] | None,
        since: datetime | None,
    ) -> None:
        self._connection = connection
        self._context_of = context
        self._before = before
        self._since = since
        self._last = before or (BatchId(0), 0)
        self._documents: dict[tuple[int, int], Document | None] = {}

    async def collect(self, destination: Any, number: Any, limit: int) -> Collected:
        """Return up to `limit` records."""
        items: list[dict[str, Any]] = []
        unreadable = 0
        async with self._context_of.pool.acquire() as delivery_control:
            ids = await event_history.mappings(delivery_control, destination)
            while True:
                batches = await event_history.newest(
                    delivery_control,
                    number,
                    wanted=None,
                    since=self._since,
                    before=self._before[0] if self._before else None,
                    limit=_BATCHES_AT_ONCE,
                )
                for batch in batches:
                    if (shapes := read_shapes(batch.shapes)) is None:
                        unreadable += 1
                        continue
                    for shape in reversed(shapes):
                        if self._before and (batch.id, shape.place) >= self._before:
                            continue
                        if len(items) == limit:
                            return Collected(items, cursor_of(*self._last), unreadable)
                        items.append(await self._record(shape, batch.accepted_at, ids))
                        self._last = (batch.id, shape.place)
                if len(batches) < _BATCHES_AT_ONCE:
                    return Collected(items, None, unreadable)
                self._before = (batches[-1].id, 0)

    async def _record(
        self, shape: EventMetadata, accepted_at: datetime, ids: dict[MappingNumber, tuple[MappingId, str]]
    ) -> dict[str, Any]:
        mapping, _ = ids.get(MappingNumber(shape.mapping), (None, ""))
        document = await self._document(mapping, shape) if mapping is not None else None
        rule = (document or {}).get("consent") or {}
        mode = Mode(rule.get("mode", Mode.GRANTED))
        source = rule.get(_SOURCES.get(mode, ""))
        kept = shape.consent or ""
        return {
            "event_id": shape.event_id,
            "event_at": shape.event_at,
            "accepted_at": accepted_at,
            "mapping_id": mapping,
            "mapping_version": shape.mapping_version,
            "basis": mode.value,
            "source": source.get("path") if isinstance(source, dict) else source,
            "decision": decision(mode, shape.consent),
            "signal": kept if kept and not kept.startswith("sha256:") else None,
            "string_sha256": kept.removeprefix("sha256:") if kept.startswith("sha256:") else None,
        }

    async def _document(self, mapping: MappingId, shape: EventMetadata) -> Document | None:
        key = (shape.mapping, shape.mapping_version)
        if key not in self._documents:
            found = await mappings.version(self._connection, mapping, shape.mapping_version)
            self._documents[key] = found.document if found else None
        return self._documents[key]
