"""Compare a configuration file with the stored configuration and plan the changes.

A mapping of the file is compared with its published version, so an unpublished draft does not count. Stored
entries that the file does not contain stay unchanged, so that a deleted line cannot stop events.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from app.admin.destinations.settings import settings_from, settings_of
from app.config_as_code.existing import ExistingConfiguration, alerting_members
from app.config_as_code.file import DesiredDestination, DesiredMapping, FileProblem, InvalidFile
from app.domain.destination import DestinationSettings, State
from app.domain.incidents import thresholds
from app.domain.mapping.diff import Difference, differences, is_same
from app.store.destinations.destinations import Destination
from app.store.incidents.alerting import DEFAULT_ROW
from app.store.mappings import Document, StoredMapping

Entry: TypeAlias = DesiredDestination | DesiredMapping
Stored = TypeVar("Stored", Destination, StoredMapping)


class PlannedAction(StrEnum):
    """The change to a destination or a mapping."""

    CREATE = "create"
    CHANGE = "change"
    ARCHIVE = "archive"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class MappingStep:
    """The change to one mapping. `desired` is None if the file does not contain it."""

    action: PlannedAction
    desired: DesiredMapping | None
    document: Document
    existing: StoredMapping | None
    changes: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class DestinationStep:
    """The changes to one destination and its mappings."""

    action: PlannedAction
    desired: DesiredDestination
    settings: DestinationSettings
    existing: Destination | None
    changes: tuple[Difference, ...]
    mappings: tuple[MappingStep, ...]

    @property
    def actions(self) -> list[PlannedAction]:
        """Return the action for the destination and those for its mappings, except NOTHING."""
        actions = [self.action, *[mapping.action for mapping in self.mappings]]
        return [action for action in actions if action is not PlannedAction.NOTHING]

    @property
    def document_problems(self) -> list[FileProblem]:
        """Return the problems of the documents of mappings that would be created or changed."""
        desired = [each.desired for each in self.mappings if each.action is not PlannedAction.NOTHING]
        checked = ((mapping.path, mapping.refusal()) for mapping in desired if mapping is not None)
        return [FileProblem(path, sentence) for path, sentence in checked if sentence is not None]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in the order of the file, and the stored destinations that the file does not contain."""

    steps: tuple[DestinationStep, ...]
    unmanaged: tuple[Destination, ...]

    @property
    def actions(self) -> list[PlannedAction]:
        """Return the actions of all steps."""
        return [action for step in self.steps for action in step.actions]


def plan(
    desired: Sequence[DesiredDestination], configuration: ExistingConfiguration, *, prune: bool = False
) -> Plan | InvalidFile:
    """Match each entry of the file with a stored entry, by id or else by name. Return the changes.

    With `prune`, a mapping that the file does not contain is archived if the file contains its destination.
    Destinations are never archived, because they may have waiting events.
    """
    problems: list[FileProblem] = []
    steps = []
    for entry in desired:
        existing = _match(entry, configuration.destinations, configuration.destinations, problems)
        steps.append(_step(entry, existing, configuration, problems, prune=prune))
    _refuse_duplicates(steps, problems)
    named = {step.existing.id for step in steps if step.existing}
    unmanaged = [
        destination
        for destination in configuration.destinations
        if not _is_archived(destination) and destination.id not in named
    ]
    if problems:
        problems += [problem for step in steps for problem in step.document_problems]
        return InvalidFile(tuple(problems))
    return Plan(tuple(steps), tuple(unmanaged))


def _match(
    entry: Entry, stored: Sequence[Stored], siblings: Sequence[Stored], problems: list[FileProblem]
) -> Stored | None:
    """Return the stored entry with the id of an entry of the file, or the sibling with its name."""
    kind = "destination" if isinstance(entry, DesiredDestination) else "mapping"
    if entry.id is not None:
        existing = next((each for each in stored if each.id == entry.id), None)
        if existing is not None and all(each is not existing for each in siblings):
            problems.append(FileProblem(f"{entry.path}.id", f"This {kind} belongs to another destination."))
        elif existing is not None and _is_archived(existing):
            problems.append(FileProblem(f"{entry.path}.id", f"This {kind} was deleted. Remove the id."))
        return existing
    same_name = [each for each in siblings if each.name == entry.name and not _is_archived(each)]
    if len(same_name) > 1:
        ids = ", ".join(each.id for each in same_name)
        sentence = f"Several {kind}s have this name. Add the id: {ids}."
        problems.append(FileProblem(f"{entry.path}.name", sentence))
    return same_name[0] if same_name else None


