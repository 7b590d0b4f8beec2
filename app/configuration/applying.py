"""Making what is there agree with a file: in one transaction, through the same acts as the API.

A plan is an apply whose transaction is rolled back: whatever would be refused is refused by the plan, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.configuration.planning import Act, Known, MappingStep, Plan, Step, plan
from app.configuration.reading import Refused, Wanted, Wrong
from app.domain.ids import DestinationId, MappingId
from app.store import configuration, destinations, mappings
from app.store.destinations import Destination
from app.store.mappings import StoredMapping
from app.web import acts, publishing
from app.web.errors import Refusal, body_of
from app.web.mappings import checked


@dataclass(frozen=True, slots=True)
class Done:
    """What was planned, and the destinations of the file as they are now, in its order."""

    plan: Plan
    destinations: tuple[Destination, ...]


async def rehearse(
    engine: AsyncEngine, wanted: Sequence[Wanted], *, by: str, prune: bool = False
) -> Done | Refused:
    """Do everything that `apply` would do, and undo it."""
    async with engine.connect() as connection:
        await connection.begin()
        try:
            return await _carry_out(connection, wanted, by=by, prune=prune)
        finally:
            await connection.rollback()


async def apply(
    engine: AsyncEngine, wanted: Sequence[Wanted], *, by: str, prune: bool = False
) -> Done | Refused:
    """Make what is there agree with the file, all of it or nothing."""
    async with engine.connect() as connection:
        await connection.begin()
        done = await _carry_out(connection, wanted, by=by, prune=prune)
        if isinstance(done, Done):
            await connection.commit()
        else:
            await connection.rollback()
        return done


async def _carry_out(
    connection: AsyncConnection, wanted: Sequence[Wanted], *, by: str, prune: bool
) -> Done | Refused:
    await configuration.hold(connection)
    known = Known(await destinations.everything(connection), await mappings.everything(connection))
    planned = plan(wanted, known, prune=prune)
    if not isinstance(planned, Plan):
        return planned
    refused: list[Wrong] = []
    after = []
    for step in planned.steps:
        try:
            after.append(await _destination(connection, step, by))
        except Refusal as refusal:
            refused.append(_wrong(step.wanted.at, refusal))
            continue
        for mapping in step.mappings:
            at = mapping.wanted.at if mapping.wanted else step.wanted.at
            try:
                await _mapping(connection, after[-1], mapping, by)
            except Refusal as refusal:
                refused.append(_wrong(at, refusal))
        after[-1] = await destinations.find(connection, after[-1].id) or after[-1]
    return Refused(tuple(refused)) if refused else Done(planned, tuple(after))


def _wrong(at: str, refusal: Refusal) -> Wrong:
    said = body_of(refusal.problem)
    return Wrong(at, f"{said['error']}: {said['detail']}")


async def _destination(connection: AsyncConnection, step: Step, by: str) -> Destination:
    if step.found is None:
        id_ = DestinationId(step.wanted.destination.id or acts.new_id("dst_"))
        return await acts.make_destination(connection, id_, step.draft, by=by)
    if step.act is Act.NOTHING:
        return step.found
    before = await destinations.lock(connection, step.found.id)
    assert before is not None
    return await acts.change_destination(connection, before, step.draft, by=by)


async def _mapping(connection: AsyncConnection, destination: Destination, step: MappingStep, by: str) -> None:
    if step.act is Act.NOTHING:
        return
    # First the advertiser, then the mapping: the order in which a publish over HTTP takes its locks.
    destination = await publishing.hold_advertiser(connection, destination)
    if step.wanted is None:
        assert step.found is not None
        await acts.archive_mapping(connection, await _locked(connection, step.found), by=by)
        return
    document = checked(step.document)
    if step.found is None:
        id_ = MappingId(step.wanted.id or acts.new_id("map_"))
        await acts.make_mapping(connection, destination.id, id_, document, by=by)
    else:
        id_ = step.found.id
        await acts.change_mapping(connection, await _locked(connection, step.found), document, by=by)
    if step.wanted.published:
        made = await mappings.lock(connection, destination.id, id_)
        assert made is not None
        await acts.publish_mapping(connection, destination, made, by=by)


async def _locked(connection: AsyncConnection, found: StoredMapping) -> StoredMapping:
    locked = await mappings.lock(connection, found.destination, found.id)
    assert locked is not None
    return locked
