"""Use cases on organisations.

Only platform keys can use them. Each change is audited in the changed organisation, not in the
organisation of the platform key: readers of an audit must not learn that other organisations exist.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import ErrorCode, FieldProblem, Refusal, invalid, new_id, require_found, require_version
from app.admin.context import AppContext
from app.admin.inputs import Omittable, Printable, RequestBody
from app.domain.ids import OrganisationId
from app.store.audit import AuditAction
from app.store.organisations import organisations, usage
from app.store.organisations.organisations import Organisation, OrganisationLimits
from app.store.organisations.scope import EVERY

MAX_USAGE_DAYS = 366
DESTINATION_RETRY_S = 3600  # a person must delete a destination or raise the limit


class OrganisationLimitsInput(RequestBody):
    """The limits of an organisation; null for no limit."""

    destinations: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    events_per_second: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class NewOrganisation(RequestBody):
    """An organisation to create. Without `id` it gets a random id. An id never changes."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", examples=["acme"])] | None = None
    name: Printable = Field(examples=["Acme"])
    limits: OrganisationLimitsInput | None = None


class OrganisationChange(RequestBody):
    """The fields to change. Absent fields keep their values."""

    name: Omittable[Printable] = None
    limits: Omittable[OrganisationLimitsInput] = None


def audit_view(organisation: Organisation) -> dict[str, Any]:
    """Return the members of an organisation that the audit records."""
    return {
        "name": organisation.name,
        "limits": asdict(organisation.limits),
        "suspended": organisation.suspended_at is not None,
    }


async def create_organisation(context: AppContext, body: NewOrganisation) -> Organisation:
    """Create an organisation. Raises Refusal (409) when its id is taken."""
    id_ = OrganisationId(body.id or new_id("org_"))
    limits = OrganisationLimits() if body.limits is None else OrganisationLimits(**body.limits.model_dump())
    async with context.within(id_).transaction() as change:
        # The API uses the id `self` for the organisation of the key.
        is_free = id_ != "self"
        created = await organisations.create(change.connection, id_, body.name, limits) if is_free else None
        if created is None:
            raise Refusal(ErrorCode.ORGANISATION_EXISTS, None, FieldProblem("id", "taken"))
        await change.record(AuditAction.ORGANISATION_CREATED, id_, None, audit_view(created))
    return created


async def find_organisation(context: AppContext, organisation: str) -> Organisation:
    """Return an organisation. Raises Refusal (404)."""
    async with context.within(OrganisationId(organisation)).engine.connect() as connection:
        return require_found(await organisations.find(connection, organisation))


async def list_organisations(
    context: AppContext, *, limit: int, after: tuple[datetime, str] | None
) -> Sequence[Organisation]:
    """Return up to `limit` organisations in order of creation."""
    async with context.within(EVERY).engine.connect() as connection:
        return await organisations.page(connection, limit=limit, after=after)


async def count_destinations(context: AppContext) -> int:
    """Return the number of destinations of the context's organisation."""
    async with context.engine.connect() as connection:
        return await organisations.count_destinations(connection)


async def require_destination_allowance(connection: AsyncConnection) -> None:
    """Raise Refusal (429) when the acting organisation has as many destinations as its limit allows."""
    used, limit = await organisations.lock_destination_count(connection)
    if limit is not None and used >= limit:
        raise Refusal(ErrorCode.DESTINATION_LIMIT, retry_after=DESTINATION_RETRY_S)


async def change_organisation(
    context: AppContext, organisation: str, body: OrganisationChange, expected: Collection[int] | None
) -> Organisation:
    """Change the name and the limits in the body. Raises Refusal (404, 412, 422)."""
    async with context.within(OrganisationId(organisation)).transaction() as change:
        before = require_found(await organisations.lock(change.connection, organisation))
        require_version(before.version, expected)
        # Members that are left out keep their values; null removes a limit.
        given = {} if body.limits is None else body.limits.model_dump(exclude_unset=True)
        name, limits = body.name or before.name, replace(before.limits, **given)
        if (name, limits) == (before.name, before.limits):
            return before
        after = await organisations.change(change.connection, before.id, name, limits)
        await change.record(AuditAction.ORGANISATION_CHANGED, after.id, audit_view(before), audit_view(after))
    context.forget_organisation(after.id)
    return after


async def organisation_usage_by_day(
    context: AppContext, organisation: str, first: date | None, last: date | None
) -> Sequence[usage.DayUsage]:
    """Return the usage of each day, by default of the last 30 days. Raises Refusal (404, 422)."""
    last = last or context.now().date()
    first = first or last - timedelta(days=29)
    if last < first:
        raise invalid("to", "before_from")
    if (last - first).days >= MAX_USAGE_DAYS:
        raise invalid("from", "too_long_ago", f"Request at most {MAX_USAGE_DAYS} days.")
    found = await find_organisation(context, organisation)
    async with context.within(found.id).pool.acquire() as connection:
        return await usage.by_day(connection, found.id, first, last)


async def set_suspended(context: AppContext, organisation: str, *, suspended: bool) -> Organisation:
    """Reject new events of an organisation and let its accepted events wait, or end this. Nothing is lost."""
    async with context.within(OrganisationId(organisation)).transaction() as change:
        before = require_found(await organisations.lock(change.connection, organisation))
        if (before.suspended_at is not None) == suspended:
            return before
        after = await organisations.set_suspended(change.connection, before.id, suspended)
        action = AuditAction.ORGANISATION_SUSPENDED if suspended else AuditAction.ORGANISATION_RESUMED
        await change.record(action, after.id, audit_view(before), audit_view(after))
    context.forget_organisation(after.id)
    return after
