"""Use cases of event names (R12): list the pinned names of an advertiser, rename one."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.mapping_drafts import find_mapping
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.destination import advertiser_id_problem
from app.domain.ids import AdvertiserId
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.mapping.event_name import clean_event_name, event_name_problem
from app.store import audit, destinations, event_names, mappings
from app.store.event_names import Pin
from app.store.mappings import StoredMapping


@dataclass(frozen=True, slots=True)
class RenamedEvent:
    """The result of a rename. `unchanged` mappings read the event type from the event."""

    name: str
    previous_name: str
    republished: Sequence[StoredMapping]
    unchanged: Sequence[StoredMapping]


@dataclass(frozen=True, slots=True)
class NameConflict:
    """A draft whose event name differs from the pinned one, and the effect of renaming the pin.

    `republished` are (destination, mapping) names that would get a new version. `unchanged` read the event
    type from the event and would keep the old name. `hidden` counts destinations that the caller cannot see;
    if there are any, the caller may not rename.
    """

    event_type: str
    pinned: str
    requested: str
    republished: Sequence[tuple[str, str]]
    unchanged: Sequence[tuple[str, str]]
    hidden: int


async def find_name_conflict(
    context: AppContext, caller: Caller, destination_id: str, mapping_id: str
) -> NameConflict | None:
    """Return the conflict of a mapping's draft with the pinned name, or None (R12)."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        compiled = compile_mapping(dict(mapping.draft))
        if not isinstance(compiled, Mapping) or compiled.constant_event_type is None:
            return None
        event_type = compiled.constant_event_type
        pins = await event_names.of_advertiser(connection, destination.advertiser_id)
        pinned = next((pin.name for pin in pins if pin.event_type == event_type), compiled.event_name)
        if pinned == compiled.event_name:
            return None
        ids = await destinations.ids_of_advertiser(connection, destination.advertiser_id)
        visible = [id_ for id_ in ids if caller.sees(id_)]
        names = dict(await destinations.names(connection, only=visible))
        published = await mappings.published_of(connection, visible)
    republished, unchanged = publishing.users_of_name(published, event_type, pinned)
    return NameConflict(
        event_type,
        pinned,
        compiled.event_name,
        [(names[each.destination], each.name) for each in republished],
        [(names[each.destination], each.name) for each in unchanged],
        len(ids) - len(visible),
    )


async def list_event_names(context: AppContext, caller: Caller, advertiser_id: str) -> Sequence[Pin]:
    """Return the pinned name of each event type of an advertiser. Raises Refusal (403, 404)."""
    async with context.engine.connect() as connection:
        await require_all_visible(connection, caller, advertiser_id)
        return await event_names.of_advertiser(connection, advertiser_id)


async def rename_event(
    context: AppContext, caller: Caller, advertiser_id: str, event_type: str, to: str
) -> RenamedEvent:
    """Rename an event type and publish a new version of each mapping with that constant type; audited.

    Raises Refusal: 422 for an invalid name, 403, 404.
    """
    if problem := event_name_problem(to):
        raise Refusal(ErrorCode.INVALID, problem, FieldProblem("to", "event_name_invalid"))
    if event_type not in EVENT_TYPES:
        raise Refusal(ErrorCode.NOT_FOUND)
    name = clean_event_name(to)
    async with context.engine.begin() as connection:
        await require_all_visible(connection, caller, advertiser_id)
        before, republished, unchanged = await publishing.rename(
            connection, AdvertiserId(advertiser_id), event_type, name, caller.actor
        )
        if before.name != name:
            await audit.record(
                connection,
                actor=caller.actor,
                action=audit.AuditAction.EVENT_NAME_RENAMED,
                subject=f"{advertiser_id}/{event_type}",
                before={"name": before.name},
                after={"name": name, "mappings": [mapping.id for mapping in republished]},
            )
    return RenamedEvent(name, before.name, republished, unchanged)


async def require_all_visible(connection: AsyncConnection, caller: Caller, advertiser: str) -> None:
    """Refuse a caller who cannot see every destination of the advertiser: they share its event names."""
    if advertiser_id_problem(advertiser):
        raise Refusal(ErrorCode.NOT_FOUND)
    if caller.destination_ids is None:
        return
    ids = await destinations.ids_of_advertiser(connection, advertiser)
    if not any(caller.sees(destination) for destination in ids):
        raise Refusal(ErrorCode.NOT_FOUND)
    if not all(caller.sees(destination) for destination in ids):
        raise Refusal(ErrorCode.FORBIDDEN, "Destinations that this key cannot see share these names.")
