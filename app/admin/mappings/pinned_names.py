"""Pin the event names of mappings, and refuse a second name."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.mappings.schema import compile_or_refuse
from app.admin.refusals import ErrorCode, FieldProblem, Refusal, invalid
from app.domain.ids import AdvertiserId, DestinationId
from app.domain.mapping.document import Mapping
from app.domain.mapping.event_name import near_miss, unintended_name_problem
from app.store import mappings
from app.store.destinations import destinations
from app.store.mappings import event_names
from app.store.mappings.event_names import Pin


async def pin(connection: AsyncConnection, advertiser: AdvertiserId, mapping: Mapping) -> None:
    """Pin the event name of a mapping with a constant type. Raises Refusal if another name is pinned.

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