def _is_archived(stored: Destination | StoredMapping) -> bool:
    if isinstance(stored, Destination):
        return stored.state is State.ARCHIVED
    return stored.archived_at is not None


def _step(
    desired: DesiredDestination,
    existing: Destination | None,
    configuration: ExistingConfiguration,
    problems: list[FileProblem],
    *,
    prune: bool,
) -> DestinationStep:
    settings, mappings = settings_from(desired), configuration.mappings
    changes: tuple[Difference, ...] = ()
    if existing is not None:
        row = configuration.alerting.get(existing.id, DEFAULT_ROW)
        members = _optional_members(desired)
        stored = {"status_callback": existing.status_callback, **alerting_members(row)}
        before = asdict(settings_of(existing)) | {name: stored[name] for name in members}
        changes = tuple(differences(before, asdict(settings) | members))
    change = PlannedAction.CHANGE if changes else PlannedAction.NOTHING
    action = PlannedAction.CREATE if existing is None else change
    siblings = [each for each in mappings if existing and each.destination == existing.id]
    steps = [
        _mapping_step(entry, _match(entry, mappings, siblings, problems), problems)
        for entry in desired.mappings
    ]
    _refuse_duplicates(steps, problems)
    named = {step.existing.id for step in steps if step.existing}
    steps += [
        MappingStep(PlannedAction.ARCHIVE if prune else PlannedAction.NOTHING, None, each.draft, each)
        for each in siblings
        if not _is_archived(each) and each.id not in named
    ]
    return DestinationStep(action, desired, settings, existing, changes, tuple(steps))


def _optional_members(desired: DesiredDestination) -> dict[str, Any]:
    """Return the members of the file that keep their stored values if the file does not contain them."""
    alerting, notifications = desired.alerting, desired.notifications
    members = {
        "status_callback": desired.status_callback,
        "alerting": None if alerting is None else thresholds.merged({}, alerting.stored()),
        "notifications": None if notifications is None else notifications.model_dump(),
    }
    return {name: member for name, member in members.items() if member is not None}


def _mapping_step(
    desired: DesiredMapping, existing: StoredMapping | None, problems: list[FileProblem]
) -> MappingStep:
    document = desired.document
    if existing is None:
        return MappingStep(PlannedAction.CREATE, desired, document, None)
    # If the file does not publish a mapping, compare the mapping with the stored draft.
    before = existing.published if desired.published else existing.draft
    if not desired.published and existing.published_version is not None:
        sentence = "A published mapping cannot become a draft again. Delete it instead."
        problems.append(FileProblem(f"{desired.path}.published", sentence))
    if is_same(before, document):
        return MappingStep(PlannedAction.NOTHING, desired, document, existing)
    changes = tuple(differences(before if before is not None else existing.draft, document))
    return MappingStep(PlannedAction.CHANGE, desired, document, existing, changes)


def _refuse_duplicates(
    steps: Sequence[DestinationStep] | Sequence[MappingStep], problems: list[FileProblem]
) -> None:
    """Add a problem for each entry that repeats the id or the name of an earlier entry.

    Two entries describe the same thing if they have the same id, or the same name and at most one of them has
    an id.
    """
    by_id: dict[str, Entry] = {}
    by_name: dict[str, list[Entry]] = {}
    for step in steps:
        entry = step.desired
        if entry is None:
            continue
        id_, named = step.existing.id if step.existing else entry.id, by_name.setdefault(entry.name, [])
        unsure = (each for each in named if entry.id is None or each.id is None)
        first = by_id.get(id_ or "") or next(unsure, None)
        if first is not None:
            sentence = f"It repeats {first.path}. Give each its own name or id."
            problems.append(FileProblem(entry.path, sentence))
        named.append(entry)
        if id_ is not None:
            by_id.setdefault(id_, entry)
