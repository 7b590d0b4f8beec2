"""Use cases on the settings of destinations: list, create, change. Each runs in its own transaction."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import destinations as changes
from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.ids import new_id
from app.admin.incidents import change_alerting
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.inputs import DestinationChange, NewDestination
from app.admin.organisations import require_destination_allowance
from app.admin.refusals import ErrorCode, Refusal, require_version
from app.domain.confusable import skeleton
from app.domain.destination import Region, State
from app.domain.ids import AdvertiserId, DestinationId
from app.store.destinations import amazon_accounts, destinations
from app.store.destinations.destinations import ConfiguredRate, Destination, DestinationDraft


@dataclass(frozen=True, slots=True)
class SettingsResult:
    """A destination after a change. `similar` are the ids of destinations with a similar name.

    `account_currency` is the currency of the Amazon account if the change set another one.
    """

    destination: Destination
    similar: tuple[str, ...] = ()
    account_currency: str | None = None


async def list_destinations(
    context: AppContext,
    caller: Caller,
    *,
    limit: int,
    after: int | None = None,
    search: str | None = None,
    state: State | None = None,
) -> list[Destination]:
    """Return up to `limit` destinations that the caller may see, oldest first."""
    async with context.engine.connect() as connection:
        return await destinations.page(
            connection,
            limit=limit,
            after=after,
            search=search.strip() or None if search else None,
            state=state,
            only=caller.only,
        )


async def create_destination(context: AppContext, caller: Caller, body: NewDestination) -> SettingsResult:
    """Create a destination in state `draft`. Raises Refusal (403) for a key limited to destinations."""
    async with context.engine.begin() as connection:
        return await insert_destination(connection, caller, draft_from(body))


def draft_from(body: NewDestination) -> DestinationDraft:
    """Return the fields of a new destination."""
    rate = body.rate_limit
    return DestinationDraft(
        name=body.name,
        advertiser_id=AdvertiserId(body.advertiser_id),
        region=Region(body.region),
        currency=body.currency,
        identity_profile=body.identity_profile,
        dataset_name=body.dataset_name,
        rate=ConfiguredRate() if rate is None else ConfiguredRate(rate.requests_per_second, rate.burst),
    )


async def insert_destination(
    connection: AsyncConnection, caller: Caller, draft: DestinationDraft
) -> SettingsResult:
    """Create a destination within the organisation's limit. Raises Refusal (403, 429)."""
    if caller.destination_ids is not None:
        raise Refusal(
            ErrorCode.FORBIDDEN, "This key is limited to certain destinations and cannot create others."
        )
    await require_destination_allowance(connection)
    similar = await _similar(connection, caller, draft.name)
    created = await changes.create_destination(
        connection, DestinationId(new_id("dst_")), draft, by=caller.actor
    )
    return SettingsResult(created, similar)


async def change_destination(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    body: DestinationUpdate,
    expected: Collection[int] | None,
) -> SettingsResult:
    """Change the fields that the body contains. Raises Refusal (404, 409).

    Raises Refusal (412) if the version of the destination is not in `expected`.
    """
    async with context.engine.begin() as connection:
        before = await changes.lock_visible(connection, caller, destination_id)
        require_version(before.version, expected)
        draft = _changed(before, body)
        similar: tuple[str, ...] = ()
        if draft.name != before.name:
            similar = await _similar(connection, caller, draft.name, exclude=before.id)
        after = await changes.change_destination(connection, before, draft, by=caller.actor)
        if "alerting" in body.model_fields_set and await change_alerting(
            connection, after, body.alerting or {}, by=caller.actor
        ):
            after = await destinations.touch(connection, after.id)
        account = None
        if "currency" in body.model_fields_set:
            account = await amazon_accounts.find(connection, after.id)
    if after is not before:
        await context.wake(after.number)
    differs = account is not None and account.currency != after.currency
    return SettingsResult(after, similar, account.currency if account is not None and differs else None)


def _changed(before: Destination, body: DestinationChange) -> DestinationDraft:
    """Return the destination's fields after a change."""
    members = {name: getattr(body, name) for name in body.model_fields_set if name != "alerting"}
    if "rate_limit" in members:
        rate = members.pop("rate_limit")
        members["rate"] = ConfiguredRate()
        if rate is not None:
            # Members of `rate_limit` that the body does not contain keep their values.
            members["rate"] = replace(
                before.rate, **{name: getattr(rate, name) for name in rate.model_fields_set}
            )
    if "region" in members:
        members["region"] = Region(members["region"])
    return replace(changes.draft_of(before), **members)


async def _similar(
    connection: AsyncConnection, caller: Caller, name: str, *, exclude: str | None = None
) -> tuple[str, ...]:
    """Return the ids of the destinations with a similar name."""
    name_skeleton = skeleton(name)
    return tuple(
        id_
        for id_, other_name in await destinations.names(connection, only=caller.only)
        if id_ != exclude and skeleton(other_name) == name_skeleton
    )
