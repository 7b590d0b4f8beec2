"""Making what is there agree with a file: in one transaction, through the same acts as the API.

A plan is an apply whose transaction is rolled back: whatever would be refused is refused by the plan, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.admin import destinations as destination_use_cases
from app.admin import mappings as mapping_use_cases
from app.admin import publishing
from app.admin.backtest import compare_draft, summary
from app.admin.ids import new_id
from app.admin.mappings import valid_draft
from app.admin.refusals import Refusal, error_body
from app.config_as_code.plan import (
    DestinationStep,
    ExistingConfiguration,
    MappingStep,
    Plan,
    PlannedAction,
    plan,
)
from app.config_as_code.read import DesiredState, FileProblem, UnreadableFile
from app.domain.conversion.consent import ConsentSettings
from app.domain.ids import DestinationId, MappingId
from app.domain.observed.backtest import Backtest
from app.store import configuration, destinations, mappings
from app.store.destinations import Destination
from app.store.mappings import StoredMapping


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """On which terms a file is applied: by whom, and what it may do.

    `max_loss` is the largest share of recent events that may lose a match key or be newly rejected by a
    change, None for any. The rest is what events are judged by.
    """

    by: str
    prune: bool = False
    max_loss: Fraction | None = None
    max_event_age: timedelta = timedelta(days=21)
    warn_event_age: timedelta = timedelta(days=7)
    consent: ConsentSettings = field(default_factory=ConsentSettings)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AppliedPlan:
    """What was planned, and the destinations of the file as they are now, in its order.

    `backtests` says, by mapping, what each changed mapping would have done to its recent events.
    """

    plan: Plan
    destinations: tuple[Destination, ...]
    backtests: Mapping[str, Backtest]


async def rehearse(
    engine: AsyncEngine, wanted: Sequence[DesiredState], terms: SharedSettings
) -> AppliedPlan | UnreadableFile:
    """Do everything that `apply` would do, and undo it."""
    async with engine.connect() as connection:
        await connection.begin()
        try:
            return await _carry_out(connection, wanted, terms)
        finally:
            await connection.rollback()


async def apply(
    engine: AsyncEngine, wanted: Sequence[DesiredState], terms: SharedSettings
) -> AppliedPlan | UnreadableFile:
    """Make what is there agree with the file, all of it or nothing."""
    async with engine.connect() as connection:
        await connection.begin()
        done = await _carry_out(connection, wanted, terms)
        if isinstance(done, AppliedPlan):
            await connection.commit()
        else:
            await connection.rollback()
        return done


async def _carry_out(
    connection: AsyncConnection, wanted: Sequence[DesiredState], terms: SharedSettings
) -> AppliedPlan | UnreadableFile:
    await configuration.lock_all(connection)
    known = ExistingConfiguration(
        await destinations.everything(connection), await mappings.everything(connection)
    )
    planned = plan(wanted, known, prune=terms.prune)
    if not isinstance(planned, Plan):
        return planned
    refused: list[FileProblem] = []
    after = []
    tested: dict[str, Backtest] = {}
    for step in planned.steps:
        try:
            after.append(await _destination(connection, step, terms.by))
        except Refusal as refusal:
            refused.append(_wrong(step.wanted.at, refusal))
            continue
        for mapping in step.mappings:
            at = mapping.wanted.at if mapping.wanted else step.wanted.at
            try:
                if told := await _tested(connection, after[-1], mapping, terms):
                    tested[told[0]] = told[1]
                await _mapping(connection, after[-1], mapping, terms.by)
            except Refusal as refusal:
                refused.append(_wrong(at, refusal))
        after[-1] = await destinations.find(connection, after[-1].id) or after[-1]
    refused += _losing(planned, tested, terms)
    return UnreadableFile(tuple(refused)) if refused else AppliedPlan(planned, tuple(after), tested)


async def _tested(
    connection: AsyncConnection, destination: Destination, step: MappingStep, terms: SharedSettings
) -> tuple[str, Backtest] | None:
    """Try a changed mapping against the recent events of the published one. Raises Refusal (422)."""
    if step.action is not PlannedAction.CHANGE or step.found is None or step.found.published is None:
        return None
    draft = publishing.compile_or_refuse(step.document)
    return step.found.id, await compare_draft(connection, terms, destination, step.found, draft)


def _losing(planned: Plan, tested: Mapping[str, Backtest], terms: SharedSettings) -> list[FileProblem]:
    """Return a problem for each change that would cost more than it may."""
    wrong = []
    for mapping in (mapping for step in planned.steps for mapping in step.mappings):
        told = tested.get(mapping.found.id) if mapping.found else None
        if terms.max_loss is None or told is None or told.loss <= terms.max_loss or mapping.wanted is None:
            continue
        most = f"{float(terms.max_loss):.2%}"
        wrong.append(
            FileProblem(
                mapping.wanted.at, f"{summary(told)} The loss is {float(told.loss):.2%}, the most {most}."
            )
        )
    return wrong


def _wrong(at: str, refusal: Refusal) -> FileProblem:
    said = error_body(refusal.problem)
    return FileProblem(at, f"{said['error']}: {said['detail']}")


async def _destination(connection: AsyncConnection, step: DestinationStep, by: str) -> Destination:
    if step.found is not None and step.action is PlannedAction.NOTHING:
        return step.found
    if step.found is None:
        id_ = DestinationId(step.wanted.destination.id or new_id("dst_"))
        after = await destination_use_cases.create_destination(connection, id_, step.draft, by=by)
    else:
        before = await destinations.lock(connection, step.found.id)
        assert before is not None
        after = await destination_use_cases.change_destination(connection, before, step.draft, by=by)
    told = step.wanted.destination.status_callback
    if told is not None and told != after.status_callback:
        await destination_use_cases.set_status_callback(connection, after, told, by=by)
    return after


async def _mapping(connection: AsyncConnection, destination: Destination, step: MappingStep, by: str) -> None:
    if step.action is PlannedAction.NOTHING:
        return
    # First the advertiser, then the mapping: the order in which a publish over HTTP takes its locks.
    destination = await publishing.lock_advertiser(connection, destination)
    if step.wanted is None:
        assert step.found is not None
        await mapping_use_cases.archive_mapping(connection, await _locked(connection, step.found), by=by)
        return
    document = valid_draft(step.document)
    if step.found is None:
        id_ = MappingId(step.wanted.id or new_id("map_"))
        await mapping_use_cases.create_mapping(connection, destination.id, id_, document, by=by)
    else:
        id_ = step.found.id
        await mapping_use_cases.change_mapping(
            connection, await _locked(connection, step.found), document, by=by
        )
    if step.wanted.published:
        made = await mappings.lock(connection, destination.id, id_)
        assert made is not None
        await mapping_use_cases.publish_mapping(connection, destination, made, by=by)


async def _locked(connection: AsyncConnection, found: StoredMapping) -> StoredMapping:
    locked = await mappings.lock(connection, found.destination, found.id)
    assert locked is not None
    return locked
