"""Use cases of consent records: the legal basis of each accepted event, and the events that were blocked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.context import AppContext
from app.admin.destinations import find_visible, reading_row
from app.admin.events.scan import BatchReader, Position, are_older, highest_id
from app.admin.events.summary import mapping_of
from app.domain.batch import EventMetadata, read_shapes
from app.domain.conversion.consent import Mode, decision
from app.domain.event_query import EventQuery
from app.domain.ids import MappingId
from app.domain.mapping.sources import Problems, compile_source
from app.store import counts, mappings
from app.store.events import batches as event_batches

_BATCHES_PER_QUERY = 20
# For each consent mode, the member of a mapping's `consent` that says where the signal is in the event.
_SOURCES = {Mode.AMAZON: "user_data", Mode.TCF: "string", Mode.GPP: "string"}


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """The consent of one accepted event."""

    event_id: str
    event_at: datetime
    accepted_at: datetime
    mapping_id: MappingId | None
    mapping_version: int
    basis: Annotated[str, Field(description="The mapping's consent mode.")]
    source: Annotated[str | None, Field(description="The path in the event from which the consent was read.")]
    decision: Annotated[str, Field(json_schema_extra={"enum": ["granted", "passed_on", "not_required"]})]
    signal: Annotated[
        str | None, Field(description="For `amazon`: user data / ad storage, such as `GRANTED/GRANTED`.")
    ]
    string_sha256: str | None


@dataclass(frozen=True, slots=True)
class ConsentRecords:
    """A page of records. The next page has the records below `following`; None on the last page.

    `unreadable_batches` counts damaged batches, whose records are missing.
    """

    items: list[ConsentRecord]
    following: Position | None
    unreadable_batches: int


async def list_consent_records(
    context: AppContext, destination_id: str, *, limit: int, before: Position | None, since: datetime | None
) -> ConsentRecords:
    """Return up to `limit` records of events before a position, newest first."""
    items: list[ConsentRecord] = []
    unreadable = 0
    async with context.engine.connect() as connection, context.pool.acquire() as pipeline:
        destination = await find_visible(connection, context.caller, destination_id)
        ids = await event_batches.mappings(pipeline, [destination.id])
        reader = BatchReader(pipeline, [destination.number], EventQuery())
        documents: dict[tuple[MappingId | None, int], mappings.Document] = {}
        while True:
            batches, below = await reader.page(highest_id(before), limit=_BATCHES_PER_QUERY)
            for batch in batches:
                if since is not None and batch.accepted_at < since:
                    continue
                if (events := read_shapes(batch.shapes)) is None:
                    unreadable += 1
                    continue
                for event in reversed(events):
                    if before and (batch.id, event.place) >= before:
                        continue
                    if len(items) == limit:
                        return ConsentRecords(items, (batch.id, event.place + 1), unreadable)
                    mapping = mapping_of(event, ids)
                    version = (mapping, event.mapping_version)
                    if version not in documents:
                        documents[version] = await _document(connection, *version)
                    items.append(_record(event, batch.accepted_at, mapping, documents[version]))
            if below is None or are_older(batches, since):
                return ConsentRecords(items, None, unreadable)
            before = (below, 0)


async def blocked_by_consent(context: AppContext, destination_id: str) -> list[counts.ConsentStops]:
    """Return how many events the consent check rejected, by reason and basis."""
    async with reading_row(context, destination_id) as (pipeline, destination):
        return await counts.consent_stops(pipeline, destination.number)


def _record(
    event: EventMetadata, accepted_at: datetime, mapping: MappingId | None, document: mappings.Document
) -> ConsentRecord:
    rule = document.get("consent") or {}
    mode = Mode(rule.get("mode", Mode.GRANTED))
    source = compile_source(rule.get(_SOURCES.get(mode, "")), "", Problems(), bare="path")
    stored = event.consent or ""
    hashed = stored.startswith("sha256:")
    return ConsentRecord(
        event_id=event.event_id,
        event_at=event.event_at,
        accepted_at=accepted_at,
        mapping_id=mapping,
        mapping_version=event.mapping_version,
        basis=mode.value,
        source=source.path if source else None,
        decision=decision(mode, event.consent),
        signal=stored if stored and not hashed else None,
        string_sha256=stored.removeprefix("sha256:") if hashed else None,
    )


async def _document(connection: AsyncConnection, mapping: MappingId | None, number: int) -> mappings.Document:
    """Return the mapping document that converted an event; empty if the mapping is unknown."""
    version = await mappings.version(connection, mapping, number) if mapping else None
    return version.document if version else {}
