"""Use cases that set the mapping version in use and the event names: publish, roll back, rename."""

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


def refusal_of_document(code: ErrorCode, problems: Sequence[MappingProblem], *, parent: str = "") -> Refusal:
    """Return the refusal of an invalid mapping document, with one field problem for each problem.

    `parent` is the path of the document in the request body; empty if it is the body.
    """
    sentences = " ".join(
        dict.fromkeys(f"{problem.path or 'mapping'}: {problem.sentence}" for problem in problems)
    )
    fields = (
        FieldProblem(
            ".".join(part for part in (parent, problem.path) if part) or "body",
            field_problem_of(problem.problem),
        )
        for problem in problems
    )
    return Refusal(code, sentences, *fields)


def compile_or_refuse(
    document: Document, code: ErrorCode = ErrorCode.NOT_PUBLISHABLE, *, parent: str = ""
) -> Mapping:
    """Compile a document. Raises Refusal (422) with all its problems."""
    compiled = compile_mapping(dict(document))
    if isinstance(compiled, Mapping):
        return compiled
    raise refusal_of_document(code, compiled, parent=parent)


async def lock_advertiser(connection: AsyncConnection, destination: Destination) -> Destination:
    """Lock all destinations of an advertiser and return this one as it is now.

    Raises Refusal if this one is archived. Pins belong to the advertiser, so publishes of its destinations
    run one after another. The fixed order of locks prevents deadlocks.
    """
    while destination.state is not State.ARCHIVED:
        for locked in await destinations.of_advertiser(connection, destination.advertiser_id):
            if locked.id == destination.id:
                return locked
        # While waiting for the lock, the destination was archived or moved to another advertiser.
        current = await destinations.find(connection, destination.id)
        assert current is not None
        destination = current
    raise Refusal(ErrorCode.DESTINATION_ARCHIVED)


async def pin(connection: AsyncConnection, advertiser: AdvertiserId, mapping: Mapping) -> None:
    """Pin the event name of a mapping with a constant type. Raises Refusal if another name is pinned (R12).

    Where the type is read from the event, storing the first event of a type pins the name.
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
    "unicode": "Yours looks the same but has other Unicode characters. ",
    "case": "Yours differs only in capital letters. ",
    "spaces": "Yours differs only in the characters between the words. ",
    "one_letter": "Yours differs by one letter. ",
}


def name_conflict(pinned: Pin, requested: str) -> Refusal:
    """Return the refusal of a second name. It contains the pinned name and how the two differ."""
    near = near_miss(requested, pinned.name)
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
    """Pin the names of a destination's published mappings for its new advertiser."""
    for mapping in await mappings.published_of(connection, [destination]):
        assert mapping.published is not None
        await pin(connection, advertiser, compile_or_refuse(mapping.published))


async def publish(
    connection: AsyncConnection,
    destination: Destination,
    mapping: StoredMapping,
    by: str,
    note: str | None = None,
) -> int:
    """Publish the draft and return the version in use. Publishing an unchanged draft creates no version."""
    compiled = compile_or_refuse(mapping.draft)
    if mapping.published_version is not None and mapping.draft == mapping.published:
        return mapping.published_version
    await pin(connection, destination.advertiser_id, compiled)
    version = await mappings.publish(connection, mapping.id, mapping.draft, by, note)
    await destinations.count_published(connection, destination.id)
    return version


async def roll_back(
    connection: AsyncConnection, destination: Destination, mapping: StoredMapping, version: int
) -> None:
    """Use an earlier version for new events. Draft and other versions are unchanged. Raises Refusal."""
    earlier = await mappings.version(connection, mapping.id, version)
    if earlier is None:
        raise Refusal(
            ErrorCode.INVALID, "The mapping has no such version.", FieldProblem("version", "unknown")
        )
    if mapping.published_version == version:
        return
    # A version from before a rename has a name that is no longer allowed.
    await pin(connection, destination.advertiser_id, compile_or_refuse(earlier.document))
    await mappings.point_at(connection, mapping.id, version)
    await destinations.count_published(connection, destination.id)


async def rename(
    connection: AsyncConnection, advertiser: AdvertiserId, event_type: str, name: str, by: str
) -> tuple[Pin, list[StoredMapping], list[StoredMapping]]:
    """Change a pinned name and publish a new version of each mapping with that constant event type.

    Without the new versions, all their events would be rejected. Returns the previous pin, the mappings that
    were republished, and those that cannot be: they read the type from the event and use the old name for all
    types. Raises Refusal (404) if no name is pinned.
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


def users_of_name(
    published: Sequence[StoredMapping], event_type: str, name: str
) -> tuple[list[StoredMapping], list[StoredMapping]]:
    """Return the published mappings that send this type under this name: constant types, then types read
    from the event.
    """
    constant, from_event = [], []
    for mapping in published:
        compiled = compile_mapping(dict(mapping.published or {}))
        if not isinstance(compiled, Mapping) or compiled.event_name != name:
            continue
        if compiled.constant_event_type is None:
            from_event.append(mapping)
        elif compiled.constant_event_type == event_type:
            constant.append(mapping)
    return constant, from_event
