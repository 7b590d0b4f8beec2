"""Use cases of event names: list the pinned names of an advertiser, rename an event type."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.mappings.drafts import find_mapping
from app.admin.mappings.pinned_names import require_all_visible, users_of_name
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.ids import AdvertiserId
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.mapping.event_name import clean_event_name, event_name_problem, unintended_name_problem
from app.store import audit, batches, mappings
from app.store.audit import AuditAction
from app.store.destinations import destinations
from app.store.mappings import StoredMapping, event_names
from app.store.mappings.event_names import Pin


@dataclass(frozen=True, slots=True)
class RenamedEvent:
    """The result of a rename. `unchanged` mappings read the type from the event and keep the old name.

    `waiting` counts the waiting events of the advertiser's destinations. Those of this type are sent under
    the previous name, because the content of an accepted event never changes.
    """

    name: str
    previous_name: str
    republished: Sequence[StoredMapping]
    unchanged: Sequence[StoredMapping]
    waiting: int


@dataclass(frozen=True, slots=True)
class NameConflict:
    """A draft whose event name differs from the pinned name, and the effect of renaming the event type.

    `republished` has the (destination, mapping) names of mappings that would get a new version. `unchanged`
    has the names of mappings that read the event type from the event and would keep the old name. `hidden`
    counts destinations that the caller cannot see; if there are any, the caller may not rename.
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
    """Return the conflict of a mapping's draft with the pinned name, or None."""
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
    republished, unchanged = users_of_name(published, event_type, pinned)
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
    """Rename an event type, and publish a new version of each mapping with that constant type. Audited.

    Raises Refusal: 422 for an invalid name, 403, 404.
    """
    if problem := event_name_problem(to) or unintended_name_problem(to):
        raise Refusal(ErrorCode.INVALID, problem, FieldProblem("to", "event_name_invalid"))
    if event_type not in EVENT_TYPES:
        raise Refusal(ErrorCode.NOT_FOUND)
    name, waiting = clean_event_name(to), 0
    async with context.transaction() as (connection, driver):
        await require_all_visible(connection, caller, advertiser_id)
        before, republished, unchanged = await _rename(
            connection, AdvertiserId(advertiser_id), event_type, name, caller.actor
        )
        if before.name != name:
            await audit.record(
                connection,
                caller.actor,
                AuditAction.EVENT_NAME_RENAMED,
                f"{advertiser_id}/{event_type}",
                before={"name": before.name},
                after={"name": name, "mappings": [mapping.id for mapping in republished]},
            )
            for destination in await destinations.of_advertiser(connection, AdvertiserId(advertiser_id)):
                waiting += await batches.waiting(driver, destination.number)
    return RenamedEvent(name, before.name, republished, unchanged, waiting)


async def _rename(
    connection: AsyncConnection, advertiser: AdvertiserId, event_type: str, name: str, by: str
) -> tuple[Pin, list[StoredMapping], list[StoredMapping]]:
    """Change a pinned name and publish a new version of each mapping with that constant event type.

    Without the new versions, all events of these mappings would be rejected. Returns the previous pin, the
    republished mappings, and the mappings that keep the old name because they read the type from the event.
    Raises Refusal (404) if no name is pinned.
    """
    ids = [destination.id for destination in await destinations.of_advertiser(connection, advertiser)]
    before = await event_names.lock(connection, advertiser, event_type)
    if before is None:
        raise Refusal(ErrorCode.NOT_FOUND, "No name is pinned for this advertiser and event type.")
    if before.name == name:
        return before, [], []
    await event_names.rename(connection, advertiser, event_type, name)
    published = await mappings.published_of(connection, ids, lock_rows=True)
    republished, unchanged = users_of_name(published, event_type, before.name)
    for mapping in republished:
        assert mapping.published is not None
        if mapping.draft.get("event_name") == mapping.published.get("event_name"):
            await mappings.change_draft(connection, mapping.id, {**mapping.draft, "event_name": name})
        document = {**mapping.published, "event_name": name}
        note = f"Event renamed from “{before.name}” to “{name}”."
        await mappings.publish(connection, mapping.id, document, by, note)
    await destinations.touch_advertiser(connection, advertiser)
    return before, republished, unchanged
