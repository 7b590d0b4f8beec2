"""Event names: pin those of published mappings, refuse a second name, list the pinned names, rename one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import Caller, ErrorCode, FieldProblem, Refusal, invalid, require_found
from app.admin.context import AppContext, Update
from app.admin.mappings.schema import compile_or_refuse, compiled_or_none
from app.domain.conversion.amazon_codes import EVENT_TYPES
from app.domain.destination import advertiser_id_problem
from app.domain.ids import AdvertiserId, DestinationId, MappingId
from app.domain.mapping.document import Mapping
from app.domain.mapping.event_name import (
    clean_event_name,
    event_name_problem,
    near_miss,
    unintended_name_problem,
)
from app.store import batches, mappings
from app.store.audit import AuditAction
from app.store.destinations import destinations
from app.store.mappings import StoredMapping, event_names

_NOT_PINNED = "No name is pinned for this advertiser and event type."


@dataclass(frozen=True, slots=True)
class MappingReference:
    """A mapping, by its ids and its name."""

    id: MappingId
    destination_id: DestinationId
    name: str


@dataclass(frozen=True, slots=True)
class RenamedEvent:
    """The result of a rename."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    advertiser_id: str
    event_type: str
    name: str
    previous_name: str
    mappings: Sequence[MappingReference]
    """Republished with the new name."""
    mappings_left: Sequence[MappingReference]
    """Not changed: they read the event type from the event."""
    # The content of an accepted event never changes.
    waiting_events: int
    """Events of the advertiser that wait. Those of this type are sent under the previous name."""


@dataclass(frozen=True, slots=True)
class RenameImpact:
    """The effect of renaming an event type.

    `republished` mappings get a new version. `unchanged` mappings read the type from the event and keep the
    old name. `destinations` has the names of the destinations of all these mappings, by id. `hidden` counts
    the advertiser's destinations that the caller cannot see; if there are any, the caller may not rename.
    """

    pin: event_names.Pin
    republished: Sequence[StoredMapping]
    unchanged: Sequence[StoredMapping]
    destinations: dict[str, str]
    hidden: int


async def preview_rename(context: AppContext, advertiser_id: str, event_type: str) -> RenameImpact:
    """Return the effect of a rename. Raises Refusal (403, 404)."""
    async with context.engine.connect() as connection:
        await _require_all_visible(connection, context.caller, advertiser_id)
        pins = await event_names.of_advertiser(connection, advertiser_id)
        pin = require_found(next((each for each in pins if each.event_type == event_type), None), _NOT_PINNED)
        return await rename_impact(connection, context.caller, pin)


async def rename_impact(connection: AsyncConnection, caller: Caller, pin: event_names.Pin) -> RenameImpact:
    """Return the effect of renaming a pinned name, as far as the caller sees it."""
    ids = await destinations.ids_of_advertiser(connection, pin.advertiser_id)
    visible = [id_ for id_ in ids if caller.sees(id_)]
    names = dict(await destinations.names(connection, only=visible))
    published = await mappings.published_of(connection, visible)
    users = await _users_of_name(published, pin.event_type, pin.name)
    return RenameImpact(pin, *users, names, len(ids) - len(visible))


async def list_pinned_names(
    context: AppContext, *, limit: int, after: tuple[str, str] | None, search: str | None
) -> Sequence[event_names.Pin]:
    """Return up to `limit` pinned names of the advertisers of which the caller sees every destination."""
    async with context.engine.connect() as connection:
        return await event_names.page(
            connection, limit=limit, after=after, search=search, only=context.caller.only
        )


async def _require_all_visible(connection: AsyncConnection, caller: Caller, advertiser: str) -> None:
    """Raise Refusal unless the caller sees every destination of the advertiser: all share its event names."""
    if advertiser_id_problem(advertiser):
        raise Refusal(ErrorCode.NOT_FOUND)
    if caller.destination_ids is None:
        return
    ids = await destinations.ids_of_advertiser(connection, advertiser)
    if not any(caller.sees(destination) for destination in ids):
        raise Refusal(ErrorCode.NOT_FOUND)
    if not all(caller.sees(destination) for destination in ids):
        raise Refusal(ErrorCode.FORBIDDEN, "Destinations that this key cannot see share these names.")


async def list_event_names(context: AppContext, advertiser_id: str) -> Sequence[event_names.Pin]:
    """Return the pinned name of each event type of an advertiser. Raises Refusal (403, 404)."""
    async with context.engine.connect() as connection:
        await _require_all_visible(connection, context.caller, advertiser_id)
        return await event_names.of_advertiser(connection, advertiser_id)


