"""Use cases: start, read and end the shadow of a mapping's draft."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible
from app.admin.mappings.drafts import find_mapping
from app.admin.mappings.schema import compile_or_refuse
from app.admin.refusals import ErrorCode, Refusal
from app.domain.match_quality.shadow import CHANGED, GAINED, LOST
from app.store import audit
from app.store.audit import AuditAction
from app.store.destinations.destinations import Destination
from app.store.mappings import StoredMapping
from app.store.match_quality import shadows


@dataclass(frozen=True, slots=True)
class ShadowField:
    """The events for which the draft changes a field."""

    field: str
    gained: int
    lost: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowResult:
    """The state and the results of a mapping's shadow: `none`, `running` or `ended`."""

    state: str = "none"
    share: float | None = None
    started_at: datetime | None = None
    ends_at: datetime | None = None
    started_by: str | None = None
    events: int = 0
    same: int = 0
    different: int = 0
    fields: Sequence[ShadowField] = ()
    newly_rejected: int = 0
    newly_accepted: int = 0
    skipped: int = 0


async def start_shadow(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str, *, share: float, minutes: int
) -> ShadowResult:
    """Convert a share of the live events with a snapshot of the draft, for some minutes.

    An earlier shadow of the destination ends. Raises Refusal (404, 409, 422).
    """
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id, lock=True)
        compile_or_refuse(mapping.draft)
        if mapping.published_version is None:
            detail = "No version is published yet, so there is nothing to compare the draft with."
            raise Refusal(ErrorCode.NOT_PUBLISHABLE, detail)
        await shadows.start(
            connection,
            destination.number,
            mapping.number,
            mapping.draft,
            share=share,
            minutes=minutes,
            by=caller.actor,
        )
        after = {"share": share, "minutes": minutes}
        await _record(connection, caller, AuditAction.SHADOW_STARTED, destination, mapping, after)
    return await read_shadow(context, caller, destination_id, mapping_id)


async def end_shadow(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str
) -> ShadowResult:
    """End the shadow of a mapping, if one runs. Its results stay. Raises Refusal (404)."""
    await context.synchronise_shadows()
    async with context.engine.begin() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        if await shadows.end(connection, destination.number, mapping.number):
            await _record(connection, caller, AuditAction.SHADOW_ENDED, destination, mapping, None)
    return await read_shadow(context, caller, destination_id, mapping_id)


async def read_shadow(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str
) -> ShadowResult:
    """Return the results of a mapping's shadow, including the newest events of this process."""
    await context.synchronise_shadows()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        found = await shadows.find(connection, destination.number, mapping.number)
    if found is None:
        return ShadowResult()
    counts = found.counts
    return ShadowResult(
        state="running" if found.is_running else "ended",
        share=round(found.share, 4),
        started_at=found.started_at,
        ends_at=found.ends_at,
        started_by=found.started_by,
        events=counts.events,
        same=counts.same,
        different=counts.different,
        fields=[
            ShadowField(name, numbers[GAINED], numbers[LOST], numbers[CHANGED])
            for name, numbers in sorted(counts.fields.items())
        ],
        newly_rejected=counts.newly_rejected,
        newly_accepted=counts.newly_accepted,
        skipped=counts.skipped,
    )


async def _record(
    connection: AsyncConnection,
    caller: Caller,
    action: AuditAction,
    destination: Destination,
    mapping: StoredMapping,
    after: dict[str, float] | None,
) -> None:
    await audit.record(connection, caller.actor, action, mapping.id, destination=destination.id, after=after)
