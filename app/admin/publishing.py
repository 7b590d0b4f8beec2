"""The acts that decide which mapping events use and what they are called: publish, roll back, rename."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.refusals import ErrorCode, FieldProblem, Refusal, field_problem_of
from app.domain.destination import State
from app.domain.ids import AdvertiserId, DestinationId
from app.domain.mapping.document import Mapping, MappingProblem, compile_mapping
from app.domain.mapping.near_match import near_miss
from app.store import destinations, event_names, mappings
from app.store.destinations import Destination
from app.store.event_names import Pin
from app.store.mappings import Document, StoredMapping


def refusal_of_document(word: ErrorCode, problems: Sequence[MappingProblem], *, at: str = "") -> Refusal:
    """Return the refusal of a mapping document: every problem as a field, and what to do as the sentence.

    `at` says where in the request the document stood, when it was not the body itself.
    """
    sentences = " ".join(dict.fromkeys(f"{one.path or 'mapping'}: {one.sentence}" for one in problems))
    fields = (
        FieldProblem(
            ".".join(part for part in (at, one.path) if part) or "body", field_problem_of(one.problem)
        )
        for one in problems
    )
    return Refusal(word, sentences, *fields)


def compile_or_refuse(
    document: Document, word: ErrorCode = ErrorCode.NOT_PUBLISHABLE, *, at: str = ""
) -> Mapping:
    """Return a document compiled. Raises Refusal (422) with everything that keeps it from being so."""
    made = compile_mapping(dict(document))
    if isinstance(made, Mapping):
        return made
    raise refusal_of_document(word, made, at=at)


async def lock_advertiser(connection: AsyncConnection, destination: Destination) -> Destination:
    """Hold every destination of an advertiser, in order, and return this one as it is now.

    Pins belong to the advertiser, so two publishes of its destinations must take turns; always in one
    order, or they would wait for each other. Raises Refusal when it is deleted.
    """
    while destination.state is not State.ARCHIVED:
        for one in await destinations.of_advertiser(connection, destination.advertiser_id):
            if one.id == destination.id:
                return one
        # While this waited it was deleted, or moved to another advertiser whose names now count.
        now = await destinations.find(connection, destination.id)
        assert now is not None
        destination = now
    raise Refusal(ErrorCode.DESTINATION_ARCHIVED)


async def pin(connection: AsyncConnection, advertiser: AdvertiserId, mapping: Mapping) -> None:
    """Pin the event name of a mapping with a constant type, or refuse with the name that is pinned (R12).

    Where the type is read from the event, its name is pinned as the first event of the type is stored.
    """
    event_type = mapping.constant_event_type
    if event_type is None:
        return
    pinned, new = await event_names.pin(connection, advertiser, event_type, mapping.event_name)
    if pinned.name != mapping.event_name:
        raise name_conflict(pinned, mapping.event_name)
    if new:
        await destinations.touch_advertiser(connection, advertiser)


_NEAR = {
    "case": "Yours differs only in capital letters. ",
    "spaces": "Yours differs only in what stands between the words. ",
    "one_letter": "Yours differs by one letter. ",
}


def name_conflict(pinned: Pin, name: str) -> Refusal:
    """Return the refusal of a second name, with the first one shown, and said how near the two are."""
    near = near_miss(name, pinned.name)
    return Refusal(
        ErrorCode.EVENT_NAME_CONFLICT,
        f"For this advertiser, events of type {pinned.event_type} are named {pinned.name!r}. "
        f"{_NEAR.get(near or '', '')}Use that name, or rename the pinned one.",
        FieldProblem("event_name", "event_name_conflict"),
        pinned_name=pinned.name,
        event_type=pinned.event_type,
        near_miss=near,
    )


async def pin_for_advertiser(
    connection: AsyncConnection, destination: DestinationId, advertiser: AdvertiserId
) -> None:
    """Pin the names of a destination's published mappings for the advertiser it moves to."""
    for mapping in await mappings.published_of(connection, [destination]):
        assert mapping.published is not None
        await pin(connection, advertiser, compile_or_refuse(mapping.published))


async def publish(
    connection: AsyncConnection, destination: Destination, mapping: StoredMapping, by: str
) -> int:
    """Publish the draft, and return the version that events use from now on.

    A draft that is published already stays that version: publishing twice is one act.
    """
    made = compile_or_refuse(mapping.draft)
    if mapping.published_version is not None and mapping.draft == mapping.published:
        return mapping.published_version
    await pin(connection, destination.advertiser_id, made)
    version = await mappings.publish(connection, mapping.id, mapping.draft, by)
    await destinations.count_published(connection, destination.id)
    return version


async def roll_back(
    connection: AsyncConnection, destination: Destination, mapping: StoredMapping, version: int
) -> None:
    """Let events use an earlier version again; the draft and the other versions stay. Raises Refusal."""
    found = await mappings.version(connection, mapping.id, version)
    if found is None:
        raise Refusal(
            ErrorCode.INVALID, "The mapping has no such version.", FieldProblem("version", "unknown")
        )
    if mapping.published_version == version:
        return
    # A version from before a rename has a name that may not be used any more, however old its right to it.
    await pin(connection, destination.advertiser_id, compile_or_refuse(found.document))
    await mappings.point_at(connection, mapping.id, version)
    await destinations.count_published(connection, destination.id)


async def rename(
    connection: AsyncConnection, advertiser: AdvertiserId, event_type: str, to: str, by: str
) -> tuple[Pin, list[StoredMapping], list[StoredMapping]]:
    """Change a pinned name, and let the published mappings of that constant type follow with a new version.

    Without that, every event of theirs would be refused until someone publishes again. Returns the pin
    as it was, the mappings that followed, and those that cannot: they read the type from the event and
    carry the old name for all types. Raises Refusal (404) when nothing is pinned.
    """
    ids = [destination.id for destination in await destinations.of_advertiser(connection, advertiser)]
    before = await event_names.lock(connection, advertiser, event_type)
    if before is None:
        raise Refusal(ErrorCode.NOT_FOUND, "No name is pinned for this advertiser and event type.")
    if before.name == to:
        return before, [], []
    await event_names.rename(connection, advertiser, event_type, to)
    followed, left = [], []
    for mapping in await mappings.published_of(connection, ids, lock_rows=True):
        assert mapping.published is not None
        made = compile_mapping(dict(mapping.published))
        if not isinstance(made, Mapping) or made.event_name != before.name:
            continue
        if made.constant_event_type is None:
            left.append(mapping)
        elif made.constant_event_type == event_type:
            if mapping.draft.get("event_name") == mapping.published.get("event_name"):
                await mappings.change_draft(connection, mapping.id, {**mapping.draft, "event_name": to})
            await mappings.publish(connection, mapping.id, {**mapping.published, "event_name": to}, by)
            followed.append(mapping)
    await destinations.touch_advertiser(connection, advertiser)
    return before, followed, left