async def rename_event(context: AppContext, advertiser_id: str, event_type: str, to: str) -> RenamedEvent:
    """Rename an event type, and publish a new version of each mapping with that constant type. Audited.

    Raises Refusal: 422 for an invalid name, 403, 404.
    """
    if problem := event_name_problem(to) or unintended_name_problem(to):
        raise invalid("to", "event_name_invalid", problem)
    if event_type not in EVENT_TYPES:
        raise Refusal(ErrorCode.NOT_FOUND)
    name, is_complete = clean_event_name(to), False
    while not is_complete:
        users, waiting = _UsersOfName([], []), 0
        async with context.transaction() as change:
            connection = change.connection
            await _require_all_visible(connection, context.caller, advertiser_id)
            affected = await destinations.of_advertiser(connection, advertiser_id)
            pin = require_found(await event_names.lock(connection, advertiser_id, event_type), _NOT_PINNED)
            visible = {each.id for each in affected if context.caller.sees(each.id)}
            # If another destination took the advertiser before the name was locked, start again: a lock of
            # that destination now, out of order, could deadlock.
            is_complete = visible.issuperset(await destinations.ids_of_advertiser(connection, advertiser_id))
            if is_complete and pin.name != name:
                users = await _rename(change, pin, name, [each.id for each in affected])
                old = {"name": pin.name}
                new = {"name": name, "mappings": [mapping.id for mapping in users.constant]}
                await change.record(AuditAction.EVENT_NAME_RENAMED, f"{advertiser_id}/{event_type}", old, new)
                for destination in affected:
                    waiting += await batches.waiting(change.driver, destination.number)
    changed, left = (
        [MappingReference(each.id, each.destination, each.name) for each in found]
        for found in (users.constant, users.from_event)
    )
    return RenamedEvent(advertiser_id, event_type, name, pin.name, changed, left, waiting)


class _UsersOfName(NamedTuple):
    """The published mappings that send an event type under a name.

    Mappings in `constant` have this constant type. Mappings in `from_event` read the type from the event.
    """

    constant: list[StoredMapping]
    from_event: list[StoredMapping]


async def _rename(
    change: Update, pin: event_names.Pin, name: str, destination_ids: Sequence[DestinationId]
) -> _UsersOfName:
    """Change a pinned name and publish a new version of each mapping with that constant event type.

    The destinations are those of the advertiser, which the caller has locked. They get a new version too.
    Without the new versions, all events of these mappings would be rejected. Returns the mappings that used
    the old name. Those that read the type from the event keep it.
    """
    connection = change.connection
    await event_names.rename(connection, pin.advertiser_id, pin.event_type, name)
    published = await mappings.published_of(connection, destination_ids, lock_rows=True)
    users = await _users_of_name(published, pin.event_type, pin.name)
    for mapping in users.constant:
        assert mapping.published is not None
        if mapping.draft.get("event_name") == mapping.published.get("event_name"):
            await mappings.change_draft(connection, mapping.id, {**mapping.draft, "event_name": name})
        document = {**mapping.published, "event_name": name}
        note = f"Event renamed from “{pin.name}” to “{name}”."
        await mappings.publish(connection, mapping.id, document, change.by, note)
    await destinations.touch_all(connection, destination_ids)
    return users


async def _users_of_name(published: Sequence[StoredMapping], event_type: str, name: str) -> _UsersOfName:
    """Return the published mappings that send this type under this name."""
    users = _UsersOfName([], [])
    for mapping in published:
        await asyncio.sleep(0)  # other requests of this process go on meanwhile
        compiled = compiled_or_none(mapping.published or {})
        if compiled is None or compiled.event_name != name:
            continue
        if compiled.constant_event_type is None:
            users.from_event.append(mapping)
        elif compiled.constant_event_type == event_type:
            users.constant.append(mapping)
    return users


async def pin_name(connection: AsyncConnection, advertiser: AdvertiserId, mapping: Mapping) -> None:
    """Pin the event name of a mapping with a constant type. Raises Refusal if another name is pinned.

    A flush reads a new name that its process does not know.

    If a mapping reads the type from the event, the name is pinned when the first event of a type is stored.
    A name that no one can have meant is refused unless it is pinned already.
    """
    event_type = mapping.constant_event_type
    if problem := unintended_name_problem(mapping.event_name):
        pins = await event_names.of_advertiser(connection, advertiser)
        if mapping.event_name not in {each.name for each in pins}:
            raise invalid("event_name", "event_name_invalid", problem)
    if event_type is None:
        return
    pinned = await event_names.pin(connection, advertiser, event_type, mapping.event_name)
    if pinned.name != mapping.event_name:
        raise name_conflict(pinned, mapping.event_name)


_NEAR = {
    "unicode": "Yours looks the same but has other Unicode characters. ",
    "case": "Yours differs only in capital letters. ",
    "spaces": "Yours differs only in the characters between the words. ",
    "one_letter": "Yours differs by one letter. ",
}


def name_conflict(pinned: event_names.Pin, requested: str) -> Refusal:
    """Return the refusal of a second name, with the pinned name and how the two names differ."""
    near = near_miss(requested, pinned.name)
    return Refusal(
        ErrorCode.EVENT_NAME_CONFLICT,
        f"For this advertiser, events of type {pinned.event_type} are named “{pinned.name}”. "
        f"{_NEAR.get(near or '', '')}Use that name, or rename the pinned one.",
        FieldProblem("event_name", "event_name_conflict"),
        pinned_name=pinned.name,
        event_type=pinned.event_type,
        near_miss=near,
    )


async def pin_for_advertiser(
    connection: AsyncConnection, destination: DestinationId, advertiser: AdvertiserId
) -> None:
    """Pin the names of a destination's published mappings for its new advertiser."""
    compiled = []
    for mapping in await mappings.published_of(connection, [destination]):
        await asyncio.sleep(0)  # other requests of this process go on meanwhile
        assert mapping.published is not None
        compiled.append(compile_or_refuse(mapping.published, is_published=True))
    # A flush pins names in this order, too. In another order they could wait for each other.
    for each in sorted(compiled, key=lambda each: each.constant_event_type or ""):
        await pin_name(connection, advertiser, each)
