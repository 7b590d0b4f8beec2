"""Use cases: start, read and end the shadow of a mapping's draft."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from app.admin import copy_as
from app.admin.context import AppContext
from app.admin.destinations import changing, find_visible, reading
from app.admin.inputs import RequestBody
from app.admin.mappings.mappings import find_mapping, require_published
from app.admin.mappings.schema import compile_or_refuse
from app.domain.observed.differences import CHANGED, GAINED, LOST, ShadowCounts
from app.store.audit import AuditAction
from app.store.match_quality import shadows


class ShadowRequest(RequestBody):
    """The share of the live events to convert with the draft, and for how long."""

    share: Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False)]
    minutes: Annotated[int, Field(ge=1, le=1440)]


@dataclass(frozen=True, slots=True)
class ShadowFieldView:
    """The events for which the draft changes a field."""

    field: str
    gained: int
    lost: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowView:
    """The shadow of a mapping's draft. It sends nothing; only counts are stored."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    state: Literal["none", "running", "ended"]
    share: float | None
    started_at: datetime | None
    ends_at: datetime | None
    started_by: str | None
    events: int
    """Events that were converted with the draft and with the published version, also rejected ones."""
    same: int
    different: int
    fields: Sequence[ShadowFieldView]
    newly_rejected: int
    newly_accepted: int
    skipped: int
    """Chosen events that were not converted, because the service was busy."""


async def start_shadow(
    context: AppContext, destination_id: str, mapping_id: str, body: ShadowRequest
) -> ShadowView:
    """Convert a share of the live events with a snapshot of the draft, for some minutes.

    An earlier shadow of the destination ends. Raises Refusal (404, 409, 422).
    """
    async with changing(context, destination_id) as (change, destination):
        mapping = await find_mapping(change.connection, destination, mapping_id, lock=True)
        compile_or_refuse(mapping.draft)
        require_published(mapping)
        await shadows.start(
            change.connection,
            destination.number,
            mapping.number,
            mapping.draft,
            share=body.share,
            minutes=body.minutes,
            by=change.by,
        )
        await change.record(AuditAction.SHADOW_STARTED, mapping.id, after=body.model_dump())
    return await read_shadow(context, destination_id, mapping_id)


async def end_shadow(context: AppContext, destination_id: str, mapping_id: str) -> ShadowView:
    """End the shadow of a mapping, if one runs. Its results stay. Raises Refusal (404)."""
    await context.intake.shadows.synchronise()
    async with context.transaction() as change:
        destination = await find_visible(change.connection, context.caller, destination_id)
        mapping = await find_mapping(change.connection, destination, mapping_id)
        if await shadows.end(change.connection, destination.number, mapping.number):
            await change.record(AuditAction.SHADOW_ENDED, mapping.id)
    return await read_shadow(context, destination_id, mapping_id)


async def read_shadow(context: AppContext, destination_id: str, mapping_id: str) -> ShadowView:
    """Return the results of a mapping's shadow, including the newest events of this process."""
    await context.intake.shadows.synchronise()
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        found = await shadows.find(connection, destination.number, mapping.number)
    counts = found.counts if found else ShadowCounts()
    return copy_as(
        ShadowView,
        counts,
        state="none" if found is None else "running" if found.is_running else "ended",
        share=round(found.share, 4) if found else None,
        started_at=found.started_at if found else None,
        ends_at=found.ends_at if found else None,
        started_by=found.started_by if found else None,
        fields=[
            ShadowFieldView(name, numbers[GAINED], numbers[LOST], numbers[CHANGED])
            for name, numbers in sorted(counts.fields.items())
        ],
    )
