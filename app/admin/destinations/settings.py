"""Use cases on the settings of destinations: list, create, change. Changes are audited.

Functions that take an `Update` run in its transaction, the others in one of their own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import ErrorCode, FieldProblem, Refusal, copy_as, inputs, new_id, require_version
from app.admin.context import AppContext, Update
from app.admin.destinations import audit_view, changing, find_visible
from app.admin.incidents import AlertingInput, change_alerting
from app.admin.mappings.event_names import pin_for_advertiser
from app.admin.organisations import require_destination_allowance
from app.domain.destination import DEFAULT_RATE, DestinationSettings, Region, RequestRate
from app.domain.ids import DestinationId
from app.domain.incidents import thresholds
from app.domain.incidents.health import Health, health_of
from app.store import PipelineConnection, incidents, transaction
from app.store.audit import AuditAction
from app.store.destinations import destinations, sign_ins
from app.store.destinations.destinations import Destination, DestinationFilter
from app.store.incidents import alerting


class RateLimitInput(inputs.RequestBody):
    """The maximum request rate to Amazon for this destination."""

    requests_per_second: Annotated[float, Field(ge=0.1, le=1000, allow_inf_nan=False)] = 5.0
    burst: Annotated[int, Field(ge=1, le=1000)] = 5


class NewDestination(inputs.RequestBody):
    """A destination to create: one advertiser's Amazon account."""

    name: inputs.DestinationName = Field(examples=["Acme US"])
    advertiser_id: inputs.AdvertiserIdText
    region: inputs.RegionName
    currency: inputs.Currency
    identity_profile: inputs.ProfileName = "amazon"
    dataset_name: inputs.DatasetName | None = None
    rate_limit: RateLimitInput | None = None


class DestinationUpdate(inputs.RequestBody):
    """The fields of a destination to change, including its alerting."""

    # Absent fields keep their values. `dataset_name: null` removes the name.

    name: inputs.Omittable[inputs.DestinationName] = None
    advertiser_id: inputs.Omittable[inputs.AdvertiserIdText] = None
    region: inputs.Omittable[inputs.RegionName] = None
    currency: inputs.Omittable[inputs.Currency] = None
    identity_profile: inputs.Omittable[inputs.ProfileName] = None
    dataset_name: inputs.DatasetName | None = None
    rate_limit: RateLimitInput | None = None
    alerting: AlertingInput | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredDestination(Destination):
    """A destination with its health and its alerting."""

    health: Health
    open_incidents: int
    alerting: Annotated[
        Mapping[str, object], Field(description="Thresholds by kind of incident, and `muted_until`.")
    ]


@dataclass(frozen=True, slots=True)
class CurrencyWarning:
    """A warning: the Amazon account has another currency."""

    code: Literal["currency_differs"]
    field: Literal["currency"]
    account_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedDestination(MonitoredDestination):
    """A destination after a change, with warnings."""

    warnings: Sequence[CurrencyWarning]


async def list_destinations(
    context: AppContext, wanted: DestinationFilter, *, limit: int, after: int | None = None
) -> list[MonitoredDestination]:
    """Return up to `limit` destinations that the caller may see, oldest first."""
    wanted = replace(wanted, search=(wanted.search or "").strip(), only=context.caller.only)
    async with transaction(context.engine) as (connection, driver):
        found = await destinations.page(connection, wanted, limit=limit, after=after)
        return await _monitored(driver, found, context.now())


async def read_destination(context: AppContext, destination_id: str) -> MonitoredDestination:
    """Return a destination that the caller may see. Raises Refusal (404)."""
    async with transaction(context.engine) as (connection, driver):
        found = await find_visible(connection, context.caller, destination_id)
        return (await _monitored(driver, [found], context.now()))[0]


async def create_destination(context: AppContext, body: NewDestination) -> SavedDestination:
    """Create a destination in state `draft`, within the organisation's limit. Raises Refusal (403, 429)."""
    if context.caller.destination_ids is not None:
        detail = "This key is limited to certain destinations and cannot create others."
        raise Refusal(ErrorCode.FORBIDDEN, detail)
    async with context.transaction() as change:
        created = await insert_destination(change, DestinationId(new_id("dst_")), settings_from(body))
        return await _saved(change.driver, created, context.now())


def settings_from(body: NewDestination) -> DestinationSettings:
    """Return the settings of a new destination."""
    rate = DEFAULT_RATE if body.rate_limit is None else RequestRate(**body.rate_limit.model_dump())
    return copy_as(DestinationSettings, body, region=Region(body.region), rate_limit=rate)


