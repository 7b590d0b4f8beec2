"""Pinned event names: pin a name, refuse a second name, list names, show what a rename changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.mappings.schema import compile_or_refuse
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.destination import advertiser_id_problem
from app.domain.ids import AdvertiserId, DestinationId
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.mapping.event_name import near_miss, unintended_name_problem
from app.store import mappings
from app.store.destinations import destinations
from app.store.mappings import StoredMapping, event_names
from app.store.mappings.event_names import Pin


async def list_pinned_names(
    context: AppContext,
    caller: Caller,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    search: str | None = None,
) -> Sequence[Pin]:
    """Return up to `limit` pinned names of the advertisers of which the caller sees every destination."""
    async with context.engine.connect() as connection:
        return await event_names.page(connection, limit=limit, after=after, search=search, only=caller.only)


@dataclass(frozen=True, slots=True)
class RenameImpact:
    """The effect of renaming an event type.

    `republished` mappings get a new version. `unchanged` mappings read the type from the event and keep the
    old name. `destinations` has the names of the destinations of all these mappings, by id.
    """

    pin: Pin
    republished: Sequence[StoredMapping]
    unchanged: Sequence[StoredMapping]
    destinations: dict[str, str]


async def preview_rename(
    context: AppContext, caller: Caller, advertiser_id: str, event_type: str
) -> RenameImpact:
    """Return the effect of a rename. Raises Refusal (403, 404)."""
    async with context.engine.connect() as connection:
        await require_all_visible(connection, caller, advertiser_id)
        pins = await event_names.of_advertiser(connection, advertiser_id)
        pin = next((each for each in pins if each.event_type == event_type), None)
        if pin is None:
            raise Refusal(ErrorCode.NOT_FOUND, "No name is pinned for this advertiser and event type.")
        ids = await destinations.ids_of_advertiser(connection, advertiser_id)
        names = dict(await destinations.names(connection, only=ids))
        published = await mappings.published_of(connection, ids)
    republished, unchanged = users_of_name(published, event_type, pin.name)
    return RenameImpact(pin, republished, unchanged, names)


async def require_all_visible(connection: AsyncConnection, caller: Caller, advertiser: str) -> None:
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


async def pin(connection: AsyncConnection, advertiser: AdvertiserId, mapping: Mapping) -> None:
    """Pin the event name of a mapping with a constant type. Raises Refusal if another name is pinned.

    If a mapping reads the type from the event, the name is pinned when the first event of a type is stored.
    A name that no one can have meant is refused unless it is pinned already.
    """
    event_type = mapping.constant_event_type
    if problem := unintended_name_problem(mapping.event_name):
        pins = await event_names.of_advertiser(connection, advertiser)
        if mapping.event_name not in {each.name for each in pins}:
            raise Refusal(ErrorCode.INVALID, problem, FieldProblem("event_name", "event_name_invalid"))
    if event_type is None:
        return
    pinned, new = await event_names.pin(connection, advertiser, event_type, mapping.event_name)
    if pinned.name != mapping.event_name:
        raise name_conflict(pinned, mapping.event_name)
    if new:
        await destinations.touch_advertiser(connection, advertiser)


_NEAR = {
    "unicode": "Yours looks the same but has other Unicode characters. ",
    "case": "Yours differs only in capital letters. ",
    "spaces": "Yours differs only in the characters between the words. ",
    "one_letter": "Yours differs by one letter. ",
}


def name_conflict(pinned: Pin, requested: str) -> Refusal:
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
    for mapping in await mappings.published_of(connection, [destination]):
        assert mapping.published is not None
        await pin(connection, advertiser, compile_or_refuse(mapping.published, is_published=True))


def users_of_name(
    published: Sequence[StoredMapping], event_type: str, name: str
) -> tuple[list[StoredMapping], list[StoredMapping]]:
    """Return the published mappings that send this type under this name, in two lists.

    Mappings in the first list have this constant type. Mappings in the second list read the type from the
    event.
    """
    constant, from_event = [], []
    for mapping in published:
        compiled = compile_mapping(dict(mapping.published or {}), is_published=True)
        if not isinstance(compiled, Mapping) or compiled.event_name != name:
            continue
        if compiled.constant_event_type is None:
            from_event.append(mapping)
        elif compiled.constant_event_type == event_type:
            constant.append(mapping)
    return constant, from_event
