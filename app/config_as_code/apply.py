"""Apply a configuration file in one transaction, through the use cases of the API."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.admin import Refusal, invalid, new_id
from app.admin.context import EvaluationSettings, Update
from app.admin.destinations import set_status_callback, settings
from app.admin.incidents import change_alerting, change_preference
from app.admin.mappings import mappings as use_cases
from app.admin.mappings import schema, trials
from app.config_as_code.existing import stored_configuration
from app.config_as_code.file import DesiredDestination, FileProblem, InvalidFile, refusal_sentence
from app.config_as_code.plan import DestinationStep, MappingStep, Plan, PlannedAction, plan
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId, MappingId
from app.domain.observed.backtest import Backtest
from app.store import driver_of, transactions
from app.store.destinations import destinations
from app.store.destinations.destinations import Destination
from app.store.incidents import notifications
from app.store.organisations import organisations


@dataclass(frozen=True, slots=True)
class ApplyOptions(EvaluationSettings):
    """Who applies a file, and which changes are allowed.

    The backtests of changed mappings use the event ages and the consent settings. `max_loss` is the largest
    share of recent events that may lose a match key or be newly rejected. None means no limit.
    """

    by: str
    prune: bool = False
    max_loss: Fraction | None = None
    organisation: str = DEFAULT_ORGANISATION
    channels: frozenset[str] = frozenset()  # the names of the organisation's notification channels


@dataclass(frozen=True, slots=True)
class AppliedPlan:
    """A plan, the destinations of the file after the change, and the backtests by the mapping's path.

    `warnings` has those of changed destinations, by path.
    """

    plan: Plan
    destinations: tuple[Destination, ...]
    backtests: Mapping[str, Backtest]
    warnings: Mapping[str, Sequence[settings.CurrencyWarning]]


async def apply(
    engine: AsyncEngine,
    desired: Sequence[DesiredDestination],
    options: ApplyOptions,
    *,
    dry_run: bool = False,
) -> AppliedPlan | InvalidFile:
    """Apply the complete file, or nothing if it has a problem.

    With `dry_run`, the changes are made and rolled back, so that the same problems are reported.
    """
    async with engine.connect() as connection:
        await connection.begin()
        done = await _apply_plan(connection, desired, options)
        if isinstance(done, AppliedPlan) and not dry_run:
            await connection.commit()
        return done  # closing the connection rolls back what was not committed


async def _apply_plan(
    connection: AsyncConnection, desired: Sequence[DesiredDestination], options: ApplyOptions
) -> AppliedPlan | InvalidFile:
    change = Update(connection, await driver_of(connection), options.by)
    # Every process applies its file when it starts, and they wait for each other.
    await transactions.set_lock_timeout(change.driver, seconds=20)
    # First, as a suspension does, which then locks the destinations.
    await organisations.lock_destination_count(connection)
    await transactions.set_lock_timeout(change.driver, seconds=transactions.LOCK_TIMEOUT_S)
    await destinations.lock_all(connection)
    existing = await stored_configuration(connection)
    channels = options.channels | {
        each.name
        for each in await notifications.declared(change.driver)
        if each.organisation == options.organisation
    }
    planned = plan(desired, existing, prune=options.prune)
    if not isinstance(planned, Plan):
        return planned
    problems: list[FileProblem] = []
    after = []
    losses: list[FileProblem] = []
    backtests: dict[str, Backtest] = {}
    warnings: dict[str, Sequence[settings.CurrencyWarning]] = {}
    for step in planned.steps:
        try:
            after.append(await _destination(change, step, channels))
        except Refusal as refusal:
            problems.append(FileProblem(step.desired.path, refusal_sentence(refusal)))
            problems += step.document_problems
            continue
        if step.changes:
            warnings[step.desired.path] = await settings.currency_warnings(connection, after[-1])
        for mapping in step.mappings:
            path = mapping.desired.path if mapping.desired else step.desired.path
            try:
                if backtest := await _backtest(connection, after[-1], mapping, options):
                    backtests[path] = backtest
                    losses += _check_loss(path, backtest, options.max_loss)
                await _mapping(change, after[-1], mapping)
            except Refusal as refusal:
                problems.append(FileProblem(path, refusal_sentence(refusal)))
        after[-1] = await destinations.find(connection, after[-1].id) or after[-1]
    problems += losses
    done = AppliedPlan(planned, tuple(after), backtests, warnings)
    return InvalidFile(tuple(problems)) if problems else done


async def _backtest(
    connection: AsyncConnection, destination: Destination, step: MappingStep, options: ApplyOptions
) -> Backtest | None:
    """Backtest a change of a published mapping with recent events.

    Return None if the mapping does not change or was never published. Raises Refusal (422).
    """
    if step.action is not PlannedAction.CHANGE or step.existing is None or step.existing.published is None:
        return None
    draft = schema.compile_or_refuse(step.document)
    compare = await trials.comparison(connection, options, destination, step.existing, draft)
    return compare()


def _check_loss(path: str, backtest: Backtest, allowed: Fraction | None) -> Iterator[FileProblem]:
    """Yield a problem if a change loses more than is allowed."""
    if allowed is not None and backtest.loss > allowed:
        loss = f"The loss is {float(backtest.loss):.2%}; --max-loss allows {float(allowed):.2%}."
        yield FileProblem(path, f"{trials.summary(backtest)} {loss}")


async def _destination(change: Update, step: DestinationStep, channels: Collection[str]) -> Destination:
    if step.existing is not None and step.action is PlannedAction.NOTHING:
        return step.existing
    desired, connection = step.desired, change.connection
    if step.existing is None:
        id_ = DestinationId(desired.id or new_id("dst_"))
        async with _unused_id(connection, "destination"):
            after = await settings.insert_destination(change, id_, step.settings)
    else:
        after = await settings.update_settings(change, step.existing, step.settings)
    enabled = desired.status_callback
    if enabled is not None and enabled != after.status_callback:
        await set_status_callback(change, after, enabled=enabled)
    if desired.alerting is not None:
        alerting = desired.alerting.stored()
        after = await change_alerting(change, after, alerting, before=step.existing, replaces=True)
    if desired.notifications is not None:
        await change_preference(change, after, desired.notifications.preference(), channels)
    return after


async def _mapping(change: Update, destination: Destination, step: MappingStep) -> None:
    if step.action is PlannedAction.NOTHING:
        return
    connection = change.connection
    if step.desired is None:
        assert step.existing is not None
        await use_cases.archive_mapping(change, step.existing)
        return
    document = use_cases.valid_draft(step.document)
    if step.existing is None:
        id_ = MappingId(step.desired.id or new_id("map_"))
        async with _unused_id(connection, "mapping"):
            await use_cases.create_mapping(change, destination.id, id_, document)
    else:
        id_ = step.existing.id
        await use_cases.change_mapping(change, step.existing, document)
    if step.desired.published:
        mapping = await use_cases.find_mapping(connection, destination, id_, lock=True)
        await use_cases.publish_mapping(change, destination, mapping)


@asynccontextmanager
async def _unused_id(connection: AsyncConnection, kind: str) -> AsyncIterator[None]:
    """Raise Refusal if an entry of another organisation, which is invisible here, has the id of a new one."""
    try:
        async with connection.begin_nested():
            yield
    except IntegrityError:
        raise invalid("id", "duplicate", f"Another {kind} has this id.") from None
