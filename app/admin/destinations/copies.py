"""Use cases: copy a mapping as a draft, and copy a destination with its mappings as drafts."""

from dataclasses import replace

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible, settings_of
from app.admin.destinations.settings import SavedDestination, add_destination
from app.admin.ids import new_id
from app.admin.inputs import DestinationCopy
from app.admin.mappings import drafts as changes
from app.admin.mappings.drafts import MappingDetails, create_draft, read_mapping
from app.domain.destination import Region
from app.domain.ids import AdvertiserId, MappingId
from app.store import mappings

_PAGE = 100


async def copy_mapping(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str, *, to: str, name: str
) -> MappingDetails:
    """Copy a mapping's draft into destination `to`, as a new draft with this name."""
    source = await read_mapping(context, caller, destination_id, mapping_id)
    return await create_draft(context, caller, to, {**source.mapping.draft, "name": name})


async def copy_destination(
    context: AppContext, caller: Caller, destination_id: str, body: DestinationCopy
) -> SavedDestination:
    """Create a destination with the settings and mappings of an existing destination.

    The mappings become drafts. The Amazon sign-in, the alerting and the keys are not copied. Raises Refusal
    as `create_destination` does.
    """
    async with context.transaction() as (connection, driver):
        source = await find_visible(connection, caller, destination_id)
        settings = replace(
            settings_of(source),
            name=body.name,
            advertiser_id=AdvertiserId(body.advertiser_id),
            region=Region(body.region),
            currency=body.currency,
        )
        created = await add_destination(connection, driver, caller, settings, context.now())
        after = None
        while rows := await mappings.page(connection, source.id, limit=_PAGE, after=after):
            for row in rows:
                copy = MappingId(new_id("map_"))
                await changes.create_mapping(connection, created.id, copy, row.draft, by=caller.actor)
            after = rows[-1].number
    return created