def settings_of(destination: Destination) -> DestinationSettings:
    """Return the fields of a destination that a caller can set."""
    return copy_as(DestinationSettings, destination)


async def insert_destination(
    change: Update, id_: DestinationId, settings: DestinationSettings
) -> Destination:
    """Create a destination in state `draft` under an unused id. Raises Refusal (429) at the limit."""
    await require_destination_allowance(change.connection)
    created = await destinations.create(change.connection, id_, settings)
    await change.record(AuditAction.DESTINATION_CREATED, id_, None, audit_view(created))
    return created


async def update_settings(change: Update, before: Destination, settings: DestinationSettings) -> Destination:
    """Apply settings to a destination and return the destination. Return `before` if nothing changes.

    Raises Refusal if the advertiser or the region changes and can no longer change. Raises Refusal if the new
    advertiser has another pinned name for the event type of a published mapping.
    """
    if settings == settings_of(before):
        return before
    fixed = [name for name in ("advertiser_id", "region") if getattr(before, name) != getattr(settings, name)]
    if fixed:
        if before.sign_in != "none" or await destinations.ever_accepted(change.connection, before.number):
            problems = (FieldProblem(name, "not_allowed") for name in fixed)
            raise Refusal(ErrorCode.DESTINATION_FIXED, None, *problems)
        await pin_for_advertiser(change.connection, before.id, settings.advertiser_id)
    after = await destinations.change(change.connection, before.id, settings, moves=bool(fixed))
    await change.record(AuditAction.DESTINATION_CHANGED, before.id, audit_view(before), audit_view(after))
    return after


async def change_destination(
    context: AppContext, destination_id: str, body: DestinationUpdate, expected: Collection[int] | None
) -> SavedDestination:
    """Change the fields that the body contains. Raises Refusal (404, 409).

    Raises Refusal (412) if the version of the destination is not in `expected`.
    """
    async with changing(context, destination_id) as (change, before):
        require_version(before.version, expected)
        warnings: Sequence[CurrencyWarning] = ()
        after = await update_settings(change, before, _changed(before, body))
        if "alerting" in body.model_fields_set:
            alerting = body.alerting.stored() if body.alerting else dict.fromkeys(AlertingInput.model_fields)
            after = await change_alerting(change, after, alerting, before=before)
        if "currency" in body.model_fields_set:
            warnings = await currency_warnings(change.connection, after)
        result = await _saved(change.driver, after, context.now(), warnings)
    if after is not before:
        await context.wake(after)
    return result


async def currency_warnings(
    connection: AsyncConnection, destination: Destination
) -> Sequence[CurrencyWarning]:
    """Return a warning if the Amazon account is known to have another currency than the destination."""
    account = await sign_ins.find_account(connection, destination.id)
    if account is None or account.currency in (None, destination.currency):
        return ()
    return (CurrencyWarning("currency_differs", "currency", account.currency),)


def _changed(before: Destination, body: DestinationUpdate) -> DestinationSettings:
    """Return the destination's settings after a change."""
    members = {name: getattr(body, name) for name in body.model_fields_set if name != "alerting"}
    if "rate_limit" in members:
        given = members["rate_limit"]
        # Members of `rate_limit` that the body does not contain keep their values.
        changes = {} if given is None else given.model_dump(exclude_unset=True)
        members["rate_limit"] = replace(DEFAULT_RATE if given is None else before.rate_limit, **changes)
    if "region" in members:
        members["region"] = Region(members["region"])
    return replace(settings_of(before), **members)


async def _saved(
    driver: PipelineConnection,
    destination: Destination,
    now: datetime,
    warnings: Sequence[CurrencyWarning] = (),
) -> SavedDestination:
    [monitored] = await _monitored(driver, [destination], now)
    return copy_as(SavedDestination, monitored, warnings=warnings)


async def _monitored(
    driver: PipelineConnection, found: Sequence[Destination], now: datetime
) -> list[MonitoredDestination]:
    """Return these destinations with their health, their number of open incidents and their alerting."""
    ids = [each.id for each in found]
    open_kinds = await incidents.open_kinds(driver, ids)
    settings = await alerting.read_all(driver, ids)
    received = await incidents.last_received(driver, [each.number for each in found])
    result = []
    for each in found:
        severities = [severity for _, severity in open_kinds.get(each.id, [])]
        health = health_of(each.state, each.sign_in_reason, severities, received.get(each.number), now)
        view = thresholds.read(settings.get(each.id, alerting.DEFAULT_ROW).alerting).view()
        members = {"health": health, "open_incidents": len(severities), "alerting": view}
        result.append(copy_as(MonitoredDestination, each, **members))
    return result
